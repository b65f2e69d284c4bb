/* chat_in.h: the parts of the chat code: chat_find.c finds a model's templates, chat_lex.c cuts them into tokens,
 * chat_template.c recognises one of those in chat_forms_*.c, chat_json.c writes JSON as templates do, chat.c writes
 * conversations. */
#pragma once
#include "base/str.h"
#include "model/chat/chat.h"

/* The templates of a model. Start with { 0 }. */
struct chat_found {
    struct str text, tool_use;          /* the chat template, and the one for conversations with tools */
    bool found, found_tool_use;
    struct str bos;                     /* bos_token; empty: no file names one */
    bool configured;                    /* there is a file that could name it */
};
/* Reads the templates of the model at path. found false: it has none. */
bool chat_find(const char *path, struct chat_found *x, struct err *e);
void chat_found_free(struct chat_found *x);

/* A known template and what it writes; each table ends with a name that is NULL. */
struct chat_form { const char *name; struct chat_variant v; const char *text; };
extern const struct chat_form chat_forms_chatml[], chat_forms_qwen2[], chat_forms_qwen3[], chat_forms_llama3[];

/* Form number i of all tables; NULL past the last. */
const struct chat_form *chat_form_at(int i);

/* v of the known template with the same tokens as text[n]. False: there is none; the message names the first difference
 * and its place. */
bool chat_recognise(struct chat_variant *v, const char *text, size_t n, struct err *e);

/* The tokens of a Jinja template in a normal form: text outside of tags as it is printed (trim_blocks, lstrip_blocks
 * and marks applied, comments removed), tags without spaces, literals without quotation marks and escapes. Templates of
 * the same tokens print the same. */
enum jinja_kind {
    JINJA_TEXT, JINJA_BLOCK, JINJA_BLOCK_END, JINJA_PRINT, JINJA_PRINT_END, JINJA_WORD, JINJA_LITERAL, JINJA_SIGN,
    JINJA_END, JINJA_WRONG
};
struct jinja {
    const char *p, *end;
    char inside;                        /* '%' or '{': in a tag; 0: outside */
    bool line_start;
    enum jinja_kind kind;               /* of the token; WRONG: not a template, text gives the reason */
    struct str text;                    /* of the token */
    const char *at;                     /* its place */
};
/* text[n] must be as jinja_lines leaves it, and stay. */
void jinja_open(struct jinja *x, const char *text, size_t n);
void jinja_next(struct jinja *x);
void jinja_close(struct jinja *x);
/* Appends text[n] with every line break a \n and without the one at the end, as Jinja reads a template. */
void jinja_lines(struct str *out, const char *text, size_t n);

/* Appends JSON text[n] as Python's json.dumps(x, ensure_ascii=False, indent=indent) spaces and escapes it; indent 0:
 * one line with ", " and ": ". Whole numbers are copied, others are written like Python's repr. The text must be
 * valid JSON. */
void chat_json(struct str *out, const char *text, size_t n, int indent);
/* Appends text[n] as a JSON string in the same manner. */
void chat_json_string(struct str *out, const char *text, size_t n);

/* Appends tool_calls (struct chat_message) in the format's syntax. text_before: text is before them in the turn. */
void chat_put_calls(struct str *out, const char *calls, enum chat_calls how, bool text_before);
int chat_count_calls(const char *calls);

/* Literals that templates and their writer share. */
#define CHAT_TOOLS_HEAD \
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" \
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
#define CHAT_TOOLS_TAIL \
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments " \
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n" \
    "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"
#define CHAT_GIVEN_1 "Given the following functions, please respond with a JSON for a function call "
#define CHAT_GIVEN_2 "with its proper arguments that best answers the given prompt.\n\n"
#define CHAT_GIVEN_3 \
    "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}."
#define CHAT_GIVEN_4 "Do not use variables.\n\n"
#define CHAT_CUTOFF "Cutting Knowledge Date: December 2023\n"
