/* branch_points.h: chooses branch points, with every switch of section 3 of docs/algorithm.md, and turns them into
 * requests for the sampler. Rollouts come in as vectors over raw response positions, tool results included (m = 0). */
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
    int per_row;                    /* B: points of a rollout; pool = rollout only */
    int min_gap;                    /* smallest distance of two points of one rollout; 0 and 1: no bound */
    bool strict_first;              /* signal bs: points with Z(H) > 0 and Z(F) > 0 first, then the others */
    bool fallback_by_entropy;       /* the others are ranked by Z(H), not by the product */
    bool entropy_if_flat;           /* signals bs and omega: a rollout whose F is constant is scored by Z(H) */
    bool resample_token;            /* the prefix ends before the point, whose token is sampled again, not after it */
};
/* The presets: paper and default differ in strict_first and the fallback only; official is the released code. The
 * caller sets per_row. */
struct branch_config branch_paper(void);
struct branch_config branch_official(void);
struct branch_config branch_default(void);

/* One rollout of a prompt: vectors of n positions. Values where m = 0 may be NaN. */
struct branch_view {
    const acc_t *logp;              /* under the current weights */
    const acc_t *logp_old;          /* under those of branch.omega; without Omega the same pointer as logp */
    const acc_t *entropy;
    const uint8_t *m;
    const uint8_t *ok;              /* 1: candidate */
    int n;
};
/* Counter of a choice's random numbers: another epoch or round chooses anew. round counts from 1. */
struct branch_key {
    uint64_t seed;
    uint32_t step, epoch, round, prompt;
};
struct branch_choice {
    int row;                        /* index in rows[] */
    int pos;                        /* response position */
    double score;                   /* the ranking key of the signal */
    double zf, zh;                  /* Z(F), Z(H) */
    bool strict;                    /* Z(H) > 0 and Z(F) > 0 */
    bool entropy_fallback;          /* the rollout's F is constant, so Z(H) was the score */
};

/* Sets ok[i] = 1 where m[i] = 1, never[ids[i]] = 0 (never marks white space and ends of sequence; ids outside 0 ..
 * vocab-1 are no candidates) and, for budget > 0, at least one of the budget's response positions is left after i.
 * Returns how many there are. */
int branch_candidates(uint8_t *ok, const int *ids, const uint8_t *m, int n, const uint8_t *never, int vocab,
                      int budget);

/* Chooses `want` branch points among the rollouts of one prompt, in the order in which they are to be sampled; if there
 * are too few the list is repeated cyclically. pool = rollout: visits the rollouts in a random order of the key and
 * takes the best per_row of each. signal random ranks by a random number of (key, row, pos). Both use Philox keys that
 * no token is sampled with. Returns want, or 0 if there is no candidate. */
int branch_choose(struct branch_choice *out, const struct branch_view *rows, int n_rows, int want,
                  const struct branch_config *c, const struct branch_key *key);

/* A rollout of a batch. */
struct branch_row {
    struct branch_view view;
    int uid;                        /* of its prompt */
    int prompt_len;
    const uint8_t *solid;           /* 0: padding, not counted in any length; NULL: no padding */
};
struct branch_request {
    int uid;
    int row;                        /* index in rows[] */
    int pos;
    int remaining;                  /* budget minus the response's part of the prefix */
    int prefix_len;                 /* prompt and response up to the point, with its token unless resample_token */
    struct branch_choice choice;
};
/* Of one prompt; its requests are first .. first+count-1. */
struct branch_summary {
    int uid;
    int candidates, strict;
    int first, count;
};

/* Branch points of a whole batch with rollouts of several prompts in any order: `want` a prompt, prompts in the order
 * of their first candidate, as the official request builder does. Requests with remaining <= 0 are left out after the
 * choice. key->prompt is ignored in favour of each prompt's uid. out has room for want requests a prompt, sum for one
 * entry a prompt with candidates; *prompts counts these. Returns the number of requests. */
int branch_requests(struct branch_request *out, struct branch_summary *sum, int *prompts, const struct branch_row *rows,
                    int n_rows, int want, int budget, const struct branch_config *c, const struct branch_key *key);
