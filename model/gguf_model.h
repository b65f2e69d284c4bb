/* gguf_model.h: a language model's metadata in a GGUF file: configuration, names of tensors, vocabulary. */
#pragma once
#include "model/config.h"
#include "model/weights/gguf.h"

/* Configuration of architecture llama, qwen2 or qwen3 from the metadata (and rope_freqs.weight, Llama 3's scaling as a
 * table). A key of the architecture that is not understood is an error that names it. */
bool gguf_config(const struct gguf *g, struct model_config *c, struct err *e);

/* GGUF's name of a tensor of this project's table ("model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight");
 * false: it has none. */
bool gguf_tensor_name(const char *name, char *out, size_t size);

/* llama.cpp stores q and k of architecture llama with the rows of each head interleaved: row i of half p of the pairs
 * is at 2 i + p. */
bool gguf_interleaved(const struct model_config *c, const char *name);

/* The tokenizer's raw data. All texts point into the file; the arrays token, type and merge are allocated. Ids are -1
 * where the file names none. */
struct gguf_vocab {
    struct gguf_text model;         /* "gpt2" is byte-level BPE */
    struct gguf_text pre;           /* the regular expression ("smollm", "qwen2", "llama-bpe"); n 0: not given */
    struct gguf_text chat_template;
    struct gguf_text *token;        /* [n], in GPT-2's byte alphabet */
    int32_t *type;                  /* [n] 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte */
    int n;
    struct gguf_text *merge;        /* [merges] "left right", in order of rank */
    int merges;
    int bos, eos, eot, pad, unk;
    bool has_add_bos, add_bos;
    bool add_space_prefix;
};
bool gguf_vocab(const struct gguf *g, struct gguf_vocab *v, struct err *e);
void gguf_vocab_free(struct gguf_vocab *v);
