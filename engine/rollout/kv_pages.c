/* kv_pages.c: reference counts of pages. Freed pages keep their bits. No row reads them: a row sees positions 0..pos
 * only, and each of those was written through kv_slot under the version that the page carries. */
#include "engine/rollout/kv_pages.h"
#include "base/err.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

void kv_make(struct kv *kv, const struct model *m, int pages, struct arena *a)
{
    int64_t elems = kv_page_elems(m->h), stride, all;
    size_t bytes;
    ENSURE(pages > 0);
    if (__builtin_mul_overflow(elems, pages, &stride) || __builtin_mul_overflow(stride, m->c.layers, &all) ||
        __builtin_mul_overflow((size_t)all, sizeof(elem_t), &bytes))
        die("a pool of %d pages of keys and values, %d layers, %lld numbers a page, is larger than 64 bits can count",
            pages, m->c.layers, (long long)elems);
    *kv = (struct kv){ .h = m->h, .layers = m->c.layers, .pages = pages, .free = pages, .layer_stride = stride };
    kv->pool = arena_get(a, bytes, "keys and values");
    kv->ref = xcalloc((size_t)pages, sizeof *kv->ref);
    kv->version = xcalloc((size_t)pages, sizeof *kv->version);
    kv->free_list = xcalloc((size_t)pages, sizeof *kv->free_list);
    for (int i = 0; i < pages; i++) kv->free_list[i] = pages - 1 - i;       /* page 0 is taken first */
}

void kv_destroy(struct kv *kv)
{
    free(kv->ref);
    free(kv->version);
    free(kv->free_list);
    *kv = (struct kv){ 0 };
}

static int page_take(struct kv *kv, uint64_t version)
{
    if (!kv->free)
        die("no free page of keys and values: all %d pages of %d positions are held; use a larger pool or fewer "
            "sequences at once",
            kv->pages, KV_PAGE);
    int p = kv->free_list[--kv->free];
    ENSURE(kv->ref[p] == 0);
    kv->ref[p] = 1;
    kv->version[p] = version;
    return p;
}

static void page_release(struct kv *kv, int p)
{
    ENSURE(p >= 0 && p < kv->pages && kv->ref[p] > 0);
    if (--kv->ref[p] == 0) kv->free_list[kv->free++] = p;
}

static void seq_room(struct kv_seq *s, int pages)
{
    if (pages <= s->cap) return;
    s->cap = pages > s->cap * 2 ? pages : s->cap * 2;
    s->page = xrealloc(s->page, (size_t)s->cap * sizeof *s->page);
}

void kv_fork(struct kv *kv, struct kv_seq *dst, const struct kv_seq *src, int len)
{
    int pages = kv_pages_for(len);
    ENSURE(dst->n_pages == 0 && dst->len == 0 && len >= 0 && len <= src->len && pages <= src->n_pages);
    seq_room(dst, pages);
    for (int i = 0; i < pages; i++) {
        dst->page[i] = src->page[i];
        ENSURE(kv->ref[src->page[i]] > 0 && kv->ref[src->page[i]] < INT_MAX);
        kv->ref[src->page[i]]++;
    }
    dst->n_pages = pages;
    dst->len = len;
}

static void stale(const struct kv *kv, int page, uint64_t version)
{
    die("page %d of keys and values was written by version %llu of the weights, which are now version %llu: drop it "
        "and run its tokens again",
        page, (unsigned long long)kv->version[page], (unsigned long long)version);
}

int64_t kv_slot(struct kv *kv, struct kv_seq *s, int pos, uint64_t version)
{
    int at = pos / KV_PAGE;
    ENSURE(pos >= 0 && pos <= s->len && at <= s->n_pages);
    if (at == s->n_pages) {
        seq_room(s, at + 1);
        s->page[at] = page_take(kv, version);
        s->n_pages++;
    }
    int p = s->page[at];
    if (kv->version[p] != version) stale(kv, p, version);
    if (kv->ref[p] > 1) {
        int own = page_take(kv, version);
        for (int l = 0; l < kv->layers; l++) op_kv_copy(kv->pool + l * kv->layer_stride, own, p, kv->h);
        page_release(kv, p);
        s->page[at] = p = own;
    }
    if (pos == s->len) s->len++;
    return (int64_t)p * KV_PAGE + pos % KV_PAGE;
}

void kv_cut(struct kv *kv, struct kv_seq *s, int len)
{
    ENSURE(len >= 0 && len <= s->len);
    while (s->n_pages > kv_pages_for(len)) page_release(kv, s->page[--s->n_pages]);
    s->len = len;
}

void kv_drop(struct kv *kv, struct kv_seq *s)
{
    kv_cut(kv, s, 0);
    free(s->page);
    *s = (struct kv_seq){ 0 };
}

int kv_claim(const struct kv *kv, const struct kv_seq *s, int len)
{
    int claim = 0, last = kv_pages_for(len);
    for (int i = s->len / KV_PAGE; i < last; i++) claim += i >= s->n_pages || kv->ref[s->page[i]] > 1;
    return claim;
}

void kv_check(const struct kv *kv, const struct kv_seq *s, uint64_t version)
{
    ENSURE(s->n_pages == kv_pages_for(s->len));
    for (int i = 0; i < s->n_pages; i++) {
        ENSURE(s->page[i] >= 0 && s->page[i] < kv->pages && kv->ref[s->page[i]] > 0);
        if (kv->version[s->page[i]] != version) stale(kv, s->page[i], version);
    }
}

void kv_check_all(const struct kv *kv)
{
    uint8_t *seen = xcalloc((size_t)kv->pages, 1);
    ENSURE(kv->free >= 0 && kv->free <= kv->pages);
    for (int i = 0; i < kv->free; i++) {
        int p = kv->free_list[i];
        ENSURE(p >= 0 && p < kv->pages && !seen[p]);
        seen[p] = 1;
    }
    for (int p = 0; p < kv->pages; p++) ENSURE(seen[p] == (kv->ref[p] == 0));
    free(seen);
}
