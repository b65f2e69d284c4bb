/* prompts.h: rows of files as a run uses them: written as prompts once, in an order that is a function of (seed, epoch)
 * alone, so that a position in the stream of rows is the whole state of the data. */
#pragma once
#include "data/dataset.h"
#include "engine/config/config.h"
#include "model/chat/chat.h"

/* Rows in the order of an epoch. Start with { 0 }; free(order) at the end. */
struct record_order { int *order; uint32_t epoch; };
/* The row (of n) that number position of the run is. Epochs follow one another without a gap, so a batch may reach from
 * one into the next. */
int record_order_at(struct record_order *d, const struct config *c, int n, uint64_t position);

struct prompt_set {
    struct dataset rows;            /* none: the embedded tasks */
    struct ids *prompt;             /* [rows.n] */
    uint64_t
        hash; /* of all that decides numbers: prompts, references, rule, data_source, in order; not of what the files are called, nor of
                                       columns that nobody reads */
    struct record_order record_order;
};

/* Reads the files named in a list (data/data_files.h) and writes each row's prompt as data.system_prompt, the chat
 * format and the form of calls say. Prompts over data.max_prompt_length are treated as data.truncation says; what is
 * left out is counted in a line on stderr. key: the option that named the files, for sentences. False: a file cannot be
 * read, a prompt is too long, or no row is left. */
bool prompt_set_open(struct prompt_set *q, const char *key, const char *files, const struct config *c,
                    const struct call_form *form, struct err *e);
void prompt_set_free(struct prompt_set *q);

int prompt_set_record(struct prompt_set *q, const struct config *c, uint64_t position);      /* as deck_row */

/* A conversation and what begins a reply: with the system message that data.system_prompt=`system` stands for, and,
 * where calls run in turns, with the tools declared. False: the chat format has no place for something in it
 * (chat_check), or the tokenizer gave up on a text. */
bool prompt_write(struct ids *out, const struct chat_message *said, int n, const char *system,
                  const struct call_form *form, struct err *e);

/* The messages as the chat code takes them: texts stay x's; free() the array. */
struct chat_message *chat_messages(const struct messages *x);
/* Declared tools from JSON: a list, or a text that is the JSON of one; NULL or null: none. */
bool tools_value(struct chat_tools *tools, const struct chat *chat, const json_t *v, struct err *e);
/* Cuts ids to max as data.truncation=left, right or middle says; keep (may be NULL) is cut alike. */
void truncate_ids(struct ids *x, unsigned char *keep, int max, enum truncation how);
/* Calls take for each file that a list names (data_files.h), until it returns false; what folders and patterns stand
 * for is said on stderr. False too: no file. */
bool each_file(const char *key, const char *list, bool (*take)(void *ctx, const char *path, struct err *e), void *ctx,
               struct err *e);
/* The lines of note on stderr, "key: " before each. */
void print_notes(const char *key, const struct str *note);
