/* gemm_kernel.h: the tile kernels, included once for each instruction set, which first defines vec, VL, MR, WIDE, ISA
 * and vzero, vload, vstore, vset, vfma, vadd. Each element is acc = fma(a, b, acc) over k ascending, then d + acc, then
 * + bias: nothing here may change that order. */
#include "kernels/cpu/gemm_isa.h"

#define UNROLL _Pragma("GCC unroll 16")
enum {
    VPP = GEMM_NR / VL,             /* vectors in a panel */
    /* rows of k between a prefetch of a and its use: 640 x 96 x 5000 TN 212 GFLOP/s, 154 without, 195 with 8 */
    AHEAD = 24,
};

/* rows x vecs vectors of d from column col. rows, vecs, across and col are constants after inlining: the loops over
 * them vanish. */
static inline __attribute__((always_inline)) void tile(const struct gemm_tile *t, const int rows, const int vecs,
                                                       const bool across, const int col)
{
    const int64_t sa = t->sa, stride = t->stride;
    const elem_t *b = t->b + col;
    /* by rows: one pointer for 3 rows, reached as q, q + sa, q + 2 sa; 14 would not stay in registers */
    const elem_t *q[(MR + 2) / 3];
    vec acc[MR][4 * VPP];
    UNROLL for (int i = 0; i < rows; i++) {
        if (i % 3 == 0) q[i / 3] = t->a + (across ? 0 : i * sa);
        UNROLL for (int v = 0; v < vecs; v++) acc[i][v] = vzero();
        if (rows <= 3) continue;
        /* d is prefetched while the sum runs: 5000 x 640 x 96 NT 212 GFLOP/s, 148 without; for a row alone it costs 10
         * % */
        UNROLL for (int v = 0; v < vecs; v++) __builtin_prefetch(t->d + i * t->ldd + col + v * VL, 1);
        __builtin_prefetch(t->d + i * t->ldd + col + vecs * VL - 1, 1);
    }
    for (int64_t p = t->kc; p > 0; p--) {
        vec bv[4 * VPP];
        UNROLL for (int v = 0; v < vecs; v++) bv[v] = vload(b + v / VPP * stride + v % VPP * VL);
        UNROLL for (int i = 0; i < rows; i++) {
            vec x = vset(across ? q[0] + i : q[i / 3] + i % 3 * sa);
            UNROLL for (int v = 0; v < vecs; v++) acc[i][v] = vfma(x, bv[v], acc[i][v]);
        }
        b += GEMM_NR;
        if (across) {
            __builtin_prefetch(q[0] + AHEAD * sa + rows - 1);       /* past the end of a it does nothing */
            q[0] += sa;
        } else {
            UNROLL for (int i = 0; i < rows; i += 3) {
                q[i / 3]++;
                __asm__("" : "+r"(q[i / 3]));       /* or the compiler makes one pointer a row of them again */
            }
        }
    }
    UNROLL for (int i = 0; i < rows; i++) {
        elem_t *d = t->d + i * t->ldd + col;
        UNROLL for (int v = 0; v < vecs; v++) {
            vec x = acc[i][v];
            if (t->load) x = vadd(vload(d + v * VL), x);
            if (t->bias) x = vadd(x, vload(t->bias + col + v * VL));
            vstore(d + v * VL, x);
        }
    }
}

/* One panel: at once if its accumulators fit in the registers (up to 3 rows: VPP <= 4), else in pairs of vectors. */
static inline __attribute__((always_inline)) void panel(const struct gemm_tile *t, const int rows, const bool across)
{
    const int vecs = rows <= 3 ? VPP : 2;
    UNROLL for (int col = 0; col < GEMM_NR; col += vecs * VL) tile(t, rows, vecs, across, col);
}

/* One function for each number of rows: macros, because C has no templates. */
#define KERNEL(rows) \
    static void by_##rows(const struct gemm_tile *t) { panel(t, rows, false); } \
    static void across_##rows(const struct gemm_tile *t) { panel(t, rows, true); }
KERNEL(1) KERNEL(2) KERNEL(3) KERNEL(4) KERNEL(5) KERNEL(6)
#if MR > 6
KERNEL(7) KERNEL(8) KERNEL(9) KERNEL(10) KERNEL(11) KERNEL(12) KERNEL(13) KERNEL(14)
#endif
#if WIDE > 1
#define KERNEL_WIDE(rows) \
    static void by_wide_##rows(const struct gemm_tile *t) { tile(t, rows, WIDE * VPP, false, 0); } \
    static void across_wide_##rows(const struct gemm_tile *t) { tile(t, rows, WIDE * VPP, true, 0); }
KERNEL_WIDE(1) KERNEL_WIDE(2) KERNEL_WIDE(3)
#endif

static const struct gemm_isa isa = {
    .name = ISA, .mr = MR, .group = WIDE,
#if MR > 6
    .one = { { NULL, by_1, by_2, by_3, by_4, by_5, by_6, by_7, by_8, by_9, by_10, by_11, by_12, by_13, by_14 },
             { NULL, across_1, across_2, across_3, across_4, across_5, across_6, across_7, across_8, across_9,
               across_10, across_11, across_12, across_13,
               across_14 } },
#else
    .one = { { NULL, by_1, by_2, by_3, by_4, by_5, by_6 }, { NULL, across_1, across_2, across_3, across_4, across_5,
      across_6 } },
#endif
#if WIDE > 1
    .many = { { NULL, by_wide_1, by_wide_2, by_wide_3 }, { NULL, across_wide_1, across_wide_2, across_wide_3 } },
#endif
};
