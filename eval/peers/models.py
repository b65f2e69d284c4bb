"""models.py: training and decoding of the models of `appo bench models` by transformers, random weights.

Packed training with SDPA, torch.compile and fused AdamW; generate with a static cache; a short loop in the style of
gpt-fast (static cache, compiled step, CUDA graphs)."""
import time

from common import DEVICE, GPU, Peers, leave, torch

try:
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config, StaticCache
except ImportError as e:
    leave(f"no transformers here: {e}")

KIND = {"LlamaForCausalLM": LlamaConfig, "Qwen2ForCausalLM": Qwen2Config, "Qwen3ForCausalLM": Qwen3Config}


def model_of(p, c):
    config = KIND[c["arch"]](
        vocab_size=c["vocab"], hidden_size=c["dim"], num_hidden_layers=c["layers"], num_attention_heads=c["heads"],
        num_key_value_heads=c["kv_heads"],
        head_dim=c["head_dim"], intermediate_size=c["ff"], max_position_embeddings=32768, tie_word_embeddings=c["tied"])
    with torch.device(DEVICE):
        return AutoModelForCausalLM.from_config(config, dtype=p.dtype(), attn_implementation="sdpa")


def timed(step, times):
    """Median seconds of a step, host included, as eval/bench/bench_model.c times its own."""
    for _ in range(3 if GPU else 1):
        step()
    t = []
    for _ in range(times):
        if GPU:
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if GPU:
            torch.cuda.synchronize()
        t.append(time.perf_counter() - start)
    return sorted(t)[len(t) // 2]


def train(p, shape, c):
    """Sequences of one length: packed without padding is a batch. The loss is the model's own, over whole logits;
    moments are stored like the weights."""
    model = model_of(p, c)
    model.train()
    ids = torch.randint(c["vocab"], (shape["n"] // shape["ctx"], shape["ctx"]), device=DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    run = torch.compile(model)

    def step():
        loss = run(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    times = 10 if GPU else 3
    p.tokens("train", shape, "transformers + torch.compile", shape["n"], timed(step, times), times)


def generate(p, shape, c, steps):
    """generate() from a prompt of ctx - steps tokens; time of the steps after the prompt."""
    model = model_of(p, c).eval()
    prompt = torch.randint(c["vocab"], (shape["n"], max(shape["ctx"] - steps, 1)), device=DEVICE)

    def run(n):
        with torch.no_grad():
            model.generate(prompt, max_new_tokens=n, min_new_tokens=n, do_sample=True, cache_implementation="static",
                           pad_token_id=0)
    long, short = timed(lambda: run(steps), 3), timed(lambda: run(1), 3)
    seconds = max(long - short, 1e-9) / (steps - 1)
    p.tokens("decode", shape, "transformers generate, static cache", shape["n"], seconds, 3)


def loop(p, shape, c, steps):
    """One compiled step over a static cache, sampled by the exponential race."""
    model = model_of(p, c).eval()
    cache = StaticCache(config=model.config, max_cache_len=shape["ctx"] + steps + 16)
    prompt = torch.randint(c["vocab"], (shape["n"], shape["ctx"]), device=DEVICE)

    def step(ids, pos):
        logits = model(input_ids=ids, position_ids=pos[None], cache_position=pos, past_key_values=cache,
                       use_cache=True).logits[:, -1].float()
        q = torch.softmax(logits, -1)
        return (q / torch.empty_like(q).exponential_()).argmax(-1, keepdim=True)
    with torch.no_grad():
        ids = step(prompt, torch.arange(shape["ctx"], device=DEVICE))
        run = torch.compile(step, mode="reduce-overhead" if GPU else "default", dynamic=False)

        def some():
            now = ids
            for i in range(steps):
                now = run(now, torch.tensor([shape["ctx"] + i], device=DEVICE)).clone()
        seconds = timed(some, 3)
    p.tokens("decode", shape, "gpt-fast style loop", shape["n"], seconds / steps, 3)


def main():
    p = Peers(__doc__)
    done = set()
    for name, runs in (("train", [("transformers + torch.compile", train)]),
                       ("decode", [("transformers generate, static cache", lambda *a: generate(*a, 32 if GPU else 4)),
                                   ("gpt-fast style loop", lambda *a: loop(*a, 32 if GPU else 4))])):
        for shape, _ in p.cases(name):
            key = (name, shape["model"], shape["n"] if name == "decode" else 0)
            c = p.config(name, shape)
            if c is None or key in done:
                continue
            done.add(key)
            for peer, run in runs:
                try:
                    torch._dynamo.reset()
                    run(p, shape, c)
                except Exception as e:                          # noqa: BLE001: a peer that fails is a result
                    p.left_out(name, shape, peer, f"{type(e).__name__}: {e}")
                if GPU:
                    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
