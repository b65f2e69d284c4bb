/* golden_grading.c: the recorded verdicts of the official graders (reward, math_equiv, qa_metrics) against data/.
 * Strings and classes must be the same, scores within 1e-12. A failing case prints got and want. */
#include "data/grade/math_equiv.h"
#include "data/grade/qa_metrics.h"
#include "data/grade/reward.h"
#include "engine/tools/tool_rows.h"
#include "data/grade/python_text.h"
#include "eval/golden/golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double allowed = 1e-12;

static bool cases_of(const json_t *root, const char *file, const json_t **cases, struct err *e)
{
    *cases = json_object_get(root, "cases");
    if (json_is_array(*cases)) return true;
    return fail(e, "%s.json: no array \"cases\": not a file of golden vectors", file);
}

/* The text of a field; NULL for null. False where the field is missing or something else. */
static bool text_field(const json_t *c, const char *key, const char **text)
{
    const json_t *v = json_object_get(c, key);
    *text = json_string_value(v);
    return *text || json_is_null(v);
}

/* Compares one number of a case with its record: enters it into the tally's worst, prints it if it is off. */
static bool near(struct golden_tally *t, const char *file, size_t i, const char *key, double got, const json_t *c)
{
    double want = json_number_value(json_object_get(c, key)), off = fabs(got - want) / allowed;
    if (!(off <= t->worst)) {
        t->worst = off;
        snprintf(t->worst_case, sizeof t->worst_case, "case %zu: %s", i, key);
    }
    if (off <= 1) return true;
    fprintf(stderr, "%s.json: case %zu: %s: got %.17g, want %.17g\n", file, i, key, got, want);
    return false;
}

static bool same(const char *file, size_t i, const char *key, const char *got, const char *want)
{
    if (got && want ? !strcmp(got, want) : got == want) return true;
    fprintf(stderr, "%s.json: case %zu: %s: got \"%s\", want \"%s\"\n", file, i, key, got ? got : "(null)",
            want ? want : "(null)");
    return false;
}

/* A case whose strings differ has no error to measure: it counts as infinite. */
static void count(struct golden_tally *t, size_t i, bool ok)
{
    *(ok ? &t->passed : &t->failed) += 1;
    if (ok || t->worst > 1) return;
    t->worst = (double)INFINITY;
    snprintf(t->worst_case, sizeof t->worst_case, "case %zu", i);
}

/* Python's str() of a JSON value; false for an object or a list */
static bool as_text(struct str *out, const json_t *v)
{
    str_clear(out);
    switch (json_typeof(v)) {
    case JSON_STRING:  str_puts(out, json_string_value(v)); return true;
    case JSON_INTEGER: str_printf(out, "%lld", (long long)json_integer_value(v)); return true;
    case JSON_REAL:    text_put_double(out, json_real_value(v)); return true;
    case JSON_TRUE:    str_puts(out, "True"); return true;
    case JSON_FALSE:   str_puts(out, "False"); return true;
    case JSON_NULL:    str_puts(out, "None"); return true;
    default:           return false;
    }
}

/* A reference, or each entry of a list of them, as text; metrics_refs_free() frees it. */
static bool refs_of(struct qa_refs *r, const json_t *v)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    struct str one = { 0 };
    bool ok = v != NULL && n < 1 << 20;
    *r = (struct qa_refs){ .p = xcalloc(n, sizeof *r->p) };
    for (size_t i = 0; ok && i < n; i++) {
        ok = as_text(&one, json_is_array(v) ? json_array_get(v, i) : v);
        if (ok) r->p[r->n++] = xstrdup(one.p);
    }
    str_free(&one);
    return ok;
}

