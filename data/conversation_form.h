/* conversation_form.h: converts the forms in which SFT data sets store a conversation into one list of messages. */
#pragma once
#include "base/err.h"
#include <jansson.h>

struct conversation_form {
    json_t *messages;           /* a new list of {"role", "content", ...} */
    int learn_from;             /* nothing is learned from messages before this one */
    char names[200];            /* the columns it is made of */
};

/* Finds the form of a record. prompt, answer: columns that keys name, or NULL. False: no form; two forms that differ; a
 * record that contradicts its form. */
bool conversation_form_read(struct conversation_form *f, const json_t *record, const char *prompt, const char *answer,
                            struct err *e);
void conversation_form_free(struct conversation_form *f);

/* The columns that any form reads, a '?' before each, ended by NULL. */
extern const char *const conversation_form_columns[];
