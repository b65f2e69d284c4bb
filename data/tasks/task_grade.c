/* task_grade.c: the exact grader: one pass over the response, which may hold any bytes. */
#include "data/tasks/task_grade.h"
#include "base/text.h"
#include <string.h>

struct grade_scan { const char *p, *end; };

/* Moves past the word if it is next. */
static bool eat(struct grade_scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n)) return false;
    s->p += n;
    return true;
}

/* Moves over text that has none of the stop bytes, then past close. */
static bool eat_text(struct grade_scan *s, const char *stop, const char *close)
{
    while (s->p < s->end && (!*s->p || !strchr(stop, *s->p))) s->p++;
    return eat(s, close);
}

static bool eat_result(struct grade_scan *s)
{
    if (!eat(s, " <result>\n")) return false;
    for (; s->p < s->end; s->p++) if (*s->p == '\n' && eat(s, "\n</result>")) return true;
    return false;
}

static void skip_white(struct grade_scan *s) { while (s->p < s->end && is_space(*s->p)) s->p++; }

/* Reads the whole response; box: the text in \boxed{}. */
static bool well_formed(struct grade_scan s, const struct tool_tags *tools, struct grade_scan *box)
{
    for (;;) {
        if (!eat(&s, "<think>") || !eat_text(&s, "<>", "</think>")) return false;
        if (eat(&s, "<answer>")) break;
        int k = 0;
        while (k < tools->n && !eat(&s, tools->p[k].open)) k++;
        bool call = k < tools->n && eat_text(&s, "<>", tools->p[k].close);
        if (!call || !eat_result(&s)) return false;
    }
    skip_white(&s);
    if (!eat(&s, "\\boxed{")) return false;
    box->p = s.p;
    if (!eat_text(&s, "<>{}", "}")) return false;
    box->end = s.p - 1;
    skip_white(&s);
    return eat(&s, "</answer>") && s.p == s.end;
}

struct task_grade task_grade(const struct task *q, const char *response, size_t n, const struct tool_tags *tools)
{
    struct grade_scan box;
    if (!well_formed((struct grade_scan){ response, response + n }, tools, &box)) return (struct task_grade){ 0 };
    skip_white(&box);
    while (box.end > box.p && is_space(box.end[-1])) box.end--;
    size_t len = strlen(q->answer);
    return (struct task_grade){ .well_formed = true,
                                .correct = (size_t)(box.end - box.p) == len && !memcmp(box.p, q->answer, len) };
}
