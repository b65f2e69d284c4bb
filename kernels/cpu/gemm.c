/* gemm.c: the matrix product: b in k-major panels, small tiles of d in registers, threads over tiles. Goto and van de
 * Geijn, "Anatomy of high-performance matrix multiplication" (2008). The split into threads and tiles does not change
 * the bits: an element is summed over k in blocks of GEMM_KC, always from 0. */
#include "kernels/cpu/gemm_isa.h"
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* Figures: Zen 5, two cores, floats, one thread unless said. A tile alone reaches 242 GFLOP/s. */
enum {
    /* two threads on 16 x 640 x 96 (2.0 MFLOP): 5.9 us against 8.1; on 64 x 96 x 96 (1.2): no gain */
    SERIAL_FLOPS = 3 << 19,
    /* bytes of b packed at once unless it is a kept weight; 4 MB: 192 x 96 x 5000 TN loses 4 to 12 % */
    SCRATCH = 1 << 20,
    COLUMNS = 4096 / GEMM_NR,       /* panels of them */
    PARTS = 16,                     /* parts of rows at most */
    ROWS = 16,                      /* rows a part must have */
    /* tiles of rows a thread takes at once, at most: their part of a stays in L2; 4, 16 and 24: within 3 % */
    CHUNK = 8,
};
/* a is never packed, the kernels read its rows in place: a copy makes 5000 x 96 x 192 3 to 7 % slower and 1024^3
 * (rows 4096 bytes apart) 3 % faster. */

/* One product of m rows with the packed panels of k rows p0 .. p1-1, columns from col. */
struct work {
    const struct gemm *g;
    const struct gemm_isa *isa;
    elem_t *d;
    const elem_t *panels;
    int64_t stride, p0, p1, col, n;
    int64_t slice;                  /* panels of one task */
    int threads;
    bool across;
    /* Rows are shared out evenly, as the operations around do, so that a core finds in its own cache the rows it
     * wrote before; a thread that is done takes tasks of the others. of[t]: the next task of part t begins at row next
     * % rows of the part, slice next / rows. */
    struct part { _Alignas(64) _Atomic int64_t next; } of[PARTS];
    int parts;
};

/* The last panel when it is cut: the kernel works on a whole one beside d. */
static void cut_tile(struct gemm_tile t, gemm_kernel *run, int rows, int64_t cols)
{
    elem_t whole[GEMM_MR_MAX * GEMM_NR], bias[GEMM_NR];
    elem_t *d = t.d;
    const int64_t ldd = t.ldd;
    if (t.load) {
        memset(whole, 0, sizeof whole);
        for (int i = 0; i < rows; i++) memcpy(whole + i * GEMM_NR, d + i * ldd, (size_t)cols * sizeof *d);
    }
    if (t.bias) {
        memset(bias, 0, sizeof bias);
        t.bias = memcpy(bias, t.bias, (size_t)cols * sizeof *bias);
    }
    t.d = whole;
    t.ldd = GEMM_NR;
    run(&t);
    for (int i = 0; i < rows; i++) memcpy(d + i * ldd, whole + i * GEMM_NR, (size_t)cols * sizeof *d);
}

/* One tile of rows against panels j0 .. j1-1 of one block of k; t.b and t.d stand at panel 0. */
static void row_tile(const struct work *w, struct gemm_tile t, int rows, int64_t j0, int64_t j1)
{
    const struct gemm_isa *isa = w->isa;
    const elem_t *b = t.b, *bias = t.bias;
    elem_t *d = t.d;
    for (int64_t j = j0; j < j1; ) {
        const int64_t col = j * GEMM_NR, left = w->n - col;
        t.b = b + j * w->stride;
        t.d = d + col;
        t.bias = bias ? bias + col : NULL;
        if (rows < 4 && isa->group > 1 && j + isa->group <= j1 && left >= isa->group * GEMM_NR) {
            isa->many[w->across][rows](&t);
            j += isa->group;
        } else {
            if (left >= GEMM_NR) isa->one[w->across][rows](&t);
            else cut_tile(t, isa->one[w->across][rows], rows, left);
            j++;
        }
    }
}

