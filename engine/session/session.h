/* session.h: everything a command works with, opened from the configuration: model, tokenizer, tools, sampler, and (for
 * training) the optimizer. */
#pragma once
#include "engine/config/config.h"
#include "engine/learner/learner.h"
#include "engine/prompts/prompts.h"
#include "engine/rollout/rollout.h"
#include "engine/session/environment.h"
#include "engine/session/run_sizes.h"
#include "model/chat/chat.h"

struct session {
    const struct config *c;
    const char *path;               /* of the model: model.path or the embedded policy's */
    struct tokenizer *tok;
    struct chat chat;
    struct call_form form;          /* tools.format for this chat format */
    struct model m;
    int own_eos;                    /* m.c.eos[0 .. own_eos): those of config.json; the rest end turns or texts too */
    struct env env;
    struct prompt_set train;        /* from data.train_files; empty: the embedded tasks */
    struct prompt_set val;          /* from data.val_files */
    int steps;                      /* of the run: trainer.total_training_steps, or, if not given, by total_epochs */
    struct learner learner;         /* if opened for training */
    bool trains;
    struct kv kv;
    struct rollout *ro;
    struct arena pool;              /* keys and values, the sampler's buffers */
    uint8_t *never;                 /* [vocab] 1: never a branch point (branch.candidates) */
};

/* Folder of the policy that comes with the program: $APPO_HOME/policy, else that of an installation (share/appo/policy
 * beside bin/), else policy/ beside the build folder, else that of the source tree. Static. */
const char *session_embedded_policy(void);

/* Opens all of it; without trains, no optimizer. Call session_close in either case. */
bool session_open(struct session *s, const struct config *c, bool trains, struct err *e);
void session_close(struct session *s);

/* The parts of session_open. Loads model, tokenizer and chat format. no_chat: "", or the reason why there is no chat
 * format; with no_chat NULL a model without one is an error. */
bool session_load(struct session *s, const struct config *c, struct err *no_chat, struct err *e);
/* Makes the optimizer. */
void session_open_learner(struct session *s);
/* Opens tools, keys and values, and the sampler. */
bool session_open_sampler(struct session *s, struct err *e);

/* Reads data.val_files and, if train, data.train_files, where given. */
bool session_open_prompts(struct session *s, bool train, struct err *e);

/* Sampling in training steps. */
struct rollout_config session_sampling(const struct session *s);
/* Sampling in evaluations; greedy: temperature 0. */
struct rollout_config session_eval_sampling(const struct session *s, bool greedy);

/* Prints one line a region of memory. */
void session_print_memory(const struct session *s, FILE *f);
