/* tool_calls.c: calls in tags, call formats, tokens of results. */
#include "engine/tools/tool_calls_in.h"
#include "base/err.h"
#include "base/utf8.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

bool call_ends(struct found_call *c, const char *text, size_t end, size_t floor[TOOLS_MAX])
{
    for (int t = 0; t < tool_table.n; t++) {
        const struct tool *x = &tool_table.row[t];
        if (!bytes_end_with(text, end, x->close)) continue;
        size_t close = end - strlen(x->close);
        for (size_t b = close; b >= floor[t] + strlen(x->open); b--)
            if (bytes_end_with(text, b, x->open)) {
                *c = (struct found_call){ t, b, close };
                return true;
            }
        if (close > floor[t]) floor[t] = close;
    }
    return false;
}

bool tools_find_call(struct found_call *c, const char *text, size_t n, size_t fresh)
{
    size_t floor[TOOLS_MAX] = { 0 };
    if (fresh > n) fresh = n;
    for (size_t end = n - fresh + 1; end <= n; end++)
        if (text[end - 1] == '>' && call_ends(c, text, end, floor)) return true;
    return false;
}

enum { TEXT_MAX = 1 << 20 };        /* bytes of a result that are read: far more than any token budget holds */

static void encode(const struct tokenizer *t, struct ids *out, const char *text, size_t n, bool special)
{
    if (!tokenizer_encode(t, out, text, n, special))
        die("the tokenizer cannot encode \"%.*s\", which every result needs", (int)n, text);
}

int tools_result_ids(const struct tokenizer *t, struct ids *out, const char *text, size_t n, int max_text, int room)
{
    static const char before[] = RESULT_BEFORE, after[] = RESULT_AFTER;
    int start = out->n;
    struct ids close = { 0 };
    encode(t, out, before, sizeof before - 1, true);
    encode(t, &close, after, sizeof after - 1, true);
    int tags = out->n - start + close.n, body = out->n;
    if (!tokenizer_encode(t, out, text, n < TEXT_MAX ? n : TEXT_MAX, false))
        encode(t, out, TOOL_UNENCODABLE, strlen(TOOL_UNENCODABLE), false);
    int keep = out->n - body;
    if (max_text >= 0 && keep > max_text) keep = max_text;
    if (keep > room - tags) keep = room > tags ? room - tags : 0;
    out->n = body + keep;
    for (int i = 0; i < close.n; i++) ids_put(out, close.p[i]);
    if (out->n - start > room) out->n = start + (room > 0 ? room : 0);
    ids_free(&close);
    return out->n - start;
}

/* ---- forms ---- */

/* Differences between the formats. stop: a further token that ends a turn of calls, besides the chat format's own. */
static const struct { enum chat_family family; const char *name, *stop; } forms[] = {
    [CALLS_TAGS] = { CHAT_APPO, "tags", NULL }, [CALLS_AUTO] = { CHAT_APPO, "auto", NULL },
    [CALLS_HERMES] = { CHAT_CHATML, "hermes", NULL },
    [CALLS_LLAMA3_JSON] = { CHAT_LLAMA3, "llama3_json", "<|eom_id|>" },
};
enum { FORMS = sizeof forms / sizeof *forms };

static bool fits(const struct chat *c, int format)
{
    const struct chat_variant *v = chat_variant_of(c, true);
    bool turns = format != CALLS_TAGS && format != CALLS_AUTO;
    return turns && v->tools && v->family == forms[format].family;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++) n++;
    return n;
}

/* The declarations contain an example of a call. */
static int declared_calls(const struct call_form *f)
{
    struct ids ids = { 0 };
    struct str text = { 0 };
    str_clear(&text);
    if (chat_write(f->chat, &ids, NULL, NULL, 0, &f->tools, false))
        tokenizer_decode(f->chat->t, &text, ids.p, ids.n, true);
    int n = count(text.p, CALL_OPEN);
    str_free(&text);
    ids_free(&ids);
    return n;
}

static void write_errors(struct call_form *f)
{
    str_puts(&f->unknown, tool_table.n > 1 ? "error: there is no such tool; there are "
                                           : "error: there is no such tool; there is ");
    tools_list(&f->unknown);
    for (int t = 0; t < tool_table.n; t++)
        str_printf(&f->missing[t], "error: %s needs the argument %s, a string", tool_table.row[t].name,
                   tool_table.row[t].argument);
}

bool call_form_open(struct call_form *f, enum call_format wanted, const struct chat *chat, struct err *e)
{
    *f = (struct call_form){ .format = wanted, .chat = chat };
    for (int k = 0; wanted == CALLS_AUTO && k < FORMS; k++) if (fits(chat, k)) f->format = (enum call_format)k;
    if (f->format == CALLS_AUTO) f->format = CALLS_TAGS;
    if (f->format == CALLS_TAGS) return true;
    if (!fits(chat, f->format))
        return fail(e,
                    "tools.format=%s: this model's chat format has no place for such calls; hermes is for chatml, "
                    "qwen2.5 and qwen3, llama3_json for llama3.1 "
                    "(model.chat_format); tags work with every model",
                    forms[wanted].name);
    f->stop[f->stops++] = chat->end;
    int more = forms[f->format].stop ? tokenizer_id(chat->t, forms[f->format].stop) : -1;
    if (more >= 0) f->stop[f->stops++] = more;
    struct str declared = { 0 };
    tools_declare(&declared);
    bool ok = chat_tools_read(&f->tools, chat, declared.p, declared.n, e);
    str_free(&declared);
    if (!ok) return false;
    f->declared = declared_calls(f);
    write_errors(f);
    return true;
}

