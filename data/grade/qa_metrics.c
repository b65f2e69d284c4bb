/* qa_metrics.c: see qa_metrics.h. Punctuation counts here ("Paris." is not "Paris"), unlike in the training reward
 * (data/grade/reward.c). */
#include "data/grade/qa_metrics.h"
#include "base/err.h"
#include "data/grade/math_equiv.h"
#include "data/grade/python_text.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void normalise(struct str *out, const char *text, bool articles)
{
    struct str low = { 0 }, cut = { 0 };
    text_lower(&low, text, strlen(text));
    if (articles) str_put(&cut, low.p, low.n);
    else text_drop_articles(&cut, low.p, low.n);
    str_clear(out);
    text_collapse(out, cut.p, cut.n);
    str_free(&low);
    str_free(&cut);
}

static struct qa_score compare(const struct str *pred, const struct str *ref)
{
    return (struct qa_score){
        .em = !strcmp(pred->p, ref->p),
        .acc = text_find(pred->p, pred->n, ref->p, 0) >= 0,
        .f1 = text_f1(pred->p, pred->n, ref->p, ref->n),
        .math_equal = math_equiv(pred->p, ref->p),
    };
}

struct qa_score metrics_math(const char *pred, const char *ref)
{
    struct str p = { 0 }, r = { 0 };
    normalise(&p, pred, true);
    normalise(&r, ref, true);
    struct qa_score s = compare(&p, &r);
    str_free(&p);
    str_free(&r);
    return s;
}

static double max(double a, double b) { return a > b ? a : b; }

struct qa_score metrics_qa(const char *pred, const char *const *refs, int n)
{
    struct qa_score best = { 0 };
    struct str p = { 0 }, r = { 0 };
    normalise(&p, pred, false);
    for (int i = 0; i < n; i++) {
        normalise(&r, refs[i], false);
        struct qa_score s = compare(&p, &r);
        best.em = max(best.em, s.em);
        best.acc = max(best.acc, s.acc);
        best.f1 = max(best.f1, s.f1);
        best.math_equal = max(best.math_equal, s.math_equal);
    }
    str_free(&p);
    str_free(&r);
    return best;
}

static void add_ref(struct qa_refs *r, const char *p, size_t n)
{
    ENSURE(r->n < INT_MAX);
    /* the array is full at each power of two */
    if ((r->n & (r->n - 1)) == 0) r->p = xrealloc(r->p, (r->n ? 2 * (size_t)r->n : 1) * sizeof *r->p);
    char *copy = xmalloc(n + 1);
    memcpy(copy, p, n);
    copy[n] = 0;
    r->p[r->n++] = copy;
}

void metrics_refs(struct qa_refs *r, const char *text)
{
    *r = (struct qa_refs){ 0 };
    size_t n = strlen(text);
    if (*text != '[') {
        add_ref(r, text, n);
        return;
    }
    while (n && (*text == '[' || *text == ']')) text++, n--;
    while (n && (text[n - 1] == '[' || text[n - 1] == ']')) n--;
    for (size_t at = 0; at <= n;) {
        int64_t comma = text_find(text, n, ",", at);
        size_t end = comma < 0 ? n : (size_t)comma, len = end - at;
        const char *p = text + at;
        text_strip(&p, &len);           /* also takes the white space after the comma */
        add_ref(r, p, len);
        at = end + 1;
    }
}

void metrics_refs_free(struct qa_refs *r)
{
    for (int i = 0; i < r->n; i++) free(r->p[i]);
    free(r->p);
    *r = (struct qa_refs){ 0 };
}
