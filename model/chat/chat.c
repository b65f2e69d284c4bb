/* chat.c: conversations to ids. Text between two special tokens is encoded as one piece, as in transformers after
 * running the template, because merges and regular expressions span a template's text and a message's. */
#define _GNU_SOURCE     /* memmem */
#include "model/chat/chat.h"
#include "model/chat/chat_in.h"
#include "base/json.h"
#include "base/utf8.h"
#include <string.h>

const char *const chat_special[] = {
    "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<think>", "</think>", "<result>", "</result>",
    "<answer>", "</answer>",
};
const int chat_specials = sizeof chat_special / sizeof *chat_special;
const char chat_pattern[] = "\\\\boxed\\{| ?\\p{L}+|\\p{N}| ?[^\\p{L}\\p{N}]";

/* Formats for model.chat_format: a known template's, with or without a default system message and tools. */
static const char qwen_system[] = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
static const char smol_system[] = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
static const struct { const char *name, *form, *system, *date; bool tools; } formats[] = {
    { "chatml", "chatml", "", "", true }, { "qwen2.5", "qwen2.5", qwen_system, "", true },
    { "qwen3", "qwen3", "", "", true }, { "qwen3-training", "qwen3, training", "", "", true },
    { "smollm2", "smollm2", smol_system, "", false }, { "llama3", "llama3", "", "", false },
    { "llama3.1", "llama3.1", "", "26 Jul 2024", true },
};
const char chat_formats[] = "appo, chatml, qwen2.5, qwen3, qwen3-training, smollm2, llama3, llama3.1";

static bool by_name(struct chat_variant *v, const char *name, struct err *e)
{
    *v = (struct chat_variant){ .family = CHAT_APPO };
    if (!strcmp(name, "appo")) return true;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(name, formats[i].name)) continue;
        int form = 0;
        while (strcmp(chat_form_at(form)->name, formats[i].form)) form++;
        *v = chat_form_at(form)->v;
        v->tools = formats[i].tools;
        /* chatml: Qwen's syntax, which was Hermes' */
        if (v->tools && v->calls == CHAT_CALLS_NONE) v->calls = CHAT_CALLS_QWEN3;
        snprintf(v->system, sizeof v->system, "%s", formats[i].system);
        snprintf(v->date, sizeof v->date, "%s", formats[i].date);
        return true;
    }
    return fail(e, "there is no chat format '%.60s'; there are: auto, %s", name, chat_formats);
}

/* The id of the templates' bos_token. */
static bool find_bos(struct chat *c, const struct chat_found *x, const char *name, struct err *e)
{
    static const char llama[] = "<|begin_of_text|>";
    /* there is no file that could name it */
    bool usual = !x->bos.n && c->v.family == CHAT_LLAMA3 && !x->configured;
    const char *bos = x->bos.n ? x->bos.p : usual ? llama : NULL;
    c->bos = -1;
    if (!c->v.bos) return true;
    if (!bos)
        return fail(e, "%s: its chat template prints bos_token, and no file names one: set it in tokenizer_config.json",
                    name);
    c->bos = tokenizer_id(c->t, bos);
    return c->bos >= 0 ||
           fail(e, "%s: its chat template prints bos_token '%.60s', which the tokenizer lacks", name, bos);
}

/* An unknown template named tool_use is an error only if a conversation declares tools. */
static void read_tool_use(struct chat *c, const struct chat_found *x)
{
    struct err e = { "" };
    if (!x->found_tool_use) return;
    c->has_tool_use = chat_recognise(&c->tool_use, x->tool_use.p, x->tool_use.n, &e);
    if (c->has_tool_use && (c->tool_use.family != c->v.family || (c->tool_use.bos && !c->v.bos)))
        c->has_tool_use = fail(&e, "it is of another family than the default one");
    if (!c->has_tool_use) snprintf(c->no_tool_use, sizeof c->no_tool_use, "%.199s", e.text);
}

