/* session.h: everything a command works with, opened from the configuration: model, tokenizer, tools, sampler, and (for
 * training) the optimizer. */
#pragma once
#include "engine/config/config.h"
#include "engine/session/environment.h"
#include "engine/learner/learner.h"
#include "engine/prompts/prompts.h"
#include "engine/rollout/rollout.h"
#include "model/chat/chat.h"

struct session {
    const struct config *c;
    const char *path;               /* of the model: model.path or the embedded policy's */
    struct tokenizer *tok;
    struct chat chat;
    struct call_form form;          /* tools.format for this chat format */
    struct model m;
    /* how many of m.c.eos the model came with; behind them those that end a turn in its chat format */
    int own_eos;
    struct env env;
    struct prompt_set train, val;    /* from files; without rows: the embedded tasks */
    /* of the run: trainer.total_training_steps, or, where that is not given, what trainer.total_epochs comes to */
    int steps;
    struct learner learner;         /* when opened for training */
    bool trains;
    struct kv kv;
    struct rollout *ro;
    struct arena pool;              /* keys and values, the sampler's buffers */
    uint8_t *never;                 /* [vocab] 1: never a branch point (branch.candidates) */
};

/* Where the policy that comes with the program lies: $APPO_HOME/policy, else policy/ beside the build folder, else in
 * the folder it was built from. Static. */
const char *session_embedded_policy(void);

/* All of it; without trains, no optimizer. Call session_close in either case. */
bool session_open(struct session *s, const struct config *c, bool trains, struct err *e);
/* Its parts. Model, tokenizer and chat format; no_chat (may be NULL: then a model without a chat format is an error) is
 * "" or says why there is none. */
bool session_load(struct session *s, const struct config *c, struct err *no_chat, struct err *e);
void session_open_learner(struct session *s);                         /* the optimizer */
struct learner_rule learner_rule_of(const struct config *c);
bool session_open_sampler(struct session *s, struct err *e);         /* tools, keys and values, the sampler */
void session_close(struct session *s);
/* Reads data.val_files and, to train, data.train_files, where they are given. */
bool session_open_prompts(struct session *s, bool train, struct err *e);

/* save.c: folders that transformers loads as they are. */
/* The embedded kind: config.json, model.safetensors, tokenizer.json, tokenizer_config.json. */
bool policy_save(const struct model *m, const struct tokenizer *t, const char *folder, struct err *e);
/* The session's model with what belongs to its tokenizer as it came: passed through unchanged, from GGUF converted. */
bool session_save(const struct session *s, const char *folder, struct err *e);
/* Copies the files of a model's tokenizer and chat template, byte for byte; of a GGUF file, writes tokenizer.json and
 * chat_template.jinja. */
bool tokenizer_files_pass(const char *model_path, const char *folder, struct err *e);
/* Prompts of a step that are branched first: a mini-batch, or (branch.when=step) all. Only their initial rollouts keep
 * pages: what later ones had would be dropped unread by the first update. */
int branched_prompts(const struct config *c);
const char *branched_prompts_key(const struct config *c);         /* the key that says how many */
/* Pages for all that decode at once, and for the initial rollouts that keep theirs until they are branched. */
int64_t session_pages(const struct config *c);
bool session_pages_count(const struct config *c, struct err *e);        /* false: more than can be numbered */
/* Updates of a training step. */
int trainer_updates(const struct config *c);
/* Which copies of the weights a configuration needs beside the model's own: the memory estimate counts them. */
struct weight_copies { bool ref, prev, old; };
struct weight_copies trainer_weight_copies(const struct config *c);
/* One line a region: where each byte of memory is. */
void session_print_memory(const struct session *s, FILE *f);

/* Sampling of training steps, and of evaluations (greedy: temperature 0). */
struct rollout_config session_sampling(const struct session *s);
struct rollout_config session_eval_sampling(const struct session *s, bool greedy);
