/* group.h: a prompt and its rollouts: the initial ones and the branches that left them. */
#pragma once
#include "engine/session/session.h"

struct trajectory {
    struct sequence seq;
    bool branch;
    /* of a branch: the row of the group it left (-1: a fresh root rollout), the response position where */
    int orig, idx;
    double score;                   /* its branch score */
    int rank;                       /* which of its round's points of the prompt it was, from 0 */
    bool strict, fallback;          /* it came from the strict set; its parent's Omega was constant and Z(H) stood in */
    bool well_formed, correct;
    /* [response] logp and entropy under the present weights; logp under branch.omega's and the reference weights */
    acc_t *logp, *entropy, *logp_omega, *logp_ref;
    /* [response] logp under pi_old by a scoring pass; NULL: what it was sampled with has the same bits */
    acc_t *logp_old;
    /* [response] clamped Omega and branching score, of rows that points were chosen on; else NULL */
    acc_t *omega, *bs;
};

struct group {
    struct env_prompt task;
    uint32_t number;                /* the prompt's number in its step */
    int64_t index;                  /* the row of the data set, or the embedded question's number in its split */
    int n, initial, cap;            /* traj[0 .. initial) are the initial rollouts, traj[initial .. n) the branches */
    struct trajectory **traj;
    uint32_t next_rollout;          /* numbers that key the random draws are never used twice */
};

/* Opens the question and n root rollouts, not yet run: an embedded one, or a row of q. */
void group_begin_task(struct group *g, struct session *s, int family, enum split split, uint64_t seed, uint64_t index,
                 uint32_t step, uint32_t number, int n);
void group_begin_record(struct group *g, struct session *s, const struct prompt_set *q, int row, uint32_t step,
                     uint32_t number, int n);
void group_end(struct group *g, struct session *s);
/* A new branch of row `orig` cut before response position `cut`, or a fresh root rollout (orig -1). */
struct trajectory *group_fork(struct group *g, struct session *s, int orig, int cut);
struct trajectory *group_root(struct group *g, struct session *s, uint32_t step);
void group_drop_branches(struct group *g, struct session *s);
/* The response as text, special tokens spelled out, without the end token. */
void trajectory_text(const struct trajectory *r, const struct session *s, struct str *out);
static inline int trajectory_len(const struct trajectory *r) { return sequence_response(&r->seq); }
