/* tool_calls_cut.c: cuts the text of an assistant where a rollout in tags does. The text comes from files: every tag is
 * visited once, whatever their number. */
#define _GNU_SOURCE     /* memmem */
#include "engine/tools/tool_calls_in.h"
#include "base/err.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

static const char open_tag[] = "<result>", close_tag[] = "</result>";
enum { OPEN = sizeof open_tag - 1, CLOSE = sizeof close_tag - 1 };
static const size_t nowhere = SIZE_MAX;

/* A <result>, and the end of the </result> that pairs with it; nowhere: there is none. */
struct mark { size_t at, end; };
struct cutter {
    struct tag_pieces *x;
    const char *text;
    size_t n, said, floor[TOOLS_MAX];   /* text from `said` on is not yet a piece */
    struct mark *mark;                  /* [marks] in order; those before `next` are passed */
    int marks, next;
    size_t close, call[TOOLS_MAX];      /* the next </result>, the next closing tag of each tool, as far as known */
};

static bool stands(const struct cutter *c, size_t at, const char *what, size_t len)
{
    return c->n - at >= len && !memcmp(c->text + at, what, len);
}

static size_t find(const struct cutter *c, const char *what, size_t from)
{
    const char *p = from < c->n ? memmem(c->text + from, c->n - from, what, strlen(what)) : NULL;
    return p ? (size_t)(p - c->text) : nowhere;
}

/* The same for a `from` that only grows; *known is the last result. */
static size_t find_next(const struct cutter *c, const char *what, size_t from, size_t *known)
{
    return *known < from ? *known = find(c, what, from) : *known;
}

/* <result> and </result> pair as brackets do. */
static void find_pairs(struct cutter *c)
{
    int *stack = NULL, depth = 0, cap = 0;
    for (size_t at = 0; (at = find(c, "<", at)) != nowhere; at++) {
        if (stands(c, at, close_tag, CLOSE) && depth) c->mark[stack[--depth]].end = at + CLOSE;
        if (!stands(c, at, open_tag, OPEN)) continue;
        if (c->marks == cap) {
            cap = cap ? 2 * cap : 16;
            c->mark = xrealloc(c->mark, (size_t)cap * sizeof *c->mark);
            stack = xrealloc(stack, (size_t)cap * sizeof *stack);
        }
        stack[depth++] = c->marks;
        c->mark[c->marks++] = (struct mark){ at, nowhere };
    }
    free(stack);
}

static size_t pair_of(struct cutter *c, size_t at)
{
    while (c->mark[c->next].at < at) c->next++;
    return c->mark[c->next].end;
}

static void put(struct cutter *c, enum tag_part part, size_t begin, size_t end)
{
    struct tag_pieces *x = c->x;
    if (begin == end && part != TAG_RESULT) return;
    if (x->n == x->cap) x->p = xrealloc(x->p, (size_t)(x->cap = x->cap ? 2 * x->cap : 8) * sizeof *x->p);
    x->p[x->n++] = (struct tag_piece){ part, begin, end };
}

/* All text before `end` is in pieces; no call can open there. */
static void pass(struct cutter *c, size_t end)
{
    c->said = end;
    for (int t = 0; t < tool_table.n; t++) c->floor[t] = end;
}

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The text of a result whose tags are [at, end): without one line break, or blanks in its place, on either side. This
 * removes to the byte what a rollout puts around a text. */
static void put_result(struct cutter *c, size_t at, size_t end)
{
    size_t b = at + OPEN, e = end - CLOSE;
    if (b < e && c->text[b] != '\n') while (b < e && blank(c->text[b])) b++;
    if (b < e && c->text[b] == '\n') b++;
    if (e > b && c->text[e - 1] != '\n') while (e > b && blank(c->text[e - 1])) e--;
    if (e > b && c->text[e - 1] == '\n') e--;
    put(c, TAG_RESULT, b, e);
}

/* Cuts behind the call that ends at `end`, and takes its result, if one follows. */
static void cut_call(struct cutter *c, size_t end)
{
    size_t at = end;
    put(c, TAG_POLICY, c->said, end);
    pass(c, end);
    while (at < c->n && is_space(c->text[at])) at++;
    if (!stands(c, at, open_tag, OPEN)) return;
    size_t stop = pair_of(c, at);
    if (stop == nowhere && find_next(c, close_tag, at + OPEN, &c->close) != nowhere) stop = c->close + CLOSE;
    if (stop == nowhere) return;
    put_result(c, at, stop);
    pass(c, stop);
}

/* Takes the <result> at `at`, which no call precedes. */
static void cut_quoted(struct cutter *c, size_t at)
{
    size_t end = pair_of(c, at);
    if (end == nowhere) return;
    for (int t = 0; t < tool_table.n; t++)
        if (find_next(c, tool_table.row[t].close, at + OPEN, &c->call[t]) < end) return;
    put(c, TAG_POLICY, c->said, at);
    put(c, TAG_QUOTED, at, end);
    pass(c, end);
}

int tags_cut(struct tag_pieces *x, const char *text, size_t n)
{
    struct cutter c = { .x = x, .text = text, .n = n };
    struct found_call f;
    find_pairs(&c);
    for (size_t at = 0; (at = find(&c, ">", at)) != nowhere; at = c.said > at + 1 ? c.said : at + 1) {
        size_t end = at + 1;
        if (call_ends(&f, text, end, c.floor)) cut_call(&c, end);
        else if (end >= c.said + OPEN && stands(&c, end - OPEN, open_tag, OPEN)) cut_quoted(&c, end - OPEN);
    }
    put(&c, TAG_POLICY, c.said, n);
    free(c.mark);
    return x->n;
}

void tag_pieces_free(struct tag_pieces *x)
{
    free(x->p);
    *x = (struct tag_pieces){ 0 };
}
