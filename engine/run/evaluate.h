/* evaluate.h: success on held-out prompts, sampled and greedy: those of every embedded family, or the records of
 * data.val_files by their data_source. */
#pragma once
#include "engine/report/metrics.h"
#include "engine/train/group.h"

/* Sources beyond EVAL_SOURCES - 1 are summed up in the last, "others"; longer names are cut. */
enum { EVAL_SOURCES = 48, EVAL_NAME = 48 };
/* Sums over the answers of one source. */
struct eval_source {
    char name[EVAL_NAME];
    int n;                          /* sampled answers */
    int correct;
    int well_formed;
    int greedy_n;                   /* greedy answers: one a prompt */
    int greedy_correct;
    double calls;                   /* of the sampled answers, like the next two */
    double length;
    double reward;
};
struct eval_result {
    struct eval_source source[EVAL_SOURCES];
    struct eval_source all;
    int sources;
    bool halted;
    double wall_s;
    int64_t generated;
    int answers;                    /* in all */
    int known;                      /* of these, answers that were in the folder before */
};

/* Number of prompts: of data.val_files; without files, data.val_per_family of each embedded family; 0 with
 * data.train_files alone. */
int eval_prompts(const struct session *s);
/* Number of answers that progress counts: all samples and the greedy ones. */
int eval_answers(const struct session *s);

struct eval_options {
    const char *dir;                /* every answer is kept in dir/{step}.jsonl (eval_answers.h); "": in memory */
    int step;
    void (*progress)(void *ctx, int done, int total);
    void *ctx;
};
/* Samples rollout.val_kwargs.n answers and one greedy answer to each prompt. Embedded prompts are of the test split,
 * the same ones for every seed. Answers kept for the same weights, prompts and settings are not sampled again. If
 * run_stop is set the evaluation is given up within a pass: r->halted, and the rest of r is unusable. False: the folder
 * cannot be written. */
bool evaluate_to(struct session *s, struct eval_result *r, const struct eval_options *how, struct err *e);
/* The same in memory. */
void evaluate(struct session *s, struct eval_result *r, void (*progress)(void *, int done, int total), void *ctx);

json_t *eval_json(const struct eval_result *r);
bool eval_parse(struct eval_result *r, const json_t *j);
void eval_metrics(const struct eval_result *r, struct metrics *m);
/* Prints a line a source: before and after (after may be NULL). */
void eval_table(const struct eval_result *before, const struct eval_result *after, FILE *f);
