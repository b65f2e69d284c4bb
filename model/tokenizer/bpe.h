/* bpe.h: the merges of a byte-level BPE, and their application to one word: of all neighbouring pairs the one of lowest
 * rank is merged, the leftmost first, until no pair has a merge. */
#pragma once
#include "base/err.h"
#include <stdint.h>

/* Probes of a hash table after which a file counts as hostile: 130,000 pairs, distributed like those of real files,
 * need up to 300. */
enum { BPE_PROBES = 2048 };
struct bpe_merge {
    uint64_t key;                   /* left id << 32 | right id */
    int rank;                       /* -1: empty slot */
    int id;                         /* of the merged token */
};
struct bpe { struct bpe_merge *slot; uint64_t mask; };  /* open addressing, at most half full */

void bpe_init(struct bpe *b, int n_merges);
void bpe_free(struct bpe *b);
/* False: this pair has a merge already, or takes more than BPE_PROBES probes. */
bool bpe_add(struct bpe *b, int left, int right, int rank, int id);
const struct bpe_merge *bpe_find(const struct bpe *b, int left, int right);     /* NULL: none */

/* Scratch of one thread. Start with { 0 }. */
struct bpe_work {
    int *next, *prev, *rank;        /* [cap] */
    uint64_t *heap;
    int cap, n_heap;
};
void bpe_work_free(struct bpe_work *w);

/* sym[n] are the ids of a word's bytes; merges in place, returns the number of ids left. Time n log n, memory 36 bytes
 * per byte of the longest word. */
int bpe_word(const struct bpe *b, struct bpe_work *w, int *sym, int n);
