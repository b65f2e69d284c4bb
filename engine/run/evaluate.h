/* evaluate.h: success on held-out questions, sampled and greedy: those of every embedded family, or the rows of
 * data.val_files by their data_source. */
#pragma once
#include "engine/train/group.h"
#include "engine/report/metrics.h"

/* sources beyond that are summed up in the last, "others"; longer names are cut */
enum { EVAL_SOURCES = 48, EVAL_NAME = 48 };
/* calls, length, reward: sums over the n sampled rollouts */
struct eval_source {
    char name[EVAL_NAME];
    int n, correct, well_formed, greedy_n, greedy_correct;
    double calls, length, reward;
};
struct eval_result {
    struct eval_source source[EVAL_SOURCES], all;
    int sources;
    bool halted;
    double wall_s;
    int64_t generated;
    int answers, known;             /* how many there are, and how many of them were in the folder before */
};

/* How many questions there are: of data.val_files; without files, data.val_per_family of each embedded family; 0 with
 * data.train_files alone. */
int eval_prompts(const struct session *s);
/* Embedded questions are of the test split, the same ones whatever the seed; rollout.val_kwargs.n samples of each
 * question and one greedy answer. Where run_stop is set it is given up within a pass: halted, and the rest of no
 * use. */
void evaluate(struct session *s, struct eval_result *r, void (*progress)(void *, int done, int total), void *ctx);
/* The same with every answer kept in dir/{step}.jsonl (answers.h), "": in memory. What is there for the same weights,
 * questions and settings is not asked again. False: the folder cannot be written. */
struct eval_options { const char *dir; int step; void (*progress)(void *, int done, int total); void *ctx; };
bool evaluate_to(struct session *s, struct eval_result *r, const struct eval_options *how, struct err *e);
/* of how many answers progress tells: all samples, and the greedy ones */
int eval_answers(const struct session *s);
json_t *eval_json(const struct eval_result *r);
bool eval_parse(struct eval_result *r, const json_t *j);
void eval_metrics(const struct eval_result *r, struct metrics *m);
/* A line a source: before and after (after may be NULL). */
void eval_table(const struct eval_result *before, const struct eval_result *after, FILE *f);
