/* eval_answers.h: the answers of an evaluation one by one. A file keeps them as they come, so that an evaluation that
 * was stopped continues, and so that they can be read like verl's trainer.validation_data_dir. */
#pragma once
#include "base/lock.h"
#include "engine/train/group.h"

struct answer {
    bool have;
    bool correct;
    bool well_formed;
    int calls;
    int length;
    double reward;
    int64_t at;                             /* its line in the file: offset, */
    int bytes;                              /* and length */
};

/* Answers to all prompts: `samples` of each and, as number `samples`, the greedy one. */
struct answers {
    const struct session *s;
    int prompts;
    int samples;
    int step;
    int known;                              /* answers that the file had before */
    struct answer *a;                       /* [prompts * (samples + 1)] */
    FILE *f;                                /* NULL: in memory alone */
    char *path;
    struct lock lock;
    bool failed;                            /* a line could not be written */
    bool lines;                             /* a rank has a file: answers travel with their lines */
};

/* dir "": in memory alone. Else opens dir/{step}.jsonl; dir/{step}.of states the weights, prompts and settings it
 * belongs to. The file is continued if they are the present ones, and renamed {step}.jsonl.old-N, reported on stderr,
 * if not. False: it cannot be written, or another process writes there. Call answers_close in either case. */
bool answers_open(struct answers *x, const struct session *s, const char *dir, int step, int prompts, int samples,
                  struct err *e);
static inline struct answer *answers_at(const struct answers *x, int prompt, int k)
{
    return &x->a[(int64_t)prompt * (x->samples + 1) + k];
}
/* Adds a graded rollout; its line is written and flushed. */
void answers_put(struct answers *x, const struct group *g, const struct trajectory *r, int prompt, int k);
/* The same on a rank without the file: the answer is also appended to out, which answers_take of the others reads. */
void answers_send(struct answers *x, const struct group *g, const struct trajectory *r, int prompt, int k,
                  struct str *out);
/* Adds the answers that another rank has sent. False: the bytes are no such message. */
bool answers_take(struct answers *x, const char *p, size_t n, struct err *e);
/* Gives the other ranks what rank 0 has read from its file. Called by all. */
void answers_share(struct answers *x);
/* If all answers are there, sorts the file by prompt: an evaluation stopped anywhere and continued ends with the same
 * bytes. False: disk full, ... */
bool answers_close(struct answers *x, struct err *e);
/* XXH64 of all weights. */
uint64_t weights_hash(const struct model *m);