bool golden_reward(const json_t *root, struct golden_tally *t, struct err *e)
{
    static const char file[] = "reward";
    const json_t *cases, *c;
    size_t i;
    if (!cases_of(root, file, &cases, e)) return false;
    struct str answer = { 0 };
    struct tool_tags tags;
    bool complete = true;
    tools_tags(&tags);
    json_array_foreach(cases, i, c) {
        const json_t *text = json_object_get(c, "text");
        const char *kind, *want;
        struct qa_refs refs = { 0 };
        struct reward r;
        complete = json_is_string(text) && text_field(c, "kind", &kind) && text_field(c, "answer", &want) && kind &&
                   want && json_is_number(json_object_get(c, "score")) && json_is_number(json_object_get(c, "f1")) &&
                   refs_of(&refs, json_object_get(c, "ground_truth"));
        if (complete) {
            reward_deep_research(&r, &answer, json_string_value(text), json_string_length(text),
                                 (const char *const *)refs.p, refs.n, &tags);
            bool ok = near(t, file, i, "score", r.score, c);
            ok = near(t, file, i, "f1", r.f1, c) && ok;
            ok = same(file, i, "answer", answer.p, want) && ok;
            ok = same(file, i, "kind", reward_kind_name(r.kind), kind) && ok;
            count(t, i, ok);
        }
        metrics_refs_free(&refs);
        if (!complete) break;
    }
    str_free(&answer);
    return complete || fail(e, "%s.json: case %zu needs text, ground_truth, score, f1, answer and kind", file, i);
}

/* The normalised form of one side against its record: null for a missing side and for one that cannot be normalised */
static bool strip_same(const char *file, size_t i, const char *key, const char *side, const char *want)
{
    struct str s = { 0 };
    str_clear(&s);
    bool ok = same(file, i, key, side && math_strip(&s, side) ? s.p : NULL, want);
    str_free(&s);
    return ok;
}

bool golden_math_equiv(const json_t *root, struct golden_tally *t, struct err *e)
{
    static const char file[] = "math_equiv";
    const json_t *cases, *c;
    size_t i;
    if (!cases_of(root, file, &cases, e)) return false;
    json_array_foreach(cases, i, c) {
        const char *a, *b, *sa, *sb;
        const json_t *equal = json_object_get(c, "equal");
        if (!text_field(c, "a", &a) || !text_field(c, "b", &b) || !text_field(c, "strip_a", &sa) ||
            !text_field(c, "strip_b", &sb) || !json_is_boolean(equal))
            return fail(e, "%s.json: case %zu needs a, b, equal, strip_a and strip_b", file, i);
        bool ok = same(file, i, "equal", math_equiv(a, b) ? "true" : "false", json_is_true(equal) ? "true" : "false");
        ok = strip_same(file, i, "strip_a", a, sa) && ok;
        ok = strip_same(file, i, "strip_b", b, sb) && ok;
        count(t, i, ok);
    }
    return true;
}

/* Scores the case; false: its reference is not a text, number, boolean, null or list of those. */
static bool qa_score(struct qa_score *s, const char *mode, const char *prediction, const json_t *reference)
{
    struct qa_refs refs;
    bool ok = false;
    if (!strcmp(mode, "math")) {
        struct str ref = { 0 };
        ok = reference && as_text(&ref, reference);
        if (ok) *s = metrics_math(prediction, ref.p);
        str_free(&ref);
        return ok;
    }
    if (json_is_string(reference)) {
        metrics_refs(&refs, json_string_value(reference));
        ok = true;
    } else ok = refs_of(&refs, reference);
    if (ok) *s = metrics_qa(prediction, (const char *const *)refs.p, refs.n);
    metrics_refs_free(&refs);
    return ok;
}

bool golden_qa_metrics(const json_t *root, struct golden_tally *t, struct err *e)
{
    static const char file[] = "qa_metrics";
    const json_t *cases, *c;
    size_t i;
    if (!cases_of(root, file, &cases, e)) return false;
    json_array_foreach(cases, i, c) {
        const char *mode = NULL, *prediction = NULL, *const keys[] = { "em", "acc", "f1", "math_equal" };
        struct qa_score s;
        bool complete = text_field(c, "mode", &mode) && text_field(c, "prediction", &prediction) && mode && prediction;
        for (int k = 0; k < 4; k++) complete = complete && json_is_number(json_object_get(c, keys[k]));
        if (!complete || !qa_score(&s, mode, prediction, json_object_get(c, "reference")))
            return fail(e, "%s.json: case %zu needs mode, prediction, reference, em, acc, f1 and math_equal", file, i);
        const double got[] = { s.em, s.acc, s.f1, s.math_equal };
        bool ok = true;
        for (int k = 0; k < 4; k++) ok = near(t, file, i, keys[k], got[k], c) && ok;
        count(t, i, ok);
    }
    return true;
}
