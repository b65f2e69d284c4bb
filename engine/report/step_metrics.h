/* step_metrics.h: the sums of one training step, and the metrics made of them. A member of struct step_sums is named
 * after its metric where verl's name allows it. */
#pragma once
#include "engine/tools/tool_rows.h"
#include "engine/report/metrics.h"

/* The part of a response that a token belongs to; DEPTHS: a response in quarters. */
enum { TOKEN_THINK, TOKEN_CALL, TOKEN_ANSWER, TOKEN_TAG, TOKEN_KINDS };
enum { DEPTHS = 4 };
extern const char *const token_kind_name[TOKEN_KINDS];

/* A running mean with its extremes; start with { 0 }. */
struct mean {
    double sum;
    double min;
    double max;
    int64_t n;
};

/* One step's sums. The comment behind a member names the metric made of it; "of" says over what a mean is taken. */
struct step_sums {
    /* initial rollouts, one number each */
    struct mean reward_init;            /* critic/rewards, appo/reward_init */
    struct mean response_length;        /* response_length */
    struct mean prompt_length;          /* prompt_length */
    struct mean calls;                  /* tools/calls */
    struct mean bad_calls;              /* tools/bad_calls; nothing is added where calls are tags */
    struct mean entropy;                /* actor/entropy: of each generated token */
    int64_t rollouts;                   /* the denominator of the next three */
    int64_t correct;                    /* critic/acc/mean */
    int64_t well_formed;                /* critic/format/mean */
    int64_t ended;                      /* response_length/clip_ratio: 1 - share of rollouts that ended */
    int64_t calls_by[TOOL_KINDS];       /* tools/calls/{tool} */
    int64_t over_limit;                 /* tools/over_limit */

    /* branches */
    struct mean reward_branch;          /* appo/reward_branch, appo/reward_gap */
    struct mean branch_tokens;          /* appo/branch_tokens: new tokens of a branch */
    struct mean branch_score;           /* appo/branch_score: of the points chosen */
    struct mean omega_clamped;          /* appo/omega_clamped: of every generated token that points were chosen on */
    struct mean omega_noise;            /* appo/omega_noise, appo/omega_noise_max */
    int64_t branch_points;              /* appo/branch_points; the denominator of the next four */
    int64_t fallback;                   /* appo/entropy_fallback_frac */
    int64_t strict;                     /* appo/strict_frac */
    int64_t at_depth[DEPTHS];           /* appo/points_at_depth/{quarter} */
    int64_t at_kind[TOKEN_KINDS];       /* appo/points_at/{kind} */
    int64_t no_candidate_prompts;       /* appo/no_candidate_prompts */
    int64_t branches;                   /* the denominator of the next one */
    int64_t branch_copies;              /* appo/branch_copies */
    int64_t trajectories;               /* the denominator of the next one */
    int64_t unique_trajectories;        /* appo/unique_trajectories */

    /* updates, one number each */
    struct mean pg_loss;                /* actor/pg_loss */
    struct mean kl_loss;                /* actor/kl_loss */
    struct mean ppo_kl;                 /* actor/ppo_kl */
    struct mean clipfrac;               /* actor/pg_clipfrac */
    struct mean clipfrac_lower;         /* actor/pg_clipfrac_lower */
    struct mean grad_norm;              /* actor/grad_norm */
    struct mean lr;                     /* actor/lr: one number a step */
    struct mean advantage;              /* critic/advantages: of each trained token */
    struct mean future_factor;          /* appo/future_factor */
    struct mean future_omega;           /* appo/future_omega */
    struct mean iw_clip_upper;          /* appo/iw_clip_upper */
    struct mean iw_clip_lower;          /* appo/iw_clip_lower */
    struct mean probs_diff;             /* training/rollout_probs_diff, _max: of each trained token */
    int64_t trained_rows;               /* trajectories with a trained token; the denominator of the next one */
    int64_t live_rows;                  /* actor/live_rows_frac */
    int64_t dropped_rows;               /* actor/dropped_rows */
    int64_t updates;                    /* AdamW steps done; not reported */
    int64_t skipped_updates;            /* not finite; actor/skipped_steps counts those of the whole run */

    /* tokens and seconds */
    int64_t generated;                  /* perf/generated_tokens */
    int64_t generated_branch;           /* perf/branch_tokens: the part of generated that branches made */
    int64_t tool_tokens;                /* perf/total_num_tokens - perf/generated_tokens */
    int64_t trained_positions;          /* perf/trained_rows: positions of the packs, shared prefixes once */
    int64_t scored_positions;           /* perf/scored_rows: likewise */
    int64_t timeouts;                   /* tools/timeouts */
    int64_t search_hits;                /* tools/search_hits: of recorded searches */
    int64_t search_misses;              /* tools/search_misses */
    double t_gen;                       /* timing_s/gen */
    double t_score;                     /* timing_s/score */
    double t_branch;                    /* timing_s/branch */
    double t_reward;                    /* timing_s/reward */
    double t_update;                    /* timing_s/update_actor */
    double tool_wait;                   /* timing_s/tool_wait */

    /* several ranks, one number each; the seconds above are the reporting rank's */
    int64_t ranks;                      /* 0, 1: none of these is reported */
    double t_rank_wait;                 /* timing_s/rank_wait: waiting for other ranks */
    double t_rank_tail;                 /* the part of it at the ends of rollouts; reported by way of rank_tail */
    int64_t stolen_prompts;             /* ranks/stolen_prompts: run by a rank that they were not dealt to */
    struct mean rank_tokens;            /* ranks/tokens: generated */
    struct mean rank_idle;              /* ranks/idle_frac: share of the step spent waiting for other ranks */
    struct mean rank_tail;              /* ranks/tail_s: seconds from its last rollout to that of the last rank */
};

void mean_add(struct mean *m, double x);
double mean_of(const struct mean *m);                   /* 0 if nothing was added */

/* Puts the metrics of one step into m. step: steps done; skipped: updates skipped in the whole run; branches: includes
 * the metrics of branching; wall: seconds of the step. */
void step_metrics(struct metrics *m, const struct step_sums *z, int step, int skipped, bool branches, double wall);