/* Without a template only the embedded policy's format is certain. */
static bool by_template(struct chat *c, const char *model_path, struct err *e)
{
    struct chat_found x = { 0 };
    bool ok = !model_path || chat_find(model_path, &x, e);
    const char *name = model_path ? model_path : "this tokenizer";
    if (ok && x.found) {
        ok = chat_recognise(&c->v, x.text.p, x.text.n, e) || fail_in(e, "%s: chat template", name);
        ok = ok && find_bos(c, &x, name, e);
        if (ok) read_tool_use(c, &x);
    } else if (ok && tokenizer_id(c->t, "<|user|>") >= 0 && tokenizer_id(c->t, "<result>") >= 0) {
        ok = by_name(&c->v, "appo", e);
    } else if (ok) {
        ok = fail(e, "%s: it has no chat template, like a base model; choose one of: %s", name, chat_formats);
    }
    chat_found_free(&x);
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
        { CHAT_APPO, "<|pad|>", &c->pad }, { CHAT_APPO, "<|end|>", &c->end }, { CHAT_APPO, "<|user|>", &c->user },
        { CHAT_APPO, "<|assistant|>", &c->assistant }, { CHAT_CHATML, "<|im_start|>", &c->open },
        { CHAT_CHATML, "<|im_end|>", &c->end }, { CHAT_LLAMA3, "<|start_header_id|>", &c->open },
        { CHAT_LLAMA3, "<|end_header_id|>", &c->close },
        { CHAT_LLAMA3, "<|eot_id|>", &c->end },
    };
    c->end = c->pad = c->open = c->close = c->user = c->assistant = -1;
    for (size_t i = 0; i < sizeof need / sizeof *need; i++) {
        if (need[i].family != c->v.family) continue;
        *need[i].id = tokenizer_id(c->t, need[i].token);
        if (*need[i].id < 0)
            return fail(e, "the tokenizer has no token %s, which this chat format needs; formats are: %s",
                        need[i].token, chat_formats);
    }
    put_stop(c, c->end);
    if (c->v.family == CHAT_CHATML) put_stop(c, tokenizer_id(c->t, "<|endoftext|>"));
    if (c->v.family == CHAT_LLAMA3) {
        put_stop(c, tokenizer_id(c->t, "<|eom_id|>"));
        put_stop(c, tokenizer_id(c->t, "<|end_of_text|>"));
    }
    return true;
}

bool chat_open(struct chat *c, const struct tokenizer *t, const char *model_path, const char *format, struct err *e)
{
    *c = (struct chat){ .t = t, .bos = -1 };
    if (!strcmp(format, "auto")) return by_template(c, model_path, e) && find_tokens(c, e);
    const struct chat_found none = { 0 };
    return by_name(&c->v, format, e) && find_bos(c, &none, "model.chat_format", e) && find_tokens(c, e);
}

/* A conversation being written. */
struct chat_writer {
    const struct chat *c;
    const struct chat_variant *v;
    struct ids *out;
    struct chat_mask *mask;
    struct str run;             /* ordinary text since the last special token */
    int asked;                  /* index of the user's last message */
    bool own;                   /* ids are marked as the model's own */
    bool ok;
};

static void mark(struct chat_writer *w, int n)
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

static void flush(struct chat_writer *w)
{
    int start = w->out->n;
    w->ok = w->ok && (w->run.n == 0 || tokenizer_encode(w->c->t, w->out, w->run.p, w->run.n, false));
    mark(w, w->out->n - start);
    str_clear(&w->run);
}

static void put_id(struct chat_writer *w, int id)
{
    flush(w);
    ids_put(w->out, id);
    mark(w, 1);
}

/* Whether ids from here on are the model's own. */
static void set_own(struct chat_writer *w, bool own)
{
    flush(w);
    w->own = own;
}

static void put_text(struct chat_writer *w, const char *text, size_t n) { str_put(&w->run, text, n); }

/* The author of a text, which decides on the added tokens that are recognised in it. */
enum author { OF_TEMPLATE, OF_ASSISTANT, OF_OTHERS };

/* The embedded policy's tags are special tokens, which it may write, except those that begin and end turns. */
static bool allowed(const struct chat *c, int id, enum author author)
{
    if (author == OF_TEMPLATE) return true;
    if (c->v.family != CHAT_APPO || author == OF_OTHERS) return !tokenizer_special(c->t, id);
    return id != c->pad && id != c->end && id != c->user && id != c->assistant;
}

static void put_added(struct chat_writer *w, const char *text, size_t n, enum author author)
{
    for (size_t at = 0, len = 0; at < n; at += len) {
        int id = tokenizer_match(w->c->t, text + at, n - at, &len);
        if (id >= 0 && allowed(w->c, id, author)) put_id(w, id);
        else str_put(&w->run, text + at, len = 1);
    }
}

