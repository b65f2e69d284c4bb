/* tool_calls.h: syntax of tool calls, and the tokens of their results. Calls stand in tags, which pause the text
 * anywhere, or in turns of a chat format, whose calls run when the policy has ended its turn. Calls are found in text;
 * a faulty call is an observation for the policy, never an error. */
#pragma once
#include "engine/tools/tool_rows.h"
#include "model/chat/chat.h"

/* What the policy sees instead of a result. */
#define TOOL_NO_CALLS "error: no calls left"
#define TOOL_EMPTY    "error: empty query"
#define TOOL_TIMEOUT  "error: timeout"
#define TOOL_UNENCODABLE "error: unreadable result"
#define CALL_NOT_JSON "error: the call is not valid JSON"
#define CALL_TWICE    "error: the call has a key twice"
#define CALL_TOO_LONG "error: the call is too long"
#define CALL_TOO_DEEP "error: the call is nested too deeply"

/* tools.format */
enum call_format {
    CALLS_TAGS,                     /* the tool's own tags around the query: <search>query</search> */
    CALLS_AUTO,                     /* the format that the chat format declares tools for, else tags */
    CALLS_HERMES,                   /* Qwen2.5, Qwen3: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, one or
                                     * several in a turn */
    CALLS_LLAMA3_JSON,              /* Llama 3.1: {"name": ..., "parameters": {...}} in a turn */
};
enum { CALL_STOPS = 2 };

/* A call format, opened for a chat format. */
struct call_form {
    enum call_format format;        /* not CALLS_AUTO */
    const struct chat *chat;
    struct chat_tools tools;        /* declared in prompts; none with tags */
    int declared;                   /* call markers that the declarations contain */
    /* ids that end a turn whose calls are run; other ends of text end the rollout */
    int stop[CALL_STOPS], stops;
    struct str unknown;             /* result of a call that names no tool; empty with tags */
    struct str missing[TOOLS_MAX];  /* result of a call without its tool's argument */
};
/* chat must outlive it. False: the chat format has no place for such calls. Call call_form_close in either case. */
bool call_form_open(struct call_form *f, enum call_format wanted, const struct chat *chat, struct err *e);
void call_form_close(struct call_form *f);
/* Whether calls run at the end of a turn. NULL stands for tags. */
static inline bool call_form_turns(const struct call_form *f) { return f && f->format != CALLS_TAGS; }
bool call_form_stop(const struct call_form *f, int id);
/* Counts the calls in the 0-terminated prefix text, for branch.tool_budget=prefix. Tags: closing tags, as the official
 * code does. Hermes: every <tool_call> but those of the declarations. */
int call_form_count(const struct call_form *f, const char *text);

/* ---- tags ---- */

#define RESULT_BEFORE " <result>\n"
#define RESULT_AFTER  "\n</result>"

/* The query is text[begin, end). */
struct found_call {
    int tool;
    size_t begin, end;
};
/* Whether the last `fresh` bytes of text[n], all that was generated since the last result, complete a call. Its query
 * stands between the closing tag and the nearest opening tag of the same tool before it; a closing tag without one
 * calls nothing. */
bool tools_find_call(struct found_call *c, const char *text, size_t n, size_t fresh);

enum tag_part {
    TAG_POLICY,                     /* written by the policy */
    /* Text of a result: <result> to </result> behind a call, with only white space between; without the tags, that
     * white space and the line breaks inside the tags. Its </result> is the one that pairs with the <result> if there
     * is one (a page may hold such tags), else the next one. */
    TAG_RESULT,
    /* <result> to its </result> without a call before it, which no rollout produces; the tags included. A <result>
     * around a call is text. */
    TAG_QUOTED,
};
struct tag_piece {
    enum tag_part part;
    size_t begin, end;
};
struct tag_pieces {
    struct tag_piece *p;
    int n, cap;
};
/* Cuts the text of an assistant, text[n], where a rollout does: behind the closing tag of each call and behind its
 * result. Rollouts encode each piece of the policy's text by itself, so training data and prompts must do the same.
 * Fills x from { 0 } with the pieces in order; returns how many. */
int tags_cut(struct tag_pieces *x, const char *text, size_t n);
void tag_pieces_free(struct tag_pieces *x);

/* Appends the tokens of a result: RESULT_BEFORE, text, RESULT_AFTER. The tags are the tokenizer's own tokens if it has
 * them; text never becomes a special token. text is cut to max_text tokens (< 0: no limit), then further so that all
 * fits into room; if even the tags do not fit, they are cut too. Returns how many tokens it appended. */
int tools_result_ids(const struct tokenizer *t, struct ids *out, const char *text, size_t n, int max_text, int room);

/* ---- turns ---- */

enum {
    CALL_BYTES = 65536,             /* of a call's JSON */
    CALL_DEPTH = 16,                /* its nested brackets */
    CALLS_MAX = 256                 /* calls of a turn; further ones are not made */
};

/* A call of a turn; its JSON is text[begin, end). */
struct turn_call {
    int tool;
    size_t begin, end;
    struct str query;               /* the tool's argument, any bytes but NUL */
    const char *wrong;              /* if not NULL: the error that the policy gets instead of a result */
};
struct turn_calls {
    struct turn_call *p;
    int n, cap;
};

/* Finds the calls of a turn's text[n] in order, behind its last </think>: an example in a thought is no call (vLLM with
 * its reasoning parsers reads none there; an unclosed <think> hides none). </think>, <tool_call> and </tool_call>
 * inside a string of the JSON belong to the string.
 * Hermes: JSON behind <tool_call>, also in a code fence; it ends where its object ends. </tool_call> may be missing at
 *   the end of the turn or before the next <tool_call>; a tag that neither JSON nor a closing tag follows is text.
 * Llama: every object that is a call, wherever it stands: after text or <|python_tag|>, in a list, in a fence, several
 *   with or without a separator. An object is a call if it has a name, and arguments or "type": "function"; or a tool's
 *   name with its argument beside it, which is a faulty call. Other JSON is an answer. An unreadable object is a faulty
 *   call if only separators precede it.
 * A call: keys in any order; "arguments" or "parameters", an object or a string that holds its JSON; {"type":
 * "function", "function": {...}} or "function" as the name; further keys and all numbers are ignored, whatever their
 * size. The name is a tool's, its argument a string; every other call gets an error for the policy.
 * Starts from { 0 }; returns how many. */
int turn_calls_find(struct turn_calls *x, const struct call_form *f, const char *text, size_t n);
void turn_calls_free(struct turn_calls *x);

/* Appends the tokens behind a turn that made n calls, exactly as the chat format writes them (chat_more): the n results
 * in order, then the beginning of a reply. A text is cut to max_text tokens (< 0: no limit), the last ones further so
 * that all fits into room; if even empty texts do not fit, the end is cut off. Returns how many tokens it appended. */
int turn_result_ids(const struct call_form *f, struct ids *out, const struct str *text, int n, int max_text, int room);
