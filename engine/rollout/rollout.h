/* rollout.h: continuous batching. Each forward pass takes whatever tokens are due, of prompts, tool results and one a
 * decoding sequence; an sequence whose tool runs is simply absent. Ids, logp and entropy of an sequence depend on
 * nothing around it: batch, order, threads, how long a tool took. */
#pragma once
#include "engine/rollout/sequence.h"
#include "engine/tools/tool_calls.h"
#include <signal.h>

struct rollout_config {
    double temperature, top_p;          /* temperature 0: greedy; top_p 1: off */
    int top_k;                          /* 0: off */
    uint64_t seed;
    /* tokens: prompt and response together; response with tool results; the lower limit holds */
    int max_len, max_response;
    int call_limit;                     /* calls a rollout may make; past it the result is TOOL_NO_CALLS */
    int max_tool_tokens;                /* of a result's text, its tags not counted; 0: no limit of its own */
    const struct call_form *form;       /* how calls are written; NULL: in tags */
    int max_rows, max_seqs;             /* rows of a forward pass; sequences at once */
    int tool_threads;
    double tool_timeout_s;              /* <= 0: none */
    /* NULL, or a say in what was drawn: may change *id, whose logp is then that of the id put there. ep has n tokens so
     * far. For replay and tests. */
    void (*force)(void *ctx, const struct sequence *seq, int *id);
    void *force_ctx;
    /* NULL, or asked when an sequence finds no room: drops some pages kept from earlier runs (kv_drop on an sequence
     * that is not in this one). False: has none. */
    bool (*evict)(void *ctx);
    void *evict_ctx;
    /* NULL, or where it is not 0 the run is given up between two passes: its sequences are of no use then */
    const volatile sig_atomic_t *halt;
};

struct rollout_stats {
    int64_t generated, tool_tokens, calls;                  /* do not depend on timing */
    int64_t search_hits, search_misses;                     /* of recorded searches: the query itself, and not */
    /* calls of tools outside of this process that passed tool_timeout_s */
    int64_t timeouts;
    /* rows run that gave no token; passes; sequences given up for room */
    int64_t prefilled, forwards, kv_dropped;
    bool halted;                                            /* the run was given up */
    double wall_s, tool_wait_s;                             /* tool_wait_s: nothing to run but tools */
    int peak_pages;
};

struct rollout;
/* Buffers come from the arena, which may be dry: then t may be NULL, and only rollout_rehearse and rollout_free may
 * follow. die() with numbers where the limits contradict the model or the pool cannot hold one sequence of max_len. The
 * model, tokenizer, kv and what box points to must outlive it. */
struct rollout *rollout_make(const struct model *m, const struct tokenizer *t, struct kv *kv, const struct toolbox *box,
                             const struct rollout_config *c, struct arena *a);
void rollout_free(struct rollout *r);                       /* NULL is fine */
/* The operations of the largest pass, in a dry run (dev_dry_begin): what scratch memory they need. The arena may be
 * dry, the model without weights. */
void rollout_warm_up(struct rollout *r);

/* Other settings for the runs to come: sampling, limits and force may change; max_rows, max_seqs, tool_threads and
 * tool_timeout_s are those of rollout_make, and max_len may not exceed it. */
void rollout_set(struct rollout *r, const struct rollout_config *c);

/* evict alone, between runs. */
void rollout_set_evict(struct rollout *r, bool (*evict)(void *ctx), void *ctx);

/* Runs the n sequences to their end (those already finished are left alone). Roots, and forks whose pages are gone, are
 * prefilled; sequences with the same prompt number and the same prompt share its pages. keep_kv: finished sequences
 * (but those marked unread) keep their pages for forks, though they are given up, the last of ep[] first, where an
 * sequence would find no room; else they are dropped at once. Pages of another version of the weights: die(). progress
 * (may be NULL) is called after each sequence's end; stats (may be NULL) is written whole. */
void rollout_run(struct rollout *r, struct sequence **seq, int n, bool keep_kv,
                 void (*progress)(void *ctx, int done, int total), void *ctx, struct rollout_stats *stats);
