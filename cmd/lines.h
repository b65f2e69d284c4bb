/* lines.h: what `score` and `generate` read: a line at a time, each a JSON object or plain text, as token ids. */
#pragma once
#include "engine/session/session.h"

/* start with { .f = ... }; number: of the line read last, from 1 */
struct lines { FILE *f; char *p; size_t n, cap; long long number; };
/* 1: the next line that is not blank is in p[0..n), without its end; 0: there are no more; -1: longer than 16 MiB, or
 * it cannot be read. */
int lines_next(struct lines *l, struct err *e);
void lines_free(struct lines *l);
bool line_is_json(const struct lines *l);                               /* begins with '{' */

/* The ids of a JSON line, which has exactly one of these keys:
 *   "ids": [...]          as they are, each checked against the model
 *   "text": "..."         as ordinary text; with "special": true, the text of added tokens becomes their ids
 *   "messages": [...] as the chat format writes them, "tools": [...] declared; reply: with what begins the assistant's
 *   turn
 *   "prompt": "..."       a user's only message; where reply is false, not allowed
 * no_chat: why there is no chat format, "" where there is one. The sentence names the line. */
bool line_ids(struct ids *out, const struct lines *l, const struct session *s, bool reply, const struct err *no_chat,
              struct err *e);
/* One user's message, after system where that is not NULL. */
bool user_prompt_ids(struct ids *out, const struct session *s, const char *system, const char *text, size_t n,
                  struct err *e);