static void put_template(struct chat_writer *w, const char *text) { put_added(w, text, strlen(text), OF_TEMPLATE); }

/* The text of a system's, a user's or a tool's message. */
static void put_given(struct chat_writer *w, struct chat_message m)
{
    if (m.role == CHAT_TOOL || m.role == CHAT_FUNCTION) put_text(w, m.text, m.n);
    else put_added(w, m.text, m.n, OF_OTHERS);
}

/* Python's str.strip(). */
static struct chat_message trimmed(struct chat_message m)
{
    uint32_t c;
    for (int len; m.n && (len = utf8_get(m.text, m.n, &c)) > 0 && utf8_is_space(c); m.n -= (size_t)len) m.text += len;
    for (bool more = true; more && m.n;) {
        size_t len = 1;
        while (len < 4 && len < m.n && utf8_continues(m.text[m.n - len])) len++;
        more = utf8_get(m.text + m.n - len, len, &c) == (int)len && utf8_is_space(c);
        if (more) m.n -= len;
    }
    return m;
}

static struct chat_message trimmed_end(struct chat_message m, bool before, bool behind)
{
    struct chat_message t = trimmed(m);
    const char *begin = before ? t.text : m.text, *end = behind ? t.text + t.n : m.text + m.n;
    m.text = begin;
    m.n = begin < end ? (size_t)(end - begin) : 0;
    return m;
}

static struct chat_message without_breaks(struct chat_message m, bool before, bool behind)
{
    for (; before && m.n && *m.text == '\n'; m.n--) m.text++;
    while (behind && m.n && m.text[m.n - 1] == '\n') m.n--;
    return m;
}

static const char think_end[] = "</think>", think_begin[] = "<think>";

/* The last place of a mark in m; m.n: there is none. */
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

/* Splits an assistant's message as Qwen3's template does. thought: reasoning_content, else the text before the first
 * </think> and after a <think>; answer: the text after the last </think>. */
static void part(struct chat_message m, struct chat_message *thought, struct chat_message *answer)
{
    size_t end = first_of(m, think_end, sizeof think_end - 1);
    *thought = *answer = m;
    thought->n = 0;
    if (m.thought) {
        thought->text = m.thought;
        thought->n = strlen(m.thought);
        return;
    }
    if (end == m.n) return;
    size_t last = last_of(m, think_end, sizeof think_end - 1) + sizeof think_end - 1;
    answer->text += last;
    answer->n -= last;
    *answer = without_breaks(*answer, true, false);
    thought->n = end;
    *thought = without_breaks(*thought, false, true);
    size_t begin = last_of(*thought, think_begin, sizeof think_begin - 1);
    if (begin < thought->n) {
        thought->text += begin + sizeof think_begin - 1;
        thought->n -= begin + sizeof think_begin - 1;
    }
    *thought = without_breaks(*thought, true, false);
}

/* ---- the families: the beginning of a reply, the text of a turn ---- */

static void begin_reply(struct chat_writer *w)
{
    switch (w->v->family) {
    case CHAT_APPO: put_id(w, w->c->assistant); break;
    case CHAT_LLAMA3: put_template(w, "<|start_header_id|>assistant<|end_header_id|>\n\n"); break;
    case CHAT_CHATML:
        put_template(w, "<|im_start|>assistant\n");
        if (w->v->think == CHAT_THINK_OPEN) put_template(w, "<think>\n");
        if (w->v->think == CHAT_THINK_OFF) put_template(w, "<think>\n\n</think>\n\n");
        break;
    }
    flush(w);
}

/* A turn with its thought, after the beginning of a reply. If begin_reply would write an empty thought and the turn has
 * one, the turn begins without it. */
static void thinking_turn(struct chat_writer *w, struct chat_message thought, struct chat_message answer)
{
    enum chat_think think = w->v->think;
    bool own = w->own;
    w->own = false;
    if (think == CHAT_THINK_OFF && thought.n) put_template(w, "<|im_start|>assistant\n");
    else begin_reply(w);
    set_own(w, own);
    if (think == CHAT_THINK_FREE || (think == CHAT_THINK_OFF && thought.n)) put_template(w, "<think>\n");
    if (think != CHAT_THINK_OFF || thought.n) {
        put_added(w, thought.text, thought.n, OF_ASSISTANT);
        put_template(w, "\n</think>\n\n");
    }
    answer = without_breaks(answer, true, false);
    put_added(w, answer.text, answer.n, OF_ASSISTANT);
}

