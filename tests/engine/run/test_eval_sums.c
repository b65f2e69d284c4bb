/* test_eval_sums.c: an evaluation of hand-made answers. What is in its folder is not asked again, so that a file with
 * known right and wrong answers in the place of the policy's own decides every number: mean@n over all samples, greedy
 * success, format, calls, length and reward, for sources of different sizes. */
#define _GNU_SOURCE     /* nftw */
#include "engine/run/evaluate.h"
#include "tests/engine/train/chat_session.h"
#include "tests/folder.h"
#include <math.h>

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

enum { PROMPTS = 7, SAMPLES = 3 };

/* A prompt's source, and its answers: samples 0..2, then the greedy one. '+' right, '-' wrong, '!' malformed (and
 * wrong); calls and length follow from the place. No two of the shares below are equal by accident. */
static const struct { const char *source, *answers; } prompts[PROMPTS] = {
    { "small", "+--" "-" }, { "large", "---" "+" }, { "large", "++-" "+" }, { "small", "-++" "-" },
    { "large", "-!+" "!" }, { "other", "--+" "+" }, { "large", "!+-" "+" },
};

static double reward_of(char x) { return x == '+' ? 1.25 : x == '-' ? 0.25 : -0.5; }
static int calls_of(int q, int k) { return (q + 2 * k) % 5; }
static int length_of(int q, int k) { return 10 + 7 * q + 3 * k; }

struct sums { double n, right, formed, calls, length, reward, greedy_n, greedy; };

static struct sums sums_of(const char *source)
{
    struct sums z = { 0 };
    for (int q = 0; q < PROMPTS; q++) {
        if (source && strcmp(prompts[q].source, source)) continue;
        for (int k = 0; k < SAMPLES; k++) {
            char x = prompts[q].answers[k];
            z.n++;
            z.right += x == '+';
            z.formed += x != '!';
            z.calls += calls_of(q, k);
            z.length += length_of(q, k);
            z.reward += reward_of(x);
        }
        z.greedy_n++;
        z.greedy += prompts[q].answers[SAMPLES] == '+';
    }
    return z;
}

/* The lines in an order of their own, as answers come in. */
static void write_answers(const char *path)
{
    struct str text = { 0 };
    struct err e;
    for (int i = 0; i < PROMPTS * (SAMPLES + 1); i++) {
        int at = (i * 11 + 5) % (PROMPTS * (SAMPLES + 1)), q = at / (SAMPLES + 1), k = at % (SAMPLES + 1);
        char x = prompts[q].answers[k];
        str_printf(&text,
                   "{\"input\":\"q\",\"output\":\"o\",\"gts\":\"a\",\"score\":%.17g,\"step\":4,\"acc\":%s,"
                   "\"format\":%s,\"data_source\":\"%s\",\"question\":%d,\"sample\":%d,\"greedy\":%s,"
                   "\"calls\":%d,\"length\":%d,\"finish\":\"end\"}\n",
                   reward_of(x), x == '+' ? "true" : "false", x == '!' ? "false" : "true", prompts[q].source, q,
                   k == SAMPLES ? 0 : k, k == SAMPLES ? "true" : "false", calls_of(q, k), length_of(q, k));
    }
    CHECK(file_write(path, text.p, text.n, &e), "%s", e.text);
    str_free(&text);
}

static void is_source(const struct eval_source *r, const char *name, const struct sums *z)
{
    CHECK(r->n == (int)z->n && r->correct == (int)z->right, "%s: %d of %d right, should be %g of %g", name, r->correct,
          r->n, z->right, z->n);
    CHECK(r->greedy_n == (int)z->greedy_n && r->greedy_correct == (int)z->greedy,
          "%s: greedy: %d of %d right, should be %g of %g", name, r->greedy_correct, r->greedy_n, z->greedy,
          z->greedy_n);
    CHECK(r->well_formed == (int)z->formed, "%s: %d well-formed, should be %g", name, r->well_formed, z->formed);
    CHECK_NEAR(r->calls, z->calls, 0, "%s: calls", name);
    CHECK_NEAR(r->length, z->length, 0, "%s: length", name);
    CHECK_NEAR(r->reward, z->reward, 1e-12, "%s: reward", name);
}

static void is_metric(const struct metrics *m, const char *name, double want)
{
    CHECK_NEAR(metrics_get(m, name), want, 1e-12, "%s", name);
}

static void check_metrics(const struct eval_result *r)
{
    struct metrics m = { 0 };
    struct sums small = sums_of("small"), large = sums_of("large"), other = sums_of("other"), all = sums_of(NULL);
    eval_metrics(r, &m);
    is_metric(&m, "val-core/small/acc/mean@3", small.right / small.n);
    is_metric(&m, "val-core/large/acc/mean@3", large.right / large.n);
    is_metric(&m, "val-core/other/acc/mean@3", other.right / other.n);
    is_metric(&m, "val-core/all/acc/mean@3", all.right / all.n);
    is_metric(&m, "val-aux/all/greedy/mean@1", all.greedy / all.greedy_n);
    is_metric(&m, "val-aux/all/format/mean@1", all.formed / all.n);
    is_metric(&m, "val-aux/all/reward/mean@3", all.reward / all.n);
    is_metric(&m, "val-aux/num_turns/mean", all.calls / all.n);
    assert_int_equal(m.n, 8);
    metrics_free(&m);
}

