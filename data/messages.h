/* messages.h: the messages of a conversation as data sets store them: a list of {"role": ..., "content": ...}. */
#pragma once
#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLE_DEVELOPER, ROLE_FUNCTION, ROLES };
extern const char *const role_name[ROLES];  /* "system", "user", "assistant", "tool", "developer", "function" */

struct message {
    enum role role;
    /* content: a string, or the joined texts of parts {"type": "text", ...}; "" if there are only calls or a thought */
    char *text;
    char *thought;          /* an assistant's reasoning_content; NULL: none */
    /* an assistant's tool_calls as JSON: [{"name": text, "arguments": anything} ...]; NULL: none */
    char *calls;
    bool parts;             /* content was a list of parts */
    bool quiet;             /* weight, train, loss ... is 0 or false: nothing is learned from this message */
};
struct messages { struct message *p; int n; };      /* texts are owned; start with { 0 } */

/* Appends the first n messages of a JSON list. tool_calls may be OpenAI's ({"type": "function", "function": {"name",
 * "arguments"}}) or flat. Null and empty keys count as absent. name and tool_call_id, which no chat template writes,
 * are ignored, and so are keys without meaning for a model. False: not a list of objects with a known role and content,
 * or a key whose content would be lost (another kind of part, "thinking", "prefix": true ...); the message in e names
 * key, message and fix. */
bool messages_read(struct messages *m, const json_t *list, size_t n, const char *key, struct err *e);
/* False: the record has options for its conversation, or pictures, which would be lost: continue_final_message,
 * chat_template_kwargs, enable_thinking false, images ... message_columns: these columns, each with a '?' before it,
 * ended by NULL. */
bool messages_beside(const json_t *record, struct err *e);
extern const char *const message_columns[];
/* True if no tools are declared: absent, null, an empty list, a list of nulls, or the JSON text of one of these. */
bool tools_none(const json_t *tools);
void messages_add(struct messages *m, enum role role, const char *text);        /* the text is copied */
void messages_free(struct messages *m);