/* Splits an assistant's text in formats with thoughts; true: its thought is written. */
static bool with_thought(const struct chat_writer *w, struct chat_message m, bool last, bool behind,
                         struct chat_message *thought, struct chat_message *answer)
{
    part(m, thought, answer);
    switch (w->v->keep) {
    case CHAT_KEEP_ALL: *thought = without_breaks(*thought, true, true); return true;
    case CHAT_KEEP_NONE: *answer = without_breaks(*answer, true, false); return false;
    case CHAT_KEEP_LAST: break;
    }
    bool some = thought->n > 0;
    *thought = without_breaks(*thought, true, true);
    return behind && (last || some);
}

/* as_reply: after the whole beginning of a reply. */
static void plain_turn(struct chat_writer *w, struct chat_message answer, bool as_reply)
{
    bool own = w->own;
    w->own = false;
    if (as_reply || w->v->think == CHAT_THINK_NONE) begin_reply(w);
    else put_template(w, "<|im_start|>assistant\n");
    set_own(w, own);
    put_added(w, answer.text, answer.n, OF_ASSISTANT);
}

/* A text as a rollout composed it: every piece is encoded by itself. Its first words may repeat the beginning of a
 * reply. */
static void put_pieces(struct chat_writer *w, const struct chat_message *m, bool own)
{
    bool end = w->own;
    for (int i = 0; i < m->pieces; i++) {
        struct chat_message part = { .text = m->piece[i].text, .n = m->piece[i].n };
        set_own(w, own && m->piece[i].own);
        for (int k = 0; m->piece[i].ids && k < m->piece[i].ids->n; k++) put_id(w, m->piece[i].ids->p[k]);
        if (m->piece[i].ids) continue;
        if (i == 0 && w->v->think == CHAT_THINK_OPEN && part.n >= sizeof think_begin - 1 &&
            !memcmp(part.text, think_begin, sizeof think_begin - 1)) {
            part.text += sizeof think_begin - 1;
            part.n -= sizeof think_begin - 1;
            part = without_breaks(part, true, false);
        }
        if (w->v->family == CHAT_LLAMA3) part = trimmed_end(part, i == 0, i == m->pieces - 1);
        put_added(w, part.text, part.n, OF_ASSISTANT);
    }
    set_own(w, end);
}

static void assistant_turn(struct chat_writer *w, const struct chat_message *m, int i, int n)
{
    static const struct chat_message nothing = { .text = "" };
    struct chat_message thought, answer = m[i];
    const struct chat_variant *v = w->v;
    bool writes = false, text = answer.n > 0, lost = false;
    ENSURE(!answer.calls || v->calls != CHAT_CALLS_NONE);
    flush(w);
    w->own = !answer.quiet;
    if (v->think != CHAT_THINK_NONE && (!answer.pieces || answer.thought)) {
        writes = with_thought(w, m[i], i == n - 1, i > w->asked, &thought, &answer);
        if (v->keep != CHAT_KEEP_NONE) text = answer.n > 0;
        lost = !writes && thought.n;
        if (lost) w->own = false;
    }
    if (v->family == CHAT_LLAMA3) answer = trimmed(answer);
    if (answer.calls && v->calls == CHAT_CALLS_LLAMA3) answer.n = 0;
    if (m[i].pieces) answer = nothing;
    if (writes) thinking_turn(w, thought, answer);
    else plain_turn(w, answer, m[i].pieces && !m[i].thought);
    if (m[i].pieces) put_pieces(w, &m[i], !lost);
    if (m[i].calls) {
        struct str calls = { 0 };
        chat_put_calls(&calls, m[i].calls, v->calls, text);
        put_added(w, calls.p, calls.n, OF_ASSISTANT);
        str_free(&calls);
    }
    put_id(w, w->c->end);
    set_own(w, false);
    if (v->family == CHAT_CHATML) put_text(w, "\n", 1);
}

static const char *const role_names[] = {
    [CHAT_SYSTEM] = "system", [CHAT_USER] = "user",           [CHAT_ASSISTANT] = "assistant",
    [CHAT_TOOL] = "tool",     [CHAT_DEVELOPER] = "developer", [CHAT_FUNCTION] = "function"
};

