/* fuzz_tool_call.c: texts of policies and tools. The first byte selects the form of calls, the next two the limits of
 * the results. The rest is a turn whose calls are searched, in tags as well; a text to cut as rollouts cut it; and,
 * separated by 0 bytes, texts of results that must fit their room without a special token. */
#include "tests/engine/tools/turn_format.h"
#include "tests/engine/tools/two_tools.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct world { struct tokenizer *t; struct chat c; struct call_form f; int specials[5]; } worlds[4];
static const struct { const char *chat; enum call_format format; enum turny kind; } kinds[4] = {
    { "qwen3", CALLS_HERMES, TURNY_TOKENS }, { "qwen2.5", CALLS_HERMES, TURNY_TEXT },
    { "llama3.1", CALLS_LLAMA3_JSON, TURNY_TOKENS },
    { "llama3.1", CALLS_LLAMA3_JSON, TURNY_TEXT },
};
enum { RESULTS = 4 };

static int specials(const struct world *w, const struct ids *x)
{
    int n = 0;
    for (int i = 0; i < x->n; i++) n += tokenizer_special(w->t, x->p[i]);
    return n;
}

static const struct world *world(int k)
{
    struct world *w = &worlds[k];
    if (w->t) return w;
    w->t = turny_tokenizer(kinds[k].kind);
    turny_open(&w->f, &w->c, w->t, kinds[k].chat, kinds[k].format);
    for (int r = 1; r <= RESULTS; r++) {
        struct ids x = { 0 };
        turn_result_ids(&w->f, &x, (struct str[RESULTS]){ { 0 } }, r, -1, INT_MAX);
        w->specials[r] = specials(w, &x);
        ids_free(&x);
    }
    return w;
}

static void find(const struct world *w, const char *text, size_t n)
{
    struct turn_calls x = { 0 };
    struct found_call tag;
    ENSURE(turn_calls_find(&x, &w->f, text, n) == x.n && x.n <= CALLS_MAX);
    for (int k = 0; k < x.n; k++) {
        const struct turn_call *c = &x.p[k];
        ENSURE(c->begin <= c->end && c->end <= n && (!k || x.p[k - 1].end <= c->begin));
        ENSURE(c->wrong ? c->tool == TOOL_NONE && !c->query.n
                        : c->tool < TOOLS && c->query.n < CALL_BYTES && !memchr(c->query.p, 0, c->query.n));
    }
    if (tools_find_call(&tag, text, n, n / 2)) ENSURE(tag.begin <= tag.end && tag.end < n && tag.tool < TOOLS);
    turn_calls_free(&x);
}

/* The pieces of a text are in order, and plain text is preserved to the byte. */
static void cut(const char *text, size_t n)
{
    struct tag_pieces x = { 0 };
    size_t at = 0;
    ENSURE(tags_cut(&x, text, n) == x.n);
    for (int k = 0; k < x.n; k++) {
        const struct tag_piece *p = &x.p[k];
        ENSURE(
            at <= p->begin && p->begin <= p->end && p->end <= n &&
            (p->part == TAG_RESULT || (p->begin < p->end && (!k || x.p[k - 1].part == TAG_RESULT || p->begin == at))));
        at = p->end;
    }
    tag_pieces_free(&x);
}

static void answer(const struct world *w, const char *text, size_t n, int max_text, int room)
{
    struct str part[RESULTS] = { { 0 } };
    struct ids x = { 0 };
    int parts = 0;
    for (size_t at = 0; parts < RESULTS && at <= n; parts++) {
        const char *end = n > at ? memchr(text + at, 0, n - at) : NULL;
        size_t len = end && parts + 1 < RESULTS ? (size_t)(end - text) - at : n - at;
        str_put(&part[parts], text + at, len);
        at += len + 1;
    }
    int got = turn_result_ids(&w->f, &x, part, parts, max_text, room);
    ENSURE(got == x.n && got <= room && specials(w, &x) <= w->specials[parts]);
    for (int k = 0; k < parts; k++) str_free(&part[k]);
    ids_free(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3) return 0;
    const struct world *w = world(data[0] % 4);
    const char *text = (const char *)data + 3;
    find(w, text, n - 3);
    cut(text, n - 3);
    answer(w, text, n - 3, data[1] < 250 ? data[1] : -1, data[2] < 250 ? 2 * data[2] : INT_MAX);
    return 0;
}
