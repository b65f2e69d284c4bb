/* test_task.c: every family in both splits: correct demonstrations are right, flawed ones wrong, the tools give the
 * results in the transcripts, an independent solver finds the same answers, and the splits are disjoint. */
#include "base/str.h"
#include "data/tasks/calc.h"
#include "data/tasks/corpus.h"
#include "data/tasks/task_expert.h"
#include "data/tasks/task_grade.h"
#include "base/hash.h"
#include "tests/check.h"
#include "tests/data/grade/two_tags.h"
#include <stdlib.h>
#include <string.h>

enum { EACH = 200, SEED = 11 };

/* The response as the engine assembles it. */
static void assemble(struct str *out, const struct transcript *t)
{
    str_clear(out);
    for (int k = 0; k < t->n; k++) {
        if (t->piece[k].kind == PIECE_RESULT) str_printf(out, " <result>\n%s\n</result>", t->piece[k].text);
        else str_puts(out, t->piece[k].text);
    }
}

static void put_question(struct str *out, const struct task *q)
{
    str_printf(out, "%s|%s|%s|%d", q->text, q->answer, q->last, (int)q->kind);
    for (int k = 0; k < q->n_pages; k++) str_printf(out, "|%s: %s", q->pages[k].title, q->pages[k].text);
    for (int k = 0; k < q->n_steps; k++) str_printf(out, "|%s -> %s", q->step[k].plan, q->step[k].call);
}

/* Runs each(q) over EACH tasks of every family and split. */
static void over_all(void (*each)(const struct task *, struct rng *))
{
    struct rng r = rng_make(SEED, 99, 0);
    for (int f = 0; f < FAMILIES; f++) for (int split = 0; split < 2; split++) for (uint64_t i = 0; i < EACH; i++) {
        struct task q;
        task_make(&q, f, (enum split)split, SEED, i);
        each(&q, &r);
        task_free(&q);
    }
}

static struct corpus *corpus;

static void check_expert(const struct task *q, struct rng *r)
{
    struct transcript t;
    struct str all = { 0 }, said = { 0 };
    expert_write(&t, q, FLAW_NONE, r);
    assert_int_equal(t.flaw, FLAW_NONE);
    assert_int_equal(t.n, 2 * q->n_steps + 1);
    for (int k = 0; k < q->n_pages; k++) corpus_add(corpus, 5, q->pages[k].title, q->pages[k].text);
    for (int k = 0; k < q->n_steps; k++) {
        const char *call = q->step[k].call, *result = t.piece[2 * k + 1].text;
        str_clear(&said);
        if (q->step[k].tool == TASK_PYTHON) calc_run(&said, call, strlen(call), &calc_embedded);
        else corpus_search(corpus, &said, 5, call, strlen(call), TASK_MAX_PAGES, TASK_MAX_CHARS);
        CHECK(!strcmp(said.p, result), "%s: %s: the tool says \"%s\", the transcript \"%s\"", q->text, call, said.p,
              result);
        CHECK(strncmp(result, "error", 5) && strcmp(result, "no page"), "%s: %s: %s", q->text, call, result);
        assert_null(strpbrk(result, "<>"));
    }
    corpus_drop(corpus, 5);
    /* computed twice: by the generator, by the tool */
    if (q->step[q->n_steps - 1].tool == TASK_PYTHON) assert_string_equal(said.p, q->answer);
    assemble(&all, &t);
    struct task_grade g = task_grade(q, all.p, all.n, &two_tags);
    CHECK(g.well_formed && g.correct, "%s: %s", q->text, all.p);
    /* they fit 160 tokens */
    CHECK(all.n < 420, "%s: a response of %zu bytes", q->text, all.n);
    transcript_free(&t);
    str_free(&all);
    str_free(&said);
}

static void experts_are_right(void **state)
{
    (void)state;
    struct err e;
    corpus = corpus_open(&e);
    CHECK(corpus, "%s", e.text);
    over_all(check_expert);
    corpus_close(corpus);
}

