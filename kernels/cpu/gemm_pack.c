/* gemm_pack.c: lays b out in k-major panels for the tile kernels, and keeps the panels of weights until the weights
 * change: a decode step would otherwise read and write every weight one more time. */
#include "base/err.h"
#include "kernels/cpu/gemm_isa.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Blocks of 16 x 16: rows of b that are read together stay in L1, whole lines are written. 1024 x 1024 floats take 0.4
 * ms; column after column they took twice that. */
static void pack_trans(elem_t *out, const elem_t *b, int64_t ldb, int cols, int64_t rows)
{
    enum { B = 16 };
    for (int64_t p = 0; p < rows; p += B)
        for (int j = 0; j < GEMM_NR; j += B) {
            elem_t *o = out + p * GEMM_NR + j;
            const elem_t *from = b + j * ldb + p;
            if (p + B <= rows && j + B <= cols) {
                for (int y = 0; y < B; y++, o += GEMM_NR)
                    for (int x = 0; x < B; x++) o[x] = from[x * ldb + y];
            } else {
                for (int y = 0; y < B && p + y < rows; y++, o += GEMM_NR)
                    for (int x = 0; x < B; x++) o[x] = j + x < cols ? from[x * ldb + y] : 0;
            }
        }
}

static void pack_plain(elem_t *out, const elem_t *b, int64_t ldb, int cols, int64_t rows)
{
    for (; rows > 0; rows--, out += GEMM_NR, b += ldb) {
        if (cols == GEMM_NR) memcpy(out, b, GEMM_NR * sizeof *out);
        else {
            memcpy(out, b, (size_t)cols * sizeof *out);
            memset(out + cols, 0, (size_t)(GEMM_NR - cols) * sizeof *out);
        }
    }
}

void gemm_pack_b(const struct gemm_pack *s, int64_t j, int64_t p, int64_t rows)
{
    const int64_t col = j * GEMM_NR, left = s->n - col;
    const int cols = left < GEMM_NR ? (int)left : GEMM_NR;
    elem_t *out = s->out + (j * s->kc + p) * GEMM_NR;
    if (p + rows > s->kc) rows = s->kc - p;
    if (s->trans) pack_trans(out, s->b + col * s->ldb + p, s->ldb, cols, rows);
    else pack_plain(out, s->b + p * s->ldb + col, s->ldb, cols, rows);
}

/* The kept weights: a model has some tens of them, found by walking the list. */
static struct kept {
    struct kept *next;
    const elem_t *b;
    int64_t n, k, ldb;
    bool trans;
    size_t bytes;
    elem_t *panels;
} * kept;
static size_t kept_bytes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool overlaps(const struct kept *w, const char *p, size_t bytes)
{
    int64_t rows = w->trans ? w->n : w->k, cols = w->trans ? w->k : w->n;
    const char *from = (const char *)w->b, *to = (const char *)(w->b + (rows - 1) * w->ldb + cols);
    return from < p + bytes && p < to;
}

static void drop(const char *p, size_t bytes, bool all)
{
    pthread_mutex_lock(&lock);
    for (struct kept **at = &kept; *at; ) {
        struct kept *w = *at;
        if (!all && !overlaps(w, p, bytes)) { at = &w->next; continue; }
        *at = w->next;
        kept_bytes -= w->bytes;
        free(w->panels);
        free(w);
    }
    pthread_mutex_unlock(&lock);
}

void gemm_weights_changed(void) { drop(NULL, 0, true); }
void gemm_weight_written(const void *p, size_t bytes) { drop(p, bytes, false); }
size_t gemm_weight_bytes(void) { return kept_bytes; }

size_t gemm_packed_bytes(int64_t n, int64_t k)
{
    return (size_t)((n + GEMM_NR - 1) / GEMM_NR * k * GEMM_NR) * sizeof(elem_t);
}

const elem_t *gemm_weight(const struct gemm *g, int threads)
{
    const bool trans = g->form == GEMM_NT;
    pthread_mutex_lock(&lock);
    struct kept *w = kept;
    while (w && !(w->b == g->b && w->n == g->n && w->k == g->k && w->ldb == g->ldb && w->trans == trans)) w = w->next;
    pthread_mutex_unlock(&lock);
    if (w) return w->panels;

    const int64_t panels = (g->n + GEMM_NR - 1) / GEMM_NR;
    w = xmalloc(sizeof *w);
    *w = (struct kept){
        .b = g->b, .n = g->n, .k = g->k, .ldb = g->ldb, .trans = trans, .bytes = gemm_packed_bytes(g->n, g->k)
    };
    w->panels = dev_alloc(w->bytes);
    const struct gemm_pack s = { w->panels, g->b, g->ldb, g->n, g->k, trans };
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t j = 0; j < panels; j++) gemm_pack_b(&s, j, 0, g->k);
    pthread_mutex_lock(&lock);
    w->next = kept;
    kept_bytes += w->bytes;
    kept = w;
    pthread_mutex_unlock(&lock);
    return w->panels;
}
