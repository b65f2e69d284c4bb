"""make_rope.py FOLDER: rotary scaling by transformers in float32, for tests/model/test_rope.c.

Tiny random models, one a kind of scaling, with their logits and gradients over LEN tokens, and the frequencies of
settings of real models (freq.json).
Made with Python 3.11.7, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6:
python tests/golden/rope/make_rope.py tests/golden/rope"""
import json
import os
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.utils import logging

LEN = 72
SIZE = dict(vocab_size=29, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16,
            max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=True)
# original lengths are short, so that with theta 100 some pairs are kept, some divided and some in between
MODELS = {
    "linear": (LlamaForCausalLM, LlamaConfig, {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}),
    "llama3": (LlamaForCausalLM, LlamaConfig, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                               "high_freq_factor": 4.0,
                                               "original_max_position_embeddings": 64, "rope_theta": 100.0}),
    "yarn": (Qwen2ForCausalLM, Qwen2Config, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
                                             "rope_theta": 100.0,
                                             "beta_fast": 8, "beta_slow": 0.5}),
    "yarn_norm": (Qwen3ForCausalLM, Qwen3Config, {"rope_type": "yarn", "factor": 2.0,
                                                  "original_max_position_embeddings": 64, "rope_theta": 1000.0,
                                                  "attention_factor": 1.75, "beta_fast": 16, "beta_slow": 1,
                                                  "truncate": False}),
}
# rope_theta, head_dim, what config.json says
REAL = [
    (500000.0, 64, {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192}),
    (500000.0, 128, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 8192}),
    (1000000.0, 128, {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}),
    (1000000.0, 128, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "truncate": False,
                      "beta_slow": 2}),
    (10000.0, 64, {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.707,
                   "mscale_all_dim": 1.0}),
    (10000.0, 64, {"type": "linear", "factor": 2.0}),
    (100000.0, 64, {"rope_type": "default"}),
]


def make(folder, name):
    kind, config, rope = MODELS[name]
    config = config(**SIZE, rope_parameters=dict(rope), bos_token_id=None, eos_token_id=None, pad_token_id=None)
    config._attn_implementation = "eager"
    model = kind(config).float().eval()
    rng = np.random.Generator(np.random.PCG64([7, list(MODELS).index(name)]))
    with torch.no_grad():
        for key, p in model.named_parameters():
            x = rng.standard_normal(tuple(p.shape), dtype=np.float32)
            p.copy_(torch.from_numpy(1 + 0.3 * x if "norm" in key else 0.5 * x if p.dim() < 2 or "embed" in key
                                     else 1.5 * x / np.float32(np.sqrt(p.shape[1]))))
    ids = torch.from_numpy(rng.integers(0, config.vocab_size, LEN + 1))
    logits = model(ids[None, :-1]).logits[0]
    logits.log_softmax(-1).gather(1, ids[1:, None]).mean().neg().backward()
    out = {"ids": ids.float(), "logits": logits, **{f"grad.{key}": p.grad for key, p in model.named_parameters()}}
    path = os.path.join(folder, name)
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path)
    save_file({k: v.detach().contiguous() for k, v in out.items()}, os.path.join(path, "expected.safetensors"))
    for file in os.listdir(path):
        os.chmod(os.path.join(path, file), 0o644)


def frequencies(theta, head_dim, rope):
    config = LlamaConfig(hidden_size=head_dim, num_attention_heads=1, head_dim=head_dim, max_position_embeddings=131072,
                         rope_parameters={**rope, "rope_theta": theta})
    kind = rope.get("rope_type", rope.get("type"))
    if kind == "default":
        freq, attention = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    else:
        freq, attention = ROPE_INIT_FUNCTIONS[kind](config)
    return {"rope_theta": theta, "head_dim": head_dim, "max_len": 131072, "rope": rope, "attention": attention,
            "freq": [float(x) for x in freq]}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.disable_progress_bar()
    for name in MODELS:
        make(sys.argv[1], name)
    with open(os.path.join(sys.argv[1], "freq.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(frequencies(*x)) for x in REAL) + "\n]\n")


if __name__ == "__main__":
    main()
