/* task_expert.c: demonstrations. The expert carries out the task's plan with the real tools. The flawed ones fail on
 * purpose, each in a way that its thought announces (easy, enough, maybe ... so), and always end in a wrong answer. */
#include "base/err.h"
#include "base/str.h"
#include "data/tasks/calc.h"
#include "data/tasks/corpus.h"
#include "data/tasks/task_expert.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void look_up(struct str *out, const struct task *q, const char *query, size_t n)
{
    int found = 0, words = 0;
    for (int k = 0; k < q->n_pages && found < TASK_MAX_PAGES; k++) {
        size_t at = 0, len, title = strlen(q->pages[k].title);
        for (bool hit = false; !hit && (len = corpus_word(query, n, &at)) > 0; at += len) {
            words++;
            hit = len == title && !strncasecmp(query + at, q->pages[k].title, len);
            if (hit) corpus_put_page(out, ++found, q->pages[k].title, q->pages[k].text, TASK_MAX_CHARS);
        }
    }
    if (!words) str_puts(out, "error: empty query");
    else if (!found) str_puts(out, "no page");
}

static void calculate(struct str *out, const struct task *q, const char *query, size_t n)
{
    (void)q;
    calc_run(out, query, n, &calc_embedded);
}

static const struct {
    const char *tag;
    void (*answer)(struct str *out, const struct task *q, const char *query, size_t n);
} experts[] = { [TASK_PYTHON] = { "python", calculate }, [TASK_SEARCH] = { "search", look_up } };

void task_call(struct str *out, const struct task *q, enum task_tool tool, const char *call)
{
    experts[tool].answer(out, q, call, strlen(call));
}

static void add_piece(struct transcript *t, enum piece_kind kind, struct str *s)
{
    t->piece = xrealloc(t->piece, (size_t)(t->n + 1) * sizeof *t->piece);
    t->piece[t->n++] = (struct transcript_piece){ .kind = kind, .text = s->p ? s->p : xstrdup("") };
    *s = (struct str){ 0 };
}

/* One turn: thought and call, then the tool's result, which the transcript owns. */
static const char *add_call(struct transcript *t, const struct task *q, const char *thought, enum task_tool tool,
                            const char *call)
{
    const char *tag = experts[tool].tag;
    struct str s = { 0 }, result = { 0 };
    str_printf(&s, "<think> %s</think><%s>%s</%s>", thought, tag, call, tag);
    add_piece(t, PIECE_GENERATED, &s);
    task_call(&result, q, tool, call);
    add_piece(t, PIECE_RESULT, &result);
    return t->piece[t->n - 1].text;
}

static void add_answer(struct transcript *t, const struct task *q, const char *thought, const char *answer)
{
    struct str s = { 0 };
    str_printf(&s, "<think> %s</think><answer>\\boxed{%s%s}</answer>", thought, q->kind == ANSWER_NUMBER ? "" : " ",
               answer);
    add_piece(t, PIECE_GENERATED, &s);
}

/* A random value of the answer's kind (a number with as many digits), but not the answer. */
static void wrong_value(char out[24], const struct task *q, struct rng *r)
{
    uint32_t least = 1;
    for (size_t k = strlen(q->answer); k > 1; k--) least *= 10;
    do {
        switch (q->kind) {
        case ANSWER_COLOR: snprintf(out, 24, "%s", task_color[rng_below(r, TASK_WORDS)]); break;
        case ANSWER_JOB:   snprintf(out, 24, "%s", task_job[rng_below(r, TASK_WORDS)]); break;
        case ANSWER_NAME:  task_name(out, q->split, r); break;
        default:           snprintf(out, 24, "%u", least == 1 ? rng_below(r, 10) : least + rng_below(r, 9 * least));
        }
    } while (!strcmp(out, q->answer));
}

