/* branch_points.h: chooses branch points, with every switch of section 3 of the algorithm (docs/algorithm.md), and
 * turns them into requests for the sampler. Nothing here knows what a rollout is made of: rows come in as vectors over
 * raw response positions, tool results included (m = 0). */
#pragma once
#include "kernels/ops_rl.h"

/* branch.score */
enum branch_signal { SIGNAL_BS, SIGNAL_ENTROPY, SIGNAL_OMEGA, SIGNAL_RANDOM, SIGNAL_TOOL_BOUNDARY, SIGNAL_ADDITIVE };
/* branch.pool */
enum branch_pool { POOL_ROLLOUT, POOL_PROMPT };

struct branch_config {
    struct branch_rule rule;        /* gamma, lo, hi of F */
    enum branch_signal signal;
    enum branch_pool pool;
    int per_row;                    /* B; pool = rollout only */
    int min_gap;                    /* points of one rollout are at least this far apart; 0 and 1: no bound */
    bool strict_first;              /* signal bs: Z(H) > 0, Z(F) > 0 first, then the rest */
    bool fallback_by_entropy;       /* ... which is ranked by Z(H), not by the product */
    bool entropy_if_flat;           /* signals bs and omega: a rollout whose F is constant is scored by Z(H) */
    bool resample_token;            /* the prefix ends before the point (its token is drawn again), not after it */
};
/* The three presets' values: paper and default differ in strict_first and fallback only; official is the released code.
 * per_row is the caller's. */
struct branch_config branch_paper(void), branch_official(void), branch_default(void);

/* One rollout of a prompt as the chooser sees it: vectors of n positions; ok = 1 marks the candidates. Values where m =
 * 0 may be NaN.
 * logp: current weights; logp_old: the weights of branch.omega; the same pointer twice where omega is not wanted. */
struct branch_view { const acc_t *logp, *logp_old, *entropy; const uint8_t *m, *ok; int n; };
/* What random draws of a choice are a function of: a second epoch, or a second round, chooses anew. round counts from
 * 1. */
struct branch_key { uint64_t seed; uint32_t step, epoch, round, prompt; };
struct branch_choice { int row, pos; double score, zf, zh; bool strict, entropy_fallback; };

/* ok[i] = 1 where m[i] = 1, never[ids[i]] = 0 (white space only, end of sequence; ids outside 0 .. vocab-1 are never
 * candidates) and, for budget > 0, at least one of the budget's response positions is left after i. Returns how many
 * there are. */
int branch_candidates(uint8_t *ok, const int *ids, const uint8_t *m, int n, const uint8_t *never, int vocab,
                      int budget);

/* `want` branch points among the rows of one prompt, in the order in which they are to be sampled; the list is repeated
 * cyclically where there are too few. pool = rollout: the rows are visited in an order drawn from the key, each giving
 * its best per_row. signal random ranks by a draw of (key, row, pos), row being the index in rows[]. Both come from
 * Philox keys no token is sampled with. entropy_fallback: the row's F is constant and Z(H) stood in for it. Returns
 * want, or 0 where there is no candidate. */
int branch_choose(struct branch_choice *out, const struct branch_view *rows, int n_rows, int want,
                  const struct branch_config *c, const struct branch_key *key);

/* A row of a batch: whose prompt, what the sampler counts. solid[i] = 0 where ids[i] is padding (NULL: none is), which
 * no length counts. */
struct branch_row { struct branch_view view; int uid, prompt_len; const uint8_t *solid; };
/* row: index in rows[] */
struct branch_request { int uid, row, pos, remaining, prefix_len; struct branch_choice choice; };
/* requests first .. first+count-1 */
struct branch_summary { int uid, candidates, strict, first, count; };

/* Branch points of a whole batch, rows of several prompts in any order: `want` a prompt, prompts in the order of their
 * first candidate, as the official request builder does. prefix_len counts the prompt and the response up to the point
 * (with its token unless resample_token); remaining = budget - the response's part of it; requests with remaining <= 0
 * are left out after the choice. key->prompt is not read: it is each prompt's uid. out has room for want requests a
 * prompt, sum for one entry a prompt with candidates; *prompts of them. Returns the number of requests. */
int branch_requests(struct branch_request *out, struct branch_summary *sum, int *prompts, const struct branch_row *rows,
                    int n_rows, int want, int budget, const struct branch_config *c, const struct branch_key *key);
