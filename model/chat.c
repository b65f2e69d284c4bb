/* chat.c: conversations to ids. Text between two special tokens is encoded as one piece, as transformers does it after running the template, because merges
 * and regular expressions look across the seam of a template's text and a message's. */
#define _GNU_SOURCE     /* memmem */
#include "model/chat.h"
#include "model/chat_in.h"
#include "base/json.h"
#include "model/utf8.h"
#include <string.h>

const char *const chat_special[] = {
    "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<think>", "</think>", "<python>", "</python>", "<search>", "</search>",
    "<result>", "</result>", "<answer>", "</answer>",
};
const int chat_specials = sizeof chat_special / sizeof *chat_special;
const char chat_pattern[] = "\\\\boxed\\{| ?\\p{L}+|\\p{N}| ?[^\\p{L}\\p{N}]";

static const char qwen_system[] = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
static const char smol_system[] = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
static const struct { const char *name; enum chat_family family; const char *system; bool tools; enum chat_think think; const char *date; } formats[] = {
    { "appo", CHAT_APPO, "", false, CHAT_THINK_NONE, "" }, { "chatml", CHAT_CHATML, "", true, CHAT_THINK_NONE, "" },
    { "qwen2.5", CHAT_CHATML, qwen_system, true, CHAT_THINK_NONE, "" }, { "qwen3", CHAT_CHATML, "", true, CHAT_THINK_FREE, "" },
    { "smollm2", CHAT_CHATML, smol_system, false, CHAT_THINK_NONE, "" }, { "llama3", CHAT_LLAMA3, "", false, CHAT_THINK_NONE, "" },
    { "llama3.1", CHAT_LLAMA3, "", true, CHAT_THINK_NONE, "26 Jul 2024" },
};
const char chat_formats[] = "appo, chatml, qwen2.5, qwen3, smollm2, llama3, llama3.1";

static bool by_name(struct chat_variant *v, const char *name, struct err *e)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(name, formats[i].name)) continue;
        *v = (struct chat_variant){ .family = formats[i].family, .tools = formats[i].tools, .think = formats[i].think };
        snprintf(v->system, sizeof v->system, "%s", formats[i].system);
        snprintf(v->date, sizeof v->date, "%s", formats[i].date);
        return true;
    }
    return fail(e, "there is no chat format '%.60s'; there are: auto, %s", name, chat_formats);
}

/* A model without a template: only the embedded policy's kind is certain. */
static bool by_template(struct chat_variant *v, const struct tokenizer *t, const char *model_path, struct err *e)
{
    struct str text = { 0 };
    bool found = false, ok = !model_path || chat_find(model_path, &text, &found, e);
    const char *name = model_path ? model_path : "this tokenizer";
    if (ok && found) ok = chat_recognise(v, text.p, text.n, e) || fail_in(e, "%s: chat template", name);
    else if (ok && tokenizer_id(t, "<|user|>") >= 0 && tokenizer_id(t, "<python>") >= 0) ok = by_name(v, "appo", e);
    else if (ok) ok = fail(e, "%s: no chat template comes with it, as with a base model; choose one of: %s", name, chat_formats);
    str_free(&text);
    return ok;
}

static void put_stop(struct chat *c, int id)
{
    for (int i = 0; i < c->stops; i++) if (c->stop[i] == id) return;
    if (id >= 0) c->stop[c->stops++] = id;
}

static bool find_tokens(struct chat *c, struct err *e)
{
    const struct { enum chat_family family; const char *token; int *id; } need[] = {
        { CHAT_APPO, "<|pad|>", &c->pad }, { CHAT_APPO, "<|end|>", &c->end }, { CHAT_APPO, "<|user|>", &c->user }, { CHAT_APPO, "<|assistant|>", &c->assistant },
        { CHAT_CHATML, "<|im_start|>", &c->open }, { CHAT_CHATML, "<|im_end|>", &c->end },
        { CHAT_LLAMA3, "<|begin_of_text|>", &c->bos }, { CHAT_LLAMA3, "<|start_header_id|>", &c->open }, { CHAT_LLAMA3, "<|end_header_id|>", &c->close },
        { CHAT_LLAMA3, "<|eot_id|>", &c->end },
    };
    c->end = c->pad = c->bos = c->open = c->close = c->user = c->assistant = -1;
    for (size_t i = 0; i < sizeof need / sizeof *need; i++) {
        if (need[i].family != c->v.family) continue;
        *need[i].id = tokenizer_id(c->t, need[i].token);
        if (*need[i].id < 0) return fail(e, "the tokenizer has no token %s, which this chat format needs; formats are: %s", need[i].token, chat_formats);
    }
    put_stop(c, c->end);
    if (c->v.family == CHAT_CHATML) put_stop(c, tokenizer_id(c->t, "<|endoftext|>"));
    if (c->v.family == CHAT_LLAMA3) { put_stop(c, tokenizer_id(c->t, "<|eom_id|>")); put_stop(c, tokenizer_id(c->t, "<|end_of_text|>")); }
    return true;
}

