/* simt_wgmma.h: the twins of wgmma.cuh. A product keeps its operands' bits as they are when it is issued and compares
 * them when it completes: on a GPU they may be read at any time in between. Sums live in a shadow of the
 * accumulator, whose registers are NaN meanwhile. */
#pragma once
#include "kernels/simt/simt_wgmma_operands.h"

/* The shadow of this accumulator; if it has none, its registers go into one and become NaN. */
static int simt_wg_shadow(simt_wg *w, void **p, int n)
{
    int i = 0, unused = -1;
    for (; i < SIMT_WG_ACCS; i++) {
        if (w->acc[i].n && w->acc[i].d[0] == ((const simt_wg_call *)p[0])->d) break;
        if (!w->acc[i].n) unused = i;
    }
    if (i == SIMT_WG_ACCS && unused < 0) simt_die("more accumulators of wgmma under way than the twin keeps");
    simt_wg_acc *c = w->acc + (i == SIMT_WG_ACCS ? unused : i);
    if (i < SIMT_WG_ACCS) {
        if (c->n != n) simt_die("products of two shapes into one accumulator of wgmma without a wait");
        if (!simt_wg_poisoned(c)) simt_die("an accumulator of wgmma was written before the wait");
        return i;
    }
    c->n = n;
    for (int l = 0; l < SIMT_GROUP; l++) {
        c->d[l] = ((const simt_wg_call *)p[l])->d;
        for (int k = 0; k < n / 2; k++) {
            *simt_wg_at(c, l, k) = c->d[l][k];
            c->d[l][k] = __uint_as_float(SIMT_WG_POISON);
        }
    }
    return unused;
}

static void simt_wg_ask(void **p)
{
    simt_wg *w = simt_wg_mine();
    const simt_wg_call *first = (const simt_wg_call *)p[0];
    if (!w->fenced) simt_die("a group of wgmma products does not begin with a fence");
    if (w->ops == SIMT_WG_OPS) simt_die("more products of wgmma under way than the twin keeps");
    simt_wg_op *o = w->op + w->ops++;
    for (int l = 0; l < SIMT_GROUP; l++) {
        const simt_wg_call *c = (const simt_wg_call *)p[l];
        if (c->ma != first->ma || c->mb != first->mb || c->add != first->add)
            simt_die("lanes of one warpgroup give different descriptors");
        o->a[l] = c->a;
    }
    o->call = *first;
    o->group = w->group;
    o->acc = simt_wg_shadow(w, p, first->n);
    simt_wg_operands(&o->bits, o);
}

static void simt_wg_multiply(simt_wg_acc *c, const simt_wg_op *o)
{
    simt_eight (*b)[16] = simt_wgs_mine()->b;
    for (int k = 0; k < 16; k++)
        for (int j = 0; j < c->n; j++) b[k][j / 8][j % 8] = __uint_as_float((unsigned)o->bits.b[j][k] << 16);
    for (int r = 0; r < 64; r++)
        for (int j = 0; j < c->n / 8; j++) {
            simt_eight s = {}, *d = (simt_eight *)(void *)&c->v[r][8 * j];
            for (int k = 0; k < 16; k++) s += __uint_as_float((unsigned)o->bits.a[r][k] << 16) * b[k][j];
            *d = o->call.add ? *d + s : s;
        }
}

/* Products of groups before this one are done, in the order in which they were asked for; accumulators with none left
 * get their sums. */
static void simt_wg_until(int64_t group)
{
    simt_wg_bits *now = &simt_wgs_mine()->now;
    simt_wg *w = simt_wg_mine();
    int done = 0;
    for (; done < w->ops && w->op[done].group < group; done++) {
        simt_wg_op *o = w->op + done;
        memcpy(now, &o->bits, sizeof *now);
        simt_wg_operands(now, o);
        if (memcmp(now, &o->bits, sizeof *now)) simt_die("an operand of wgmma has changed before the wait");
        simt_wg_multiply(w->acc + o->acc, o);
    }
    w->ops -= done;
    memmove(w->op, w->op + done, (size_t)w->ops * sizeof *w->op);
    for (int i = 0; i < SIMT_WG_ACCS; i++) {
        simt_wg_acc *c = w->acc + i;
        bool busy = !c->n;
        for (int k = 0; k < w->ops; k++) busy |= w->op[k].acc == i;
        if (busy) continue;
        if (!simt_wg_poisoned(c)) simt_die("an accumulator of wgmma was written before the wait");
        for (int l = 0; l < SIMT_GROUP; l++)
            for (int k = 0; k < c->n / 2; k++) c->d[l][k] = *simt_wg_at(c, l, k);
        c->n = 0;
    }
}
static void simt_wg_fence(void **) { simt_wg_mine()->fenced = true; }
static void simt_wg_close(void **) { simt_wg_mine()->group++, simt_wg_mine()->fenced = false; }
static void simt_wg_wait(void **p) { simt_wg_until(simt_wg_mine()->group - *(const int *)p[0]); }

template <class X> static inline void wg_hold(X &) { }
template <class... X> static inline void wg_fence(X &...) { simt_warpgroup(nullptr, simt_wg_fence, __LINE__); }
static inline void wg_close() { simt_warpgroup(nullptr, simt_wg_close, __LINE__); }
template <int N, class... X> static inline void wg_wait(X &...)
{
    int n = N;
    simt_warpgroup(&n, simt_wg_wait, __LINE__);
}
static inline void fence_async()
{
    simt_wgs *m = simt_wgs_mine();
    simt_cps *mine = simt_cps_mine();
    for (int i = 0; i < mine->waited; i++) {
        unsigned at = shared_address(mine->c[i].to);
        if (at >= SIMT_SHARED_FROM && at + 16 <= sizeof m->view) memcpy(m->view + at, mine->c[i].to, 16);
    }
    simt_cps_drop(mine);
}

static inline void simt_wg_mma(simt_wg_call c) { simt_warpgroup(&c, simt_wg_ask, __LINE__); }
template <bool TRANS_A, bool TRANS_B> static inline void wg_mma(float (&d)[8][4], uint64_t a, uint64_t b, bool add)
{
    simt_wg_mma({ 64, d[0], nullptr, a, b, TRANS_A, TRANS_B, add });
}
template <bool TRANS_B> static inline void wg_mma(float (&d)[8][4], const unsigned (&a)[4], uint64_t b, bool add)
{
    simt_wg_mma({ 64, d[0], a, 0, b, false, TRANS_B, add });
}
template <bool TRANS_B> static inline void wg_mma(float (&d)[16][4], const unsigned (&a)[4], uint64_t b, bool add)
{
    simt_wg_mma({ 128, d[0], a, 0, b, false, TRANS_B, add });
}
