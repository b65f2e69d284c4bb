/* pack.h: token sequences packed into one batch without padding. The sequences of one group (the rollouts of a prompt)
 * become one tree in depth-first order; shared tokens are one row, computed once. A token's target belongs to the row
 * before it, so a row at a branch point has several targets. */
#pragma once
#include "model/model.h"

struct seq_view {
    const int *ids;                 /* [n] */
    const uint8_t *m;               /* [n] 1: the token is a target (from the second on) */
    int n;
    int group;
    int64_t flat;                   /* token i's numbers are at flat + i of the loss vectors */
};

struct pack {
    int64_t n;                      /* rows; the last token of a sequence has none */
    int *ids, *pos, *end;           /* [n] */
    int64_t rows;                   /* rows with targets */
    int *row;                       /* [rows] */
    int *begin;                     /* [rows + 1] the row's first target */
    int64_t targets;
    int *tgt;                       /* [targets] ids */
    int64_t *tgt_flat;              /* [targets] their places in the loss vectors */
    int seqs;
    int *order;                     /* [seqs] sequences in packed order */
    int *shared;                    /* [seqs] leading rows that each shares with the one before it in packed order */
    int64_t *path_at;               /* [seqs] in packed order: the sequence's tokens are the rows path[path_at[i] ..] */
    int *path;
    struct attn_plan *plan;
};

/* One group's sequences in the order in which pack_make packs them, s[order[0]], s[order[1]], ..., and the leading rows
 * that each shares with the one before it. [n] each. */
void pack_sort(const struct seq_view *s, int n, int *order, int *shared);
/* Groups must be contiguous in s[]. */
void pack_make(struct pack *p, const struct seq_view *s, int n);
void pack_free(struct pack *p);
/* How many of s[0..n) fit into max_rows rows (shared tokens counted once, packed as pack_make would), at most 32 of a
 * group; at least 1. */
int pack_fit(const struct seq_view *s, int n, int64_t max_rows);
