/* lanes_scores.h: the scores of one or two query vectors with the keys of a path, several blocks of keys side by side.
 * Included once for each instruction set. */
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/vec_exp.h"
#include "kernels/cpu/vec_sum.h"

#define UNROLL _Pragma("GCC unroll 16")
enum {
    NB = KV_PAGE / VL,              /* vectors in a block of keys */
    /* blocks side by side: with two heads 8 chains, as many as hide the latency of a multiply-add */
    SIDE = NB < 4 ? 4 / NB : 1,
    /* vectors of a value row at once: 2 heads x 2 chains x TILE sums stay in registers */
    TILE = VL_MAX == VL ? 4 : 3,
    LINE = 64 / sizeof(elem_t),
};

/* Dot products of G queries with the keys of B blocks: acc[g][b][NB]. */
INLINE void dots(vr acc[2][SIDE][NB], const elem_t *q, const int G, const elem_t *const *kt, const int B, int hd,
                 const elem_t *const *ahead)
{
    UNROLL for (int g = 0; g < G; g++)
        UNROLL for (int b = 0; b < B; b++)
            UNROLL for (int i = 0; i < NB; i++) acc[g][b][i] = (vr){ 0 };
    for (int d = 0; d < hd; d++) {
        vr x[2];
        UNROLL for (int g = 0; g < G; g++) x[g] = vsetr(q[g * hd + d]);
        UNROLL for (int b = 0; b < B; b++) {
            if (ahead)
                UNROLL for (int i = 0; i < KV_PAGE; i += LINE) __builtin_prefetch(ahead[b] + d * KV_PAGE + i, 0, 3);
            UNROLL for (int i = 0; i < NB; i++) {
                vr k = vheld(vget(kt[b] + d * KV_PAGE + i * VL));
                UNROLL for (int g = 0; g < G; g++) acc[g][b][i] = vfma(x[g], k, acc[g][b][i]);
            }
        }
    }
}

/* Of B blocks beginning at p->b[k]; those past the last are the last once more, not stored. */
INLINE int score_blocks(elem_t *const s[2], int at, const elem_t *q, const int G, const struct path *p, int k,
                        const elem_t *keys, const int B, int hd, const bool ahead)
{
    const elem_t *kt[SIDE], *then[SIDE];
    vr acc[2][SIDE][NB];
    UNROLL for (int b = 0; b < B; b++) {
        const struct block *x = &p->b[MIN(k + b, p->blocks - 1)];
        kt[b] = keys + x->kt;
        then[b] = keys + x->ahead;
    }
    dots(acc, q, G, kt, B, hd, ahead ? then : NULL);
    UNROLL for (int b = 0; b < B; b++) {
        const struct block *x = &p->b[k + b];
        if (k + b >= p->blocks) break;
        UNROLL for (int g = 0; g < G; g++)
            UNROLL for (int i = 0; i < NB; i++) {
                elem_t *to = s[g] + at - x->skip + i * VL;
                if (x->skip <= i * VL) vput(to, acc[g][b][i]);
                /* earlier scores stand in front */
                else if (x->skip < (i + 1) * VL) vput_from(to, acc[g][b][i], x->skip - i * VL);
            }
        at += x->count;
    }
    return at;
}

/* s[g][0 .. len-1] = q[g] . key; writes up to KV_PAGE - 1 numbers more. keys: p->kt or the like, at the right kv
 * head. */
INLINE void scores_of(elem_t *const s[2], const elem_t *q, const int G, const struct path *p, const elem_t *keys,
                      int hd, const bool ahead)
{
    for (int k = 0, at = 0; k < p->blocks; ) {
        int left = p->blocks - k;
        if (SIDE > 2 && left > 2) at = score_blocks(s, at, q, G, p, k, keys, SIDE, hd, ahead), k += SIDE;
        else if (SIDE > 1 && left > 1) at = score_blocks(s, at, q, G, p, k, keys, SIDE > 1 ? 2 : 1, hd, ahead), k += 2;
        else at = score_blocks(s, at, q, G, p, k, keys, 1, hd, ahead), k++;
    }
}

static void scores(elem_t *const s[2], const elem_t *q, int g, const struct path *p, const elem_t *keys, int hd)
{
    if (g == 2) scores_of(s, q, 2, p, keys, hd, false);
    else scores_of(s, q, 1, p, keys, hd, false);
}