void call_form_close(struct call_form *f)
{
    chat_tools_free(&f->tools);
    str_free(&f->unknown);
    for (int t = 0; t < TOOLS_MAX; t++) str_free(&f->missing[t]);
    *f = (struct call_form){ 0 };
}

bool call_form_stop(const struct call_form *f, int id)
{
    for (int i = 0; i < f->stops; i++) if (f->stop[i] == id) return true;
    return false;
}

int call_form_count(const struct call_form *f, const char *text)
{
    int n = 0;
    for (int t = 0; !call_form_turns(f) && t < tool_table.n; t++) n += count(text, tool_table.row[t].close);
    if (call_form_turns(f) && f->format == CALLS_HERMES) n = count(text, CALL_OPEN) - f->declared;
    /* Llama's calls have no marker to count; the calls that the rollout made are counted without it */
    return n > 0 ? n : 0;
}

/* ---- the results of a turn ---- */

struct result {
    struct str text, cut;
    struct ids ids;                 /* of the text alone */
    int most;                       /* of them that may be kept */
};

static void result_make(struct result *x, const struct tokenizer *t, const struct str *text, int max_text)
{
    str_clear(&x->text);
    str_put(&x->text, text->p ? text->p : "", text->n < TEXT_MAX ? text->n : TEXT_MAX);
    if (!tokenizer_encode(t, &x->ids, x->text.p, x->text.n, false)) {
        str_clear(&x->text);
        str_puts(&x->text, TOOL_UNENCODABLE);
        encode(t, &x->ids, x->text.p, x->text.n, false);
    }
    x->most = max_text >= 0 && x->ids.n > max_text ? max_text : x->ids.n;
}

/* The text of the first `keep` tokens, without half a character at the end. */
static struct chat_message result_cut(struct result *x, const struct tokenizer *t, int keep)
{
    if (keep >= x->ids.n) return (struct chat_message){ CHAT_TOOL, x->text.p, .n = x->text.n };
    str_clear(&x->cut);
    tokenizer_decode(t, &x->cut, x->ids.p, keep, true);
    size_t n = x->cut.n, back = 0;
    uint32_t c;
    while (back < 3 && back < n && utf8_continues(x->cut.p[n - 1 - back])) back++;
    if (back < n && (unsigned char)x->cut.p[n - 1 - back] >= 0xc0 && !utf8_get(x->cut.p + n - 1 - back, back + 1, &c))
        n -= back + 1;
    return (struct chat_message){ CHAT_TOOL, x->cut.p, .n = n };
}

/* Appends all results with `budget` tokens of text in all, earlier ones first. Returns how many tokens it appended. */
static int write_results(const struct call_form *f, struct ids *out, struct result *x, int n, int64_t budget)
{
    struct chat_message *m = xcalloc((size_t)n, sizeof *m);
    int64_t used = 0;
    for (int k = 0; k < n; k++) {
        int keep = x[k].most < budget - used ? x[k].most : (int)(budget - used);
        m[k] = result_cut(&x[k], f->chat->t, keep);
        used += keep;
    }
    int start = out->n;
    /* each text was encoded before by itself; only the joints are new */
    if (!chat_more(f->chat, out, NULL, m, n, true)) {
        for (int k = 0; k < n; k++)
            m[k] = (struct chat_message){ CHAT_TOOL, TOOL_UNENCODABLE, .n = strlen(TOOL_UNENCODABLE) };
        if (!chat_more(f->chat, out, NULL, m, n, true))
            die("the tokenizer cannot encode the text around a tool's result");
    }
    free(m);
    return out->n - start;
}

int turn_result_ids(const struct call_form *f, struct ids *out, const struct str *text, int n, int max_text, int room)
{
    struct result *x = xcalloc((size_t)n, sizeof *x);
    int start = out->n;
    int64_t budget = 0;
    for (int k = 0; k < n; k++) {
        result_make(&x[k], f->chat->t, &text[k], max_text);
        budget += x[k].most;
    }
    /* shorten the texts by the excess; merges across their ends may need another round */
    for (int all; (all = write_results(f, out, x, n, budget)) > room && budget > 0; out->n = start)
        budget = budget > all - room ? budget - (all - room) : 0;
    if (out->n - start > room) out->n = start + (room > 0 ? room : 0);
    for (int k = 0; k < n; k++) {
        str_free(&x[k].text);
        str_free(&x[k].cut);
        ids_free(&x[k].ids);
    }
    free(x);
    return out->n - start;
}
