/* pack.h: token sequences packed into one batch without padding: the sequences of one group (the rollouts of a prompt)
 * become one tree in depth-first order, tokens that they share are one row, computed once. A token's target sits on the
 * row before it; at a branch point a row has several targets. */
#pragma once
#include "model/model.h"

/* m[i] = 1: token i is a target (i >= 1). flat + i is where token i's numbers live in the loss vectors. */
struct seq_view { const int *ids; const uint8_t *m; int n, group; int64_t flat; };

struct pack {
    int64_t n;                      /* rows; the last token of a sequence needs none */
    int *ids, *pos, *end;           /* [n] */
    int64_t rows, targets;          /* rows that have targets; targets in all */
    int *row, *begin, *tgt;         /* [rows], [rows + 1], [targets] */
    int64_t *tgt_flat;              /* [targets] */
    /* sequences in packed order; how many leading rows each shares with the one before it */
    int seqs, *order, *shared;
    int64_t *path_at;               /* [seqs], by packed order: rows of the sequence's tokens are path[path_at[i] ..] */
    int *path;
    struct attn_plan *plan;
};

/* Groups must be contiguous in s[]. */
void pack_make(struct pack *p, const struct seq_view *s, int n);
void pack_free(struct pack *p);
/* How many of s[0..n) fit into max_rows rows (shared tokens counted once, packed as pack_make would), 32 of a group at
 * most; at least 1. */
int pack_fit(const struct seq_view *s, int n, int64_t max_rows);
