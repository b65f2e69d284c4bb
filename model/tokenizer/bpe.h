/* bpe.h: merging of one word. Of all neighbouring pairs the one of lowest rank is merged, the leftmost first, until no
 * pair has a merge. */
#pragma once
#include "base/err.h"
#include <stdint.h>

/* 130,000 pairs, distributed like those of real files, need up to 300 */
enum { BPE_PROBES = 2048 };
struct bpe_merge { uint64_t key; int rank, id; };       /* key: left id << 32 | right id; rank -1: empty slot */
struct bpe { struct bpe_merge *slot; uint64_t mask; };  /* open addressing, at most half full */

void bpe_init(struct bpe *b, int n_merges);
void bpe_free(struct bpe *b);
bool bpe_add(struct bpe *b, int left, int right, int rank,
             int id); /* false: this pair has a merge already, or more pairs than
                                                                           BPE_PROBES meet at one place: a file made to
                                                                           be slow */
const struct bpe_merge *bpe_find(const struct bpe *b, int left, int right);     /* NULL: none */

/* Memory that words of one thread share. Start with struct bpe_work w = { 0 }. */
struct bpe_work { int *next, *prev, *rank; uint64_t *heap; int cap, n_heap; };
void bpe_work_free(struct bpe_work *w);

/* sym[n] are the ids of a word's bytes; merges in place, returns how many are left. Time n log n, memory 36 bytes per
 * byte of the longest word. */
int bpe_word(const struct bpe *b, struct bpe_work *w, int *sym, int n);
