"""grpo.py: a minimal GRPO loop in torch and transformers on a model of the embedded policy's shape.

Samples groups, scores, standardises, does one clipped update. It has no tools, no branches and a reward of the text
alone (the share of even ids), so it does less work a token than a step of ours; its tokens a second stand beside those
of `appo debug` (tokens_generated and tokens_trained of the report over its seconds), not in their place."""
import time

from common import DEVICE, GPU, Peers, leave, torch

try:
    from transformers import AutoModelForCausalLM, LlamaConfig
except ImportError as e:
    leave(f"no transformers here: {e}")

PROMPTS, GROUP, PROMPT, NEW, STEPS = 13, 16, 24, 40, 6          # about the sizes of a debug step


def logp_of(model, ids):
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
    return torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[..., 0][:, PROMPT - 1:]


def main():
    p = Peers(__doc__)
    config = LlamaConfig(vocab_size=510, hidden_size=96, num_hidden_layers=4, num_attention_heads=4,
                         num_key_value_heads=2, head_dim=24, intermediate_size=320,
                         max_position_embeddings=512, tie_word_embeddings=True)
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(config, dtype=p.dtype(), attn_implementation="sdpa")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    times = []
    for _ in range(STEPS):
        if GPU:
            torch.cuda.synchronize()
        start = time.perf_counter()
        prompts = torch.randint(510, (PROMPTS, PROMPT), device=DEVICE).repeat_interleave(GROUP, 0)
        with torch.no_grad():
            ids = model.generate(prompts, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=True, pad_token_id=0)
            old = logp_of(model, ids)
        reward = (ids[:, PROMPT:] % 2 == 0).float().mean(1).view(PROMPTS, GROUP)
        advantage = ((reward - reward.mean(1, keepdim=True)) / (reward.std(1, keepdim=True) + 1e-6)).view(-1, 1)
        ratio = (logp_of(model, ids) - old).exp()
        loss = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if GPU:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    shape = {"model": "embedded policy's shape", "n": PROMPTS * GROUP, "ctx": PROMPT + NEW}
    p.tokens("grpo_step", shape, "minimal torch GRPO", PROMPTS * GROUP * NEW, sorted(times[1:])[(STEPS - 1) // 2],
             STEPS - 1)


if __name__ == "__main__":
    main()
