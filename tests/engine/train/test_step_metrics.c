/* test_step_metrics.c: what a step's line in metrics.jsonl says, computed a second time from the step's dump: from ids,
 * masks, log-probs, rewards, calls and advantages of its rollouts, by the definitions in docs/algorithm.md. Every name
 * that is printed is either computed here or listed as not. */
#include "engine/train/train_step.h"
#include "tests/check.h"
#include "tests/slow.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LINES = 256, LENGTH = 512 };
static const double within = 1e-6;

/* n: response positions; start: tokens of the prompt */
struct line {
    int prompt, rollout, parent, point, epoch, mini, n, start, id[LENGTH];
    int calls, python, search, over, end;
    bool branch, strict, fallback, acc, m[LENGTH];
    char kind[LENGTH + 1];
    double reward, score, logp[LENGTH], entropy[LENGTH], logp_now[LENGTH], omega[LENGTH], adv[LENGTH];
    bool scored, credit, updated;
    double pg, kl, norm, dropped;
};

static struct line all[LINES];
static int lines;

/* What the steps came by: what is 0 in all of them has not been tested. */
static struct { double tokens, calls, over, dead, clipped, strict, copies, twins, unended; } reached;

static double number(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_boolean(v) ? json_is_true(v) : json_is_number(v) ? json_number_value(v) : -1;
}

static bool vector(double *out, const json_t *o, const char *name, int skip, int n)
{
    const json_t *a = json_object_get(o, name);
    for (int i = 0; a && i < n; i++) out[i] = json_number_value(json_array_get(a, (size_t)(skip + i)));
    return a != NULL;
}

static void read_calls(struct line *l, const json_t *list)
{
    size_t k;
    const json_t *one;
    json_array_foreach((json_t *)list, k, one) {
        const char *tool = json_string_value(json_object_get(one, "tool"));
        bool over = json_is_true(json_object_get(one, "over_limit"));
        l->calls++;
        l->over += over;
        l->python += !over && !strcmp(tool, "python");
        l->search += !over && !strcmp(tool, "search");
    }
}

static void read_line(struct line *l, const json_t *o)
{
    double x[LENGTH];
    const json_t *u = json_object_get(o, "update");
    int whole = (int)json_array_size(json_object_get(o, "ids"));
    *l = (struct line){ .prompt = (int)number(o, "prompt"), .rollout = (int)number(o, "rollout"),
        .parent = (int)number(o, "parent"), .point = (int)number(o, "branch_index"), .epoch = (int)number(o, "epoch"),
        .mini = (int)number(o, "mini_batch"), .start = (int)number(o, "prompt_len"), .branch = number(o, "branch") > 0,
        .strict = number(o, "branch_strict") > 0, .fallback = number(o, "branch_fallback") > 0,
        .acc = number(o, "acc") > 0, .reward = number(o, "score"), .score = number(o, "branch_score"),
        .end = !strcmp(json_string_value(json_object_get(o, "finish")), "end"), .pg = number(u, "pg"),
        .kl = number(u, "kl"), .norm = number(u, "grad_norm"), .dropped = number(u, "rows_dropped"),
        .updated = json_is_number(json_object_get(u, "grad_norm")) };
    l->n = whole - l->start;
    assert_true(l->n >= 0 && l->n <= LENGTH);
    vector(x, o, "ids", l->start, l->n);
    for (int i = 0; i < l->n; i++) l->id[i] = (int)x[i];
    vector(x, o, "mask", l->start, l->n);
    for (int i = 0; i < l->n; i++) l->m[i] = x[i] != 0;
    vector(l->logp, o, "logp", l->start, l->n);
    vector(l->entropy, o, "entropy", l->start, l->n);
    vector(l->logp_now, o, "logp_now", 0, l->n);
    l->scored = vector(l->omega, o, "omega", 0, l->n);
    l->credit = vector(l->adv, o, "advantage", 0, l->n);
    snprintf(l->kind, sizeof l->kind, "%s", json_string_value(json_object_get(o, "kind")));
    read_calls(l, json_object_get(o, "calls"));
}

static void read_dump(char *text)
{
    lines = 0;
    for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
        json_t *o = json_loads(p, JSON_ALLOW_NUL, NULL);
        assert_true(o && lines < LINES);
        read_line(&all[lines++], o);
        json_decref(o);
    }
}