bool chat_open(struct chat *c, const struct tokenizer *t, const char *model_path, const char *format, struct err *e)
{
    *c = (struct chat){ .t = t };
    return (strcmp(format, "auto") ? by_name(&c->v, format, e) : by_template(&c->v, t, model_path, e)) && find_tokens(c, e);
}

/* A conversation being written. run: ordinary text since the last special token. */
struct writer { const struct chat *c; struct ids *out; struct chat_mask *mask; struct str run; bool own, ok; };

static void mark(struct writer *w, int n)
{
    struct chat_mask *x = w->mask;
    if (!x || n <= 0) return;
    if (x->n + n > x->cap) {
        x->cap = 2 * (x->n + n);
        x->p = xrealloc(x->p, (size_t)x->cap);
    }
    memset(x->p + x->n, w->own, (size_t)n);
    x->n += n;
}

static void flush(struct writer *w)
{
    int start = w->out->n;
    w->ok = w->ok && (w->run.n == 0 || tokenizer_encode(w->c->t, w->out, w->run.p, w->run.n, false));
    mark(w, w->out->n - start);
    str_clear(&w->run);
}

static void put_id(struct writer *w, int id)
{
    flush(w);
    ids_put(w->out, id);
    mark(w, 1);
}

/* What the model wrote from here on, or what it was given. */
static void set_own(struct writer *w, bool own)
{
    flush(w);
    w->own = own;
}

static void put_text(struct writer *w, const char *text, size_t n) { str_put(&w->run, text, n); }

/* May this added token stand in an assistant's text? The embedded policy's tags are special tokens, but not those that begin and end turns. */
static bool allowed(const struct chat *c, int id)
{
    if (c->v.family != CHAT_APPO) return !tokenizer_special(c->t, id);
    return id != c->pad && id != c->end && id != c->user && id != c->assistant;
}

/* text with added tokens: all of them (a template's own words) or those that an assistant may write. */
static void put_added(struct writer *w, const char *text, size_t n, bool all)
{
    for (size_t at = 0, len = 0; at < n; at += len) {
        int id = tokenizer_match(w->c->t, text + at, n - at, &len);
        if (id >= 0 && (all || allowed(w->c, id))) put_id(w, id);
        else str_put(&w->run, text + at, len = 1);
    }
}

static void put_template(struct writer *w, const char *text) { put_added(w, text, strlen(text), true); }

/* Python's str.strip(). */
static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static struct chat_message trimmed(struct chat_message m)
{
    uint32_t c;
    for (int len; m.n && (len = utf8_get(m.text, m.n, &c)) > 0 && is_space(c); m.n -= (size_t)len) m.text += len;
    for (bool more = true; more && m.n;) {
        size_t len = 1;
        while (len < 4 && len < m.n && ((unsigned char)m.text[m.n - len] & 0xc0) == 0x80) len++;
        more = utf8_get(m.text + m.n - len, len, &c) == (int)len && is_space(c);
        if (more) m.n -= len;
    }
    return m;
}

static struct chat_message without_breaks(struct chat_message m, bool before, bool behind)
{
    for (; before && m.n && *m.text == '\n'; m.n--) m.text++;
    while (behind && m.n && m.text[m.n - 1] == '\n') m.n--;
    return m;
}

static const char think_end[] = "</think>", think_begin[] = "<think>";

/* The last place of a mark in m; m.n: it is not there. */
static size_t last_of(struct chat_message m, const char *what, size_t len)
{
    for (size_t at = m.n >= len ? m.n - len + 1 : 0; at-- > 0;) if (!memcmp(m.text + at, what, len)) return at;
    return m.n;
}

static size_t first_of(struct chat_message m, const char *what, size_t len)
{
    const char *p = m.n ? memmem(m.text, m.n, what, len) : NULL;
    return p ? (size_t)(p - m.text) : m.n;
}

