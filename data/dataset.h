/* dataset.h: prompts from files (records.h): verl's five columns (data_source, prompt, ability, reward_model,
 * extra_info), the plain {"question": ..., "answer": ...} of public benchmarks, or conversations ("messages"). */
#pragma once
#include "base/str.h"
#include "data/messages.h"
#include <stdint.h>

struct prompt {
    char *data_source;          /* the column, else the file's name without folder and extensions */
    bool named;                 /* data_source is the column */
    struct messages messages;   /* all messages before the assistant's last turn; a plain string is one user message */
    const char *system;         /* the first system message of these; NULL: none */
    const char *user;           /* the last user message of these */
    char *ability;              /* NULL: none */
    char *ground_truth;         /* refs[0] */
    char **refs;                /* every accepted answer, at least one */
    int n_refs;
    bool number;                /* all references are numbers (reference_answers.h) */
    char *where;                /* file and record, for messages about it */
    int64_t index;              /* extra_info.index, else the record's number from 0 */
};

struct dataset {
    struct prompt *prompt;
    int n, cap;
    struct str note;            /* lines about choices made while reading that the user should know */
};

/* Names of columns that are not the usual ones; dots lead into structs ("extra_info.question"). A named column must be
 * in every record, and no other column takes its place. NULL: the usual names (dataset_load). */
struct dataset_keys { const char *prompt, *answer, *source; };

/* Appends the file's prompts to d (start with {0}), so that several files make one dataset. prompt_key names the prompt
 * column. NULL: "prompt", else "question", "problem" or "messages" (an error where a record has two that differ).
 * References (reference_answers.h) come from reward_model.ground_truth; else from "answer", "ground_truth",
 * "golden_answers" or "label" (an error where two differ); else from "solution"; else from the assistant's last message
 * in the conversation. A null column counts as absent; records of nulls are left out. False: no file, no records, or a
 * bad record, named as records_place does; d then holds the records before it. */
bool dataset_load(struct dataset *d, const char *path, const char *prompt_key, struct err *e);
/* The same with every column name given. */
bool dataset_load_keys(struct dataset *d, const char *path, const struct dataset_keys *key, struct err *e);
void dataset_free(struct dataset *d);
void dataset_cut(struct dataset *d, int n);         /* keeps the first n prompts */

/* Is the answer compared as mathematics? The column "ability" decides. Without it: the source has a name of mathematics
 * (gsm8k, math500, aime24, ...), or all references are numbers (of JSON or as texts) or stood in a box. */
bool prompt_is_math(const struct prompt *s);

/* perm[0..n) := the order of n prompts in this epoch, a function of (n, seed, epoch) only. */
void dataset_order(int n, uint64_t seed, uint32_t epoch, int *perm);