/* ---- the numbers ---- */

struct sum { double n, sum, min, max; };

static void add(struct sum *s, double x)
{
    if (s->n == 0 || x < s->min) s->min = x;
    if (s->n == 0 || x > s->max) s->max = x;
    s->n++;
    s->sum += x;
}

static double mean(const struct sum *s) { return s->n > 0 ? s->sum / s->n : 0; }
static double share(double part, double of) { return of > 0 ? part / of : 0; }

/* The metrics that were checked, so that none printed goes unchecked. */
enum { METRICS_MAX = 512 };
struct reported { const struct metrics *m; const char *name; int times[METRICS_MAX]; };

static void note(struct reported *t, const char *name)
{
    for (int i = 0; i < t->m->n; i++) t->times[i] += !strcmp(t->m->v[i].name, name);
}

static void is(struct reported *t, const char *name, double want)
{
    CHECK_NEAR(metrics_get(t->m, name), want, within * (1 + fabs(want)), "%s: %s", t->name, name);
    note(t, name);
}

static void is3(struct reported *t, const char *name, const struct sum *s)
{
    static const char *const of[] = { "mean", "max", "min" };
    const double want[] = { mean(s), s->max, s->min };
    for (int k = 0; k < 3; k++) {
        char key[96];
        snprintf(key, sizeof key, "%s/%s", name, of[k]);
        is(t, key, want[k]);
    }
}

static bool same(const struct line *a, const struct line *b)
{
    return a->n == b->n && a->start == b->start && !memcmp(a->id, b->id, (size_t)a->n * sizeof *a->id);
}

static bool with(const struct line *a, const struct line *b)
{
    return a->epoch == b->epoch && a->mini == b->mini && a->prompt == b->prompt;
}

/* The rollout of the same update that l left; NULL: it began with the prompt. */
static const struct line *parent_of(const struct line *l)
{
    for (int k = 0; k < lines && l->parent >= 0; k++)
        if (with(&all[k], l) && all[k].rollout == l->parent) return &all[k];
    return NULL;
}

static bool trained(const struct line *l)
{
    for (int i = 0; i < l->n; i++) if (l->m[i] && l->adv[i] != 0) return l->credit;
    return false;
}

/* Tokens that are run through the model: those before a target, what rollouts of a prompt share once. */
static int rows_of(const struct line *l, bool (*counts)(const struct line *))
{
    int shared = -1;
    for (const struct line *b = all; b < l; b++) {
        int i = 0;
        if (!with(b, l) || !counts(b)) continue;
        while (i < l->n - 1 && i < b->n - 1 && l->id[i] == b->id[i]) i++;
        if (i > shared) shared = i;
    }
    return shared < 0 ? l->start + l->n - 1 : l->n - 1 - shared;
}

/* Initial rollouts; they are the same in every epoch. */
static void rollouts(struct reported *t, const struct config *c, struct sum *reward, double *generated, double *results)
{
    struct sum length = { 0 }, prompt = { 0 }, calls = { 0 }, ent = { 0 };
    double acc = 0, formed = 0, end = 0, python = 0, search = 0, over = 0;
    for (const struct line *l = all; l < all + lines; l++) {
        if (l->branch || l->epoch) continue;
        add(reward, l->reward);
        add(&length, l->n);
        add(&prompt, l->start);
        add(&calls, l->calls);
        acc += l->acc, formed += l->reward > c->reward.malformed + 1e-9, end += l->end;
        python += l->python, search += l->search, over += l->over;
        for (int i = 0; i < l->n; i++) {
            if (l->m[i]) add(&ent, l->entropy[i]), ++*generated;
            else ++*results;
        }
    }
    is3(t, "critic/rewards", reward);
    is3(t, "response_length", &length);
    is3(t, "prompt_length", &prompt);
    is3(t, "tools/calls", &calls);
    is(t, "tools/calls/python", python);
    is(t, "tools/calls/search", search);
    is(t, "tools/over_limit", over);
    is(t, "critic/acc/mean", share(acc, reward->n));
    is(t, "critic/format/mean", share(formed, reward->n));
    is(t, "response_length/clip_ratio", 1 - share(end, reward->n));
    is(t, "actor/entropy", mean(&ent));
    reached.tokens += ent.n, reached.calls += python, reached.over += over, reached.unended += reward->n - end;
}

