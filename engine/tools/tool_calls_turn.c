/* tool_calls_turn.c: the calls of a turn, as Qwen2.5, Qwen3 and Llama 3 write them. JSON is read within bounds, every
 * tag is visited once, and every error for a faulty call is a fixed text, so that a run repeats to the byte whatever
 * the version of the JSON library. */
#define _GNU_SOURCE     /* memmem */
#include "engine/tools/tool_calls_in.h"
#include "base/err.h"
#include "base/text.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char think_end[] = "</think>", python_tag[] = "<|python_tag|>", fence[] = "```";
enum {
    OPEN = sizeof CALL_OPEN - 1, CLOSE = sizeof CALL_CLOSE - 1, THINK = sizeof think_end - 1,
    TAG = sizeof python_tag - 1, FENCE = sizeof fence - 1,
};
static const size_t nowhere = SIZE_MAX;

/* The error shows the key that the format declares in its prompt; both names are read. */
static const char *const shape[] = {
    [CALLS_HERMES] = "error: a call must be {\"name\": ..., \"arguments\": {...}}",
    [CALLS_LLAMA3_JSON] = "error: a call must be {\"name\": ..., \"parameters\": {...}}",
};

/* ---- one call ---- */

static json_t *parse(const struct str *clean, const char **wrong)
{
    json_error_t why;
    json_t *j = json_loadb(clean->p, clean->n, JSON_REJECT_DUPLICATES, &why);
    if (!j) *wrong = json_error_code(&why) == json_error_duplicate_key ? CALL_TWICE : CALL_NOT_JSON;
    return j;
}

/* The call itself, which {"type": "function", "function": {...}} wraps. */
static const json_t *body_of(const json_t *j)
{
    const json_t *inner = json_object_get(j, "function");
    return json_is_object(inner) ? inner : j;
}

static const json_t *name_of(const json_t *call)
{
    const json_t *name = json_object_get(call, "name");
    /* Llama 3.2: {"function": "search", "parameters": ...} */
    return name ? name : json_object_get(call, "function");
}

static const json_t *arguments_of(const json_t *call)
{
    const json_t *arguments = json_object_get(call, "arguments");
    return arguments ? arguments : json_object_get(call, "parameters");
}

static int tool_of(const json_t *name)
{
    return json_is_string(name) ? tool_by_name(json_string_value(name)) : TOOL_NONE;
}

/* Arguments given as a string that holds their JSON. */
static json_t *parse_text(const json_t *text, const struct call_form *f, const char **wrong)
{
    struct str clean = { 0 };
    const char *p = json_string_value(text), *end = p + json_string_length(text);
    while (p < end && is_space(*p)) p++;
    size_t n = call_object(p, (size_t)(end - p), &clean, wrong);
    while (n && p + n < end && is_space(p[n])) n++;
    if (n && p + n < end) *wrong = CALL_NOT_JSON;
    if (p < end && *p == '[') *wrong = shape[f->format];
    json_t *j = *wrong ? NULL : parse(&clean, wrong);
    str_free(&clean);
    return j;
}

/* Sets tool and query of the call j, or the error. */
static void read_call(struct turn_call *c, const struct call_form *f, const json_t *j)
{
    const json_t *call = body_of(j), *name = name_of(call), *arguments = arguments_of(call);
    json_t *inner = NULL;
    if (json_is_string(arguments)) arguments = inner = parse_text(arguments, f, &c->wrong);
    if (!c->wrong && (!json_is_string(name) || !json_is_object(arguments))) c->wrong = shape[f->format];
    int t = c->wrong ? TOOL_NONE : tool_of(name);
    const struct tool *tool = tool_row(t);
    if (!c->wrong && !tool) c->wrong = f->unknown.p;
    const json_t *query = c->wrong ? NULL : json_object_get(arguments, tool->argument);
    if (!c->wrong && !json_is_string(query)) c->wrong = f->missing[t].p;
    c->tool = c->wrong ? TOOL_NONE : t;
    if (!c->wrong) str_put(&c->query, json_string_value(query), json_string_length(query));
    json_decref(inner);
}

/* ---- a turn ---- */

struct turn {
    struct turn_calls *x;
    const struct call_form *f;
    const char *text;
    size_t n;
    size_t open, close, think;          /* next position of each tag, as far as known */
    struct str clean;
};

static bool stands(const struct turn *t, size_t at, const char *what, size_t len)
{
    return at <= t->n && t->n - at >= len && !memcmp(t->text + at, what, len);
}

static size_t find(const struct turn *t, const char *what, size_t from)
{
    const char *p = from < t->n ? memmem(t->text + from, t->n - from, what, strlen(what)) : NULL;
    return p ? (size_t)(p - t->text) : nowhere;
}

/* The same for a `from` that only grows; *known is the last result. */
static size_t find_next(const struct turn *t, const char *what, size_t from, size_t *known)
{
    return *known < from ? *known = find(t, what, from) : *known;
}

