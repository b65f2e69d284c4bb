/* task.c: the thirteen generators. Each makes one prompt, its pages, its answer (computed here, not by the tool) and
 * the expert's plan. Words are few and constant, because the model that learns these tasks has half a million
 * parameters and 510 tokens. */
#include "data/tasks/task.h"
#include "base/err.h"
#include "base/str.h"
#include "base/hash.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const family_name[FAMILIES] = { "arith",   "mod",      "lineq",    "seq",   "units",  "onehop", "bridge",
                                            "compare", "threehop", "distract", "links", "gather", "contra" };

enum attr { COLOR, JOB, AGE, SCORE, RANK, ATTRS };
static const char *const attr_name[ATTRS] = { "color", "job", "age", "score", "rank" };
const char *const task_color[TASK_WORDS] = { "red", "blue", "green", "white", "black", "pink", "brown", "gray" };
const char *const task_job[TASK_WORDS] = { "baker", "pilot", "farmer", "doctor", "singer", "miner", "tailor", "guard" };
static const char *const link_name[3] = { "boss", "friend", "rival" };

typedef struct { char s[16]; } value;       /* by value: "73", "green" */

static int between(struct rng *r, int least, int most)
{
    return least + (int)rng_below(r, (uint32_t)(most - least + 1));
}

