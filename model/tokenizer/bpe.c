/* bpe.c: short words are merged by scanning, which is faster up to about 40 bytes; long ones with a heap over a linked
 * list, so that a megabyte without a space is not quadratic. Both give the same ids. */
#include "model/tokenizer/bpe.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT = 40, NONE = INT_MAX };

static uint64_t slot_of(const struct bpe *b, uint64_t key)
{
    return (key * 0x9e3779b97f4a7c15u ^ key >> 29) >> 20 & b->mask;
}

static uint64_t key_of(int left, int right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

void bpe_init(struct bpe *b, int n_merges)
{
    uint64_t size = 16;
    while (size < 2 * (uint64_t)n_merges) size *= 2;
    b->slot = xmalloc(size * sizeof *b->slot);
    b->mask = size - 1;
    for (uint64_t i = 0; i < size; i++) b->slot[i] = (struct bpe_merge){ 0, -1, -1 };
}

void bpe_free(struct bpe *b)
{
    free(b->slot);
    *b = (struct bpe){ 0 };
}

const struct bpe_merge *bpe_find(const struct bpe *b, int left, int right)
{
    uint64_t key = key_of(left, right);
    for (uint64_t i = slot_of(b, key);; i = (i + 1) & b->mask) {
        if (b->slot[i].rank < 0) return NULL;
        if (b->slot[i].key == key) return &b->slot[i];
    }
}

bool bpe_add(struct bpe *b, int left, int right, int rank, int id)
{
    uint64_t key = key_of(left, right), i = slot_of(b, key);
    for (int probes = 0; b->slot[i].rank >= 0; i = (i + 1) & b->mask)
        if (b->slot[i].key == key || ++probes > BPE_PROBES) return false;
    b->slot[i] = (struct bpe_merge){ key, rank, id };
    return true;
}

static int rank_of(const struct bpe *b, int left, int right)
{
    const struct bpe_merge *m = bpe_find(b, left, right);
    return m ? m->rank : NONE;
}

static int short_word(const struct bpe *b, int *sym, int n)
{
    int rank[SHORT];                                    /* rank[i]: of the pair i, i + 1 */
    for (int i = 0; i + 1 < n; i++) rank[i] = rank_of(b, sym[i], sym[i + 1]);
    while (n > 1) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++) if (rank[i] < rank[best]) best = i;
        if (rank[best] == NONE) break;
        sym[best] = bpe_find(b, sym[best], sym[best + 1])->id;
        n--;
        memmove(sym + best + 1, sym + best + 2, (size_t)(n - best - 1) * sizeof *sym);
        memmove(rank + best, rank + best + 1, (size_t)(n - best - 1) * sizeof *rank);
        if (best > 0) rank[best - 1] = rank_of(b, sym[best - 1], sym[best]);
        if (best + 1 < n) rank[best] = rank_of(b, sym[best], sym[best + 1]);
    }
    return n;
}

/* The heap orders rank << 32 | position: lowest rank first, leftmost first. */
static void push(struct bpe_work *w, uint64_t x)
{
    int i = w->n_heap++;
    for (; i > 0 && w->heap[(i - 1) / 2] > x; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = x;
}

static uint64_t pop(struct bpe_work *w)
{
    uint64_t top = w->heap[0], x = w->heap[--w->n_heap];
    int i = 0;
    for (int c; (c = 2 * i + 1) < w->n_heap; i = c) {
        if (c + 1 < w->n_heap && w->heap[c + 1] < w->heap[c]) c++;
        if (w->heap[c] >= x) break;
        w->heap[i] = w->heap[c];
    }
    w->heap[i] = x;
    return top;
}

static void reserve(struct bpe_work *w, int n)
{
    if (n <= w->cap) return;
    ENSURE(n <= INT_MAX / 3);
    w->next = xrealloc(w->next, (size_t)n * sizeof *w->next);
    w->prev = xrealloc(w->prev, (size_t)n * sizeof *w->prev);
    w->rank = xrealloc(w->rank, (size_t)n * sizeof *w->rank);
    /* n - 1 pairs, and at most two new ones per merge */
    w->heap = xrealloc(w->heap, 3 * (size_t)n * sizeof *w->heap);
    w->cap = n;
}

static void set_rank(const struct bpe *b, struct bpe_work *w, const int *sym, int i)
{
    w->rank[i] = w->next[i] < 0 ? NONE : rank_of(b, sym[i], sym[w->next[i]]);
    if (w->rank[i] != NONE) push(w, (uint64_t)w->rank[i] << 32 | (uint32_t)i);
}

static int long_word(const struct bpe *b, struct bpe_work *w, int *sym, int n)
{
    reserve(w, n);
    w->n_heap = 0;
    for (int i = 0; i < n; i++) { w->prev[i] = i - 1; w->next[i] = i + 1 < n ? i + 1 : -1; }
    for (int i = 0; i < n; i++) set_rank(b, w, sym, i);
    while (w->n_heap) {
        uint64_t top = pop(w);
        int i = (int)(uint32_t)top, rank = (int)(top >> 32);
        if (w->rank[i] != rank) continue;               /* that pair was merged already */
        int j = w->next[i];
        sym[i] = bpe_find(b, sym[i], sym[j])->id;
        w->rank[j] = NONE;
        w->next[i] = w->next[j];
        if (w->next[i] >= 0) w->prev[w->next[i]] = i;
        set_rank(b, w, sym, i);
        if (w->prev[i] >= 0) set_rank(b, w, sym, w->prev[i]);
    }
    int left = 0;
    for (int i = 0; i >= 0; i = w->next[i]) sym[left++] = sym[i];
    return left;
}

int bpe_word(const struct bpe *b, struct bpe_work *w, int *sym, int n)
{
    return n < 2 ? n : n <= SHORT ? short_word(b, sym, n) : long_word(b, w, sym, n);
}

void bpe_work_free(struct bpe_work *w)
{
    free(w->next);
    free(w->prev);
    free(w->rank);
    free(w->heap);
    *w = (struct bpe_work){ 0 };
}
