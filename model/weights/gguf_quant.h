/* gguf_quant.h: ggml's number formats, plain and quantised, to float. */
#pragma once
#include <stdint.h>

struct gguf_dtype {
    const char *name;
    int id;                         /* in files */
    int block, bytes;               /* `block` numbers are packed in `bytes` bytes */
    void (*get)(float *out, const void *in, int64_t n);     /* converts n blocks; the same bits as ggml's reference */
};

/* NULL: a type that is not read here. */
const struct gguf_dtype *gguf_dtype(uint32_t id);
