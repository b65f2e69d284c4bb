/* group.h: a prompt and its trajectories: the initial rollouts and the branches that left them. */
#pragma once
#include "engine/comm/comm.h"
#include "engine/session/session.h"

/* A rollout with its training vectors. [response]: one number a response token, trajectory_len() in all. */
struct trajectory {
    struct sequence seq;
    bool shared;                    /* the other ranks hold its tokens */
    bool branch;
    int orig;                       /* of a branch: the index in the group of the parent; -1: a fresh root rollout */
    int idx;                        /* of a branch: the response position in the parent where it left */
    double score;                   /* of a branch: the branch score of that position */
    int rank;                       /* of a branch: the point's rank among those of its round and prompt, from 0 */
    int round;                      /* of a branch: the round that made it, from 1 */
    bool strict;                    /* of a branch: the point came from the strict set */
    bool fallback;                  /* of a branch: the parent's Omega was constant, so Z(H) stood in */
    bool well_formed;
    bool correct;
    acc_t *logp;                    /* [response] under the present weights */
    acc_t *entropy;                 /* [response] under the present weights */
    acc_t *logp_omega;              /* [response] under the weights that branch.omega names */
    acc_t *logp_ref;                /* [response] under the reference weights; NULL without a KL term */
    acc_t *logp_old;                /* [response] under pi_old by a scoring pass; NULL: seq.logp has the same bits */
    acc_t *adv;                     /* [response] by group_advantages(); NULL: appo's, which come with each update */
    acc_t *omega;                   /* [response] clamped Omega; NULL where no point was chosen on this trajectory */
    acc_t *bs;                      /* [response] branch score; NULL likewise */
};

struct group {
    struct env_prompt prompt;
    uint32_t number;                /* the prompt's number in its step */
    int owner;                      /* the rank that samples and scores its trajectories; -1: not known yet */
    int64_t index;                  /* the record of the data set, or the embedded task's number in its split */
    struct trajectory **traj;       /* [0 .. initial) the initial rollouts, [initial .. n) the branches */
    int initial;
    int n;
    int cap;
    uint32_t next_rollout;          /* a rollout's number keys its random numbers and is never used twice */
};

/* Opens the embedded task (family, split, seed, index) with n root rollouts, not yet run. */
void group_begin_task(struct group *g, struct session *s, int family, enum split split, uint64_t seed, uint64_t index,
                      uint32_t step, uint32_t number, int n);
/* Opens a prompt from data, record `record` of set, with n root rollouts, not yet run. */
void group_begin_record(struct group *g, struct session *s, const struct prompt_set *set, int record, uint32_t step,
                        uint32_t number, int n);
void group_end(struct group *g, struct session *s);
/* Whether its trajectories are sampled and scored by this rank. */
static inline bool group_own(const struct group *g) { return g->owner == comm_rank(); }

/* Adds an empty trajectory. */
struct trajectory *group_add(struct group *g);
/* Adds a branch of traj[orig] that keeps the first `cut` response tokens. */
struct trajectory *group_fork(struct group *g, struct session *s, int orig, int cut);
/* Adds a fresh root rollout. */
struct trajectory *group_root(struct group *g, struct session *s, uint32_t step);
void group_drop_branches(struct group *g, struct session *s);

/* Response tokens. */
static inline int trajectory_len(const struct trajectory *r) { return sequence_response(&r->seq); }
/* logp under pi_old for Omega and the ratio. */
static inline const acc_t *trajectory_logp_old(const struct trajectory *r)
{
    return r->logp_old ? r->logp_old : r->seq.logp + r->seq.prompt_len;
}
/* The response as text, special tokens spelled out, without the end token. */
void trajectory_text(const struct trajectory *r, const struct session *s, struct str *out);

/* Trajectories of several groups in one list; start with { 0 }. */
struct traj_list {
    struct trajectory **traj;
    int *uid;                       /* the group's index */
    int n;
};
/* Appends g->traj[first .. last). */
void traj_list_add(struct traj_list *l, const struct group *g, int uid, int first, int last);
void traj_list_free(struct traj_list *l);