static void check_flaws(const struct task *q, struct rng *r)
{
    static const char *const sign[] = { [FLAW_GUESS] = "<think> easy</think><answer>",
                                        [FLAW_EARLY] = "<think> enough</think><answer>",
                                        [FLAW_SLIP] = "<think> so</think><answer>" };
    for (int flaw = FLAW_GUESS; flaw <= FLAW_SLIP; flaw++) {
        struct transcript t;
        struct str all = { 0 };
        enum flaw shown = flaw == FLAW_EARLY && q->n_steps == 1 ? FLAW_SLIP : (enum flaw)flaw;
        expert_write(&t, q, (enum flaw)flaw, r);
        assert_int_equal(t.flaw, shown);
        assemble(&all, &t);
        struct task_grade g = task_grade(q, all.p, all.n, &two_tags);
        CHECK(g.well_formed && !g.correct, "%s: flaw %d: %s", q->text, flaw, all.p);
        CHECK(!strncmp(t.piece[t.n - 1].text, sign[shown], strlen(sign[shown])), "%s: flaw %d: %s", q->text, flaw,
              all.p);
        int calls = t.n / 2;
        if (shown == FLAW_GUESS) assert_int_equal(calls, 0);
        if (shown == FLAW_EARLY) assert_true(calls >= 1 && calls < q->n_steps);
        if (shown == FLAW_SLIP)
            CHECK(calls >= 1 && calls <= q->n_steps && strstr(t.piece[t.n - 3].text, "<think> maybe</think><"), "%s",
                  all.p);
        transcript_free(&t);
        str_free(&all);
    }
}

static void flaws_are_wrong(void **state) { (void)state; over_all(check_flaws); }

/* A solver that reads prompts and pages and is independent of the generators. page: the index of the page to ask, NULL:
 * the only one of that title. */
static const char *fact(const struct task *q, const char *title, const char *key, const char *must_hold,
                        char out[16])
{
    int found = 0;
    for (int k = 0; k < q->n_pages; k++) {
        char at[32];
        snprintf(at, sizeof at, " %s ", key);
        struct str body = { 0 };
        str_printf(&body, " %s", q->pages[k].text);
        const char *p = strstr(body.p, at);
        if (!strcmp(q->pages[k].title, title) && p && strstr(body.p, must_hold) &&
            sscanf(p + strlen(at), "%15[a-z0-9]", out) == 1)
            found++;
        str_free(&body);
    }
    CHECK(found == 1, "%s: %d pages of %s with %s", q->text, found, title, key);
    return out;
}

static long number_of(const struct task *q, const char *title, const char *key, const char *must_hold)
{
    char v[16];
    return atol(fact(q, title, key, must_hold, v));
}

static bool solve_pages(const struct task *q, char out[32])
{
    char a[16], b[16], c[16], d[16], v[16], w[16];
    int n, end = 0;
    const char *t = q->text;
    *out = 0;
#define FITS(fmt, ...) (end = 0, sscanf(t, fmt "%n", __VA_ARGS__, &end), end == (int)strlen(t))
    if (FITS("what is the sum of the %15s of %15s and %15[a-z]?", a, b, c))
        snprintf(out, 32, "%ld", number_of(q, b, a, "") + number_of(q, c, a, ""));
    else if (FITS("what is %d times the true %15s of %15[a-z]?", &n, a, b))
        snprintf(out, 32, "%ld", n * number_of(q, b, a, " official,"));
    else if (FITS("what is the %15s of the %15s of the %15s of %15[a-z]?", a, b, c, d))
        snprintf(out, 32, "%s", fact(q, fact(q, fact(q, d, c, "", v), b, "", w), a, "", v));
    else if (FITS("what is the %15s of the %15s of %15[a-z]?", a, b, c))
        snprintf(out, 32, "%s", fact(q, fact(q, c, b, "", v), a, "", w));
    else if (FITS("what is the %15s of %15s the %15[a-z]?", a, b, c)) {
        snprintf(v, sizeof v, "job %.8s,", c);
        snprintf(out, 32, "%s", fact(q, b, a, v, w));
    } else if (FITS("what is the %15s of %15[a-z]?", a, b)) snprintf(out, 32, "%s", fact(q, b, a, "", v));
    else if (FITS("who has the higher %15[a-z], %15s or %15[a-z]?", a, b, c)) {
        long x = number_of(q, b, a, ""), y = number_of(q, c, a, "");
        snprintf(out, 32, "%s", x > y ? b : x < y ? c : "nobody");
    } else if (FITS("follow the links from %15[a-z], then code times %d?", a, &n)) {
        for (int k = 0; k + 1 < q->n_pages; k++) strcpy(a, fact(q, a, "next", "", v));
        snprintf(out, 32, "%ld", n * number_of(q, a, "code", " end,"));
    }
#undef FITS
    return *out != 0;
}