/* Updates: one line of each is enough for what they say of themselves, every initial rollout for the rest. */
static void updates(struct reported *t, const struct config *c)
{
    struct sum pg = { 0 }, kl = { 0 }, norm = { 0 }, adv = { 0 };
    double live = 0, live_of = 0, dropped = 0, forward = 0;
    for (const struct line *l = all; l < all + lines; l++) {
        bool first = l == all || l[-1].epoch != l->epoch || l[-1].mini != l->mini;
        if (first && l->updated) add(&pg, l->pg), add(&kl, l->kl), add(&norm, l->norm), dropped += l->dropped;
        if (l->branch) continue;
        for (int i = 0; i < l->n; i++) if (l->m[i]) add(&adv, l->adv[i]);
        live += trained(l), live_of += l->n > 0;
        if (trained(l)) forward += rows_of(l, trained);
    }
    is(t, "actor/pg_loss", mean(&pg));
    is(t, "actor/kl_loss", mean(&kl));
    is(t, "actor/grad_norm", mean(&norm));
    is3(t, "critic/advantages", &adv);
    is(t, "actor/live_rows_frac", share(live, live_of));
    is(t, "actor/dropped_rows", dropped);
    is(t, "actor/lr", c->actor.optim_lr);
    is(t, "actor/skipped_steps", 0);
    is(t, "perf/trained_rows", forward);
    reached.dead += live_of - live;
}

/* Section 6 and 7 of every update, means over its tokens, then over updates. */
static void ratios(struct reported *t, const struct config *c)
{
    struct sum ppo_kl = { 0 }, clip = { 0 }, lower = { 0 }, factor = { 0 }, raw = { 0 }, upper = { 0 }, bottom = { 0 };
    struct sum f = { 0 }, o = { 0 };            /* over tokens of all updates: only the ends are used */
    double d = 0, cl = 0, lo = 0, fs = 0, os = 0, hi = 0, bot = 0, n = 0, over = 1 + c->advantage.future_clip_high,
        under = 1 - c->advantage.future_clip_low;
    for (const struct line *l = all; l < all + lines; l++) {
        double s = 0;
        for (int i = l->n - 1; i >= 0 && !l->branch && l->updated; i--) {
            double step = l->m[i] ? l->logp_now[i] - l->logp[i] : 0, r = exp(step);
            s = c->advantage.future_gamma * s + (r > c->advantage.future_leave_out ? 0 : step);
            if (!l->m[i]) continue;
            double omega = fmin(fmax(exp(s), under), over), w = 1 + c->advantage.future_weight * omega;
            n++, d -= step;
            cl += l->adv[i] > 0 ? r > 1 + c->actor.clip_ratio_high : l->adv[i] < 0 && r < 1 - c->actor.clip_ratio_low;
            lo += l->adv[i] < 0 && r > c->actor.clip_ratio_c;
            add(&f, w), add(&o, exp(s));
            fs += w, os += exp(s), hi += omega >= over - 1e-7, bot += omega <= under + 1e-7;
        }
        bool last = l + 1 == all + lines || l[1].epoch != l->epoch || l[1].mini != l->mini;
        if (!last || n == 0) continue;
        add(&ppo_kl, d / n), add(&clip, cl / n), add(&lower, lo / n), add(&factor, fs / n), add(&raw, os / n);
        add(&upper, hi / n), add(&bottom, bot / n);
        d = cl = lo = fs = os = hi = bot = n = 0;
    }
    is(t, "actor/ppo_kl", mean(&ppo_kl));
    is(t, "actor/pg_clipfrac", mean(&clip));
    is(t, "actor/pg_clipfrac_lower", mean(&lower));
    reached.clipped += clip.sum;
    if (c->algorithm.adv_estimator != ALGO_APPO) return;
    f.sum = factor.sum, f.n = factor.n, o.sum = raw.sum, o.n = raw.n;
    is3(t, "appo/future_factor", &f);
    is3(t, "appo/future_omega", &o);
    is(t, "appo/iw_clip_upper", mean(&upper));
    is(t, "appo/iw_clip_lower", mean(&bottom));
}

