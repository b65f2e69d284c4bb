/* kv_pages.h: pages of keys and values that forks share. A sequence that writes into a page that another one holds
 * copies it first. Each page is tagged with the version of the weights that wrote it; access under another version is
 * die(), because a stale page silently poisons gradients. */
#pragma once
#include "model/arena.h"
#include "model/model.h"
#include "base/arith.h"

struct kv {
    struct heads h;
    int layers;
    int pages;
    int64_t layer_stride;           /* elements from one layer's pool to the next */
    elem_t *pool;                   /* [layers][pages][kv_page_elems(h)], device */
    int *ref;                       /* [pages] sequences that hold the page */
    int *free_list;                 /* [free] pages that no sequence holds */
    int free;
    uint64_t *version;              /* [pages] model.version when the page was taken */
};

/* The pages of one sequence: position p lives in page[p / KV_PAGE]. Start with {0}. */
struct kv_seq {
    int *page;
    int n_pages, cap;
    int len;                        /* positions written, or assigned to the forward pass being put together */
};

/* pages that hold len positions */
static inline int kv_pages_for(int len) { return (int)ceil_div(len, KV_PAGE); }

/* The pool comes from the arena (a dry one only counts), the bookkeeping from the heap. */
void kv_make(struct kv *kv, const struct model *m, int pages, struct arena *a);
void kv_destroy(struct kv *kv);

/* dst, which must hold nothing ({0} or dropped), shares the pages of the first len positions of src, len <= src->len.
 * The forward pass that writes those positions must already have run, because a page may be copied at the next
 * kv_slot. */
void kv_fork(struct kv *kv, struct kv_seq *dst, const struct kv_seq *src, int len);

/* Slot to write position pos of s to, as op_kv_write takes it. pos == s->len makes the sequence one longer; pos <
 * s->len rewrites. Takes a free page where one begins; copies a shared page first, in every layer. No free page, or a
 * page of another version: die(). */
int64_t kv_slot(struct kv *kv, struct kv_seq *s, int pos, uint64_t version);

/* keeps the first len positions, releases the pages behind them */
void kv_cut(struct kv *kv, struct kv_seq *s, int len);
void kv_drop(struct kv *kv, struct kv_seq *s);              /* releases all pages; s is {0} again */

/* Free pages that s may still take until it has len positions: those it lacks, and copies of shared pages it will write
 * into. */
int kv_claim(const struct kv *kv, const struct kv_seq *s, int len);

/* die() unless this version of the weights wrote every page of the first s->len positions. */
void kv_check(const struct kv *kv, const struct kv_seq *s, uint64_t version);
/* die() unless the reference counts and the list of free pages agree. In an unused pool all pages are free: kv->free ==
 * kv->pages. */
void kv_check_all(const struct kv *kv);