static long slow_power(long a, long n, long m) { long y = 1; for (; n; n--) y = y * a % m; return y; }

/* arith, read word by word from the left */
static bool solve_ops(const char *t, long *x)
{
    int at = 0;
    char op[8];
    if (sscanf(t, "take %ld%n", x, &at) != 1 || !at) return false;
    for (long y; t += at, at = 0, sscanf(t, ", %7s %ld%n", op, &y, &at) == 2;)
        *x = !strcmp(op, "plus") ? *x + y : !strcmp(op, "minus") ? *x - y : *x * y;
    return !strcmp(t, ".");
}

static bool solve_numbers(const char *t, long *x)
{
    static const struct {
        const char *big, *small;
        long n;
    } units[] = { { "hours", "minutes", 60 }, { "minutes", "seconds", 60 }, { "days", "hours", 24 },
                  { "weeks", "days", 7 },     { "feet", "inches", 12 },     { "meters", "centimeters", 100 } };
    long a, b, c, d;
    int end = 0;
    char u[16], v[16];
#define FITS(fmt, ...) (end = 0, sscanf(t, fmt "%n", __VA_ARGS__, &end), end == (int)strlen(t))
    if (solve_ops(t, x)) return true;
    if (FITS("remainder of %ld times %ld by %ld?", &a, &b, &c)) *x = a * b % c;
    else if (FITS("last digit of %ld to the power %ld?", &a, &b)) *x = slow_power(a, b, 10);
    else if (FITS("last two digits of %ld to the power %ld?", &a, &b)) *x = slow_power(a, b, 100);
    else if (FITS("common divisor of %ld and %ld?", &a, &b)) { for (*x = a; a % *x || b % *x; --*x) ;
    } else if (FITS("solve %ldx+%ld=%ldx+%ld", &a, &b, &c, &d)) {
        for (*x = 0; a * *x + b != c * *x + d && *x < 999; ++*x)
            ;
    } else if (FITS("solve %ldx+%ld=%ld", &a, &b, &c)) {
        for (*x = 0; a * *x + b != c && *x < 999; ++*x)
            ;
    } else if (FITS("solve %ldx-%ld=%ld", &a, &b, &c)) {
        for (*x = 0; a * *x - b != c && *x < 999; ++*x)
            ;
    } else if (FITS("next of %ld, %ld, %ld, %ld?", &a, &b, &c, &d))
        *x = b - a == c - b && c - b == d - c ? d + (d - c) : -1;
    else if (FITS("next of %ld, %ld, %ld?", &a, &b, &c)) *x = a * c == b * b ? c * b / a : -1;
    else if (FITS("term %ld of %ld, %ld, %ld?", &a, &b, &c, &d)) { *x = b; while (--a) *x += d - c; }
    else if (FITS("%15[0-9] from base %ld?", u, &b)) *x = strtol(u, NULL, (int)b);
    else if (FITS("%ld %15s and %ld %15s in %15[a-z]?", &a, u, &b, v, v)) {
        *x = -1;
        for (size_t k = 0; k < sizeof units / sizeof *units; k++)
            if (!strcmp(u, units[k].big) && !strcmp(v, units[k].small)) *x = a * units[k].n + b;
    } else return false;
#undef FITS
    return true;
}

static void check_solved(const struct task *q, struct rng *r)
{
    (void)r;
    char got[32];
    long x;
    if (q->n_pages) CHECK(solve_pages(q, got), "not understood: %s", q->text);
    else { CHECK(solve_numbers(q->text, &x), "not understood: %s", q->text); snprintf(got, sizeof got, "%ld", x); }
    CHECK(!strcmp(got, q->answer), "%s: %s, the question says %s", q->text, got, q->answer);
}

static void solver_agrees(void **state) { (void)state; over_all(check_solved); }

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int distinct(char **s, int n)
{
    qsort(s, (size_t)n, sizeof *s, by_text);
    int m = n > 0;
    for (int k = 1; k < n; k++) m += strcmp(s[k], s[k - 1]) != 0;
    return m;
}

