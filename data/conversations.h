/* conversations.h: whole conversations from files (records.h), for supervised training. */
#pragma once
#include "data/dataset.h"

/* A data set of conversations to be imitated (conversation_form.h): "messages" or ShareGPT's "conversations"; "prompt"
 * and "completion" or "response", "question" and "answer" or "response", texts or lists of messages; Alpaca's
 * "instruction", "input", "output", "history". key.prompt and key.answer name others. The column "system" stands in
 * front of a conversation without a system message. tools: the column "tools", JSON text; NULL: none. Of a prompt that
 * is a list beside its completion nothing is learned (message.quiet). note: the form of each file's rows. Errors and
 * limits as above; a row with two conversations is one. */
struct conversation {
    struct messages messages;
    char *tools;
    char *where;                /* file and record, for messages about it */
};
struct conversations { struct conversation *conversation; int n, cap; struct str note; };
bool conversations_load(struct conversations *d, const char *path, const struct dataset_keys *key, struct err *e);
void conversations_free(struct conversations *d);