/* Rows r0 .. r1-1 against panels j0 .. j1-1: block of k, panel (stays in L1), tile of rows (a from L2). */
static void chunk(const struct work *w, int64_t r0, int64_t r1, int64_t j0, int64_t j1)
{
    const struct gemm *g = w->g;
    const int64_t tiles = (r1 - r0 + w->isa->mr - 1) / w->isa->mr, each = (r1 - r0) / tiles, more = (r1 - r0) % tiles;
    for (int64_t p = w->p0; p < w->p1; p += GEMM_KC) {
        struct gemm_tile t = { .ldd = g->ldd, .sa = g->lda, .stride = w->stride, .load = g->add || p > 0 };
        t.kc = w->p1 - p < GEMM_KC ? w->p1 - p : GEMM_KC;
        t.b = w->panels + (p - w->p0) * GEMM_NR;
        if (g->bias && p + t.kc == g->k) t.bias = g->bias + w->col;
        const int64_t step = tiles > 1 ? 1 : j1 - j0;
        for (int64_t j = j0; j < j1; j += step)
            for (int64_t i = 0, r = r0; i < tiles; i++) {
                const int rows = (int)(each + (i < more));
                t.a = w->across ? g->a + p * g->lda + r : g->a + r * g->lda + p;
                t.d = w->d + r * g->ldd + w->col;
                row_tile(w, t, rows, j, j + step);
                r += rows;
            }
    }
}

static int64_t part_row(const struct work *w, int part) { return w->g->m * part / w->parts; }

/* Takes the next task of a part: long runs of rows first, short ones at the end, so that the last thread is
 * late by little. */
static bool take(struct work *w, int part, int64_t *at, int64_t *rows)
{
    const int64_t m = part_row(w, part + 1) - part_row(w, part), mr = w->isa->mr;
    const int64_t slices = ((w->n + GEMM_NR - 1) / GEMM_NR + w->slice - 1) / w->slice, share = w->threads / w->parts;
    *at = atomic_load(&w->of[part].next);
    do {
        const int64_t left = m - *at % m;
        if (*at >= m * slices) return false;
        int64_t tiles = left / (mr * 2 * share);
        tiles = w->threads == 1 || tiles > CHUNK ? CHUNK : tiles < 2 ? 2 : tiles;
        *rows = left <= tiles * mr ? left : tiles * mr;
    } while (!atomic_compare_exchange_weak(&w->of[part].next, at, *at + *rows));
    return true;
}

static void tasks(struct work *w, int thread)
{
    const int64_t panels = (w->n + GEMM_NR - 1) / GEMM_NR;
    for (int k = 0; k < w->parts; k++) {
        const int part = (thread + k) % w->parts;
        const int64_t first = part_row(w, part), m = part_row(w, part + 1) - first;
        for (int64_t at, rows; take(w, part, &at, &rows); ) {
            const int64_t j = at / m * w->slice, r = first + at % m;
            chunk(w, r, r + rows, j, j + w->slice < panels ? j + w->slice : panels);
        }
    }
}

