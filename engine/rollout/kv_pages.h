/* kv_pages.h: pages of keys and values that forks share. A sequence that writes into a page another one holds copies it
 * first. Each page is tagged with the version of the weights that wrote it: touching it under any other version is
 * die(), because a stale page silently poisons gradients. */
#pragma once
#include "model/arena.h"
#include "model/model.h"
#include "base/arith.h"

struct kv {
    struct heads h;
    int layers, pages, free;        /* free: pages nobody holds */
    int64_t layer_stride;           /* elems from one layer's pool to the next */
    elem_t *pool;                     /* [layers][pages][kv_page_elems(h)], device */
    /* [pages] holders of a page; the first `free` entries of free_list are the free ones */
    int *ref, *free_list;
    uint64_t *version;              /* [pages] model.version when the page was taken */
};

/* One sequence: position p lives in page[p / KV_PAGE]. len: positions written, or promised to the forward pass now
 * being put together. Start with {0}. */
struct kv_seq { int *page; int n_pages, cap, len; };

static inline int kv_need(int len) { return (int)ceil_div(len, KV_PAGE); }        /* pages that hold len positions */

/* The pool comes from the arena (a dry one counts only), the book-keeping from the heap. */
void kv_make(struct kv *kv, const struct model *m, int pages, struct arena *a);
void kv_destroy(struct kv *kv);

/* dst, which must hold nothing ({0} or dropped), shares the pages of the first len positions of src, len <= src->len.
 * The forward pass that writes those positions must already have run, because a page may be copied at the next
 * kv_slot. */
void kv_fork(struct kv *kv, struct kv_seq *dst, const struct kv_seq *src, int len);

/* Where position pos of s is to be written, as op_kv_write wants it. pos == s->len makes the sequence one longer; pos <
 * s->len rewrites. Takes a page where one begins, copies the page first (every layer) where somebody else holds it too.
 * No page left, or a page of another version: die(). */
int64_t kv_slot(struct kv *kv, struct kv_seq *s, int pos, uint64_t version);

/* keeps the first len positions, lets go of pages behind them */
void kv_cut(struct kv *kv, struct kv_seq *s, int len);
void kv_drop(struct kv *kv, struct kv_seq *s);              /* lets go of everything; s is {0} again */

/* Pages s may still take from the free ones until it has len positions: those it lacks, and copies of shared ones it
 * will write into. */
int kv_claim(const struct kv *kv, const struct kv_seq *s, int len);

/* die() unless every page that holds one of the first s->len positions was written by this version of the weights. */
void kv_check(const struct kv *kv, const struct kv_seq *s, uint64_t version);
/* die() unless the counts of holders and the list of free pages agree. All pages of a pool nobody uses are free:
 * kv->free == kv->pages. */
void kv_check_all(const struct kv *kv);
