/* gemm_isa.h: shared by the parts of the CPU matrix product: the packed layout, the tile kernels of one instruction
 * set, the packing.
 * Vectors only ever span columns, so that every instruction set computes each element by the same chain and gives the
 * same bits. */
#pragma once
#include "kernels/gemm.h"

/* A panel of b is NR columns, k-major: panel[p][NR], two AVX-512 registers wide, columns past n are 0. Panel j of a
 * block starts at j * stride. */
enum { GEMM_NR = 128 / sizeof(elem_t) };
/* k is summed in blocks of GEMM_KC: the bits depend on it. 256 x 128 bytes is a 32 KiB panel. */
enum { GEMM_KC = 256 };
enum { GEMM_MR_MAX = 14 };

/* One call of a kernel: rows x panels of d. d = [d +] block [+ bias]; d and bias have room for whole panels. */
struct gemm_tile {
    elem_t *d;
    int64_t ldd;
    const elem_t *a;          /* by rows: a[i * sa + p];  across: a[p * sa + i] */
    int64_t sa;
    const elem_t *b;
    int64_t stride;         /* from panel to panel */
    int64_t kc;
    const elem_t *bias;       /* NULL: none */
    bool load;              /* start from what d holds */
};
typedef void gemm_kernel(const struct gemm_tile *t);

struct gemm_isa {
    const char *name;
    int mr;                                             /* rows of the largest tile, <= GEMM_MR_MAX */
    int group;                                           /* panels that many[] takes at once; 1: there is no many[] */
    gemm_kernel *one[2][GEMM_MR_MAX + 1];               /* [across][rows]: one panel */
    /* [across][rows], up to 3 rows: enough chains to fill the multipliers */
    gemm_kernel *many[2][4];
};

/* NULL where the compiler or the processor cannot. */
const struct gemm_isa *gemm_isa_avx512(void);
const struct gemm_isa *gemm_isa_avx2(void);
const struct gemm_isa *gemm_isa_portable(void);
/* The widest of them, or the one named by APPO_ISA=avx512|avx2|portable (die() where it cannot run); read once. */
const struct gemm_isa *gemm_isa(void);
void gemm_isa_force(const struct gemm_isa *isa);        /* tests: from now on this one; NULL: the default again */

/* Packs b, of n columns and kc rows of k, into out: panel j at out + j * kc * NR. b is [n][k] (GEMM_NT) if trans, else
 * [k][n]. */
struct gemm_pack { elem_t *out; const elem_t *b; int64_t ldb, n, kc; bool trans; };
/* at most `rows` rows of panel j, from row p of k */
void gemm_pack_b(const struct gemm_pack *s, int64_t j, int64_t p, int64_t rows);

/* The packed form of the weight b, all k rows, panels of stride k * GEMM_NR; made at the first call by `threads`
 * threads. */
const elem_t *gemm_weight(const struct gemm *g, int threads);
/* Drops the packed forms of these bytes: dev.c calls it when they are written or freed. */
void gemm_weight_written(const void *p, size_t bytes);
size_t gemm_weight_bytes(void);                         /* memory that packed weights hold now */
