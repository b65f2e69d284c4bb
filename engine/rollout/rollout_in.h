/* rollout_in.h: what rollout.c (who runs when), rollout_pass.c (one forward pass) and rollout_calls.c (ends, calls,
 * results) share. Private to them. */
#pragma once
#include "engine/rollout/rollout.h"
#include "model/acts.h"

/* SEAT_PROMPT: waits for another sequence that is running the same prompt. */
enum slot_state { SLOT_FREE, SLOT_PREFILL, SLOT_DECODE, SLOT_TOOL };

struct seq_slot {
    struct sequence *seq;
    enum slot_state state;
    int index, group, limit;        /* of the run's sequences; -1: shares no prompt; tokens it may have in all */
    /* bytes of the tokens since tail_at: all that was generated since the last result */
    struct str tail;
    int tail_at;
    /* while the calls of a turn run: they, their results in order, how many are still to come */
    struct turn_calls turn;
    struct str *result;
    int waits;
};

/* Episodes of one prompt. leader: the seat that runs it first; cache: its pages, kept while sequences of the group are
 * yet to start. */
struct shared { int first, left, leader; struct kv_seq cache; };

/* A pass of at most so many rows that only draws is recorded; places for the recorded sizes. */
enum { GRAPH_ROWS = 1024, GRAPHS = 8 + GRAPH_ROWS / 8 + 1 };

/* What one pass is called with, on the host and on the device; id, logp and ent stand one behind the other, at the same
 * distances in both. */
struct rows {
    int *ids, *pos, *table, *pick;  /* [rows], [rows], [rows][ld], [seqs] rows whose logits are wanted */
    int64_t *slot;
    struct sample_key *key;         /* [seqs] */
    int *id;                        /* [seqs] drawn */
    acc_t *logp, *ent;
};

struct rollout {
    const struct model *m;
    const struct tokenizer *t;
    struct kv *kv;
    struct toolbox box;
    struct rollout_config c;
    int max_len, ld, seqs;          /* of rollout_make; pages of max_len; most draws of a pass */
    struct acts acts;
    struct rows host, dev;
    /* the device's room for ids .. key, closed up anew for each pass; what goes there */
    char *room, *sent;
    elem_t *logits, *x;               /* [head_rows][vocab_ld], [head_rows][dim] */
    int head_rows;
    uint32_t *allow;                /* device: the ids that have a text; NULL: all have */
    struct tool_pool *pool;         /* made by the first call */

    struct seq_slot *seq_slot;              /* [c.max_seqs] */
    int *live, lives, in_tools;     /* taken slots in order of admission; calls that run */
    struct seq_slot **owner;            /* [seqs] of the picked rows */
    int n_rows, n_picks;            /* of the pass that is put together */
    int run_rows, run_picks;        /* the same with rows that only fill it up */
    struct dev_graph *graph[GRAPHS];

    struct sequence **seq;            /* the run's */
    int n, next, done, before;      /* next to start; finished; of those, when the run began */
    int *finished;                  /* [done] in order */
    int *group_of;                  /* [n] */
    struct shared *group;
    int groups;
    bool keep;
    struct rollout_stats stats;
};

/* Puts together the rows that are due, at most max_rows; how many. */
int pass_gather(struct rollout *r);
/* Runs them and draws the n_picks tokens: host.id, logp, ent. */
void pass_run(struct rollout *r);
/* With how many rows a pass of `rows` draws runs, `most` at most. */
int pass_size(int rows, int most);
/* What was recorded holds for the rule of sampling it was recorded with. */
void pass_forget(struct rollout *r);

/* The last token of a seat's sequence, generated: the end, calls, the limit, or on. True: anything but on. */
bool slot_token(struct rollout *r, struct seq_slot *s);
/* Hands out the results that have come; waits for one if wait. */
void slots_results(struct rollout *r, bool wait);
/* The sequence is finished and its seat free. */
void slot_release(struct rollout *r, struct seq_slot *s, enum finish why);