/* An assistant's text parted as Qwen3's template does it: what comes before the first </think> and after a <think>; what comes after the last </think>. */
static void part(struct chat_message m, struct chat_message *thought, struct chat_message *said)
{
    size_t end = first_of(m, think_end, sizeof think_end - 1);
    *thought = *said = m;
    thought->n = 0;
    if (end < m.n) {
        size_t last = last_of(m, think_end, sizeof think_end - 1) + sizeof think_end - 1;
        said->text += last;
        said->n -= last;
        thought->n = end;
        *thought = without_breaks(*thought, false, true);
        size_t begin = last_of(*thought, think_begin, sizeof think_begin - 1);
        if (begin < thought->n) {
            thought->text += begin + sizeof think_begin - 1;
            thought->n -= begin + sizeof think_begin - 1;
        }
    }
    *thought = without_breaks(*thought, true, true);
    *said = without_breaks(*said, true, false);
}

/* ---- the families: what begins a reply, what a turn's text becomes ---- */

static void begin_reply(struct writer *w)
{
    const struct chat *c = w->c;
    switch (c->v.family) {
    case CHAT_APPO: put_id(w, c->assistant); break;
    case CHAT_LLAMA3: put_template(w, "<|start_header_id|>assistant<|end_header_id|>\n\n"); break;
    case CHAT_CHATML:
        put_template(w, "<|im_start|>assistant\n");
        if (c->v.think == CHAT_THINK_OPEN) put_template(w, "<think>\n");
        if (c->v.think == CHAT_THINK_OFF) put_template(w, "<think>\n\n</think>\n\n");
        break;
    }
    flush(w);
}

static void thinking_turn(struct writer *w, struct chat_message m)
{
    struct chat_message thought, said;
    part(m, &thought, &said);
    if (w->c->v.think == CHAT_THINK_OFF && thought.n) {          /* it thought all the same: not what begin_reply opens */
        put_template(w, "<|im_start|>assistant\n");
        set_own(w, true);
        put_template(w, "<think>\n");
    } else {
        begin_reply(w);
        set_own(w, true);
        if (w->c->v.think == CHAT_THINK_FREE) put_template(w, "<think>\n");
    }
    if (w->c->v.think != CHAT_THINK_OFF || thought.n) {
        put_added(w, thought.text, thought.n, false);
        put_template(w, "\n</think>\n\n");
    }
    put_added(w, said.text, said.n, false);
}

static void assistant_turn(struct writer *w, struct chat_message m)
{
    const struct chat *c = w->c;
    if (c->v.think != CHAT_THINK_NONE) {
        thinking_turn(w, m);
    } else {
        begin_reply(w);
        set_own(w, true);
        if (c->v.family == CHAT_LLAMA3) m = trimmed(m);
        put_added(w, m.text, m.n, false);
    }
    put_id(w, c->end);
    set_own(w, false);
    if (c->v.family == CHAT_CHATML) put_text(w, "\n", 1);
}

