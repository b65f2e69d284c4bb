/* lines.h: the input of `score` and `generate`: lines, each a JSON object or plain text, as token ids. */
#pragma once
#include "engine/session/session.h"

/* Start with { .f = ... }. */
struct lines {
    FILE *f;
    char *p;                    /* p[0 .. n): the last line, without its end */
    size_t n;
    size_t cap;
    long long number;           /* of the last line, from 1 */
};
/* Reads the next line that is not blank. 1: done; 0: there are no more; -1: longer than 16 MiB, or it cannot be
 * read. */
int lines_next(struct lines *l, struct err *e);
void lines_free(struct lines *l);
bool line_is_json(const struct lines *l);                   /* begins with '{' */

/* The ids of a JSON line, which has exactly one of these keys:
 *   "ids": [...]          as they are, each checked against the model
 *   "text": "..."         as ordinary text; with "special": true, the text of added tokens becomes their ids
 *   "messages": [...]     as the chat format writes them, with "tools": [...] declared; reply: and with the tokens that
 *                         begin the assistant's turn
 *   "prompt": "..."       a user's only message; needs reply
 * no_chat: the reason why there is no chat format, "" if there is one. The message names the line. */
bool line_ids(struct ids *out, const struct lines *l, const struct session *s, bool reply, const struct err *no_chat,
              struct err *e);
/* The ids of one user message, after the system message unless that is NULL. */
bool user_prompt_ids(struct ids *out, const struct session *s, const char *system, const char *text, size_t n,
                     struct err *e);
