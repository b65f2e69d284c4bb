/* conversation_form.h: the forms in which data sets write a conversation to be imitated, as one list of messages. */
#pragma once
#include "base/err.h"
#include <jansson.h>

/* messages: a new list of {"role", "content", ...}; learn_from: nothing is learned from messages before this one;
 * names:
 * the columns it is made of. */
struct conversation_form { json_t *messages; int learn_from; char names[200]; };

/* Finds the form of a row. prompt, answer: columns that keys name, or NULL. False: none; two that say different things;
 * a row that contradicts its form. */
bool conversation_form_read(struct conversation_form *f, const json_t *row, const char *prompt, const char *answer,
                            struct err *e);
void conversation_form_free(struct conversation_form *f);

/* The columns that any form reads, a '?' before each, ended by NULL. */
extern const char *const conversation_form_columns[];