static void points(struct reported *t)
{
    static const char letters[] = "tcag", *const names[] = { "think", "call", "answer", "tag" };
    struct sum score = { 0 };
    double depth[4] = { 0 }, kind[4] = { 0 }, strict = 0, fallback = 0;
    for (const struct line *l = all; l < all + lines; l++) {
        const struct line *from = l->branch ? parent_of(l) : NULL;
        if (!from) continue;
        int quarter = 0;
        while (quarter < 3 && 4 * l->point >= (quarter + 1) * from->n) quarter++;
        depth[quarter]++;
        for (int k = 0; k < 4; k++) kind[k] += from->kind[l->point] == letters[k];
        add(&score, l->score);
        strict += l->strict, fallback += l->fallback;
    }
    is3(t, "appo/branch_score", &score);
    is(t, "appo/branch_points", score.n);
    is(t, "appo/strict_frac", share(strict, score.n));
    is(t, "appo/entropy_fallback_frac", share(fallback, score.n));
    for (int k = 0; k < 4; k++) {
        char key[64];
        snprintf(key, sizeof key, "appo/points_at_depth/%d", k);
        is(t, key, share(depth[k], score.n));
        snprintf(key, sizeof key, "appo/points_at/%s", names[k]);
        is(t, key, share(kind[k], score.n));
    }
    reached.strict += strict;
}

static void branches(struct reported *t, const struct config *c, const struct sum *init, double *generated,
                     double *results)
{
    struct sum reward = { 0 }, fresh = { 0 }, omega = { 0 };
    double copies = 0, unique = 0, before = *generated, none = 0;
    for (const struct line *l = all; l < all + lines; l++) {
        const struct line *from = l->branch ? parent_of(l) : NULL;
        bool seen = false, left = false;
        for (const struct line *b = all; b < l; b++) {
            seen = seen || (with(b, l) && same(b, l));
            left = left || (with(b, l) && b->branch);
        }
        unique += !seen;
        for (int i = 0; l->scored && i < l->n; i++) if (l->m[i]) add(&omega, l->omega[i]);
        if (!l->branch) continue;
        int born = from ? l->point + !c->branch.resample_token : 0;
        for (int i = 0; i < born; i++) assert_int_equal(l->id[i], from->id[i]);
        add(&reward, l->reward);
        add(&fresh, l->n - born);
        copies += from && same(from, l);
        none += !from && !left;
        for (int i = born; i < l->n; i++) if (l->m[i]) ++*generated; else ++*results;
    }
    is3(t, "appo/omega_clamped", &omega);
    is(t, "appo/branch_copies", share(copies, reward.n));
    is(t, "appo/unique_trajectories", share(unique, lines));
    is(t, "appo/no_candidate_prompts", none);
    is(t, "appo/reward_init", mean(init));
    is(t, "appo/reward_branch", mean(&reward));
    is(t, "appo/reward_gap", mean(&reward) - mean(init));
    is(t, "appo/branch_tokens/mean", mean(&fresh));
    is(t, "perf/branch_tokens", *generated - before);
    points(t);
    reached.copies += copies, reached.twins += lines - unique;
}