static const char *const role_names[] = { [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant", [CHAT_TOOL] = "tool" };

/* Qwen's tool results are a user's turn; neighbouring ones share it. */
static void chatml_turn(struct writer *w, const struct chat_message *m, int i, int n)
{
    bool result = m[i].role == CHAT_TOOL && w->c->v.tools;
    if (!result || i == 0 || m[i - 1].role != CHAT_TOOL) {
        put_id(w, w->c->open);
        put_template(w, result ? "user" : role_names[m[i].role]);
    }
    put_template(w, result ? "\n<tool_response>\n" : "\n");
    put_text(w, m[i].text, m[i].n);
    if (result) put_template(w, "\n</tool_response>");
    if (result && i + 1 < n && m[i + 1].role == CHAT_TOOL) return;
    put_id(w, w->c->end);
    put_text(w, "\n", 1);
}

/* Llama 3.1's template passes a tool's text through tojson, because a text is iterable too: it comes out in quotation marks. */
static void llama_turn(struct writer *w, struct chat_message m)
{
    bool result = m.role == CHAT_TOOL && w->c->v.tools;
    put_id(w, w->c->open);
    put_template(w, result ? "ipython" : role_names[m.role]);
    put_id(w, w->c->close);
    put_template(w, "\n\n");
    if (result) chat_json_string(&w->run, m.text, m.n);
    else { m = trimmed(m); put_text(w, m.text, m.n); }
    put_id(w, w->c->end);
}

static void appo_turn(struct writer *w, struct chat_message m)
{
    if (m.role == CHAT_TOOL) put_template(w, " <result>\n");
    else put_id(w, w->c->user);
    put_text(w, m.text, m.n);
    if (m.role == CHAT_TOOL) put_template(w, "\n</result>");
}

static void turns(struct writer *w, const struct chat_message *m, int i, int n)
{
    for (; i < n; i++) {
        if (m[i].role == CHAT_ASSISTANT) assistant_turn(w, m[i]);
        else if (w->c->v.family == CHAT_CHATML) chatml_turn(w, m, i, n);
        else if (w->c->v.family == CHAT_LLAMA3) llama_turn(w, m[i]);
        else appo_turn(w, m[i]);
    }
}

/* ---- what comes before the turns; returns how many messages it has used ---- */

static int chatml_head(struct writer *w, const struct chat_message *m, int n, const struct chat_tools *tools)
{
    bool given = n > 0 && m[0].role == CHAT_SYSTEM, some = given || *w->c->v.system;
    if (!some && !tools) return 0;
    put_template(w, "<|im_start|>system\n");
    if (given) put_text(w, m[0].text, m[0].n);
    else put_template(w, w->c->v.system);
    if (tools) {
        put_template(w, some ? "\n\n" CHAT_TOOLS_HEAD : CHAT_TOOLS_HEAD);
        for (int i = 0; i < tools->n; i++) {
            put_text(w, "\n", 1);
            put_text(w, tools->json[i], strlen(tools->json[i]));
        }
        put_template(w, CHAT_TOOLS_TAIL);
    }
    put_template(w, "<|im_end|>\n");
    return given;
}

/* Llama 3.1 and later: a system turn with the dates, always; tools go into the first user's turn. */
static int llama_head(struct writer *w, const struct chat_message *m, int n, const struct chat_tools *tools)
{
    put_id(w, w->c->bos);
    if (!*w->c->v.date) return 0;
    int used = n > 0 && m[0].role == CHAT_SYSTEM;
    put_template(w, "<|start_header_id|>system<|end_header_id|>\n\n");
    if (tools) put_template(w, "Environment: ipython\n");
    put_template(w, CHAT_CUTOFF "Today Date: ");
    put_text(w, w->c->v.date, strlen(w->c->v.date));
    put_template(w, "\n\n");
    if (used) {
        struct chat_message system = trimmed(m[0]);
        put_text(w, system.text, system.n);
    }
    put_id(w, w->c->end);
    if (!tools || used == n) return used;
    put_template(w, "<|start_header_id|>user<|end_header_id|>\n\n" CHAT_GIVEN_1 CHAT_GIVEN_2 CHAT_GIVEN_3 CHAT_GIVEN_4);
    for (int i = 0; i < tools->n; i++) {
        put_text(w, tools->json[i], strlen(tools->json[i]));
        put_text(w, "\n\n", 2);
    }
    struct chat_message first = trimmed(m[used]);
    put_text(w, first.text, first.n);
    put_id(w, w->c->end);
    return used + 1;
}

static bool finish(struct writer *w, bool reply, int ids, int marks)
{
    if (reply) begin_reply(w);
    flush(w);
    if (!w->ok) {
        w->out->n = ids;
        if (w->mask) w->mask->n = marks;
    }
    str_free(&w->run);
    return w->ok;
}

bool chat_write(const struct chat *c, struct ids *out, struct chat_mask *mask, const struct chat_message *m, int n, const struct chat_tools *tools, bool reply)
{
    struct writer w = { .c = c, .out = out, .mask = mask, .ok = true };
    int ids = out->n, marks = mask ? mask->n : 0, used = 0;
    if (tools && tools->n == 0) tools = NULL;
    ENSURE(!tools || c->v.tools);
    if (c->v.family == CHAT_CHATML) used = chatml_head(&w, m, n, tools);
    else if (c->v.family == CHAT_LLAMA3) used = llama_head(&w, m, n, tools);
    turns(&w, m, used, n);
    return finish(&w, reply, ids, marks);
}

bool chat_more(const struct chat *c, struct ids *out, struct chat_mask *mask, const struct chat_message *m, int n, bool reply)
{
    struct writer w = { .c = c, .out = out, .mask = mask, .ok = true };
    int ids = out->n, marks = mask ? mask->n : 0;
    if (c->v.family == CHAT_CHATML) put_text(&w, "\n", 1);       /* belongs to the turn before, but no model writes it */
    turns(&w, m, 0, n);
    return finish(&w, reply, ids, marks);
}

void chat_prompt(const struct chat *c, struct ids *out, const char *question)
{
    ENSURE(chat_write(c, out, NULL, &(struct chat_message){ CHAT_USER, question, strlen(question) }, 1, NULL, true));
}

void chat_mask_free(struct chat_mask *x)
{
    free(x->p);
    *x = (struct chat_mask){ 0 };
}