/* Replaces the k-th operator of the call, modulo their number, by a wrong one; gcd(a,b) becomes a*b. */
static void wrong_operator(struct str *out, const char *call, int k)
{
    static const struct {
        const char *is, *becomes;
    } swap[] = { { "**", "*" }, { "//", "*" }, { "*", "+" }, { "+", "-" }, { "-", "+" }, { "%", "+" } };
    if (starts_with(call, "gcd(")) {
        for (const char *p = call + 4; *p && *p != ')'; p++) str_putc(out, *p == ',' ? '*' : *p);
        return;
    }
    int n = 0;
    for (const char *p = call; *p; p++) if (strchr("+-*/%", *p) && p[1] != *p) n++;
    for (int at = 0; *call; ) {
        size_t o = 0, len = 1;
        while (o < 6 && !starts_with(call, swap[o].is)) o++;
        if (o < 6) {
            len = strlen(swap[o].is);
            if (at++ == k % n) { str_puts(out, swap[o].becomes); call += len; continue; }
        }
        str_put(out, call, len);
        call += len;
    }
}

static bool is_title(const struct task *q, const char *name)
{
    for (int k = 0; k < q->n_pages; k++) if (!strcmp(q->pages[k].title, name)) return true;
    return false;
}

/* Makes one call wrong and answers with its result if that can pass for an answer, else with a wrong value. */
static void add_slip(struct transcript *t, const struct task *q, const struct step *s, struct rng *r)
{
    struct str call = { 0 }, result = { 0 };
    char name[TASK_NAME], answer[24];
    if (s->tool == TASK_SEARCH) {
        do task_name(name, q->split, r); while (is_title(q, name));
        str_printf(&call, " %s", name);
    } else {
        int first = (int)rng_below(r, 8);
        /* another operator if the wrong one changes nothing: 2*2, 2+2 */
        for (int k = 0; k < 8; k++) {
            str_clear(&call);
            str_clear(&result);
            wrong_operator(&call, s->call, first + k);
            task_call(&result, q, s->tool, call.p);
            if (!starts_with(result.p, "error") && strcmp(result.p, q->answer)) break;
        }
    }
    const char *returned = add_call(t, q, "maybe", s->tool, call.p);
    bool usable =
        s->tool == TASK_PYTHON && !starts_with(returned, "error") && strcmp(returned, q->answer) &&
        strlen(returned) < sizeof answer;
    if (usable) snprintf(answer, sizeof answer, "%s", returned);
    else wrong_value(answer, q, r);
    add_answer(t, q, "so", answer);
    str_free(&call);
    str_free(&result);
}

void expert_write(struct transcript *t, const struct task *q, enum flaw flaw, struct rng *r)
{
    if (flaw == FLAW_EARLY && q->n_steps < 2) flaw = FLAW_SLIP;
    *t = (struct transcript){ .flaw = flaw };
    char wrong[24];
    int calls = q->n_steps;
    if (flaw == FLAW_GUESS) calls = 0;
    if (flaw == FLAW_EARLY) calls = 1 + (int)rng_below(r, (uint32_t)q->n_steps - 1);
    if (flaw == FLAW_SLIP) calls = (int)rng_below(r, (uint32_t)q->n_steps);
    for (int k = 0; k < calls; k++) add_call(t, q, q->step[k].plan, q->step[k].tool, q->step[k].call);
    switch (flaw) {
    case FLAW_NONE: add_answer(t, q, q->last, q->answer); break;
    case FLAW_SLIP: add_slip(t, q, &q->step[calls], r); break;
    case FLAW_GUESS: case FLAW_EARLY:
        wrong_value(wrong, q, r);
        add_answer(t, q, flaw == FLAW_GUESS ? "easy" : "enough", wrong);
    }
}

void transcript_free(struct transcript *t)
{
    for (int k = 0; k < t->n; k++) free(t->piece[k].text);
    free(t->piece);
    *t = (struct transcript){ 0 };
}

enum flaw flaw_sample(int family, double guess_high, double guess_low, double early, double slip, struct rng *r)
{
    static const bool high[FAMILIES] = {
        [FAM_ARITH] = 1, [FAM_LINEQ] = 1, [FAM_UNITS] = 1, [FAM_ONEHOP] = 1, [FAM_THREEHOP] = 1, [FAM_LINKS] = 1
    };
    double u = rng_uniform(r), guess = high[family] ? guess_high : guess_low;
    if (u < guess) return FLAW_GUESS;
    if (u < guess + early) return FLAW_EARLY;
    return u < guess + early + slip ? FLAW_SLIP : FLAW_NONE;
}