static __attribute__((format(printf, 1, 2))) char *text(const char *fmt, ...)
{
    char buf[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    ENSURE(n >= 0 && n < (int)sizeof buf);
    return xstrdup(buf);
}

bool task_is_test(const char *s)
{
    return fnv1a(s, strlen(s)) % 5 == 0;
}

/* Consonant-vowel syllables; the four that spell a word of the prompts, plans or results are not used as names. */
void task_name(char name[TASK_NAME], enum split split, struct rng *r)
{
    static const char consonant[] = "bdfgklmnprtz", vowel[] = "aeiou";
    static const char *const words[] = { "done", "more", "page", "take" };
    for (;;) {
        int n = 0;
        for (int syllables = between(r, 2, 3); syllables > 0; syllables--) {
            name[n++] = consonant[rng_below(r, 12)];
            name[n++] = vowel[rng_below(r, 5)];
        }
        name[n] = 0;
        bool is_word = false;
        for (size_t k = 0; k < sizeof words / sizeof *words; k++) is_word |= !strcmp(name, words[k]);
        if (!is_word && task_is_test(name) == (split == SPLIT_TEST)) return;
    }
}

/* n different names */
static void sample_names(const struct task *q, char name[][TASK_NAME], int n, struct rng *r)
{
    for (int i = 0; i < n; i++) {
        bool fresh;
        do {
            task_name(name[i], q->split, r);
            fresh = true;
            for (int k = 0; k < i; k++) fresh &= strcmp(name[k], name[i]) != 0;
        } while (!fresh);
    }
}

/* Takes ownership of call. */
static void add_step(struct task *q, enum task_tool tool, char *plan, char *call)
{
    ENSURE(q->n_steps < TASK_STEPS);
    q->step[q->n_steps++] = (struct step){ .tool = tool, .plan = plan, .call = call };
}

static void add_page(struct task *q, const char *title, char *body)
{
    ENSURE(q->n_pages < TASK_PAGES);
    q->pages = xrealloc(q->pages, (size_t)(q->n_pages + 1) * sizeof *q->pages);
    q->pages[q->n_pages++] = (struct page){ .title = xstrdup(title), .text = body };
}

static void find(struct task *q, const char *key, const char *name)
{
    add_step(q, TASK_SEARCH, text("find %s", key), text(" %s", name));
}

static void answer_number(struct task *q, const char *last, long long x)
{
    q->kind = ANSWER_NUMBER;
    q->answer = text("%lld", x);
    q->last = text("%s", last);
}

static void answer_attr(struct task *q, char *last, enum attr a, value v)
{
    q->kind = a == COLOR ? ANSWER_COLOR : a == JOB ? ANSWER_JOB : ANSWER_NUMBER;
    q->answer = text("%s", v.s);
    q->last = last;
}

static value sample_value(enum attr a, struct rng *r)
{
    value v;
    if (a == COLOR) snprintf(v.s, sizeof v.s, "%s", task_color[rng_below(r, TASK_WORDS)]);
    else if (a == JOB) snprintf(v.s, sizeof v.s, "%s", task_job[rng_below(r, TASK_WORDS)]);
    else snprintf(v.s, sizeof v.s, "%d", between(r, 11, 99));
    return v;
}

static value sample_other(enum attr a, value than, struct rng *r)
{
    value v;
    do v = sample_value(a, r); while (!strcmp(v.s, than.s));
    return v;
}

/* The attribute asked for: only one time in four a color or a job, which a guess hits once in eight. */
static enum attr sample_attr(struct rng *r)
{
    static const enum attr odds[8] = { COLOR, JOB, AGE, AGE, SCORE, SCORE, RANK, RANK };
    return odds[rng_below(r, 8)];
}

static enum attr sample_number_attr(struct rng *r) { return (enum attr)between(r, AGE, RANK); }

/* "key value, key value." with the needed fact and extra random ones, in random order. without: an attribute that must
 * not be among the extras. */
static void add_facts(struct task *q, const char *title, const char *key, const char *val, int without, int extra,
                      struct rng *r)
{
    enum attr used[ATTRS];
    int n = 0;
    while (n < extra) {
        enum attr a = (enum attr)rng_below(r, ATTRS);
        bool taken = (int)a == without;
        for (int k = 0; k < n; k++) taken |= used[k] == a;
        if (!taken) used[n++] = a;
    }
    int place = between(r, 0, extra);
    struct str s = { 0 };
    for (int k = 0; k <= extra; k++) {
        if (k) str_puts(&s, ", ");
        if (k == place) str_printf(&s, "%s %s", key, val);
        else { enum attr a = used[k < place ? k : k - 1]; str_printf(&s, "%s %s", attr_name[a], sample_value(a, r).s); }
    }
    str_putc(&s, '.');
    add_page(q, title, s.p);
}

static void make_arith(struct task *q, struct rng *r)
{
    struct str ask = { 0 }, expr = { 0 };
    int v = between(r, 2, 99), ops = between(r, 2, 3);
    bool sum = false;                       /* the outermost operator is + or -: as a factor it needs brackets */
    str_printf(&ask, "take %d", v);
    str_printf(&expr, "%d", v);
    for (int k = 0; k < ops; k++) {
        int op = between(r, 0, 2), x = op == 2 ? between(r, 2, 9) : between(r, 2, 99);
        if (op == 1 && v < 2) op = 0;
        if (op == 1 && x > v) x = between(r, 2, v);                 /* no value goes below zero */
        v = op == 0 ? v + x : op == 1 ? v - x : v * x;
        str_printf(&ask, ", %s %d", (const char *[]){ "plus", "minus", "times" }[op], x);
        if (op == 2 && sum) {
            struct str in_brackets = { 0 };
            str_printf(&in_brackets, "(%s)", expr.p);
            str_free(&expr);
            expr = in_brackets;
        }
        str_printf(&expr, "%c%d", "+-*"[op], x);
        sum = op != 2;
    }
    str_putc(&ask, '.');
    q->text = ask.p;
    add_step(q, TASK_PYTHON, text("compute"), expr.p);
    answer_number(q, "done", v);
}

static void make_mod(struct task *q, struct rng *r)
{
    int which = between(r, 0, 2);
    if (which == 0) {
        int a = between(r, 11, 99), b = between(r, 11, 99), m = between(r, 3, 29);
        q->text = text("remainder of %d times %d by %d?", a, b, m);
        add_step(q, TASK_PYTHON, text("remainder"), text("%d*%d%%%d", a, b, m));
        answer_number(q, "done", a * b % m);
    } else if (which == 1) {
        int a = between(r, 2, 9), power = between(r, 5, 29), m = between(r, 0, 1) ? 100 : 10, y = 1;
        for (int k = 0; k < power; k++) y = y * a % m;
        q->text = text("last %s of %d to the power %d?", m == 10 ? "digit" : "two digits", a, power);
        add_step(q, TASK_PYTHON, text("remainder"), text("%d**%d%%%d", a, power, m));
        answer_number(q, "done", y);
    } else {
        int g = between(r, 2, 12), a, b;
        do { a = g * between(r, 2, 8); b = g * between(r, 2, 8); } while (a == b);
        int x = a, y = b;
        while (y) { int t = x % y; x = y; y = t; }
        q->text = text("common divisor of %d and %d?", a, b);
        add_step(q, TASK_PYTHON, text("divisor"), text("gcd(%d,%d)", a, b));
        answer_number(q, "done", x);
    }
}

static void make_lineq(struct task *q, struct rng *r)
{
    int x = between(r, 2, 30), a = between(r, 2, 9), b = between(r, 1, 30), which = between(r, 0, 2);
    if (which == 0) {
        q->text = text("solve %dx+%d=%d", a, b, a * x + b);
        add_step(q, TASK_PYTHON, text("isolate x"), text("(%d-%d)//%d", a * x + b, b, a));
    } else if (which == 1) {
        if (b >= a * x) b = between(r, 1, a * x - 1);
        q->text = text("solve %dx-%d=%d", a, b, a * x - b);
        add_step(q, TASK_PYTHON, text("isolate x"), text("(%d+%d)//%d", a * x - b, b, a));
    } else {
        int c = between(r, 1, a - 1), d = (a - c) * x + b;
        q->text = text("solve %dx+%d=%dx+%d", a, b, c, d);
        add_step(q, TASK_PYTHON, text("isolate x"), text("(%d-%d)//(%d-%d)", d, b, a, c));
    }
    answer_number(q, "done", x);
}

static void make_seq(struct task *q, struct rng *r)
{
    int a = between(r, 2, 30), d = between(r, 2, 20), which = between(r, 0, 2);
    if (which == 0) {
        q->text = text("next of %d, %d, %d, %d?", a, a + d, a + 2 * d, a + 3 * d);
        add_step(q, TASK_PYTHON, text("constant step"), text("%d+%d-%d", a + 3 * d, a + 3 * d, a + 2 * d));
        answer_number(q, "done", a + 4 * d);
    } else if (which == 1) {
        int f = between(r, 2, 5);
        q->text = text("next of %d, %d, %d?", a, a * f, a * f * f);
        add_step(q, TASK_PYTHON, text("constant ratio"), text("%d*%d//%d", a * f * f, a * f, a));
        answer_number(q, "done", a * f * f * f);
    } else {
        int n = between(r, 5, 20);
        q->text = text("term %d of %d, %d, %d?", n, a, a + d, a + 2 * d);
        add_step(q, TASK_PYTHON, text("term"), text("%d+(%d-1)*(%d-%d)", a, n, a + d, a));
        answer_number(q, "done", a + (n - 1) * d);
    }
}

static void make_units(struct task *q, struct rng *r)
{
    static const struct { const char *big, *small; int factor; } unit[] = {
        { "hours", "minutes", 60 }, { "minutes", "seconds", 60 }, { "days", "hours", 24 }, { "weeks", "days", 7 },
        { "feet", "inches", 12 },
        { "meters", "centimeters", 100 },
    };
    if (between(r, 0, 1)) {
        int u = between(r, 0, 5), a = between(r, 2, 99), b = between(r, 1, unit[u].factor - 1);
        q->text = text("%d %s and %d %s in %s?", a, unit[u].big, b, unit[u].small, unit[u].small);
        add_step(q, TASK_PYTHON, text("times %d", unit[u].factor), text("%d*%d+%d", a, unit[u].factor, b));
        answer_number(q, "done", a * unit[u].factor + b);
    } else {
        int base = between(r, 4, 9), x = between(r, 1, base - 1), y = between(r, 0, base - 1),
            z = between(r, 0, base - 1);
        q->text = text("%d%d%d from base %d?", x, y, z, base);
        add_step(q, TASK_PYTHON, text("expand"), text("(%d*%d+%d)*%d+%d", x, base, y, base, z));
        answer_number(q, "done", (x * base + y) * base + z);
    }
}

/* Follows `hops` links from one name to the next, then asks for an attribute of the last. onehop: 0 links. */
static void make_chain(struct task *q, int hops, int extra, struct rng *r)
{
    char name[3][TASK_NAME];
    enum attr a = sample_attr(r);
    value v = sample_value(a, r);
    int first = between(r, 0, 2), second = (first + between(r, 1, 2)) % 3;
    const char *link[2] = { link_name[first], link_name[second] };
    sample_names(q, name, hops + 1, r);
    if (hops == 0) q->text = text("what is the %s of %s?", attr_name[a], name[0]);
    else if (hops == 1) q->text = text("what is the %s of the %s of %s?", attr_name[a], link[0], name[0]);
    else q->text = text("what is the %s of the %s of the %s of %s?", attr_name[a], link[1], link[0], name[0]);
    for (int k = 0; k < hops; k++) {
        /* the attribute asked for is on the last page only */
        add_facts(q, name[k], link[k], name[k + 1], a, extra, r);
        find(q, link[k], name[k]);
    }
    add_facts(q, name[hops], attr_name[a], v.s, a, extra, r);
    find(q, attr_name[a], name[hops]);
    answer_attr(q, text("%s", attr_name[a]), a, v);
}

static void make_onehop(struct task *q, struct rng *r) { make_chain(q, 0, 2, r); }
static void make_bridge(struct task *q, struct rng *r) { make_chain(q, 1, 1, r); }
static void make_threehop(struct task *q, struct rng *r) { make_chain(q, 2, 1, r); }

/* Two names, one number each. The first value is repeated before the second search, so that each is copied from the
 * page just read. */
static enum attr two_searches(struct task *q, char name[2][TASK_NAME], value v[2], struct rng *r)
{
    enum attr a = sample_number_attr(r);
    sample_names(q, name, 2, r);
    v[0] = sample_value(a, r);
    v[1] = sample_other(a, v[0], r);
    for (int k = 0; k < 2; k++) add_facts(q, name[k], attr_name[a], v[k].s, a, 1, r);
    find(q, attr_name[a], name[0]);
    add_step(q, TASK_SEARCH, text("%s %s, find %s", attr_name[a], v[0].s, attr_name[a]), text(" %s", name[1]));
    return a;
}

static void make_compare(struct task *q, struct rng *r)
{
    char name[2][TASK_NAME];
    value v[2];
    enum attr a = two_searches(q, name, v, r);
    bool first = atoi(v[0].s) > atoi(v[1].s);
    q->text = text("who has the higher %s, %s or %s?", attr_name[a], name[0], name[1]);
    q->kind = ANSWER_NAME;
    q->answer = text("%s", name[!first]);
    q->last = text("%s %s than %s, %s", v[0].s, first ? "more" : "less", v[1].s, first ? "first" : "second");
}

static void make_gather(struct task *q, struct rng *r)
{
    char name[2][TASK_NAME];
    value v[2];
    enum attr a = two_searches(q, name, v, r);
    q->text = text("what is the sum of the %s of %s and %s?", attr_name[a], name[0], name[1]);
    add_step(q, TASK_PYTHON, text("%s %s, compute", attr_name[a], v[1].s), text("%s+%s", v[0].s, v[1].s));
    answer_number(q, "done", atoi(v[0].s) + atoi(v[1].s));
}

/* Two pages of one name with different jobs; the job comes first, so that "baker" leads to the color of the right page.
 * */
static void make_distract(struct task *q, struct rng *r)
{
    char name[1][TASK_NAME];
    enum attr a;
    do a = sample_attr(r); while (a == JOB);
    sample_names(q, name, 1, r);
    value job[2] = { sample_value(JOB, r) }, v[2] = { sample_value(a, r) };
    job[1] = sample_other(JOB, job[0], r);
    v[1] = sample_other(a, v[0], r);
    int right = between(r, 0, 1);
    for (int k = 0; k < 2; k++) add_page(q, name[0], text("job %s, %s %s.", job[k].s, attr_name[a], v[k].s));
    q->text = text("what is the %s of %s the %s?", attr_name[a], name[0], job[right].s);
    find(q, attr_name[a], name[0]);
    answer_attr(q, text("the %s: %s", job[right].s, attr_name[a]), a, v[right]);
}

static void make_links(struct task *q, struct rng *r)
{
    char name[3][TASK_NAME];
    int n = between(r, 2, 3), code = between(r, 11, 99), factor = between(r, 2, 9);
    sample_names(q, name, n, r);
    for (int k = 0; k < n; k++) {
        add_page(q, name[k], k + 1 < n ? text("next %s.", name[k + 1]) : text("end, code %d.", code));
        add_step(q, TASK_SEARCH, text("follow"), text(" %s", name[k]));
    }
    q->text = text("follow the links from %s, then code times %d?", name[0], factor);
    add_step(q, TASK_PYTHON, text("compute"), text("%d*%d", code, factor));
    answer_number(q, "done", code * factor);
}

static void make_contra(struct task *q, struct rng *r)
{
    char name[1][TASK_NAME];
    enum attr a = sample_number_attr(r);
    int factor = between(r, 2, 9), official = between(r, 0, 1);
    sample_names(q, name, 1, r);
    value v[2] = { sample_value(a, r) };
    v[1] = sample_other(a, v[0], r);
    for (int k = 0; k < 2; k++)
        add_page(q, name[0], text("source %s, %s %s.", k == official ? "official" : "rumor", attr_name[a], v[k].s));
    q->text = text("what is %d times the true %s of %s?", factor, attr_name[a], name[0]);
    find(q, attr_name[a], name[0]);
    add_step(q, TASK_PYTHON, text("trust official"), text("%d*%s", factor, v[official].s));
    answer_number(q, "done", (long long)factor * atoi(v[official].s));
}

static void (*const make[FAMILIES])(struct task *, struct rng *) = {
    [FAM_ARITH] = make_arith, [FAM_MOD] = make_mod, [FAM_LINEQ] = make_lineq, [FAM_SEQ] = make_seq,
    [FAM_UNITS] = make_units, [FAM_ONEHOP] = make_onehop, [FAM_BRIDGE] = make_bridge, [FAM_COMPARE] = make_compare,
    [FAM_THREEHOP] = make_threehop, [FAM_DISTRACT] = make_distract, [FAM_LINKS] = make_links,
    [FAM_GATHER] = make_gather, [FAM_CONTRA] = make_contra,
};

void task_make(struct task *q, int family, enum split split, uint64_t seed, uint64_t index)
{
    ENSURE(family >= 0 && family < FAMILIES);
    struct philox key =
        philox4x32(seed, (uint32_t)index, (uint32_t)(index >> 32), (uint32_t)family, 0x7461736bu + (uint32_t)split);
    struct rng r = rng_make((uint64_t)key.v[1] << 32 | key.v[0], key.v[2], key.v[3]);
    for (;;) {
        *q = (struct task){ .family = family, .split = split };
        make[family](q, &r);
        /* names were sampled from the split */
        if (q->n_pages || task_is_test(q->text) == (split == SPLIT_TEST)) return;
        task_free(q);
    }
}

void task_free(struct task *q)
{
    for (int k = 0; k < q->n_pages; k++) { free(q->pages[k].title); free(q->pages[k].text); }
    for (int k = 0; k < q->n_steps; k++) { free(q->step[k].plan); free(q->step[k].call); }
    free(q->pages);
    free(q->text);
    free(q->answer);
    free(q->last);
    *q = (struct task){ 0 };
}
