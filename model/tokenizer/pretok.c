/* pretok.c: text is first cut into runs of valid UTF-8 and the rest, so that PCRE2 need not check it again at every
 * match (that would be quadratic). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer/pretok.h"
#include "model/tokenizer/pretok_dialect.h"
#include "base/utf8.h"
#include <limits.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERN_MAX = 1 << 16 };

static bool has_room(struct pretok *p, struct err *e)
{
    return p->n < PRETOK_STAGES || fail(e, "more than %d steps", PRETOK_STAGES);
}

bool pretok_add(struct pretok *p, const char *pattern, bool literal, enum pretok_how how, bool invert, struct err *e)
{
    if (!has_room(p, e)) return false;
    struct str words = { 0 };
    if (literal) str_puts(&words, pattern);
    else if (!pretok_dialect(&words, pattern, e)) { str_free(&words); return false; }
    pcre2_compile_context *ctx = pcre2_compile_context_create(NULL);
    if (!ctx) die("out of memory in pcre2_compile_context_create");
    pcre2_set_max_pattern_length(ctx, PATTERN_MAX);
    pcre2_set_newline(ctx, PCRE2_NEWLINE_LF);
    int code;
    PCRE2_SIZE at;
    uint32_t opt = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)(words.p ? words.p : ""), words.n, opt, &code, &at, ctx);
    str_free(&words);
    pcre2_compile_context_free(ctx);
    if (!re) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(code, why, sizeof why);
        return fail(e, "regular expression %.200s: %s", pattern, (char *)why);
    }
    pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);          /* 5 times faster; without it pcre2_match interprets */
    p->s[p->n++] = (struct pretok_stage){ re, how, invert };
    return true;
}

bool pretok_add_space(struct pretok *p, struct err *e)
{
    if (!has_room(p, e)) return false;
    p->s[p->n++] = (struct pretok_stage){ 0 };
    return true;
}

void pretok_free(struct pretok *p)
{
    for (int i = 0; i < p->n; i++) pcre2_code_free(p->s[i].code);
    p->n = 0;
}

static void add(struct pretok_pieces *x, int at, int n, bool raw)
{
    if (x->n == x->cap) {
        ENSURE(x->cap <= INT_MAX / 2);
        x->cap = x->cap ? 2 * x->cap : 256;
        x->p = xrealloc(x->p, (size_t)x->cap * sizeof *x->p);
    }
    x->p[x->n++] = (struct pretok_piece){ at, n, raw };
}

/* Joins the pieces of one input piece, which arrive in order. An empty match takes part, because it separates the text
 * around it; it is dropped at the end. */
struct join {
    struct pretok_pieces *out;
    const struct pretok_stage *s;
    int first;                      /* index of the input piece's first piece */
    bool match;                     /* the piece before was a match */
};

static void join_piece(struct join *j, int at, int n, bool match)
{
    match ^= j->s->invert;
    bool have = j->out->n > j->first, grow = false;
    switch (j->s->how) {
    case PRETOK_REMOVED: if (match) return; break;
    case PRETOK_ISOLATED: break;
    case PRETOK_CONTIGUOUS: grow = have && match == j->match; break;
    case PRETOK_WITH_PREVIOUS: grow = have && match && !j->match; break;
    case PRETOK_WITH_NEXT: grow = have && !match && j->match; break;
    }
    if (grow) j->out->p[j->out->n - 1].n += n;
    else add(j->out, at, n, false);
    j->match = match;
}

/* The next match at or after *at; 1 found, 0 none, -1 gave up. */
static int next_match(const pcre2_code *re, pcre2_match_data *m, const char *text, int n, int at, int *begin, int *end)
{
    int rc = pcre2_match(re, (PCRE2_SPTR)text, (PCRE2_SIZE)n, (PCRE2_SIZE)at, PCRE2_NO_UTF_CHECK, m, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)               /* 32 KB; the interpreter has 20 MB */
        rc = pcre2_match(re, (PCRE2_SPTR)text, (PCRE2_SIZE)n, (PCRE2_SIZE)at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m,
                         NULL);
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc < 0) return -1;
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);
    *begin = (int)v[0];
    *end = (int)v[1];
    return *begin < at || *end < *begin ? -1 : 1;
}

