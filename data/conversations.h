/* conversations.h: whole conversations from files (records.h), for supervised training. */
#pragma once
#include "data/dataset.h"

struct conversation {
    struct messages messages;
    char *tools;                /* the column "tools", JSON text; NULL: none */
    char *where;                /* file and record, for messages about it */
};

struct conversations {
    struct conversation *conversation;
    int n, cap;
    struct str note;            /* the form (conversation_form.h) of each file's records */
};

/* Appends the file's conversations. Forms: "messages" or ShareGPT's "conversations"; "prompt" and "completion" or
 * "response", "question" and "answer" or "response", texts or lists of messages; Alpaca's "instruction", "input",
 * "output", "history". key->prompt and key->answer name other columns. The column "system" is put in front of a
 * conversation without a system message. If the prompt is a list with its completion in another column, nothing is
 * learned from the prompt (message.quiet). Errors and limits as for dataset_load; a record with two conversations is an
 * error. */
bool conversations_load(struct conversations *d, const char *path, const struct dataset_keys *key, struct err *e);
void conversations_free(struct conversations *d);