static void write_prompts(void)
{
    struct str text = { 0 };
    for (int q = 0; q < PROMPTS; q++)
        str_printf(&text, "{\"data_source\":\"%s\",\"question\":\"q%d?\",\"answer\":\"%d\"}\n", prompts[q].source, q,
                   q);
    chatty_write(dir, "val.jsonl", text.p);
    str_free(&text);
}

/* The policy's own answers: every sample of every question stands in the file once, greedy ones apart, with a text and
 * a length of its own, and the result is their sum. */
static void check_file(const char *path, const struct eval_result *r)
{
    struct str text = { 0 };
    struct err e;
    int seen[PROMPTS][SAMPLES + 1] = { { 0 } }, n = 0, differ = 0;
    double length = 0, reward = 0;
    char first[256] = "";
    CHECK(file_read(path, 1 << 20, &text, &e), "%s", e.text);
    for (char *p = strtok(text.p, "\n"); p; p = strtok(NULL, "\n"), n++) {
        int q = -1, k = -1, greedy = 0, own = 0;
        double score = 0;
        const char *output = NULL;
        json_t *o = json_loads(p, 0, NULL);
        assert_int_equal(json_unpack(o, "{s:i,s:i,s:b,s:i,s:F,s:s}", "question", &q, "sample", &k, "greedy", &greedy,
                                     "length", &own, "score", &score, "output", &output), 0);
        assert_true(q >= 0 && q < PROMPTS && k >= 0 && k < (greedy ? 1 : SAMPLES));
        if (k == 0 && !greedy) snprintf(first, sizeof first, "%s", output);
        differ += !greedy && k > 0 && strcmp(first, output) != 0;
        if (!greedy) length += own, reward += score;
        seen[q][greedy ? SAMPLES : k]++;
        json_decref(o);
    }
    for (int i = 0; i < PROMPTS * (SAMPLES + 1); i++)
        CHECK(seen[i / (SAMPLES + 1)][i % (SAMPLES + 1)] == 1, "answer %d of prompt %d", i % (SAMPLES + 1),
              i / (SAMPLES + 1));
    CHECK(n == PROMPTS * (SAMPLES + 1) && differ >= PROMPTS, "%d answers, %d samples unlike the first", n, differ);
    CHECK(r->all.n == PROMPTS * SAMPLES && r->all.length == length && fabs(r->all.reward - reward) < 1e-12,
          "length %g of %g, reward %g of %g", r->all.length, length, r->all.reward, reward);
    str_free(&text);
}

static void hand_made_answers(void **state)
{
    (void)state;
    struct config c;
    struct session s;
    struct eval_result r;
    struct err e;
    const char *folder = in_dir("answers");
    struct eval_options how = { .dir = folder, .step = 4 };
    chatty_model(dir);
    write_prompts();
    chatty_set(&c, dir, KEYS("data.val_files", in_dir("val.jsonl"), "data.system_prompt", "none",
        "data.max_response_length", "4", "rollout.max_len", "64", "rollout.max_num_seqs", "8",
        "rollout.val_kwargs.n", "3"));
    CHECK(session_open(&s, &c, false, &e) && session_open_prompts(&s, false, &e), "%s", e.text);
    CHECK(evaluate_to(&s, &r, &how, &e), "%s", e.text);     /* the policy's own, which know nothing */
    CHECK(r.answers == PROMPTS * (SAMPLES + 1) && r.known == 0 && r.generated > 0 && r.all.correct == 0,
          "%d answers, %d right", r.answers, r.all.correct);
    struct str path = { 0 };
    str_printf(&path, "%s/4.jsonl", folder);
    check_file(path.p, &r);
    write_answers(path.p);
    CHECK(evaluate_to(&s, &r, &how, &e), "%s", e.text);
    CHECK(r.known == PROMPTS * (SAMPLES + 1) && r.generated == 0, "%d answers known", r.known);
    assert_int_equal(r.sources, 3);
    static const char *const names[] = { "small", "large", "other" };   /* in the order of their first prompts */
    for (int i = 0; i < 3; i++) {
        struct sums z = sums_of(names[i]);
        assert_string_equal(r.source[i].name, names[i]);
        is_source(&r.source[i], names[i], &z);
    }
    struct sums all = sums_of(NULL);
    is_source(&r.all, "all", &all);
    check_metrics(&r);
    s.m.w[s.m.embed] += 1;                                  /* other weights have no answers yet */
    gemm_weights_changed();
    CHECK(evaluate_to(&s, &r, &how, &e) && r.known == 0 && r.all.correct == 0, "%d answers of other weights", r.known);
    str_free(&path);
    session_close(&s);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(hand_made_answers) };
    return cmocka_run_group_tests_name("eval sums", tests, make_dir, drop_dir);
}
