/* dataset.h: questions from JSON lines, plain or gzip'd, or from Parquet: verl's five columns (data_source, prompt, ability, reward_model, extra_info), the
 * plain {"question": ..., "answer": ...} of public benchmarks, or conversations ("messages"). */
#pragma once
#include "data/message.h"
#include <stdint.h>

struct sample {
    char *data_source;          /* the column, else the file's name without folder and extensions */
    struct messages said;       /* the prompt: all messages up to the last user's; one user's message where it is a plain string */
    const char *system;         /* of these the first system message; NULL: none */
    const char *prompt;         /* and the last one, the question */
    char *ability;              /* NULL: none */
    char *ground_truth;         /* refs[0] */
    char **refs;                /* every accepted answer, at least one */
    int n_refs;
    char *place;                /* file and row, for sentences about it */
    int64_t index;              /* extra_info.index, else the row's number from 0 */
};

struct dataset { struct sample *row; int n, cap; };

/* Names of columns that are not the usual ones; dots lead into structs ("extra_info.question"). NULL: the usual ones, as told at dataset_load. */
struct dataset_keys { const char *prompt, *answer, *source; };

/* Appends the file's rows to d (start with {0}), so that several files make one dataset. prompt_key names the prompt column (NULL: "prompt"); where a row
 * has none, "question", "problem" and "messages" are tried. Answers come from reward_model.ground_truth, else "answer", else "ground_truth": a string, a
 * number, or a list of them; of a GSM8K answer only what follows the last "#### " is kept; a conversation without any that ends with the assistant is
 * answered by that message. A null is as good as nothing. False: no file, no rows, or a bad row, named as file:line (JSON lines) or file: row, counted from
 * 0 (Parquet); d then has the rows before it. A key that is
 * there twice in a row's object is an error. Limits: 2 GiB unpacked (gzip: 64 MiB + 128 bytes for each of the file's), 16 MiB a line; Parquet's in parquet.h. */
bool dataset_load(struct dataset *d, const char *path, const char *prompt_key, struct err *e);
/* The same with every name chosen. Where answer is given it is the only place looked at. */
bool dataset_load_keys(struct dataset *d, const char *path, const struct dataset_keys *key, struct err *e);
void dataset_free(struct dataset *d);
void dataset_cut(struct dataset *d, int n);         /* keeps the first n rows */

/* Is the answer to be compared as mathematics? The column "ability" says so, and where there is none, the name of the source: gsm8k, math500, aime24, ... */
bool sample_is_math(const struct sample *s);

/* A data set of whole conversations, to be imitated: "messages" (or the column that key.prompt names) with at least one message of the assistant, or a
 * question and its answer (key.answer, else "answer" or "response") as plain strings. tools: the column "tools", JSON text; NULL: none.
 * Errors and limits as above. */
struct dialog { struct messages said; char *tools; char *place; };       /* place: file and row, for sentences about it */
struct dialogs { struct dialog *row; int n, cap; };
bool dialogs_load(struct dialogs *d, const char *path, const struct dataset_keys *key, struct err *e);
void dialogs_free(struct dialogs *d);

/* perm[0..n) := the order of n rows in this epoch, a function of (n, seed, epoch) only. */
void dataset_order(int n, uint64_t seed, uint32_t epoch, int *perm);
