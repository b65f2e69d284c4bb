/* task.h: the embedded tasks: thirteen generated families of prompts that need a calculator or a search. Facts are
 * sampled anew for every task, and the test split has names and computations that training never sees. The expert is in
 * task_expert.h, the exact grader in task_grade.h. */
#pragma once
#include "base/philox.h"
#include <stdbool.h>
#include <stddef.h>

enum { FAMILIES = 13, TASK_STEPS = 4, TASK_PAGES = 4 };
enum family {
    FAM_ARITH,
    FAM_MOD,
    FAM_LINEQ,
    FAM_SEQ,
    FAM_UNITS,
    FAM_ONEHOP,
    FAM_BRIDGE,
    FAM_COMPARE,
    FAM_THREEHOP,
    FAM_DISTRACT,
    FAM_LINKS,
    FAM_GATHER,
    FAM_CONTRA
};
extern const char *const family_name[FAMILIES];

/* Arguments of corpus_search for these tasks; python is calc_run with calc_embedded. */
enum { TASK_MAX_PAGES = 3, TASK_MAX_CHARS = 200 };

enum split { SPLIT_TRAIN, SPLIT_TEST };
enum task_tool { TASK_PYTHON, TASK_SEARCH };
enum answer_kind { ANSWER_NUMBER, ANSWER_COLOR, ANSWER_JOB, ANSWER_NAME };

struct page {
    char *title;
    char *text;
};
struct step {                           /* the expert thinks plan, then makes the call */
    enum task_tool tool;
    char *plan;
    char *call;
};

struct task {
    int family;
    enum split split;
    char *text;                         /* the prompt */
    char *answer;
    int n_pages;
    struct page *pages;                 /* the scope to load into the corpus; NULL for computations */
    enum answer_kind kind;              /* kind of the answer */
    int n_steps;
    struct step step[TASK_STEPS];       /* the expert's calls */
    /* the expert's last thought before the answer: the key that precedes the answer, or "done" */
    char *last;
};

/* Fills q; a function of the other arguments alone: (family, split, seed, index) gives the same task on every machine.
 * Names have 2 or 3 syllables. task_is_test decides whether a name, or for computations the whole text, belongs to the
 * test split; generation repeats until the task is in its split. */
void task_make(struct task *q, int family, enum split split, uint64_t seed, uint64_t index);
void task_free(struct task *q);
bool task_is_test(const char *text);                                        /* FNV-1a of the bytes is a multiple of 5 */
/* bytes of a name with its 0; number of colors, and of jobs */
enum { TASK_NAME = 8, TASK_WORDS = 8 };
extern const char *const task_color[TASK_WORDS], *const task_job[TASK_WORDS];
void task_name(char name[TASK_NAME], enum split split, struct rng *r);      /* samples a name of the split */
