/* bench.h: measurements: every hand-written operation at the sizes of real models against what the device can move and
 * multiply, whole training and decode steps, and tables of what was measured. The same sources measure each backend; a
 * size is for a GPU, for a CPU, or tiny, for tests. */
#pragma once
#include "kernels/ops.h"
#include "base/err.h"
#include <jansson.h>
#include <stdio.h>

enum bench_sizes { BENCH_GPU = 1, BENCH_CPU = 2, BENCH_TINY = 4 };

/* A size. What is 0 or NULL does not belong to it. n: rows (tokens, sequences, vector elements); ctx: positions a row
 * sees, or tokens of a sequence. */
struct bench_dims {
    int at;                             /* which of enum bench_sizes it is for */
    int64_t n;
    int vocab, dim, heads, kv, hd, ff, m, k, ctx;
    const char *kind, *model;
};

/* Operands of one operation; each uses those it needs. All but plan, mask, begin, rows and the vectors of host
 * operations are device memory. */
struct operands {
    elem_t *u, *w, *x, *y, *z;
    acc_t *a, *b, *c, *d, *e, *f, *g;
    int *ids, *pos, *table;
    int64_t *slot, *begin;
    uint8_t *mask, *branch;
    struct branch_record *record;
    int records;
    struct attn_plan *plan;
    struct sample_key *key;
    int rows;
};

struct bench;
/* name: as on the command line. bytes, flops: the fewest that must move between the processor and memory, and that must
 * be computed (flops NULL: too few to count). host: a call whose vectors are host memory, timed by the host's clock.
 * reset (may be NULL) restores what a run destroys, outside of the time. */
struct bench_op {
    const char *name;
    void (*make)(struct bench *b, const struct bench_dims *d, struct operands *o);
    void (*reset)(const struct bench_dims *d, struct operands *o);
    void (*run)(const struct bench_dims *d, struct operands *o);
    double (*bytes)(const struct bench_dims *d), (*flops)(const struct bench_dims *d);
    bool host;
    const struct bench_dims *sizes;     /* up to one that is for nothing */
};
extern const struct bench_op bench_rows[], bench_head[], bench_attn[], bench_rl[];      /* up to one without a name */
extern const struct bench_op bench_wgmma[];     /* attention the other way, where attn_choose() has two */

/* A measurement under way: which sizes, where it goes, the rates that everything is compared with, and the memory of
 * the operation at hand. */
struct bench {
    enum bench_sizes sizes;
    FILE *text, *json;                  /* json may be NULL */
    size_t limit;                       /* bytes of device memory that may be used */
    int argc;                           /* the command line, for the rows */
    char **argv;
    /* bytes/s device to device, read and written; flop/s of a large product; bytes/s host to device and back */
    double copy, product, staged;
    char *flush;                        /* memory as large as several last-level caches, written between runs */
    size_t flush_bytes;
    void *owned[256];                   /* of the operation at hand */
    bool on_host[256];
    int owns;
    struct rng *rng;
};

/* Fills in sizes by the backend where they are 0, the limit by the memory there is where it is 0, and measures the
 * three rates. */
void bench_open(struct bench *b);
void bench_close(struct bench *b);
/* Operands: n random numbers on the device in (-scale / 2, scale / 2) or (low, high); random ids below `below`; a copy
 * of host memory; n numbers, or bytes that are 0, of the host. They live until bench_drop. No call can fail but for
 * memory, which is die(). */
elem_t *bench_reals(struct bench *b, int64_t n, double scale);
acc_t *bench_wides(struct bench *b, int64_t n, double low, double high);
int *bench_ids(struct bench *b, int64_t n, int below);
void *bench_put(struct bench *b, const void *host, size_t bytes);
acc_t *bench_host_wides(struct bench *b, int64_t n, double low, double high);
void *bench_host(struct bench *b, size_t bytes);
void bench_drop(struct bench *b);

/* Runs the operation of that name at all its sizes (b NULL: only asks); false: there is none. */
bool bench_kernel(struct bench *b, const char *name);
void bench_kernels(struct bench *b);
void bench_list(FILE *f);

/* One line of text and one JSON object. of: what rate is a share of ("copy", "product", "staged"); extra (may be NULL,
 * is taken over): further keys. */
struct bench_row {
    const char *name;
    const struct bench_dims *d;
    double us, rate, share;
    const char *unit, *of;
    int runs;
    json_t *extra;
};
void bench_row(struct bench *b, const struct bench_row *r);
/* bench_row.c: a size as a JSON object; such an object as text: "causal n=4096 hd=64"; one planned measurement as a
 * line (more is taken over). */
struct str;
json_t *bench_shape(const struct bench_dims *d);
void bench_shape_text(const json_t *shape, struct str *s);
void bench_case(FILE *f, const char *name, const struct bench_dims *d, json_t *more);
/* What would be measured, one object a line, with the fewest bytes and operations, or the model's configuration: for
 * programs that measure the same. */
void bench_shapes(struct bench *b, FILE *f);

/* bench_model.c: training and decode steps of models by name (NULL: those that suit the sizes), random weights. False:
 * no model of that name (b NULL: only asks). */
bool bench_train(struct bench *b, const char *model);
bool bench_decode(struct bench *b, const char *model);
void bench_model_shapes(const struct bench *b, FILE *f);

/* bench_table.c: reads rows of this program and of others ("peer" says whose) and prints them side by side, with
 * ratios. */
bool bench_table(FILE *text, char *const *files, int count, struct err *e);

/* bench_policy.c: one line a case: training steps and decode steps of a model of the embedded policy's shape, and the
 * share of their time that the same matrix products take alone. json (may be NULL) gets one object a line. Returns the
 * smallest share. */
double bench_policy(FILE *text, FILE *json);
