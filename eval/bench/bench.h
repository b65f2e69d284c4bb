/* bench.h: measurements: each hand-written operation at the sizes of real models, as a share of what the device can
 * move and multiply. The same sources measure every backend; a size is for a GPU, for a CPU, or tiny, for tests. */
#pragma once
#include "kernels/ops.h"
#include "base/err.h"
#include <stdio.h>

enum bench_sizes { BENCH_GPU = 1, BENCH_CPU = 2, BENCH_TINY = 4 };

/* A measurement under way: which sizes, where results go, the rates that everything is compared with, and the memory of
 * the operation at hand. */
struct bench {
    enum bench_sizes sizes;
    FILE *text, *json;                  /* json may be NULL */
    size_t limit;                       /* bytes of device memory that may be used */
    int argc;                           /* the command line, for the results */
    char **argv;
    double copy;                        /* bytes/s device to device, read and written */
    double product;                     /* flop/s of a large matrix product */
    double staged;                      /* bytes/s host to device and back */
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

/* Runs the operation of that name at all its sizes (b NULL: only asks); false: there is none. */
bool bench_kernel(struct bench *b, const char *name);
void bench_kernels(struct bench *b);
void bench_list(FILE *f);

/* The cases that would be measured, one JSON object a line: shape, fewest bytes and operations, or a model's
 * configuration. Other programs (eval/peers) measure the same. */
void bench_shapes(struct bench *b, FILE *f);
