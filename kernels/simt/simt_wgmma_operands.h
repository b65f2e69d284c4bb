/* simt_wgmma_operands.h: the state of the twins of wgmma.cuh: products under way, what the tensor cores see of shared
 * memory, the operands that a descriptor names. */
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