/* End of a faulty call: the next tag from `from` on, or the end of the turn. */
static size_t next_tag(struct turn *t, size_t from)
{
    size_t close = find_next(t, CALL_CLOSE, from, &t->close), open = find_next(t, CALL_OPEN, from, &t->open);
    return close < open ? close : open < t->n ? open : t->n;
}

static size_t skip_space(const struct turn *t, size_t at)
{
    while (at < t->n && is_space(t->text[at])) at++;
    return at;
}

/* Position behind ``` and the word on its line; at itself if there is no fence. */
static size_t skip_fence(const struct turn *t, size_t at)
{
    if (!stands(t, at, fence, FENCE)) return at;
    for (at += FENCE; at < t->n && is_letter(t->text[at]); at++) {}
    return skip_space(t, at);
}

/* Adds the call text[begin, end): j, or the error. Takes j. */
static void add(struct turn *t, size_t begin, size_t end, json_t *j, const char *wrong)
{
    struct turn_calls *x = t->x;
    if (x->n < CALLS_MAX) {
        if (x->n == x->cap) x->p = xrealloc(x->p, (size_t)(x->cap = x->cap ? 2 * x->cap : 4) * sizeof *x->p);
        struct turn_call *c = &x->p[x->n++];
        *c = (struct turn_call){ .tool = TOOL_NONE, .begin = begin, .end = end, .wrong = wrong };
        if (!wrong) read_call(c, t->f, j);
    }
    json_decref(j);
}

/* Drops the calls before the end of a thought: they were part of it. */
static void drop(struct turn *t) { turn_calls_free(t->x); }

/* ---- <tool_call> ---- */

/* Takes the call that the tag at `at` opens and returns the position behind it. The tag is only text if no JSON follows
 * and no closing tag comes before the next opening one; the position is then behind the tag. */
static size_t take_hermes(struct turn *t, size_t at)
{
    size_t body = skip_space(t, at + OPEN), begin = skip_space(t, skip_fence(t, body)), n;
    size_t stop = next_tag(t, at + OPEN);
    const char *wrong = CALL_NOT_JSON;
    json_t *j = NULL;
    if (begin >= t->n || !strchr("{[", t->text[begin]) || !t->text[begin]) {
        if (!stands(t, stop, CALL_CLOSE, CLOSE)) return at + OPEN;
    } else if ((n = call_object(t->text + begin, t->n - begin, &t->clean, &wrong))) {
        size_t end = skip_space(t, begin + n);
        if (begin > body && stands(t, end, fence, FENCE)) end = skip_space(t, end + FENCE);
        bool closed = stands(t, end, CALL_CLOSE, CLOSE);
        if (closed || end == t->n || stands(t, end, CALL_OPEN, OPEN)) {
            j = parse(&t->clean, &wrong);
            add(t, begin, begin + n, j, wrong);
            return closed ? end + CLOSE : end;
        }
        wrong = CALL_NOT_JSON;
        stop = next_tag(t, end);
    } else if (t->text[begin] == '[') {
        wrong = shape[CALLS_HERMES];
    }
    if (begin > stop) begin = stop;
    add(t, begin, stop, NULL, wrong);
    return stands(t, stop, CALL_CLOSE, CLOSE) ? stop + CLOSE : stop;
}

static void find_hermes(struct turn *t)
{
    for (size_t at = 0; at < t->n;) {
        size_t open = find_next(t, CALL_OPEN, at, &t->open), think = find_next(t, think_end, at, &t->think);
        if (think < open) drop(t);
        else if (open == nowhere) break;
        at = think < open ? think + THINK : take_hermes(t, open);
    }
}

/* ---- a reply in JSON ---- */

/* {"name": "Paris"} is an answer, and so is {"name": "python", "year": 1991}; {"name": "search", "query": "a"} is
 * meant as a call. */
static bool is_call(const json_t *j)
{
    const json_t *call = body_of(j), *type = json_object_get(j, "type"), *name = name_of(call);
    bool function = json_is_string(type) && !strcmp(json_string_value(type), "function");
    const json_t *given = arguments_of(call);
    const struct tool *tool = tool_row(tool_of(name));
    bool meant = tool && (given || json_object_get(call, tool->argument));
    return json_is_string(name) && (function || meant || (given && !json_is_null(given)));
}

static bool has_key(const struct turn *t, size_t at, size_t end, const char *key)
{
    char quoted[32];
    for (int q = 0; q < 2; q++) {
        snprintf(quoted, sizeof quoted, q ? "'%s'" : "\"%s\"", key);
        if (memmem(t->text + at, end - at, quoted, strlen(quoted))) return true;
    }
    return false;
}

