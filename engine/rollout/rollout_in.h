/* rollout_in.h: what the parts of rollout.h share: rollout.c (buffers and runs), rollout_admit.c (scheduler: slots and
 * pages), rollout_pass.c (one forward pass) and rollout_calls.c (ends of sequences, tool calls and results). */
#pragma once
#include "engine/rollout/rollout.h"
#include "engine/rollout/schedule.h"
#include "model/acts.h"

/* SLOT_PREFILL: the slot waits for another one that is running the same prompt. */
enum slot_state { SLOT_FREE, SLOT_PREFILL, SLOT_DECODE, SLOT_TOOL };

/* A sequence slot. While a sequence occupies one it may hold pages and have rows in a pass. */
struct seq_slot {
    struct sequence *seq;
    enum slot_state state;
    int index;                      /* of the sequence in the run */
    int group;                      /* prompt group; -1: shares no prompt */
    int limit;                      /* tokens the sequence may have in all */
    struct str tail;                /* text of the tokens since tail_at: all that was generated since the last result */
    int tail_at;
    /* while the calls of a turn run */
    struct turn_calls turn;
    struct str *result;             /* results in the order of the calls */
    int waits;                      /* results still to come */
};

/* The sequences of a run that share one prompt. */
struct prompt_group {
    int first;                      /* index of the first of them */
    int left;                       /* sequences not yet started */
    int leader;                     /* slot that runs the prompt for all; -1: none */
    struct kv_seq cache;            /* pages of the prompt, kept while left > 0 */
};

/* Passes of up to GRAPH_ROWS rows that all sample are captured as CUDA graphs; GRAPHS: places for their sizes. */
enum { GRAPH_ROWS = 1024, GRAPHS = 8 + GRAPH_ROWS / 8 + 1 };

/* Inputs and outputs of one pass, once on the host and once on the device. id, logp and ent are adjacent, at the same
 * distances on both sides, so that one copy fetches them. */
struct pass_batch {
    int *ids, *pos;                 /* [rows] */
    int64_t *kv_slot;               /* [rows] where keys and values are written; -1: nowhere */
    int *table;                     /* [rows][table_ld] pages of each row's sequence */
    int *pick;                      /* [picks] rows whose next token is sampled */
    struct sample_key *key;         /* [picks] */
    int *id;                        /* [picks] sampled tokens */
    acc_t *logp, *ent;              /* [picks] */
};

/* Set by rollout_make. */
struct rollout_limits {
    int max_len;                    /* tokens of a sequence */
    int table_ld;                   /* pages of max_len tokens */
    int picks;                      /* most sampled tokens of a pass */
    int head_rows;                  /* rows of logits at once */
};

/* Buffers of a pass and the pass that is being put together. */
struct rollout_pass {
    struct acts acts;
    struct pass_batch host, dev;
    char *dev_room;                 /* device memory for ids .. key, packed anew for each pass */
    char *staging;                  /* host copy of it */
    elem_t *logits, *head_in;       /* [head_rows][vocab_ld], [head_rows][dim] */
    uint32_t *allow;                /* device: bit mask of the ids that have a text; NULL: all have */
    struct seq_slot **owner;        /* [picks] slots of the picked rows */
    int rows, picks;
    int run_rows, run_picks;        /* the same with filler rows */
    struct dev_graph *graph[GRAPHS];
};

/* The sequences of one rollout_run. */
struct rollout_sequences {
    struct sequence **seq;          /* [n] */
    int n;
    int cap;                        /* places of the arrays over sequences */
    bool more;                      /* the hook may give further ones */
    int next;                       /* the next to start */
    int *finished;                  /* [done] in order of their ends */
    int done;
    int before;                     /* of those, finished before the run began */
    struct prompt_group *group;     /* [groups] */
    int groups;
    int *group_of;                  /* [n] prompt group; -1: none */
    bool keep_kv;
    struct rollout_stats stats;
};

struct rollout {
    const struct model *m;
    const struct tokenizer *t;
    struct kv *kv;
    struct toolbox box;
    struct rollout_config c;
    struct rollout_limits limits;
    struct rollout_pass pass;
    struct rollout_sequences run;
    struct seq_slot *seq_slot;      /* [c.max_seqs] */
    int *live;                      /* [n_live] occupied slots in order of admission */
    int n_live;
    int *due, *take;                /* [c.max_seqs] of the pass being put together, as schedule_pass has them */
    struct tool_pool *pool;         /* made by the first call */
    int calls_running;
};

/* ---- rollout.c ---- */

/* Appends the sequences that the hook gives to the run. False: it has no more. */
bool run_more(struct rollout *r);

/* ---- rollout_admit.c ---- */

/* Tokens that the limits allow a sequence in all. */
int sequence_limit(const struct rollout *r, const struct sequence *seq);
/* Finds the sequences of the run from index `first` on that share a prompt. */
void groups_find(struct rollout *r, int first);
/* Starts the next sequences, in the order given, while a slot is free and their worst case of pages fits; asks for more
 * when none waits. */
void slots_admit(struct rollout *r);
/* Forks the pages of every prompt that a leader has run to the sequences that wait for it. */
void groups_share(struct rollout *r);
/* Finishes the slot's sequence and frees the slot. */
void slot_release(struct rollout *r, struct seq_slot *s, enum finish why);

/* ---- rollout_pass.c ---- */

/* Collects the rows that are due, at most max_rows. Returns how many. */
int pass_gather(struct rollout *r);
/* Runs them and samples the picked tokens: host.id, logp, ent. */
void pass_run(struct rollout *r);
/* Frees the captured graphs, which hold for one sampling rule only. */
void pass_forget(struct rollout *r);

/* ---- rollout_calls.c ---- */

/* Reacts to the token just generated in a slot: end of the sequence, calls, or the length limit. False: the sequence
 * continues. */
bool slot_token(struct rollout *r, struct seq_slot *s);
/* Puts the tool results that have come into their sequences; waits for one if wait. */
void slots_results(struct rollout *r, bool wait);
