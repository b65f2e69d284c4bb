/* tool_calls.h: how a policy writes its calls of tools, and the tokens that results come back as: in tags that pause
 * its text anywhere, or as turns of its chat format, whose calls run when the policy has ended its turn. Calls are
 * recognised in text; what is wrong with one is an observation, never an error. */
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

/* tools.format. Tags: the tool's own around the query, <search>query</search>. Hermes (Qwen2.5, Qwen3): <tool_call>{"name": ...,
 * "arguments": {...}}</tool_call>, one or several in a turn. Llama 3.1: {"name": ..., "parameters": {...}} in a turn.
 * Auto: what the chat format declares tools for, else tags. */
enum call_format { CALLS_TAGS, CALLS_AUTO, CALLS_HERMES, CALLS_LLAMA3_JSON };
enum { CALL_STOPS = 2 };

/* A way to call, opened for a chat format. */
struct call_form {
    enum call_format format;        /* not CALLS_AUTO */
    const struct chat *chat;
    struct chat_tools tools;        /* what a prompt declares; none with tags */
    int declared;                   /* how many calls that shows */
    /* ids that end a turn of which the calls are run; other ends of text end the rollout */
    int stop[CALL_STOPS], stops;
    /* result of a call that names no tool; of one without its tool's argument. Empty with tags */
    struct str unknown, missing[TOOLS_MAX];
};
/* chat must outlive it. False: the chat format has no place for such calls. Call call_form_close in either case. */
bool call_form_open(struct call_form *f, enum call_format wanted, const struct chat *chat, struct err *e);
void call_form_close(struct call_form *f);
/* Do calls run at the end of a turn? NULL is a form, too: tags. */
static inline bool call_form_turns(const struct call_form *f) { return f && f->format != CALLS_TAGS; }
bool call_form_stop(const struct call_form *f, int id);
/* How many calls the prefix text, which is 0-terminated, shows: branch.tool_budget=prefix. In tags the closing ones, as
 * the official code; hermes: every <tool_call> but what only declares the tools. */
int call_form_count(const struct call_form *f, const char *text);

/* ---- tags ---- */

#define RESULT_BEFORE " <result>\n"
#define RESULT_AFTER  "\n</result>"

/* Does text[n], all that was generated since the last result, complete a call with its last `fresh` bytes? True: the
 * query is text[begin, end), between the closing tag and the nearest opening tag of the same tool before it. A closing
 * tag without one calls nothing. */
struct found_call { int tool; size_t begin, end; };
bool tools_find_call(struct found_call *c, const char *text, size_t n, size_t fresh);

/* Where a rollout cuts the text of an assistant, text[n]: behind the closing tag of each call, where the result comes
 * in, and behind the result. What is said between is encoded by itself there, and so it must be wherever such a text is
 * learned from or given. Fills x from { 0 } with the parts in order; returns how many. */
enum tag_part {
    TAG_SAID,       /* what the policy writes */
    /* The text of a result: <result> to </result> behind a call, with nothing but white space between; without the
     * tags, that white space and the line breaks inside the tags. </result> is the one that pairs with the <result> if
     * there is one (a page may hold such tags), else the next. */
    TAG_RESULT,
    /* <result> to its </result> where no call was made, which no rollout puts there: with tags, as it stands. One
     * around a call is text. */
    TAG_QUOTED,
};
struct tag_piece { enum tag_part part; size_t begin, end; };
struct tag_pieces { struct tag_piece *p; int n, cap; };
int tags_cut(struct tag_pieces *x, const char *text, size_t n);
void tag_pieces_free(struct tag_pieces *x);

/* Appends the tokens a result comes back as: RESULT_BEFORE, text, RESULT_AFTER. The tags are the file's own tokens
 * where it has them; text never becomes one. text is cut to max_text tokens (< 0: not) and then further so that all
 * have room; where even the tags have not, they are cut too. Returns how many. */
int tools_result_ids(const struct tokenizer *t, struct ids *out, const char *text, size_t n, int max_text, int room);

/* ---- turns ---- */

/* Of a call's JSON; its nested brackets; calls of a turn: further ones are not made. */
enum { CALL_BYTES = 65536, CALL_DEPTH = 16, CALLS_MAX = 256 };

/* A call of a turn: its JSON is text[begin, end). query: the argument the tool takes, any bytes but NUL; wrong: instead
 * of it, what the policy is told. */
struct turn_call { int tool; size_t begin, end; struct str query; const char *wrong; };
struct turn_calls { struct turn_call *p; int n, cap; };

/* The calls of a turn's text[n] in order, behind its last </think>: an example in a thought is no call (vLLM with its
 * reasoning parsers reads no calls there; a <think> that nothing closes hides none). </think>, <tool_call> and
 * </tool_call> inside a text of the JSON are that text.
 * Hermes: JSON behind <tool_call>, also in a code fence; it ends where its object ends. </tool_call> may be missing at
 *   the end of the turn or before the next <tool_call>; a tag with no JSON behind it and nothing that closes it is
 *   text.
 * Llama: every object that is a call, wherever it stands: after text or <|python_tag|>, in a list, in a fence, several
 *   with or without a separator. An object is a call that has a name, and arguments or "type": "function"; or the
 *   name of a tool and its argument beside it, of which the policy is told. Other JSON is an answer. One that cannot be
 *   read is a bad call where only separators precede it.
 * Of a call: keys in any order; "arguments" or "parameters", an object or a text that holds its JSON; {"type":
 * "function", "function": {...}} or "function" as the name; further keys and all numbers are ignored, whatever their
 * size. name is a tool's, its argument a string. Whatever else a call is, the policy is told.
 * Starts from { 0 }; returns how many. */
int turn_calls_find(struct turn_calls *x, const struct call_form *f, const char *text, size_t n);
void turn_calls_free(struct turn_calls *x);

/* Appends what follows a turn that made n calls, exactly as the chat format writes it (chat_more): the n results in
 * order, then what begins a reply. A text is cut to max_text tokens (< 0: not), the last ones further so that all have
 * room; where even empty texts have not, the end is cut off. Returns how many. */
int turn_result_ids(const struct call_form *f, struct ids *out, const struct str *text, int n, int max_text, int room);
