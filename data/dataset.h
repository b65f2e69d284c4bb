/* dataset.h: questions from files (records.h): verl's five columns (data_source, prompt, ability, reward_model,
 * extra_info), the plain {"question": ..., "answer": ...} of public benchmarks, or conversations ("messages"). */
#pragma once
#include "base/str.h"
#include "data/messages.h"
#include <stdint.h>

struct prompt {
    char *data_source;          /* the column, else the file's name without folder and extensions */
    bool named;                 /* the column */
    /* the prompt: all messages but what an assistant says at the end; or a plain string */
    struct messages messages;
    const char *system;         /* of these the first system message; NULL: none */
    const char *user;           /* and the last user's, the question */
    char *ability;              /* NULL: none */
    char *ground_truth;         /* refs[0] */
    char **refs;                /* every accepted answer, at least one */
    int n_refs;
    bool number;                /* all of them were numbers of JSON */
    char *where;                /* file and row, for sentences about it */
    int64_t index;              /* extra_info.index, else the row's number from 0 */
};

/* note: lines about what was read in a way that one should know of */
struct dataset { struct prompt *prompt; int n, cap; struct str note; };

/* Names of columns that are not the usual ones; dots lead into structs ("extra_info.question"). A name that is given
 * must be in every row, no other column takes its place. NULL: the usual ones, as told at dataset_load. */
struct dataset_keys { const char *prompt, *answer, *source; };

/* Appends the file's rows to d (start with {0}), so that several files make one dataset. prompt_key names the prompt
 * column; NULL: "prompt", else whichever of "question", "problem" and "messages" a row has (where two differ: an
 * error). Answers (answers.h) come from reward_model.ground_truth; else from "answer", "ground_truth", "golden_answers"
 * or "label" (where two differ: an error); else from "solution"; else from what the assistant says last in the
 * conversation. Null is as good as nothing; rows of nulls are left out. False: no file, no rows, or a bad row, named as
 * records_place does; d then has the rows before it. */
bool dataset_load(struct dataset *d, const char *path, const char *prompt_key, struct err *e);
/* The same with every name chosen. */
bool dataset_load_keys(struct dataset *d, const char *path, const struct dataset_keys *key, struct err *e);
void dataset_free(struct dataset *d);
void dataset_cut(struct dataset *d, int n);         /* keeps the first n rows */

/* Is the answer to be compared as mathematics? The column "ability" says so, and where there is none, the name of the
 * source: gsm8k, math500, aime24, ..., or that all references are
 * numbers, whether as JSON has them or as texts, or stood in a box. */
bool prompt_is_math(const struct prompt *s);

/* perm[0..n) := the order of n rows in this epoch, a function of (n, seed, epoch) only. */
void dataset_order(int n, uint64_t seed, uint32_t epoch, int *perm);