/* Qwen's tool results are a user's turn; neighbouring ones share it. */
static void chatml_turn(struct chat_writer *w, const struct chat_message *m, int i, int n)
{
    bool result = m[i].role == CHAT_TOOL && w->v->tools;
    if (!result || i == 0 || m[i - 1].role != CHAT_TOOL) {
        put_id(w, w->c->open);
        put_template(w, result ? "user" : role_names[m[i].role]);
    }
    put_template(w, result ? "\n<tool_response>\n" : "\n");
    put_given(w, m[i]);
    if (result) put_template(w, "\n</tool_response>");
    if (result && i + 1 < n && m[i + 1].role == CHAT_TOOL) return;
    put_id(w, w->c->end);
    put_text(w, "\n", 1);
}

/* Llama 3.1's template passes a tool's text through tojson, because a text is iterable: it is written in quotation
 * marks. */
static void llama_turn(struct chat_writer *w, struct chat_message m)
{
    bool result = m.role == CHAT_TOOL && w->v->tools;
    put_id(w, w->c->open);
    put_template(w, result ? "ipython" : role_names[m.role]);
    put_id(w, w->c->close);
    put_template(w, "\n\n");
    if (result) chat_json_string(&w->run, m.text, m.n);
    else put_given(w, trimmed(m));
    put_id(w, w->c->end);
}

static void appo_turn(struct chat_writer *w, struct chat_message m)
{
    if (m.role == CHAT_TOOL) put_template(w, " <result>\n");
    else put_id(w, w->c->user);
    put_given(w, m);
    if (m.role == CHAT_TOOL) put_template(w, "\n</result>");
}

static void turns(struct chat_writer *w, const struct chat_message *m, int i, int n)
{
    for (; i < n; i++) {
        if (m[i].role == CHAT_ASSISTANT) assistant_turn(w, m, i, n);
        else if (w->v->family == CHAT_CHATML) chatml_turn(w, m, i, n);
        else if (w->v->family == CHAT_LLAMA3) llama_turn(w, m[i]);
        else appo_turn(w, m[i]);
    }
}

/* ---- the text before the turns; returns the number of messages it has used ---- */

static int chatml_head(struct chat_writer *w, const struct chat_message *m, int n, const struct chat_tools *tools)
{
    bool given = n > 0 && m[0].role == CHAT_SYSTEM, some = given || *w->v->system;
    if (w->v->bos) put_id(w, w->c->bos);
    if (!some && !tools) return 0;
    put_template(w, "<|im_start|>system\n");
    if (given) put_given(w, m[0]);
    else put_template(w, w->v->system);
    if (tools) {
        put_template(w, some || w->v->gap ? "\n\n" CHAT_TOOLS_HEAD : CHAT_TOOLS_HEAD);
        for (int i = 0; i < tools->n; i++) {
            put_text(w, "\n", 1);
            put_added(w, tools->json[i], strlen(tools->json[i]), OF_OTHERS);
        }
        put_template(w, CHAT_TOOLS_TAIL);
    }
    put_template(w, "<|im_end|>\n");
    return given;
}

/* Llama 3.1 and later: a system turn with the dates, always; tools go into the first user's turn. */
static int llama_head(struct chat_writer *w, const struct chat_message *m, int n, const struct chat_tools *tools)
{
    put_id(w, w->c->bos);
    if (!*w->v->date) return 0;
    int used = n > 0 && m[0].role == CHAT_SYSTEM;
    put_template(w, "<|start_header_id|>system<|end_header_id|>\n\n");
    if (tools) put_template(w, "Environment: ipython\n");
    put_template(w, CHAT_CUTOFF "Today Date: ");
    put_template(w, w->v->date);
    put_template(w, "\n\n");
    if (used) put_given(w, trimmed(m[0]));
    put_id(w, w->c->end);
    if (!tools || used == n) return used;
    put_template(w, "<|start_header_id|>user<|end_header_id|>\n\n" CHAT_GIVEN_1 CHAT_GIVEN_2 CHAT_GIVEN_3 CHAT_GIVEN_4);
    for (int i = 0; i < tools->n; i++) {
        put_added(w, tools->json[i], strlen(tools->json[i]), OF_OTHERS);
        put_text(w, "\n\n", 2);
    }
    put_given(w, trimmed(m[used]));
    put_id(w, w->c->end);
    return used + 1;
}

static bool finish(struct chat_writer *w, bool reply, int ids, int marks)
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

/* The user's last message that is not tool results in a user's turn, as Qwen3's template finds it; none:
 * `otherwise`. */
