/* eval_answers.h: the answers of an evaluation, one by one: kept in a file as they come, so that one that was stopped
 * goes on where it was, and read as verl's trainer.validation_data_dir is. */
#pragma once
#include "base/lock.h"
#include "engine/train/group.h"

/* What the sums of an evaluation are made of. */
struct answer {
    bool have, correct, well_formed;
    int calls, length;
    double reward;
    int64_t at;
    int bytes; /* its line in the file */
};

/* Answers of all questions: samples of each, then, as number `samples`, the greedy one. */
struct answers {
    const struct session *s;
    int prompt_set, samples, step, known;    /* known: that were there before */
    struct answer *a;                       /* [questions * (samples + 1)] */
    FILE *f;                                /* NULL: in memory alone */
    char *path;
    struct lock lock;
    bool failed;                            /* a line could not be written */
};

/* dir "": in memory alone. Else dir/{step}.jsonl, which is made, or, where it was written for the same weights,
 * questions and settings, gone on with: what is in it is not asked again. Another evaluation's file is renamed
 * {step}.jsonl.old-N, in words on stderr. dir/{step}.of says whose it is. False: it cannot be written, or another
 * process writes there. Call answers_close in either case. */
bool answers_open(struct answers *x, const struct session *s, const char *dir, int step, int prompt_set, int samples,
                  struct err *e);
static inline struct answer *answers_at(const struct answers *x, int question, int k)
{
    return &x->a[(int64_t)question * (x->samples + 1) + k];
}
/* A graded rollout; the line is written and flushed. */
void answers_put(struct answers *x, const struct group *g, const struct trajectory *r, int question, int k);
/* Where all are there, the file is put into the order of questions; a rerun that is stopped anywhere ends with the same
 * bytes. False: disk full, ... */
bool answers_close(struct answers *x, struct err *e);
uint64_t weights_hash(const struct model *m);       /* XXH64 of all of them */
