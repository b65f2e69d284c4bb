/* simt_wgmma.h: the twins of wgmma.cuh. A product keeps its operands' bits as they are when it is asked for and looks
 * at them again when it is done: on a GPU they may be read at any time in between. Sums live in a shadow of the
 * accumulator, whose registers are NaN meanwhile. */
#pragma once
enum { SIMT_WG_OPS = 64, SIMT_WG_ACCS = 6, SIMT_WG_GROUPS = SIMT_MAX_THREADS / SIMT_GROUP };
static const unsigned SIMT_WG_POISON = 0x7fffdeadu;

/* What a lane gives: n columns, the accumulator, A in registers or (NULL) by descriptor. */
struct simt_wg_call { int n; float *d; const unsigned *a; uint64_t ma, mb; bool turn_a, turn_b, add; };
struct simt_wg_bits { uint16_t a[64][16], b[128][16]; };
struct simt_wg_op { simt_wg_call call; int acc; int64_t group; const unsigned *a[SIMT_GROUP]; simt_wg_bits bits; };
struct simt_wg_acc { int n; float *d[SIMT_GROUP]; __align__(32) float v[64][128]; };          /* n 0: not in use */
struct simt_wg { bool fenced; int64_t group; int ops; simt_wg_op op[SIMT_WG_OPS]; simt_wg_acc acc[SIMT_WG_ACCS]; };
/* Of one OS thread, for the block it runs; view: what the tensor cores see of shared memory; now, b: operands looked at
 * again, B by k. On the heap, because the shim overwrites thread-local memory that starts as 0. */
typedef float simt_eight __attribute__((vector_size(32)));
struct simt_wgs {
    uint64_t serial;
    simt_wg g[SIMT_WG_GROUPS];
    simt_wg_bits now;
    simt_eight b[16][16];
    uint8_t view[SIMT_SHARED + 1024];
};
static simt_wgs *simt_wgs_none;
static __thread simt_wgs **simt_wgs_at = &simt_wgs_none;

static simt_wgs *simt_wgs_mine()
{
    if (simt_wgs_at == &simt_wgs_none) {
        simt_wgs_at = (simt_wgs **)calloc(1, sizeof *simt_wgs_at);
        *simt_wgs_at = (simt_wgs *)aligned_alloc(64, (sizeof(simt_wgs) + 63) / 64 * 64);
        if (!*simt_wgs_at) simt_die("out of memory");
        (*simt_wgs_at)->serial = 0;
    }
    simt_wgs *m = *simt_wgs_at;
    if (m->serial == simt_b->serial) return m;
    m->serial = simt_b->serial;
    memset(m->view, 0xff, sizeof m->view);
    for (int i = 0; i < SIMT_WG_GROUPS; i++) {
        m->g[i].fenced = false, m->g[i].group = m->g[i].ops = 0;
        for (int k = 0; k < SIMT_WG_ACCS; k++) m->g[i].acc[k].n = 0;
    }
    return m;
}
static simt_wg *simt_wg_mine() { return simt_wgs_mine()->g + simt_b->cur->warp / 4; }

/* Eight numbers, one 16-byte piece. The swizzle moves bits 4-6 of an address by its bits 7-9. */
static const uint16_t *simt_wg_piece(const simt_wgs *m, unsigned at)
{
    at ^= at >> 3 & 0x70;
    if (at < SIMT_SHARED_FROM || at + 16 > SIMT_SHARED_FROM + simt_b->k->smem)
        simt_die("a matrix of wgmma reaches beyond the block's shared memory");
    return (const uint16_t *)(const void *)(m->view + at);
}

static void simt_wg_read(uint16_t (*x)[16], int rows, uint64_t matrix, bool turn)
{
    const simt_wgs *m = simt_wgs_mine();
    unsigned start = (unsigned)(matrix & 0x3fff) << 4, lead = (unsigned)(matrix >> 16 & 0x3fff) << 4,
             stride = (unsigned)(matrix >> 32 & 0x3fff) << 4;
    if (matrix >> 62 != 1 || matrix & 0x3fffc000c000c000ull)
        simt_die("a descriptor of wgmma that is not of 128-byte swizzling with base offset 0");
    for (int r = 0; r < rows && !turn; r++)
        for (int h = 0; h < 2; h++)
            memcpy(x[r] + 8 * h, simt_wg_piece(m, start + (unsigned)(r % 8 * 128 + r / 8 * (int)stride + 16 * h)), 16);
    for (int k = 0; k < 16 && turn; k++)
        for (int r = 0; r < rows; r += 8) {
            const uint16_t *p = simt_wg_piece(
                m, start + (unsigned)(k % 8 * 128 + k / 8 * (int)stride + r / 8 % 8 * 16 + r / 64 * (int)lead));
            for (int e = 0; e < 8; e++) x[r + e][k] = p[e];
        }
}

static void simt_wg_operands(simt_wg_bits *x, const simt_wg_op *o)
{
    simt_wg_read(x->b, o->call.n, o->call.mb, o->call.turn_b);
    if (!o->call.a) simt_wg_read(x->a, 64, o->call.ma, o->call.turn_a);
    for (int l = 0; l < SIMT_GROUP && o->call.a; l++)
        for (int i = 0; i < 4; i++)
            for (int h = 0; h < 2; h++)
                x->a[l / 32 * 16 + l % 32 / 4 + 8 * (i & 1)][2 * (l % 4) + h + 8 * (i >> 1)] =
                    (uint16_t)(o->a[l][i] >> 16 * h);
}

/* Where lane l's register i of an accumulator belongs. */
static inline float *simt_wg_at(simt_wg_acc *c, int l, int i)
{
    return &c->v[l / 32 * 16 + l % 32 / 4 + 8 * (i >> 1 & 1)][i / 4 * 8 + 2 * (l % 4) + (i & 1)];
}
static inline bool simt_wg_poisoned(const simt_wg_acc *c)
{
    for (int l = 0; l < SIMT_GROUP; l++)
        for (int i = 0; i < c->n / 2; i++) if (__float_as_uint(c->d[l][i]) != SIMT_WG_POISON) return false;
    return true;
}

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
template <bool TURN_A, bool TURN_B> static inline void wg_mma(float (&d)[8][4], uint64_t a, uint64_t b, bool add)
{
    simt_wg_mma({ 64, d[0], nullptr, a, b, TURN_A, TURN_B, add });
}
template <bool TURN_B> static inline void wg_mma(float (&d)[8][4], const unsigned (&a)[4], uint64_t b, bool add)
{
    simt_wg_mma({ 64, d[0], a, 0, b, false, TURN_B, add });
}
template <bool TURN_B> static inline void wg_mma(float (&d)[16][4], const unsigned (&a)[4], uint64_t b, bool add)
{
    simt_wg_mma({ 128, d[0], a, 0, b, false, TURN_B, add });
}
