/* gguf.h: GGUF version 2 and 3, little-endian: header, metadata (typed key-value pairs), tensor table, data (format:
 * ggml's docs/gguf.md). Mapped read-only; names and texts are not 0-terminated. gguf_quant.h converts
 * the numbers; model/gguf_model.h reads a language model's configuration and vocabulary. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "model/weights/gguf_quant.h"

/* numbers of the format */
enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64,
    GGUF_I64, GGUF_F64, GGUF_TYPES
};
enum { GGUF_RANK_MAX = 4 };

struct gguf_text { const char *p; int64_t n; };         /* points into the file */

/* One metadata pair. An array has the type of its elements and is_array. */
struct gguf_pair {
    struct gguf_text key;
    enum gguf_type type;
    bool is_array;
    const char *p;                  /* n values, packed (text: 8-byte length, bytes) */
    int64_t n;
};

/* shape[0] is the outermost (rows), as in PyTorch; GGUF lists the innermost first. Rows are whole blocks. */
struct gguf_tensor {
    struct gguf_text name;
    const struct gguf_dtype *dtype;
    int rank;
    int64_t shape[GGUF_RANK_MAX];
    const void *data;
    int64_t count;
};

struct gguf;
/* Opens and checks a whole file: counts against its size, every length, doubled keys and tensor names, tensors one
 * after another without overlap, each with the size of its shape and type. NULL on error; the message names file and
 * key, tensor or byte. Allocates at most a few times the file's size. */
struct gguf *gguf_open(const char *path, struct err *e);
/* The same on bytes in memory, which must stay until gguf_close; name stands for the file in errors. */
struct gguf *gguf_parse(const char *name, const void *bytes, size_t n, struct err *e);
void gguf_close(struct gguf *g);                                                /* NULL is allowed */
const char *gguf_name(const struct gguf *g);

/* True: path is a GGUF file (by its first bytes), or a folder without config.json that holds exactly one; *file gets
 * the file's path. */
bool gguf_is(const char *path, struct str *file);

const struct gguf_pair *gguf_find(const struct gguf *g, const char *key);      /* NULL: no such key */
int gguf_pairs(const struct gguf *g);
const struct gguf_pair *gguf_pair_at(const struct gguf *g, int i);              /* in order of key */
/* A single value; false: no such key or another type. gguf_int reads whole numbers of every width, gguf_double those
 * and both float types. */
bool gguf_text(const struct gguf *g, const char *key, struct gguf_text *out);
bool gguf_int(const struct gguf *g, const char *key, int64_t *out);
bool gguf_double(const struct gguf *g, const char *key, double *out);
bool gguf_bool(const struct gguf *g, const char *key, bool *out);

int gguf_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int i);          /* in order of name */
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name);  /* NULL: none */
/* out[n] = values begin .. begin+n-1, dequantised, the same bits as ggml's reference; begin and n are multiples of the
 * block. False: outside the tensor. */
bool gguf_get_f32(const struct gguf_tensor *t, int64_t begin, int64_t n, float *out);