/* Whether the unreadable text from `at` on looks like a call. n: bytes of the object there, 0 if it is incomplete. */
static bool looks_like_call(const struct turn *t, size_t at, size_t n)
{
    size_t most = n ? n : CALL_BYTES, end = t->n - at < most ? t->n : at + most, first = skip_space(t, at + 1);
    bool named = has_key(t, at, end, "name") || has_key(t, at, end, "function");
    bool given = has_key(t, at, end, "parameters") || has_key(t, at, end, "arguments");
    return stands(t, first, "\"name\"", 6) || (named && given);
}

/* Whether text[at, end) holds only blanks, separators of calls, fences and the tag, so that a call may follow. */
static bool only_between(const struct turn *t, size_t at, size_t end, bool *tagged)
{
    while (at < end) {
        size_t next = skip_fence(t, at);
        if (stands(t, at, python_tag, TAG)) { *tagged = true; next = at + TAG; }
        if (next == at && !is_space(t->text[at]) && !strchr(";,[]", t->text[at])) return false;
        at = next > at ? next : at + 1;
    }
    return true;
}

/* <function=search>{"query": ...}</function>, as Llama 3.1 calls with another prompt: the object at `at` holds the
 * arguments of a call. Takes j. */
static json_t *with_name(const struct turn *t, size_t at, json_t *j)
{
    static const char tag[] = "<function=";
    size_t end = at, name;
    while (end && is_space(t->text[end - 1])) end--;
    if (!j || !end || t->text[end - 1] != '>') return j;
    for (name = --end; name && (t->text[name - 1] == '_' || is_letter(t->text[name - 1])); name--) {}
    if (name == end || name < sizeof tag - 1 || !stands(t, name - (sizeof tag - 1), tag, sizeof tag - 1)) return j;
    json_t *call = json_pack("{s:s%,s:o}", "name", t->text + name, end - name, "parameters", j);
    if (!call) die("out of memory");
    return call;
}

/* Whether a call in Python's syntax stands at `at`: [search(query="a")]. */
static bool python_call(const struct turn *t, size_t at)
{
    at = skip_space(t, at);
    if (stands(t, at, "[", 1)) at = skip_space(t, at + 1);
    for (int k = 0; k < tool_table.n; k++) {
        size_t n = strlen(tool_name(k));
        if (!stands(t, at, tool_name(k), n)) continue;
        if (stands(t, at + n, "(", 1) || stands(t, at + n, ".call(", 6)) return true;
    }
    return false;
}

/* Takes every object in the text that is a call, as vLLM does. An unreadable object is a faulty call where a call may
 * stand: at the beginning of the turn or behind another call. */
static void find_llama(struct turn *t)
{
    size_t behind = 0, at = 0;          /* end of the last thought or object */
    int failures = 0;
    bool tagged = false;
    while (at < t->n && failures < CALLS_MAX) {
        const char *brace = memchr(t->text + at, '{', t->n - at), *wrong = NULL;
        size_t begin = brace ? (size_t)(brace - t->text) : nowhere, think = find_next(t, think_end, at, &t->think);
        if (think < begin) {
            drop(t);
            behind = at = think + THINK;
            tagged = false;
            continue;
        }
        bool may = only_between(t, behind, brace ? begin : t->n, &tagged);
        if (!brace) break;
        size_t n = call_object(brace, t->n - begin, &t->clean, &wrong);
        json_t *j = with_name(t, begin, n ? parse(&t->clean, &wrong) : NULL);
        if (j && is_call(j)) add(t, begin, begin + n, json_incref(j), NULL);
        else if (!j && may && (n || think == nowhere) && looks_like_call(t, begin, n)) {
            size_t end = n ? begin + n : t->n;
            while (end > begin && is_space(t->text[end - 1])) end--;
            add(t, begin, end, NULL, wrong);
            if (!n) return;
        }
        failures += !n;
        json_decref(j);
        at = n ? begin + n : begin + 1;
        if (n) behind = at;
    }
    size_t from = skip_space(t, behind);
    if (stands(t, from, python_tag, TAG)) from = skip_space(t, from + TAG);
    /* no JSON behind the tag that announces a call */
    if (!t->x->n && from < t->n && (tagged || python_call(t, from))) add(t, from, t->n, NULL, shape[CALLS_LLAMA3_JSON]);
}

int turn_calls_find(struct turn_calls *x, const struct call_form *f, const char *text, size_t n)
{
    struct turn t = { .x = x, .f = f, .text = text, .n = n };
    if (n) t.open = find(&t, CALL_OPEN, 0), t.close = find(&t, CALL_CLOSE, 0), t.think = find(&t, think_end, 0);
    if (n && f->format == CALLS_HERMES) find_hermes(&t);
    else if (n) find_llama(&t);
    str_free(&t.clean);
    return x->n;
}

void turn_calls_free(struct turn_calls *x)
{
    for (int k = 0; k < x->n; k++) str_free(&x->p[k].query);
    free(x->p);
    *x = (struct turn_calls){ 0 };
}
