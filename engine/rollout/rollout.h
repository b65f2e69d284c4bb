/* rollout.h: continuous batching. Each forward pass takes the tokens that are due: of prompts, of tool results, and one
 * of each decoding sequence; a sequence whose tool runs has none. Ids, logp and entropy of a sequence do not depend on
 * batching, order, threads or how long a tool took. */
#pragma once
#include "engine/rollout/sequence.h"
#include "engine/tools/tool_calls.h"
#include <signal.h>

struct rollout_config {
    double temperature;                 /* 0: greedy */
    double top_p;                       /* 1: off */
    int top_k;                          /* 0: off */
    uint64_t seed;
    int max_len;                        /* tokens of prompt and response */
    int max_response;                   /* tokens of a response with its tool results; the lower of both limits holds */
    int call_limit;                     /* calls a rollout may make; past it the result is TOOL_NO_CALLS */
    int max_tool_tokens;                /* of a result's text without its tags; 0: no limit of its own */
    const struct call_form *form;       /* how calls are written; NULL: in tags */
    int max_rows;                       /* rows of a forward pass */
    int max_seqs;                       /* sequence slots */
    int tool_threads;
    double tool_timeout_s;              /* <= 0: none */
    /* Optional hook called after sampling; seq has n tokens so far. May replace *id, and logp is then recomputed for
     * the new id. For tests and for running a rollout again. */
    void (*force)(void *ctx, const struct sequence *seq, int *id);
    void *force_ctx;
    /* Optional hook called when a sequence finds no room: evicts some pages kept from earlier runs (kv_drop of a
     * sequence that is not in this run). False: nothing is left to evict. */
    bool (*evict)(void *ctx);
    void *evict_ctx;
    /* Optional hook called when a slot is free and no sequence of the run waits for one: gives sequences to run behind
     * the others, all of a prompt together. Returns how many; *seq is read at once. 0: there are no more, and this run
     * does not call it again. */
    int (*more)(void *ctx, struct sequence ***seq);
    void *more_ctx;
    /* Optional. When it becomes nonzero the run ends between two passes; its sequences are then to be discarded. */
    const volatile sig_atomic_t *halt;
};

struct rollout_stats {
    /* independent of timing */
    int64_t generated;                  /* tokens sampled */
    int64_t tool_tokens;                /* tokens of tool results */
    int64_t calls;
    int64_t search_hits;                /* recorded searches whose own query was found */
    int64_t search_misses;              /* the others */
    int64_t timeouts;                   /* calls of tools outside of this process that passed tool_timeout_s */
    int64_t prefilled;                  /* rows run that sampled no token */
    int64_t forwards;                   /* passes */
    int64_t kv_dropped;                 /* sequences whose pages were evicted */
    bool halted;                        /* the run ended early */
    double wall_s;
    double tool_wait_s;                 /* seconds in which tools ran and no pass did */
    int peak_pages;
};

struct rollout;
/* Buffers come from the arena. With a dry arena t may be NULL, and only rollout_warm_up and rollout_free may follow.
 * die() with numbers if the limits contradict the model or the pool cannot hold one sequence of max_len. The model,
 * tokenizer, kv and what box points to must outlive it. */
struct rollout *rollout_make(const struct model *m, const struct tokenizer *t, struct kv *kv, const struct toolbox *box,
                             const struct rollout_config *c, struct arena *a);
void rollout_free(struct rollout *r);   /* NULL is fine */
/* Warm-up pass: the operations of the largest pass, between dev_dry_begin and dev_dry_end, which measure the scratch
 * memory they need. The arena may be dry, the model without weights. */
void rollout_warm_up(struct rollout *r);

/* Other settings for the following runs: sampling, limits and force may change; max_rows, max_seqs, tool_threads and
 * tool_timeout_s stay those of rollout_make, and max_len may not exceed it. */
void rollout_set(struct rollout *r, const struct rollout_config *c);
/* evict alone, between runs. */
void rollout_set_evict(struct rollout *r, bool (*evict)(void *ctx), void *ctx);

/* Runs the n sequences, and those that the hook `more` gives, to their end; those already finished are left alone.
 * Roots, and forks without pages, are prefilled; sequences with the same prompt number and the same prompt share its
 * pages.
 * keep_kv: finished sequences (but those marked unread) keep their pages for forks; these are evicted, the last of
 * seq[] first, when a sequence would find no room. Otherwise pages are dropped at once. Pages of another version of the
 * weights: die(). progress (may be NULL) is called after each sequence's end; stats (may be NULL) is written whole. */
void rollout_run(struct rollout *r, struct sequence **seq, int n, bool keep_kv,
                 void (*progress)(void *ctx, int done, int total), void *ctx, struct rollout_stats *stats);