static int in_both(char **a, int na, char **b, int nb)
{
    int both = 0;
    for (int i = 0, k = 0; i < na && k < nb; ) {
        int c = strcmp(a[i], b[k]);
        both += c == 0;
        i += c <= 0;
        k += c > 0;
    }
    return both;
}

/* Texts of computations and page titles of searches: no text of one split is in the other, and both splits are large.
 * */
static void splits_share_nothing(void **state)
{
    (void)state;
    enum { MANY = 1500 };
    static char *seen[2][MANY * TASK_PAGES];
    for (int f = 0; f < FAMILIES; f++) {
        int n[2] = { 0 }, kinds[2];
        for (int split = 0; split < 2; split++) {
            for (uint64_t i = 0; i < MANY; i++) {
                struct task q;
                task_make(&q, f, (enum split)split, SEED + 1, i);
                for (int k = 0; k < q.n_pages; k++) {
                    assert_int_equal(task_is_test(q.pages[k].title), split == SPLIT_TEST);
                    seen[split][n[split]++] = xstrdup(q.pages[k].title);
                }
                if (!q.n_pages) seen[split][n[split]++] = xstrdup(q.text);
                task_free(&q);
            }
            kinds[split] = distinct(seen[split], n[split]);
        }
        print_message("%-9s %5d different %s in training, %4d in testing\n", family_name[f], kinds[0],
                      n[0] > MANY || f >= FAM_ONEHOP ? "names" : "questions", kinds[1]);
        assert_int_equal(in_both(seen[0], n[0], seen[1], n[1]), 0);
        assert_true(kinds[0] > 500 && kinds[1] > 150);
        for (int split = 0; split < 2; split++) while (n[split]) free(seen[split][--n[split]]);
    }
}

/* The shipped weights were trained on exactly these tasks: a new hash means new weights. */
static void pure_and_pinned(void **state)
{
    (void)state;
    struct str one = { 0 }, two = { 0 };
    uint64_t hash = fnv1a("", 0);
    for (int f = 0; f < FAMILIES; f++) for (int split = 0; split < 2; split++) for (uint64_t i = 0; i < 20; i++) {
        struct task a, b, other;
        task_make(&a, f, (enum split)split, 7, i << 31);
        task_make(&other, f, (enum split)!split, 7, i);
        task_make(&b, f, (enum split)split, 7, i << 31);
        str_clear(&one);
        str_clear(&two);
        put_question(&one, &a);
        put_question(&two, &b);
        assert_string_equal(one.p, two.p);
        hash = fnv1a_add(hash, one.p, one.n);
        task_free(&a);
        task_free(&b);
        task_free(&other);
    }
    for (int f = 0; f < FAMILIES; f++) {
        struct task a, seed, index;
        task_make(&a, f, SPLIT_TRAIN, 7, 3);
        task_make(&seed, f, SPLIT_TRAIN, 7 + ((uint64_t)1 << 40), 3);
        task_make(&index, f, SPLIT_TRAIN, 7, 3 + ((uint64_t)1 << 40));
        CHECK(strcmp(a.text, seed.text) && strcmp(a.text, index.text), "%s: seed or index does not matter",
              family_name[f]);
        task_free(&a);
        task_free(&seed);
        task_free(&index);
    }
    str_free(&one);
    str_free(&two);
    CHECK(hash == 0xa5b8dbf8349eb3fau, "hash %#llx", (unsigned long long)hash);
}

static void names(void **state)
{
    (void)state;
    struct rng r = rng_make(1, 2, 3);
    int three = 0;
    for (int k = 0; k < 20000; k++) {
        char s[TASK_NAME];
        task_name(s, k % 2 ? SPLIT_TEST : SPLIT_TRAIN, &r);
        size_t n = strlen(s);
        assert_true(n == 4 || n == 6);
        three += n == 6;
        for (size_t i = 0; i < n; i++) assert_non_null(strchr(i % 2 ? "aeiou" : "bdfgklmnprtz", s[i]));
        assert_int_equal(task_is_test(s), k % 2);
        assert_true(strcmp(s, "done") && strcmp(s, "more") && strcmp(s, "page") && strcmp(s, "take"));
    }
    CHECK_NEAR(three, 10000, 400, "names of three syllables");
}

