"""make_golden.py FOLDER: tiny random models and their outputs by transformers, for tests/model/test_golden_model.c.

Each model is a Hugging Face folder plus expected.safetensors in float32 (README.md lists its tensors). The same
versions on the same CPU give the same bytes. A model's seed is the first whose greedy texts have no near-tie, so that
rounding cannot choose another token."""
import hashlib
import os
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

# Sizes are odd on purpose (tails of every product); rms_norm_eps is large where it should be seen, and rope_theta
# differs.
MODELS = {
    "llama_tied_2to1": (LlamaForCausalLM, LlamaConfig(
        vocab_size=83, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, tie_word_embeddings=True)),
    "llama_untied_1to1": (LlamaForCausalLM, LlamaConfig(
        vocab_size=67, hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=3,
        rms_norm_eps=0.3, rope_parameters={"rope_type": "default", "rope_theta": 100.0}, tie_word_embeddings=False)),
    "llama_8to1": (LlamaForCausalLM, LlamaConfig(
        vocab_size=80, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=1,
        rms_norm_eps=0.02, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}, tie_word_embeddings=True)),
    "qwen2_bias_3to1": (Qwen2ForCausalLM, Qwen2Config(
        vocab_size=90, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2,
        rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True)),
    "qwen3_norm_2to1": (Qwen3ForCausalLM, Qwen3Config(
        vocab_size=70, hidden_size=20, intermediate_size=36, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8,
        rms_norm_eps=0.1, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=False)),
}
LENGTHS = (1, 7, 29)
# the second and third sequence begin with the same tokens: packed as a tree they share these rows
SHARED = 4
NEW = 64                # tokens of a greedy text
# least distance between the two largest logits at any step of it: 100 times what the test allows logits to differ by
MARGIN = 0.01
MAX_LEN = 128


def random_weights(model, rng):
    """No kind of parameter has its usual initial value (norms are not 1, biases not 0): one that is left out is
    seen."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = rng.standard_normal(tuple(p.shape), dtype=np.float32)
            if "norm" in name:
                x = 1 + 0.3 * x
            elif name.endswith("bias"):
                x = 0.5 * x
            elif "embed" in name or "lm_head" in name:
                x = 0.5 * x
            else:
                x = 1.5 * x / np.float32(np.sqrt(p.shape[1]))
            p.copy_(torch.from_numpy(x))


def greedy(model, ids):
    """generate()'s text, and the smallest distance between the two best tokens in it."""
    prompt = torch.tensor([ids])
    text = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, do_sample=False,
                          use_cache=True)[0]
    assert len(text) == len(ids) + NEW
    with torch.no_grad():
        best = model(text[None, :-1]).logits[0, len(ids) - 1:].topk(2).values
    return text[len(ids):], float((best[:, 0] - best[:, 1]).min())


def sequences(rng, vocab):
    """One token more than the length: the last is only a target."""
    seqs = [rng.integers(0, vocab, n + 1) for n in LENGTHS]
    seqs[2][:SHARED] = seqs[1][:SHARED]
    while seqs[2][SHARED] == seqs[1][SHARED]:
        seqs[2][SHARED] = (seqs[2][SHARED] + 1) % vocab
    masks = [(rng.random(n) < 0.7).astype(np.float32) for n in LENGTHS]
    # the token at which they part has a target in both
    masks[0][0] = masks[1][SHARED - 1] = masks[2][SHARED - 1] = 1
    masks[2][-1] = 1                                                   # and so has the last row of all
    masks[1][1] = masks[2][5] = 0
    return seqs, masks


def expected(model, seqs, masks):
    """loss = -(sum over masked targets of logp) / (number of masked targets), over all sequences together."""
    out = {}
    total = torch.zeros(())
    for i, (ids, mask) in enumerate(zip(seqs, masks)):
        ids = torch.from_numpy(ids)
        logits = model(ids[None, :-1]).logits[0]
        logp = logits.log_softmax(-1)
        target = logp.gather(1, ids[1:, None])[:, 0]
        total = total - (target * torch.from_numpy(mask)).sum()
        out.update({f"ids.{i}": ids.float(), f"mask.{i}": torch.from_numpy(mask), f"logits.{i}": logits,
                    f"logp.{i}": target,
                    f"entropy.{i}": -(logp.exp() * logp).sum(-1)})
    loss = total / sum(float(m.sum()) for m in masks)
    model.zero_grad()
    loss.backward()
    out["loss"] = loss.reshape(1)
    out.update({f"grad.{name}": p.grad for name, p in model.named_parameters()})
    return out


def make(folder, name):
    kind, config = MODELS[name]
    config.max_position_embeddings = MAX_LEN
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    config._attn_implementation = "eager"
    model = kind(config).float().eval()
    for seed in range(1000):
        rng = np.random.Generator(np.random.PCG64([seed, list(MODELS).index(name)]))
        random_weights(model, rng)
        seqs, masks = sequences(rng, config.vocab_size)
        texts, margins = zip(*(greedy(model, s[:-1].tolist()) for s in seqs))
        variety = min(len(set(t.tolist())) for t in texts)
        if min(margins) >= MARGIN and variety >= 12:
            break
    else:
        sys.exit(f"{name}: no seed gives three greedy texts without a near-tie")
    out = expected(model, seqs, masks)
    out.update({f"greedy.{i}": t.float() for i, t in enumerate(texts)})
    path = os.path.join(folder, name)
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path)
    save_file({k: v.detach().contiguous() for k, v in out.items()}, os.path.join(path, "expected.safetensors"))
    for file in os.listdir(path):
        os.chmod(os.path.join(path, file), 0o644)       # save_file makes files that only their owner reads
    count = sum(p.numel() for p in model.parameters())
    print(f"{name}: seed {seed}, {count} parameters, loss {out['loss'].item():.6f}, least margin {min(margins):.4f}, "
          f"at least {variety} different tokens in {NEW}")
    for file in sorted(os.listdir(path)):
        with open(os.path.join(path, file), "rb") as f:
            text = f.read()
        print(f"  {hashlib.sha256(text).hexdigest()[:16]} {len(text):7d} {file}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.disable_progress_bar()
    for name in MODELS:
        make(sys.argv[1], name)


if __name__ == "__main__":
    main()
