/* config.h: config.json of a Hugging Face folder: LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM. A key that
 * would change the mathematics and is not understood (sliding window, another activation, biases, quantised weights, a
 * key nobody knows) is an error that names it. */
#pragma once
#include "base/err.h"
#include "model/rope.h"
#include <stddef.h>

/* of one file; of config.json, generation_config.json and the chat format together */
enum { CONFIG_EOS_FILE = 8, CONFIG_EOS_MAX = 32 };

/* Shapes and constants of the transformer. Every size is checked: positive, heads % kv_heads == 0, head_dim even, and
 * small enough (vocab, ff, max_len <= 2^24; dim, heads * head_dim <= 2^17; layers <= 1024) that the number of weights
 * is far below 2^63. */
struct model_config {
    char arch[48];                  /* "LlamaForCausalLM", "Qwen2ForCausalLM" or "Qwen3ForCausalLM" */
    int vocab;
    int dim;                        /* of the residual stream */
    int layers;
    int heads, kv_heads, head_dim;
    int ff;                         /* width of the feed-forward block */
    int max_len;                    /* max_position_embeddings */
    bool qkv_bias;                  /* q, k and v have a bias, o has none (Qwen2) */
    bool qk_norm;                   /* RMSNorm over head_dim on q and k before the rotation (Qwen3) */
    bool tied;                      /* the output matrix is the embedding */
    double rms_eps, rope_theta;
    struct rope rope;               /* scaling of the positions; zeroed: none */
    double initial_sd;              /* initializer_range; 0: the file has none */
    int bos, pad;                   /* -1: none */
    int eos[CONFIG_EOS_MAX], n_eos; /* ids that end a text; n_eos may be 0 */
};

/* Reads and checks a file. Errors name the file and the key. */
bool model_config_read(struct model_config *c, const char *path, struct err *e);

/* The same from memory; name stands for the file in errors. */
bool model_config_parse(struct model_config *c, const char *name, const char *text, size_t n, struct err *e);

/* Adds the eos_token_id of generation_config.json (one or a list) to c->eos: transformers' generate() stops at these.
 * Other keys of it are settings of a sampler and are not read. A folder without the file adds nothing. Errors name the
 * file and the key. */
bool model_generation_read(struct model_config *c, const char *folder, struct err *e);
bool model_generation_parse(struct model_config *c, const char *name, const char *text, size_t n, struct err *e);

/* The checks of the readers, for a configuration from elsewhere (GGUF metadata); name stands for its file in errors. */
bool model_config_check(const struct model_config *c, const char *name, struct err *e);

/* Writes a config.json that transformers loads, whole or not at all; dtype is that of the weights beside it ("float32",
 * "bfloat16"). model_config_read reads the file back unchanged; a configuration that it would reject (or whose flags do
 * not belong to its arch) is rejected here. */
bool model_config_write(const struct model_config *c, const char *dtype, const char *path, struct err *e);
