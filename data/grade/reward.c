/* reward.c: see reward.h. The rules count tags anywhere: a <search> inside a thought needs a result, and closing tags
 * inside a thought earn the tool bonus. The official code does the same, and a trained policy must not gain from a
 * difference between the two. */
#include "data/grade/reward.h"
#include "data/grade/math_value.h"
#include "data/grade/python_text.h"
#include <string.h>

const char *reward_kind_name(enum reward_kind kind)
{
    static const char *const name[] = { "bad_format", "box_error", "wrong", "correct", "correct_both_tools" };
    return name[kind];
}

static size_t count(const char *s, size_t n, const char *what)
{
    size_t k = 0;
    for (int64_t at = 0; (at = text_find(s, n, what, (size_t)at)) >= 0; at += (int64_t)strlen(what)) k++;
    return k;
}

/* Checks every call of one tool: open, close, <result>, </result> in this order, in one pass: each call is searched
 * after the result of the previous one. */
static const char *tool_format(const char *s, size_t n, const char *open, const char *close)
{
    for (int64_t at = 0; (at = text_find(s, n, open, (size_t)at)) >= 0;) {
        int64_t end = text_find(s, n, close, (size_t)at), result = text_find(s, n, "<result>", (size_t)at);
        int64_t result_end = result < 0 ? -1 : text_find(s, n, "</result>", (size_t)result);
        if (end < 0 || result_end < 0) return "a call without closing tag or result";
        if (end > result) return "a result before the closing tag of its call";
        at = result_end;
    }
    return NULL;
}

const char *reward_format(const char *s, size_t n, const struct tool_tags *tools)
{
    size_t think = count(s, n, "<think>");
    if (!think || think != count(s, n, "</think>")) return "<think> and </think> are not paired";
    if (count(s, n, "<answer>") != 1 || count(s, n, "</answer>") != 1)
        return "not exactly one <answer> and one </answer>";
    for (int k = 0; k < tools->n; k++) {
        const char *bad = tool_format(s, n, tools->p[k].open, tools->p[k].close);
        if (bad) return bad;
    }
    size_t from = (size_t)text_find(s, n, "<answer>", 0), to = (size_t)text_find(s, n, "</answer>", 0);
    if (from > to) return "</answer> before <answer>";
    if (text_find(s, to, "\\boxed{", from) < 0 || text_find(s, to, "}", from) < 0) return "no \\boxed{} in the answer";
    return NULL;
}

static int64_t find_last(const char *s, size_t n, const char *what)
{
    int64_t last = -1;
    for (int64_t at = 0; (at = text_find(s, n, what, (size_t)at)) >= 0; at++) last = at;
    return last;
}

bool reward_box(struct str *box, const char *s, size_t n)
{
    static const char spaced[] = "\\boxed ", braced[] = "\\boxed{";
    int64_t open = text_find(s, n, "<answer>", 0), close = text_find(s, n, "</answer>", 0);
    if (open < 0 || close < open) return false;
    s += open + (int64_t)strlen("<answer>");
    n = (size_t)(close - open) - strlen("<answer>");
    int64_t at = find_last(s, n, spaced);
    if (at >= 0) {
        at += (int64_t)strlen(spaced);
        int64_t end = text_find(s, n, "$", (size_t)at);
        str_put(box, s + at, (end < 0 ? n : (size_t)end) - (size_t)at);
        return true;
    }
    at = find_last(s, n, "\\boxed");
    if (at < 0 || n - (size_t)at < strlen(braced) || memcmp(s + at, braced, strlen(braced))) return false;
    size_t from = (size_t)at + strlen(braced), depth = 1;
    for (size_t i = from; i < n; i++) {
        if (s[i] == '{') depth++;
        if (s[i] == '}' && --depth == 0) {
            str_put(box, s + from, i - from);
            return true;
        }
    }
    return false;
}

static void normalise(struct str *out, const char *s, size_t n)
{
    struct str low = { 0 }, bare = { 0 }, cut = { 0 };
    text_lower(&low, s, n);
    text_drop_punct(&bare, low.p, low.n);
    text_drop_articles(&cut, bare.p, bare.n);
    str_clear(out);
    text_collapse(out, cut.p, cut.n);
    str_free(&low);
    str_free(&bare);
    str_free(&cut);
}

static bool is_closed(const char *s) { return !strcmp(s, "yes") || !strcmp(s, "no") || !strcmp(s, "noanswer"); }

static double best_f1(const struct str *answer, const char *const *refs, int n_refs)
{
    double best = 0;
    struct str a = { 0 }, r = { 0 };
    normalise(&a, answer->p, answer->n);
    for (int i = 0; i < n_refs; i++) {
        normalise(&r, refs[i], strlen(refs[i]));
        if ((is_closed(a.p) || is_closed(r.p)) && strcmp(a.p, r.p)) continue;
        double f1 = text_f1(a.p, a.n, r.p, r.n);
        if (f1 > best) best = f1;
    }
    str_free(&a);
    str_free(&r);
    return best;
}

static double best_value(const struct str *answer, const char *const *refs, int n_refs)
{
    for (int i = 0; i < n_refs; i++)
        if (math_value_equal(answer->p, refs[i])) return 1;
    return 0;
}

/* Does the text hold the closing tag of every tool that counts for the bonus? */
static bool bonus_tools(const char *text, size_t n, const struct tool_tags *tools)
{
    int bonus = 0, closed = 0;
    for (int k = 0; k < tools->n; k++) {
        bonus += tools->p[k].bonus;
        closed += tools->p[k].bonus && text_find(text, n, tools->p[k].close, 0) >= 0;
    }
    return bonus && closed == bonus;
}

static void score(struct reward *r, struct str *answer, const char *text, size_t n, const char *const *refs, int n_refs,
                  const struct tool_tags *tools, bool math, double tool_bonus)
{
    str_clear(answer);
    *r = (struct reward){ -1, 0, REWARD_BAD_FORMAT };
    if (reward_format(text, n, tools)) return;
    r->kind = REWARD_BOX_ERROR;
    if (!reward_box(answer, text, n)) return;
    r->f1 = math ? best_value(answer, refs, n_refs) : best_f1(answer, refs, n_refs);
    bool both = bonus_tools(text, n, tools);
    r->kind = r->f1 <= 0 ? REWARD_WRONG : both ? REWARD_CORRECT_BOTH_TOOLS : REWARD_CORRECT;
    r->score = r->kind == REWARD_CORRECT_BOTH_TOOLS ? r->f1 + tool_bonus : r->f1;
}

const double reward_all_tools = 0.1;

void reward_deep_research(struct reward *r, struct str *answer, const char *text, size_t n, const char *const *refs,
                          int n_refs, const struct tool_tags *tools)
{
    score(r, answer, text, n, refs, n_refs, tools, false, reward_all_tools);
}

void reward_exact(struct reward *r, struct str *answer, const char *text, size_t n, const char *const *refs, int n_refs,
                  const struct tool_tags *tools, bool math, double tool_bonus)
{
    score(r, answer, text, n, refs, n_refs, tools, math, tool_bonus);
}