static void check_step(const struct metrics *m, const struct config *c, int step, const char *name)
{
    /* not from the dump: what no exact program has (probs, noise), what other tests count (scored_rows:
     * test_branch_rollouts.c), tools of other processes, times */
    static const char *const others[] = { "training/rollout_probs_diff/mean", "training/rollout_probs_diff/max",
        "training/rollout_probs_diff/min", "training/rollout_probs_diff_max", "appo/omega_noise",
        "appo/omega_noise_max", "perf/scored_rows", "tools/timeouts" };
    struct reported t = { .m = m, .name = name };
    assert_true(m->n <= METRICS_MAX);
    struct sum reward = { 0 };
    double generated = 0, results = 0;
    is(&t, "training/global_step", step);
    rollouts(&t, c, &reward, &generated, &results);
    updates(&t, c);
    ratios(&t, c);
    if (c->algorithm.adv_estimator == ALGO_APPO) branches(&t, c, &reward, &generated, &results);
    else is(&t, "perf/branch_tokens", 0);
    is(&t, "perf/generated_tokens", generated);
    is(&t, "perf/total_num_tokens", generated + results);
    double wall = metrics_get(m, "timing_s/step"), parts = 0;
    is(&t, "perf/throughput", (generated + results) / wall);
    for (int i = 0; i < m->n; i++) {
        if (strncmp(m->v[i].name, "timing_s/", 9)) continue;
        CHECK(m->v[i].value >= 0 && m->v[i].value <= wall, "%s: %s", name, m->v[i].name);
        if (strcmp(m->v[i].name, "timing_s/step") && strcmp(m->v[i].name, "timing_s/tool_wait")) parts += m->v[i].value;
        note(&t, m->v[i].name);
    }
    CHECK(parts > 0.5 * wall && parts <= 1.01 * wall, "%s: %g s of %g", name, parts, wall);
    for (size_t k = 0; k < sizeof others / sizeof *others; k++) note(&t, others[k]);
    for (int i = 0; i < m->n; i++)
        CHECK(t.times[i] == 1, "%s: %s is computed here %d times (once, or its name belongs into others[])", name,
              m->v[i].name, t.times[i]);
}

/* ---- runs ---- */

static void run(const char *name, const char *const *set)
{
    static const char *const small[] = { "data.train_batch_size", "4", "actor.ppo_mini_batch_size", "2", "rollout.n",
        "8", "rollout.initial_rollouts", "4", "branch.points", "1", "actor.ppo_epochs", "2", "data.max_prompt_length",
        "64", "data.max_response_length", "160", "rollout.max_len", "160", "actor.ppo_max_token_len_per_gpu", "8192",
        "rollout.max_num_seqs", "64", "actor.optim.lr", "4e-3", "actor.optim.lr_warmup_steps", "0", "reward.kind",
        "task", "tools.max_tokens", "64", "trainer.threads", "1", "trainer.rollout_data_prompts", "-1", NULL };
    struct config c;
    struct session s;
    struct trainer t;
    struct metrics m = { 0 };
    struct err e = { { 0 } };
    config_init(&c);
    for (int i = 0; small[i]; i += 2) CHECK(config_set(&c, small[i], small[i + 1], "test", &e), "%s", e.text);
    for (int i = 0; set[i]; i += 2) CHECK(config_set(&c, set[i], set[i + 1], "test", &e), "%s", e.text);
    setenv("APPO_HOME", ".", 1);
    CHECK(config_check(&c, NULL, &e) && session_open(&s, &c, true, &e), "%s: %s", name, e.text);
    trainer_make(&t, &s);
    for (int k = 0; k < 2; k++) {
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        metrics_clear(&m);
        CHECK(trainer_step(&t, &m, f, &e), "%s: %s", name, e.text);
        fclose(f);
        read_dump(text);
        CHECK(lines == 4 * c.rollout.n * 2, "%s: %d lines", name, lines);
        check_step(&m, &c, k + 1, name);
        free(text);
    }
    metrics_free(&m);
    trainer_free(&t);
    session_close(&s);
    config_free(&c);
}

static void a_step_counted_again(void **state)
{
    (void)state;
    if (sizeof(elem_t) != 4 || on_shim()) skip();          /* the shim takes a minute a step */
    run("appo", (const char *const[]){ NULL });
    if (slow_build()) return;
    run("token kept", (const char *const[]){ "branch.resample_token", "false", "branch.points", "3",
        "tools.call_limit", "1", "advantage.future_clip_low", "0.2", NULL });
    run("grpo", (const char *const[]){ "algorithm.adv_estimator", "grpo", "actor.kl_loss_coef", "0", NULL });
    printf("%g tokens, %g calls, %g over the limit, %g rows without advantage, %g strict points, %g copies\n",
        reached.tokens, reached.calls, reached.over, reached.dead, reached.strict, reached.copies);
    CHECK(reached.tokens > 1000 && reached.calls > 10 && reached.over > 0 && reached.dead > 0 && reached.clipped > 0 &&
        reached.strict > 0 && reached.copies > 0 && reached.twins > 0 && reached.unended > 0,
        "the steps do not reach what is compared");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_step_counted_again) };
    return cmocka_run_group_tests_name("step", tests, NULL, NULL);
}
