/* bench_in.h: an operation to measure. bench.c times the tables of bench_vectors.c, bench_head.c, bench_attn.c and
 * bench_rl.c; their operands come from bench_operands.c. */
#pragma once
#include "eval/bench/bench.h"

/* A size. A member that is 0 or NULL does not belong to it. */
struct bench_dims {
    int at;                             /* the enum bench_sizes it is for, ored */
    int64_t n;                          /* rows: tokens, sequences, elements of a vector */
    int vocab, dim, heads, kv, hd, ff;
    int m, k;                           /* of a matrix product */
    int ctx;                            /* positions a row attends to, or tokens of a sequence */
    const char *kind, *model;
};

/* Operands of one operation; each uses those it needs. All but plan, mask, begin, branch, record and the vectors of
 * host operations are device memory. */
struct bench_operands {
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

struct bench_op {
    const char *name;                   /* as on the command line */
    void (*make)(struct bench *b, const struct bench_dims *d, struct bench_operands *o);
    /* may be NULL; restores what a run destroys, outside of the time */
    void (*reset)(const struct bench_dims *d, struct bench_operands *o);
    void (*run)(const struct bench_dims *d, struct bench_operands *o);
    double (*bytes)(const struct bench_dims *d);    /* the fewest that must move between processor and memory */
    double (*flops)(const struct bench_dims *d);    /* the fewest that must be computed; NULL: too few to count */
    bool host;                          /* its vectors are host memory; timed by the host's clock */
    const struct bench_dims *sizes;     /* ends with one whose at is 0 */
};
extern const struct bench_op bench_vectors[], bench_head[], bench_attn[], bench_rl[];   /* end with a NULL name */
extern const struct bench_op bench_wgmma[];     /* attention by wgmma, for backends where attn_choose() has two ways */

/* Operands; they live until bench_drop. No call fails, except that no memory is die(). */
elem_t *bench_elems(struct bench *b, int64_t n, double scale);      /* random in (-scale / 2, scale / 2), device */
acc_t *bench_accs(struct bench *b, int64_t n, double low, double high);         /* random in (low, high), device */
int *bench_ids(struct bench *b, int64_t n, int below);              /* random in [0, below), device */
void *bench_put(struct bench *b, const void *host, size_t bytes);   /* a copy on the device */
acc_t *bench_host_accs(struct bench *b, int64_t n, double low, double high);    /* random in (low, high), host */
void *bench_host(struct bench *b, size_t bytes);                    /* zeros, host */
void bench_drop(struct bench *b);