static void product(struct work *w, const struct gemm_pack *pack)
{
    const int64_t panels = (w->n + GEMM_NR - 1) / GEMM_NR;
    const bool by_rows = w->g->m >= ROWS * w->threads && w->threads <= PARTS;
    /* few rows are shared out by columns */
    const int64_t slices = w->threads == 1 || by_rows ? 1 : 2 * w->threads;
    w->slice = (panels + slices - 1) / slices;
    w->parts = by_rows ? w->threads : 1;
    for (int i = 0; i < w->parts; i++) atomic_store(&w->of[i].next, 0);
    const int64_t blocks = pack ? (pack->kc + GEMM_KC - 1) / GEMM_KC : 0;
    if (w->threads == 1) {
        for (int64_t j = 0; pack && j < panels; j++) gemm_pack_b(pack, j, 0, pack->kc);
        tasks(w, 0);
        return;
    }
#pragma omp parallel num_threads(w->threads)
    {
#pragma omp for schedule(dynamic) collapse(2)
        for (int64_t j = 0; j < panels; j++)
            for (int64_t p = 0; p < blocks; p++) gemm_pack_b(pack, j, p * GEMM_KC, GEMM_KC);
        tasks(w, omp_get_thread_num());
    }
}

/* Room for packed panels, kept from call to call; op_gemm's lock guards it. */
static elem_t *scratch(size_t bytes)
{
    static struct { elem_t *p; size_t bytes; } kept;
    if (bytes > kept.bytes) {
        dev_free(kept.p);
        kept.p = dev_alloc(bytes);
        kept.bytes = bytes;
    }
    return kept.p;
}

/* b is packed piece by piece: some thousand columns, and as many blocks of k as fit. */
static void pieces(struct work *w)
{
    const struct gemm *g = w->g;
    for (int64_t col = 0; col < g->n; col += COLUMNS * GEMM_NR) {
        const int64_t n = g->n - col < COLUMNS * GEMM_NR ? g->n - col : COLUMNS * GEMM_NR,
                      panels = (n + GEMM_NR - 1) / GEMM_NR;
        const int64_t block = panels * GEMM_NR * GEMM_KC * (int64_t)sizeof(elem_t),
                      most = (block > SCRATCH ? 1 : SCRATCH / block) * GEMM_KC;
        for (int64_t p = 0; p < g->k; p += most) {
            const int64_t kc = g->k - p < most ? g->k - p : most;
            const bool trans = g->form == GEMM_NT;
            struct gemm_pack pack = { .b = g->b + (trans ? col * g->ldb + p : p * g->ldb + col),
                                      .ldb = g->ldb,
                                      .n = n,
                                      .kc = kc,
                                      .trans = trans };
            w->panels = pack.out = scratch((size_t)(panels * kc * GEMM_NR) * sizeof(elem_t));
            w->stride = kc * GEMM_NR;
            w->p0 = p;
            w->p1 = p + kc;
            w->col = col;
            w->n = n;
            product(w, &pack);
        }
    }
}

/* k = 0: the empty sum. */
static void no_terms(const struct gemm *g, elem_t *d)
{
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            elem_t x = g->add ? d[i * g->ldd + j] : 0;
            d[i * g->ldd + j] = g->bias ? x + g->bias[j] : x;
        }
}

void op_gemm(struct gemm g)
{
    static pthread_mutex_t one_caller = PTHREAD_MUTEX_INITIALIZER;
    if (g.m <= 0 || g.n <= 0) return;
    if (!g.lda) g.lda = g.form == GEMM_TN ? g.m : g.k;
    if (!g.ldb) g.ldb = g.form == GEMM_NT ? g.k : g.n;
    if (!g.ldd) g.ldd = g.n;
    elem_t *d = g.form == GEMM_TN ? (elem_t *)g.dw : g.d;
    if (g.k <= 0) { no_terms(&g, d); return; }

    struct work w = { .g = &g, .isa = gemm_isa(), .d = d, .across = g.form == GEMM_TN };
    w.threads = 2 * (double)g.m * (double)g.n * (double)g.k < SERIAL_FLOPS ? 1 : dev_threads();
    pthread_mutex_lock(&one_caller);
    if (g.weight && g.form != GEMM_TN) {
        w.panels = gemm_weight(&g, w.threads);
        w.stride = g.k * GEMM_NR;
        w.p1 = g.k;
        w.n = g.n;
        product(&w, NULL);
    } else pieces(&w);
    pthread_mutex_unlock(&one_caller);
}
