/* safetensors.h: 8 bytes little-endian header length, JSON header, data (format: github.com/huggingface/safetensors).
 * Files are mapped read-only; a tensor's data may start at any byte, so it is read with st_get_*, not through a cast.
 * A file cut short after st_open ends the program with a message (base/map.h). */
#pragma once
#include "base/err.h"
#include <stdint.h>

/* ST_OTHER: integers, bool, float8: listed, but not converted */
enum st_dtype { ST_F32, ST_F64, ST_F16, ST_BF16, ST_OTHER };
enum { ST_RANK_MAX = 8 };

struct st_tensor {
    char *name;
    enum st_dtype dtype;
    int rank;
    int64_t shape[ST_RANK_MAX];     /* row-major; rank 0 is one value */
    const void *data;               /* count values, little-endian, any alignment */
    int64_t count;                  /* product of shape */
};

struct st_file;

/* Opens a .safetensors file, an index (*.index.json: all its shards, as one file), or a folder that holds
 * model.safetensors or model.safetensors.index.json. Checks that the header fits the file, has no duplicate names, and
 * that the tensors cover the data exactly, each with the size of its shape. NULL on error; the message names file and
 * tensor or byte. */
struct st_file *st_open(const char *path, struct err *e);

/* The same checks on one file in memory, which must stay until st_close; name stands for the file in errors. */
struct st_file *st_parse(const char *name, const void *bytes, size_t n, struct err *e);

void st_close(struct st_file *f);                                               /* NULL is allowed */
int st_count(const struct st_file *f);
/* i in [0, st_count): in order of name */
const struct st_tensor *st_at(const struct st_file *f, int i);
const struct st_tensor *st_find(const struct st_file *f, const char *name);     /* NULL if there is none */

/* out[n] = values begin .. begin+n-1 of t, converted (float64 to float32 rounds to nearest). False, out untouched:
 * outside the tensor, or ST_OTHER. */
bool st_get_f32(const struct st_tensor *t, int64_t begin, int64_t n, float *out);
bool st_get_f64(const struct st_tensor *t, int64_t begin, int64_t n, double *out);