static void grader(void **state)
{
    (void)state;
    struct task q = { .answer = (char *)"kazofo" };
    static const struct { const char *response; int n, well_formed, correct; } cases[] = {
        { "<think> x</think><answer>\\boxed{ kazofo}</answer>", 0, 1, 1 },
        { "<think></think><answer> \\boxed{\n kazofo\t} \n</answer>", 0, 1, 1 },
        { "<think> a</think><search> b</search> <result>\nno page\n</result><think> "
          "c</think><answer>\\boxed{kazofo}</answer>",
          0, 1, 1 },
        { "<think>a</think><python>1</python> <result>\n\n</result><think>c</think><answer>\\boxed{kazofo}</answer>", 0,
          1, 1 },
        { "<think>a</think><python>1</python> <result>\n<b>\n\n"
          "</result><think>c</think><answer>\\boxed{kazofo}</answer>",
          0, 1, 1 },
        { "<think>a</think><answer>\\boxed{kazof}</answer>", 0, 1, 0 },
        { "<think>a</think><answer>\\boxed{kazofoo}</answer>", 0, 1, 0 },
        { "<think>a</think><answer>\\boxed{Kazofo}</answer>", 0, 1, 0 },
        { "<think>a</think><answer>\\boxed{}</answer>", 0, 1, 0 },
        { "<think>a</think><answer>\\boxed{ka zofo}</answer>", 0, 1, 0 },
        { "<think>a\0b</think><answer>\\boxed{kazofo}</answer>", 49, 1, 1 },
        { "<think>a</think><answer>\\boxed{kazofo\0}</answer>", 48, 1, 0 },
        { "", 0, 0, 0 }, { "kazofo", 0, 0, 0 }, { "<answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a</think>", 0, 0, 0 },
        { "<think>a</think><answer>kazofo</answer>", 0, 0, 0 }, { "<think>a</think><answer>\\boxed{kazofo</answer>", 0,
          0, 0 },
        { "<think>a</think><answer>\\boxed{kazofo}", 0, 0, 0 },
        { "<think>a</think><answer>\\boxed{{kazofo}}</answer>", 0, 0, 0 },
        { "<think>a</think><answer>\\boxed{kazofo}</answer> ", 0, 0, 0 },
        { " <think>a</think><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a</think> <answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a</think><answer>x \\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a</think><answer>\\boxed{kazofo}</answer><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a<b</think><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a>b</think><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think><think>a</think><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a</think><think>a</think><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a</think><search>b</python> <result>\nx\n</result><think>c</think><answer>\\boxed{kazofo}</answer>",
          0, 0, 0 },
        { "<think>a</think><search>b</search><think>c</think><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a</think><search>b</search> <result>\nx\n</result><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a</think><search>b</search><result>\nx\n</result><think>c</think><answer>\\boxed{kazofo}</answer>", 0,
          0, 0 },
        { "<think>a</think><search>b</search> <result>\nx</result><think>c</think><answer>\\boxed{kazofo}</answer>", 0,
          0, 0 },
        { "<search>b</search> <result>\nx\n</result><think>c</think><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
        { "<think>a</think><search>b</search> <result>\nx\n</result>", 0, 0, 0 },
        { "<think>a</think><search>b</search> <result>\nx", 0, 0, 0 },
        { "<think>a</think> <result>\nx\n</result><think>c</think><answer>\\boxed{kazofo}</answer>", 0, 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *s = cases[i].response;
        size_t n = cases[i].n ? (size_t)cases[i].n : strlen(s);
        char *exact = xmalloc(n + 1);                       /* + 1: xmalloc(0); the sanitizer sees a read past n */
        memcpy(exact, s, n);
        exact = xrealloc(exact, n ? n : 1);
        struct task_grade g = task_grade(&q, exact, n, &two_tags);
        CHECK(g.well_formed == cases[i].well_formed && g.correct == cases[i].correct, "\"%s\" graded %d %d", s,
              g.well_formed, g.correct);
        free(exact);
    }
}

/* Every prefix of a correct response, and single bytes changed: never a crash, and no prefix is well formed. */
static void grader_on_damage(void **state)
{
    (void)state;
    struct rng r = rng_make(4, 5, 6);
    struct str all = { 0 };
    for (int f = 0; f < FAMILIES; f++) {
        struct task q;
        struct transcript t;
        task_make(&q, f, SPLIT_TRAIN, 3, 1);
        expert_write(&t, &q, FLAW_NONE, &r);
        assemble(&all, &t);
        for (size_t n = 0; n < all.n; n++) {
            char *cut = xmalloc(n + 1);
            memcpy(cut, all.p, n);
            assert_false(task_grade(&q, cut, n, &two_tags).well_formed);
            free(cut);
        }
        for (int k = 0; k < 2000; k++) {
            size_t at = rng_below(&r, (uint32_t)all.n);
            char old = all.p[at];
            all.p[at] = k % 3 ? "<>/{}\\\n "[k % 8] : (char)rng_u32(&r);
            struct task_grade g = task_grade(&q, all.p, all.n, &two_tags);
            assert_true(g.well_formed || !g.correct);
            all.p[at] = old;
        }
        transcript_free(&t);
        task_free(&q);
    }
    str_free(&all);
}

static void shares_of_flaws(void **state)
{
    (void)state;
    static const char high[] = "1010110010100";             /* arith lineq units onehop threehop links */
    enum { N = 20000 };
    struct rng r = rng_make(8, 8, 8);
    for (int f = 0; f < FAMILIES; f++) {
        double share[4] = { 0 }, guess = high[f] == '1' ? .5 : .15,
               want[4] = { [FLAW_GUESS] = guess, [FLAW_EARLY] = .06, [FLAW_SLIP] = .04 };
        want[FLAW_NONE] = 1 - guess - .1;
        for (int k = 0; k < N; k++) share[flaw_sample(f, .5, .15, .06, .04, &r)] += 1.0 / N;
        for (int k = 0; k < 4; k++)
            CHECK_NEAR(share[k], want[k], 4.5 * sqrt(want[k] * (1 - want[k]) / N), "%s, flaw %d", family_name[f], k);
    }
}

/* Tool calls of the policy, not of the expert. */
static void calls_by_the_policy(void **state)
{
    (void)state;
    struct page pages[2] = { { (char *)"tife", (char *)"rank 1." }, { (char *)"tife", (char *)"rank 2." } };
    struct task q = { .n_pages = 2, .pages = pages };
    static const struct { enum task_tool tool; const char *call, *want; } cases[] = {
        { TASK_SEARCH, " tife", "Page 1: tife: rank 1.\nPage 2: tife: rank 2." },
        { TASK_SEARCH, "TIFE?", "Page 1: tife: rank 1.\nPage 2: tife: rank 2." },
        { TASK_SEARCH, "tife tife", "Page 1: tife: rank 1.\nPage 2: tife: rank 2." },
        { TASK_SEARCH, "tif e", "no page" }, { TASK_SEARCH, " ", "error: empty query" }, { TASK_PYTHON, "2*3", "6" },
        { TASK_PYTHON, "2*", "error: syntax" }, { TASK_PYTHON, "", "(no output)" },
    };
    struct corpus *c = corpus_open(NULL);
    assert_non_null(c);
    for (int k = 0; k < 2; k++) corpus_add(c, 1, pages[k].title, pages[k].text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str got = { 0 };
        task_call(&got, &q, cases[i].tool, cases[i].call);
        assert_string_equal(got.p, cases[i].want);
        str_clear(&got);
        if (cases[i].tool == TASK_SEARCH) {
            corpus_search(c, &got, 1, cases[i].call, strlen(cases[i].call), TASK_MAX_PAGES, TASK_MAX_CHARS);
            assert_string_equal(got.p, cases[i].want);
        }
        str_free(&got);
    }
    corpus_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_are_right), cmocka_unit_test(flaws_are_wrong), cmocka_unit_test(solver_agrees),
        cmocka_unit_test(splits_share_nothing), cmocka_unit_test(pure_and_pinned), cmocka_unit_test(names),
        cmocka_unit_test(grader), cmocka_unit_test(grader_on_damage), cmocka_unit_test(shares_of_flaws),
        cmocka_unit_test(calls_by_the_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
