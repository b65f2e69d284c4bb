/* message.h: conversations as data sets have them: a list of {"role": ..., "content": ...}. */
#pragma once
#include "base/err.h"
#include <jansson.h>

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };
extern const char *const role_name[];       /* "system", "user", "assistant", "tool" */

struct message { enum role role; char *text; };
struct messages { struct message *p; int n; };      /* texts are owned; start with { 0 } */

/* Appends the first n messages of a JSON list. False: not a list of objects with a known role and a content that is a string (tool_calls are not read: a
 * call must stand in the content, as the model is to write it); the sentence names key and the message's number. */
bool messages_read(struct messages *m, const json_t *list, size_t n, const char *key, struct err *e);
void messages_add(struct messages *m, enum role role, const char *text);        /* the text is copied */
void messages_free(struct messages *m);