static int last_asked(const struct chat_message *m, int n, int otherwise)
{
    static const char open[] = "<tool_response>", close[] = "</tool_response>";
    size_t a = sizeof open - 1, b = sizeof close - 1;
    for (int i = n - 1; i >= 0; i--) {
        bool results = m[i].n >= b && !memcmp(m[i].text, open, a) && !memcmp(m[i].text + m[i].n - b, close, b);
        if (m[i].role == CHAT_USER && !results) return i;
    }
    return otherwise;
}

static bool check_calls(const struct chat_variant *v, const struct chat_message *m, struct err *e)
{
    if (v->calls == CHAT_CALLS_NONE)
        return fail(e, "does not write \"tool_calls\": put the call into \"content\", in the syntax that the model is "
                       "to write");
    if (v->calls != CHAT_CALLS_LLAMA3) return true;
    int n = chat_count_calls(m->calls);
    if (n != 1) return fail(e, "takes one call in a message, not %d", n);
    return trimmed(*m).n == 0 || fail(e, "leaves out the \"content\" of a message with \"tool_calls\": it would be "
                                         "lost");
}

static bool check_one(const struct chat_variant *v, const struct chat_message *m, struct err *e)
{
    bool named = m->role == CHAT_DEVELOPER || m->role == CHAT_FUNCTION;
    if (named && !v->any_role) return fail(e, "has no place for the role \"%s\"", role_names[m->role]);
    if (m->thought && *m->thought && (v->think == CHAT_THINK_NONE || v->keep == CHAT_KEEP_NONE))
        return fail(e, "does not write \"reasoning_content\": it would be lost");
    if (m->parts && m->role == CHAT_TOOL && v->calls == CHAT_CALLS_LLAMA3)
        return fail(e, "writes a tool's \"content\" that is a list as JSON: give the text");
    return !m->calls || check_calls(v, m, e);
}

bool chat_check(const struct chat *c, const struct chat_message *m, int n, bool tools, struct err *e)
{
    const struct chat_variant *v = chat_variant_of(c, tools);
    for (int i = 0; i < n; i++)
        if (!check_one(v, &m[i], e)) return fail_in(e, "message %d: this model's chat template", i);
    int first = n > 0 && m[0].role == CHAT_SYSTEM;
    if (!tools || v->family != CHAT_LLAMA3 || (n > first && m[first].role == CHAT_USER)) return true;
    return fail(e, "message %d: this model's chat template puts tools into the first message, which must be the user's",
                first);
}

bool chat_write(const struct chat *c, struct ids *out, struct chat_mask *mask, const struct chat_message *m, int n,
                const struct chat_tools *tools, bool reply)
{
    if (tools && tools->n == 0) tools = NULL;
    struct chat_writer w = { .c = c, .v = chat_variant_of(c, tools != NULL), .out = out, .mask = mask, .ok = true };
    w.asked = last_asked(m, n, n - 1);
    int ids = out->n, marks = mask ? mask->n : 0, used = 0;
    ENSURE(!tools || w.v->tools);
    if (w.v->family == CHAT_CHATML) used = chatml_head(&w, m, n, tools);
    else if (w.v->family == CHAT_LLAMA3) used = llama_head(&w, m, n, tools);
    turns(&w, m, used, n);
    return finish(&w, reply, ids, marks);
}

bool chat_more(const struct chat *c, struct ids *out, struct chat_mask *mask, const struct chat_message *m, int n,
               bool reply)
{
    bool results = false;
    for (int i = 0; i < n; i++) results |= m[i].role == CHAT_TOOL;
    struct chat_writer w = { .c = c, .v = chat_variant_of(c, results), .out = out, .mask = mask, .ok = true };
    w.asked = last_asked(m, n, -1);
    int ids = out->n, marks = mask ? mask->n : 0;
    /* belongs to the turn before, but no model generates it */
    if (w.v->family == CHAT_CHATML) put_text(&w, "\n", 1);
    turns(&w, m, 0, n);
    return finish(&w, reply, ids, marks);
}

void chat_prompt(const struct chat *c, struct ids *out, const char *text)
{
    ENSURE(chat_write(c, out, NULL, &(struct chat_message){ CHAT_USER, text, .n = strlen(text) }, 1, NULL, true));
}

void chat_mask_free(struct chat_mask *x)
{
    free(x->p);
    *x = (struct chat_mask){ 0 };
}
