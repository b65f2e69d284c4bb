/* prompts.h: prompts from files. Records are written as prompts once, in an order that is a function of (seed, epoch)
 * alone, so that a position in the stream of records is the whole state of the data. */
#pragma once
#include "data/dataset.h"
#include "engine/config/config.h"
#include "model/chat/chat.h"

/* The records in the order of one epoch. Start with { 0 }; free(order) at the end. */
struct record_order {
    int *order;
    uint32_t epoch;
};
/* The record (of n) at a position of the run. Epochs follow one another without a gap, so a batch may reach from one
 * into the next. */
int record_order_at(struct record_order *d, const struct config *c, int n, uint64_t position);

struct prompt_set {
    struct dataset rows;            /* empty: the embedded tasks */
    struct ids *prompt;             /* [rows.n] */
    /* of everything that decides numbers: prompts, references, rule, data_source, in order; independent of file names
     * and of columns that are not read */
    uint64_t hash;
    struct record_order record_order;
};

/* Reads the files named in a list (data/data_files.h) and writes each record's prompt by data.system_prompt, the chat
 * format and the call format. data.truncation decides on prompts over data.max_prompt_length; a line on stderr counts
 * those left out. key: the option that named the files, for messages. False: a file cannot be read, a prompt is too
 * long, or no record is left. */
bool prompt_set_open(struct prompt_set *q, const char *key, const char *files, const struct config *c,
                    const struct call_form *form, struct err *e);
void prompt_set_free(struct prompt_set *q);

int prompt_set_record(struct prompt_set *q, const struct config *c, uint64_t position);      /* record_order_at */

/* Writes a conversation and the beginning of a reply, with the system message that data.system_prompt=`system` selects
 * and, if calls run in turns, with the tools declared. False: the chat format cannot express a part of it (chat_check),
 * or the tokenizer gave up on a text. */
bool prompt_write(struct ids *out, const struct chat_message *message, int n, const char *system,
                  const struct call_form *form, struct err *e);

/* The messages as the chat code takes them; the texts stay x's, the caller frees the array. */
struct chat_message *chat_messages(const struct messages *x);
/* Declared tools from JSON: a list, or a text that is the JSON of one; NULL or null: none. */
bool tools_value(struct chat_tools *tools, const struct chat *chat, const json_t *v, struct err *e);
/* Cuts ids to max by data.truncation=left, right or middle; keep (may be NULL) is cut alike. */
void truncate_ids(struct ids *x, unsigned char *keep, int max, enum truncation how);
/* Calls take for each file of a list (data_files.h) until it returns false; prints the expansion of folders and
 * patterns to stderr. False, too: the list names no file. */
bool each_file(const char *key, const char *list, bool (*take)(void *ctx, const char *path, struct err *e), void *ctx,
               struct err *e);
/* Prints the lines of note to stderr, "key: " before each. */
void print_notes(const char *key, const struct str *note);
