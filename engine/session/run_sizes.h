/* run_sizes.h: sizes and counts of a run that follow from its configuration alone. The memory estimate and the run read
 * the same ones. */
#pragma once
#include "engine/config/config.h"
#include "engine/learner/learner.h"
#include "engine/rollout/rollout.h"

/* Updates of a training step. */
int trainer_updates(const struct config *c);

/* Copies of the weights that a configuration needs beside the model's own. */
struct weight_copies {
    bool ref;                       /* the first weights */
    bool prev;                      /* those before the last step that changed them */
    bool old;                       /* those at the start of the step */
};
struct weight_copies trainer_weight_copies(const struct config *c);

/* Prompts that are branched before the first update of a step: one mini-batch, or (branch.when=step) all. Only their
 * initial rollouts keep pages: the first update would drop those of later ones unread. */
int branched_prompts(const struct config *c);
/* The key that sets this number. */
const char *branched_prompts_key(const struct config *c);
/* Whether mini-batch `mini_batch` of training step `step`, both from 0, gets branches: with appo every branch.every-th
 * of the run does, counted over its steps, so that a step has a branched mini-batch, several or none, and all epochs of
 * a mini-batch agree. */
bool branched_mini_batch(const struct config *c, int step, int mini_batch);

/* Pages for all sequences that decode at once on a rank, and for the rank's share of the initial rollouts that keep
 * theirs until they are branched; rollout.max_total_tokens may leave fewer. A rank that lacks pages evicts some of the
 * kept ones: their branches are prefilled. */
int64_t session_pages(const struct config *c);
int64_t session_pages_of(const struct config *c, int ranks);
/* False: more pages than can be numbered. */
bool session_pages_count(const struct config *c, struct err *e);

struct learner_rule learner_rule_of(const struct config *c);
/* Sampling of training steps; form: how calls are written. */
struct rollout_config rollout_config_of(const struct config *c, const struct call_form *form);