static bool cut_piece(const struct pretok_stage *s, struct pretok_work *w, struct pretok_piece p,
                      struct pretok_pieces *out)
{
    const char *text = w->text + p.at;
    struct join j = { out, s, out->n, false };
    int done = 0, last = -1, at = 0, begin = 0, end = 0, found = 0;     /* last: end of the match before */
    while (at <= p.n && (found = next_match(s->code, w->match, text, p.n, at, &begin, &end)) > 0) {
        if (begin > done) join_piece(&j, p.at + done, begin - done, false);
        /* an empty match right after a match does not count */
        if (end > last) join_piece(&j, p.at + begin, end - begin, true);
        done = last = at = end;
        if (begin == end) {                             /* an empty match: continue one character later */
            uint32_t c;
            int len = utf8_get(text + end, (size_t)(p.n - end), &c);
            at += len > 0 ? len : 1;
        }
    }
    if (found < 0) return false;
    if (p.n > done) join_piece(&j, p.at + done, p.n - done, false);
    int kept = j.first;
    for (int i = j.first; i < out->n; i++) if (out->p[i].n) out->p[kept++] = out->p[i];
    out->n = kept;
    return true;
}

static void cut_utf8(struct pretok_pieces *out, const char *text, int n)
{
    for (int at = 0, begin = 0; at < n; begin = at) {
        uint32_t c;
        int len;
        while (at < n && (len = utf8_get(text + at, (size_t)(n - at), &c)) > 0) at += len;
        if (at > begin) add(out, begin, at - begin, false);
        begin = at;
        while (at < n && utf8_get(text + at, (size_t)(n - at), &c) == 0) at++;
        if (at > begin) add(out, begin, at - begin, true);
    }
}

/* Makes the text anew from the pieces, each with a space in front. False: longer than an int counts. */
static bool put_spaces(struct pretok_work *w)
{
    struct str s = { 0 };
    for (int i = 0; i < w->cut.n; i++) {
        struct pretok_piece *p = &w->cut.p[i];
        size_t start = s.n;
        if (!p->raw && w->text[p->at] != ' ') str_putc(&s, ' ');
        str_put(&s, w->text + p->at, (size_t)p->n);
        if (s.n > INT_MAX) { str_free(&s); return false; }
        p->at = (int)start;
        p->n = (int)(s.n - start);
    }
    str_free(&w->own);
    w->own = s;
    w->text = s.p ? s.p : "";
    return true;
}

bool pretok_cut(const struct pretok *p, struct pretok_work *w, const char *text, int n)
{
    w->text = text;
    w->cut.n = 0;
    if (!w->match) w->match = pcre2_match_data_create(1, NULL);
    if (!w->match) die("out of memory in pcre2_match_data_create");
    cut_utf8(&w->cut, text, n);
    for (int i = 0; i < p->n; i++) {
        if (!p->s[i].code) {
            if (!put_spaces(w)) return false;
            continue;
        }
        struct pretok_pieces in = w->cut;
        w->cut = w->old;
        w->old = in;
        w->cut.n = 0;
        for (int k = 0; k < in.n; k++) {
            if (in.p[k].raw) add(&w->cut, in.p[k].at, in.p[k].n, true);
            else if (!cut_piece(&p->s[i], w, in.p[k], &w->cut)) return false;
        }
    }
    return true;
}

void pretok_work_free(struct pretok_work *w)
{
    free(w->cut.p);
    free(w->old.p);
    str_free(&w->own);
    pcre2_match_data_free(w->match);
    *w = (struct pretok_work){ 0 };
}
