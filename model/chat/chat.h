/* chat.h: how a conversation becomes token ids: the embedded policy's own format, ChatML (Qwen, SmolLM2) and Llama
 * 3. Which one is read off the template that comes with the model. The template is not run: it must be, token for
 * token, one of those in chat_forms_*.c, else it is refused. Only this code and engine/tools/tool_calls.c write special
 * tokens:
 * in texts they are ordinary bytes. */
#pragma once
#include "model/tokenizer/tokenizer.h"

/* A part of an assistant's text that is encoded by itself: text, or ids as they are. own: the model wrote it, and is
 * to learn it. */
struct chat_piece { const char *text; size_t n; const struct ids *ids; bool own; };
enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL, CHAT_DEVELOPER, CHAT_FUNCTION, CHAT_ROLES };
struct chat_message {
    enum chat_role role;
    const char *text;
    size_t n;
    /* an assistant's reasoning_content; NULL: none, or it stands in the text, <think> to </think> */
    const char *thought;
    /* an assistant's tool_calls: JSON, [{"name": text, "arguments": anything} ...]; NULL: none */
    const char *calls;
    bool quiet;             /* never marked as the model's own */
    bool parts;             /* the text is put together from a list of parts */
    /* [pieces] an assistant's text as a rollout put it together (engine/prompts/rollout_messages.h); then text is not
     * written; NULL: it is one piece */
    const struct chat_piece *piece;
    int pieces;
};

enum chat_family { CHAT_APPO, CHAT_CHATML, CHAT_LLAMA3 };
enum chat_think {
    CHAT_THINK_NONE,        /* the format knows nothing of thinking: turns are written as given */
    CHAT_THINK_FREE,        /* Qwen3: the model opens <think> itself, or does not */
    CHAT_THINK_OFF,         /* Qwen3 with enable_thinking=false: a reply begins behind an empty <think></think> */
    CHAT_THINK_OPEN,        /* Qwen3-Thinking-2507, QwQ: a reply begins behind <think> */
};
enum chat_keep {            /* whose thoughts are written, where the format knows of thinking */
    CHAT_KEEP_ALL,          /* of every turn, with an empty one where there is none (TRL's qwen3_training) */
    CHAT_KEEP_LAST,         /* Qwen3: of turns behind the last question; an empty one in the last message alone */
    CHAT_KEEP_NONE,         /* QwQ: of no turn */
};
/* how tool_calls are written */
enum chat_calls { CHAT_CALLS_NONE, CHAT_CALLS_QWEN2, CHAT_CALLS_QWEN3, CHAT_CALLS_LLAMA3 };
enum { CHAT_STOPS = 4, CHAT_SYSTEM_MAX = 4096, CHAT_DATE_MAX = 40 };

/* What a template decides. A caller may change think (FREE to OFF) and date after chat_open. */
struct chat_variant {
    enum chat_family family;
    /* what stands for a system message where a conversation has none; "": nothing */
    char system[CHAT_SYSTEM_MAX];
    bool tools;                         /* tools can be declared, and results have their place */
    enum chat_think think;
    enum chat_keep keep;
    enum chat_calls calls;
    /* writes any role's name; else system, user, assistant, tool have places, others none */
    bool any_role;
    bool bos;                           /* begins with bos_token */
    bool gap;                           /* QwQ: an empty line before declared tools, system message or not */
    /* Llama 3.1 and later, "26 Jul 2024"; "": no block of dates. Never today's: two runs must give the same ids */
    char date[CHAT_DATE_MAX];
};

struct chat {
    const struct tokenizer *t;
    struct chat_variant v;
    bool has_tool_use;
    struct chat_variant tool_use;       /* a second template, named tool_use, for conversations that declare tools */
    char no_tool_use[200];              /* a template of that name is there and not known: what is not */
    int end;                            /* ends a turn */
    int pad;                            /* -1: the format has none */
    /* every id that ends the model's turn, end first: to be added to the model's own eos */
    int stop[CHAT_STOPS], stops;
    int bos;                            /* what v.bos writes, else -1 */
    int open, close;                    /* Llama 3: a header's brackets; ChatML: open is <|im_start|>; others -1 */
    int user, assistant;                /* embedded policy: what begins a turn; others -1 */
};

/* Recognises the template of model_path (a folder: chat_template.jinja, tokenizer_config.json or chat_template.json;
 * or a GGUF file), and the one named tool_use beside it. model_path may be NULL: no template. format: "auto", or one
 * of chat_formats to use in its stead. A template that is not known, or a token that t lacks, is an error that says
 * what is not known, where, and what to do. */
bool chat_open(struct chat *c, const struct tokenizer *t, const char *model_path, const char *format, struct err *e);
extern const char chat_formats[];       /* their names, for error sentences */

/* What a conversation with or without declared tools is written by. */
static inline const struct chat_variant *chat_variant_of(const struct chat *c, bool tools)
{
    return tools && c->has_tool_use ? &c->tool_use : &c->v;
}

/* Declared tools, each in the JSON that the format writes. */
struct chat_tools { char **json; int n; };
/* text[n]: a JSON array of declarations as OpenAI's API has them ({"type": "function", "function": {...}}). False:
 * not that, or a format without tools. */
bool chat_tools_read(struct chat_tools *x, const struct chat *c, const char *text, size_t n, struct err *e);
void chat_tools_free(struct chat_tools *x);

/* Which ids the model would have written itself: 1 for an assistant's text and the token that ends it. Start with {
 * 0 }; grows with out from out->n on. */
struct chat_mask { unsigned char *p; int n, cap; };
void chat_mask_free(struct chat_mask *x);

/* Can m[n] be written, in this format and with or without declared tools? False: a role, a thought or calls that its
 * template has no place for, or would leave out; the sentence names the message by its number. */
bool chat_check(const struct chat *c, const struct chat_message *m, int n, bool tools, struct err *e);

/* Appends a conversation that chat_check lets pass, as its template writes it. tools and mask may be NULL. reply:
 * ends with what begins an assistant's turn. Prefix-preserving where thoughts are (CHAT_KEEP_ALL, or no user's
 * message follows): ids of m[0..k) with reply begin the ids of m[0..n) for every assistant's m[k]. For that, an
 * assistant's text is encoded by itself, not joined with the line break before it. Text never becomes a special
 * token. Tokens that are added but not special (<think>, <tool_call>) are recognised as transformers does it, but
 * not in the results of tools, whose text nobody vouches for. A turn whose thought the template leaves out is not
 * marked: no rollout would write it so. False: the tokenizer's regular expression gave up on a text; out and mask
 * are as they were. */
bool chat_write(const struct chat *c, struct ids *out, struct chat_mask *mask, const struct chat_message *m, int n,
                const struct chat_tools *tools, bool reply);

/* Appends further turns to a conversation whose last id is the one that ended an assistant's turn: tool results, the
 * next question. Thoughts before them stay, as the ids that were sampled do. */
bool chat_more(const struct chat *c, struct ids *out, struct chat_mask *mask, const struct chat_message *m, int n,
               bool reply);

/* One question and what begins the reply to it. */
void chat_prompt(const struct chat *c, struct ids *out, const char *question);

/* The embedded policy's tokenizer is made with these. */
/* the special tokens in id order, chat_specials of them; the tags of the tools have the ids from CHAT_TOOL_TAGS on, and
 * those behind come after them */
extern const char *const chat_special[];
extern const int chat_specials;
enum { CHAT_TOOL_TAGS = 6 };
/* the pre-tokeniser: \boxed{ | optional space and letters | one digit | optional space and one other character */
extern const char chat_pattern[];
