"""make_gguf.py FOLDER: GGUF files written by the gguf package for tests/model/test_gguf.c.

quants.gguf: every packed type and, as F32, the numbers that the package unpacks from it. The others are tiny models of
tests/golden in llama.cpp's names and order of rows (convert_hf_to_gguf.py of llama.cpp does the same).
Made with Python 3.11.7, gguf 0.19.0, safetensors 0.8.0, numpy 2.4.6:
python tests/golden/gguf/make_gguf.py tests/golden/gguf"""
import os
import sys

import numpy as np
from gguf import GGMLQuantizationType as T, GGUFWriter, RopeScalingType, TokenType, dequantize, quantize
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import load_file

HERE = os.path.dirname(os.path.abspath(__file__))
LAYER = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm",
         "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def quants(path):
    """Packed bytes are random, but the half-precision scales among them are tame numbers."""
    rng = np.random.Generator(np.random.PCG64(11))
    scales = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q4_K: [0, 2], T.Q5_K: [0, 2],
              T.Q6_K: [208]}
    w = GGUFWriter(path, "none")
    for kind in scales:
        block, size = GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (3, 2, size), dtype=np.uint8)
        for at in scales[kind]:
            raw[:, :, at:at + 2] = (rng.standard_normal((3, 2, 1)) * 0.1).astype(np.float16).view(np.uint8)
        raw = raw.reshape(3, 2 * size)
        w.add_tensor(f"packed.{kind.name}", raw, raw_dtype=kind)
        w.add_tensor(f"plain.{kind.name}", dequantize(raw, kind).astype(np.float32))
    halves = np.concatenate([rng.standard_normal(30), [0, 65504, 6e-8, 1e-4, -1e-7, 1]]).astype(np.float32).reshape(2,
            18)
    w.add_tensor("packed.F16", halves.astype(np.float16))
    w.add_tensor("plain.F16", halves.astype(np.float16).astype(np.float32))
    packed = quantize(halves, T.BF16)
    w.add_tensor("packed.BF16", packed, raw_dtype=T.BF16)
    w.add_tensor("plain.BF16", dequantize(packed, T.BF16).astype(np.float32))
    finish(w)


def interleave(x, heads):
    """permute() of convert_hf_to_gguf.py"""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def model(path, source, arch, layers, dim, ff, heads, kv, head_dim, eps, theta, max_len, more):
    w = GGUFWriter(path, arch)
    w.add_block_count(layers)
    w.add_context_length(max_len)
    w.add_embedding_length(dim)
    w.add_feed_forward_length(ff)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_layer_norm_rms_eps(eps)
    w.add_rope_freq_base(theta)
    more(w)
    for name, x in load_file(os.path.join(HERE, "..", source, "model.safetensors")).items():
        stem, kind = name.rsplit(".", 1)
        if stem in TOP:
            new = TOP[stem]
        else:
            layer, part = stem[len("model.layers."):].split(".", 1)
            new = f"blk.{layer}.{LAYER[part]}"
            if arch == "llama" and part in ("self_attn.q_proj", "self_attn.k_proj"):
                x = interleave(x, heads if "q_proj" in part else kv)
        w.add_tensor(f"{new}.{kind}", np.ascontiguousarray(x))
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def llama_more(w):
    w.add_rope_dimension_count(16)
    w.add_rope_scaling_type(RopeScalingType.LINEAR)
    w.add_rope_scaling_factor(4.0)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(["<|im_end|>", *(chr(ord("a") + i) for i in range(26)), "ab", "abc"])
    w.add_token_types([TokenType.CONTROL, *[TokenType.NORMAL] * 28])
    w.add_token_merges(["a b", "ab c"])
    w.add_eos_token_id(0)
    w.add_pad_token_id(2)
    w.add_add_bos_token(False)
    w.add_add_space_prefix(False)
    w.add_chat_template("{{ messages }}")


def qwen2_more(w):
    w.add_rope_scaling_type(RopeScalingType.YARN)
    w.add_rope_scaling_factor(4.0)
    w.add_rope_scaling_orig_ctx_len(32)
    w.add_rope_scaling_yarn_beta_fast(8)
    w.add_rope_scaling_yarn_beta_slow(0.5)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = sys.argv[1]
    quants(os.path.join(out, "quants.gguf"))
    model(os.path.join(out, "llama.gguf"), "rope/linear", "llama", 2, 16, 20, 2, 1, 16, 1e-5, 100.0, 128, llama_more)
    model(os.path.join(out, "qwen2.gguf"), "rope/yarn", "qwen2", 2, 16, 20, 2, 1, 16, 1e-5, 100.0, 128, qwen2_more)
    model(os.path.join(out, "qwen3.gguf"), "models/qwen3_norm_2to1", "qwen3", 2, 20, 36, 4, 2, 8, 0.1, 1e6, 128,
          lambda w: None)


if __name__ == "__main__":
    main()
