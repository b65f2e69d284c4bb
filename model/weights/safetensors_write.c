/* safetensors_write.c: the streaming writer. The header needs only names, types and shapes, so it is written before the
 * first value; values go straight to the temporary file, converted in small pieces. */
#include "model/weights/safetensors_write.h"
#include "base/file.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct st_writer {
    struct out out;
    json_t *header;                     /* NULL once written */
    struct { int64_t count; enum st_dtype dtype; } *t;
    int n, at;                          /* declared tensors; the one whose values come next */
    int64_t done;                       /* of its values */
    int64_t bytes;                      /* of data declared */
};

static const char *const names[] = { [ST_F32] = "F32", [ST_F64] = "F64", [ST_F16] = "F16", [ST_BF16] = "BF16" };
static const int widths[] = { [ST_F32] = 4, [ST_F64] = 8, [ST_F16] = 2, [ST_BF16] = 2 };

struct st_writer *st_create(const char *path, struct err *e)
{
    struct st_writer *w = xcalloc(1, sizeof *w);
    if (!out_open(&w->out, path, e)) { free(w); return NULL; }
    w->header = json_object();
    /* transformers rejects files without it */
    json_object_set_new(w->header, "__metadata__", json_pack("{s:s}", "format", "pt"));
    return w;
}

void st_declare(struct st_writer *w, const char *name, enum st_dtype dtype, int rank, const int64_t *shape)
{
    ENSURE(w->header && dtype != ST_OTHER && rank >= 0 && rank <= ST_RANK_MAX);
    if (json_object_get(w->header, name)) die("safetensors: tensor %s is declared twice", name);
    int64_t count = 1, begin = w->bytes, size;
    json_t *dims = json_array();
    for (int i = 0; i < rank; i++) {
        ENSURE(shape[i] >= 0 && !__builtin_mul_overflow(count, shape[i], &count));
        json_array_append_new(dims, json_integer(shape[i]));
    }
    ENSURE(!__builtin_mul_overflow(count, (int64_t)widths[dtype], &size) &&
           !__builtin_add_overflow(begin, size, &w->bytes));
    json_t *t = json_pack("{s:s, s:o, s:[I, I]}", "dtype", names[dtype], "shape", dims, "data_offsets",
                          (json_int_t)begin, (json_int_t)w->bytes);
    if (!t || json_object_set_new(w->header, name, t) != 0) die("safetensors: tensor name is not UTF-8: %s", name);
    w->t = xrealloc(w->t, (size_t)(w->n + 1) * sizeof *w->t);
    w->t[w->n].count = count;
    w->t[w->n++].dtype = dtype;
}

/* Writes the header once, padded with spaces so that data begins at a multiple of 8, and skips full and empty
 * tensors. */
static void advance(struct st_writer *w)
{
    if (w->header) {
        char *text = json_dumps(w->header, JSON_COMPACT | JSON_ENSURE_ASCII);
        ENSURE(text);
        size_t n = strlen(text), pad = (8 - n % 8) % 8;
        uint64_t len = n + pad;
        fwrite(&len, sizeof len, 1, w->out.f);
        fwrite(text, 1, n, w->out.f);
        fwrite("        ", 1, pad, w->out.f);
        free(text);
        json_decref(w->header);
        w->header = NULL;
    }
    while (w->at < w->n && w->done == w->t[w->at].count) { w->at++; w->done = 0; }
}

/* Drops the low `drop` bits of u, rounding to nearest, ties to even. */
static uint32_t round_off(uint32_t u, int drop)
{
    uint32_t half = 1u << (drop - 1);
    return (u + half - 1 + (u >> drop & 1)) >> drop;
}

static uint16_t bf16_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);       /* NaN: keep it one */
    return (uint16_t)round_off(u, 16);
}

static uint16_t f16_of(float x)
{
    uint32_t u, sign;
    memcpy(&u, &x, sizeof u);
    sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (u >= 0x47800000) return (uint16_t)(sign | 0x7c00);                      /* 65536 and above */
    /* normal; 65520 and above carries into infinity */
    if (u >= 0x38800000) return (uint16_t)(sign | round_off(u - 0x38000000, 13));
    /* below half of the smallest subnormal, 2^-25 */
    if (u < 0x33000000) return (uint16_t)sign;
    /* 14 .. 24: value = mantissa * 2^(exponent - 150), unit 2^-24 */
    int shift = 126 - (int)(u >> 23);
    return (uint16_t)(sign | round_off((u & 0x7fffff) | 0x800000, shift));
}

/* A double rounded to float so that a second rounding to 11 or 8 bits gives the same as one rounding: inexact results
 * get an odd last bit. */
static float odd_of(double x)
{
    float f = (float)x;
    double back = (double)f;
    if (!(back > x) && !(back < x)) return f;                                   /* exact, or NaN */
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if (u & 1) return f;
    /* rounded away from zero: the odd neighbour is the one below */
    bool away = x > 0 ? back > x : back < x;
    u += away ? -1u : 1u;
    memcpy(&f, &u, sizeof f);
    return f;
}

static bool narrow(enum st_dtype d) { return d == ST_F16 || d == ST_BF16; }

/* Converts and writes k values, of f or, if it is NULL, of x. */
static void put_piece(struct st_writer *w, enum st_dtype d, const float *f, const double *x, int64_t k)
{
    union { float f32[1024]; double f64[1024]; uint16_t u16[1024]; } buf;
    for (int64_t i = 0; i < k; i++) {
        if (narrow(d)) {
            float v = f ? f[i] : odd_of(x[i]);
            buf.u16[i] = d == ST_F16 ? f16_of(v) : bf16_of(v);
        } else if (d == ST_F32) {
            buf.f32[i] = f ? f[i] : (float)x[i];
        } else {
            buf.f64[i] = f ? (double)f[i] : x[i];
        }
    }
    fwrite(&buf, (size_t)widths[d], (size_t)k, w->out.f);
}

static void put(struct st_writer *w, const float *f, const double *x, int64_t n)
{
    advance(w);
    if (n == 0) return;
    ENSURE(n > 0 && w->at < w->n && n <= w->t[w->at].count - w->done);
    enum st_dtype d = w->t[w->at].dtype;
    w->done += n;
    if (d == ST_F32 && f) { fwrite(f, sizeof *f, (size_t)n, w->out.f); return; }        /* no conversion, one write */
    for (int64_t i = 0; i < n; i += 1024)
        put_piece(w, d, f ? f + i : NULL, x ? x + i : NULL, n - i < 1024 ? n - i : 1024);
}

void st_put_f32(struct st_writer *w, const float *x, int64_t n) { put(w, x, NULL, n); }
void st_put_f64(struct st_writer *w, const double *x, int64_t n) { put(w, NULL, x, n); }

static void forget(struct st_writer *w)
{
    json_decref(w->header);
    free(w->t);
    free(w);
}

bool st_finish(struct st_writer *w, struct err *e)
{
    advance(w);
    bool ok = w->at == w->n;
    if (!ok) {
        fail(e, "%s: not written: tensor %d of %d has %lld of its %lld values", w->out.path, w->at + 1, w->n,
             (long long)w->done, (long long)w->t[w->at].count);
        out_drop(&w->out);
    } else {
        ok = out_commit(&w->out, e);
    }
    forget(w);
    return ok;
}

void st_abandon(struct st_writer *w)
{
    if (!w) return;
    out_drop(&w->out);
    forget(w);
}
