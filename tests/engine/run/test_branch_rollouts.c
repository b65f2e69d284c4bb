/* test_branch_rollouts.c: branches of a mini-batch: where they leave, with whose keys and values, what they may still
 * do; and whole runs: the same metrics however they are cut into threads, passes and sittings. */
#define _GNU_SOURCE      /* nftw, fopencookie */
#include "engine/run/run.h"
#include "engine/train/policy_update.h"
#include "engine/train/rescore.h"
#include "tests/engine/train/mini.h"
#include "tests/slow.h"
#include "base/arith.h"
#include <signal.h>
#include <sys/resource.h>

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Every own token of a branch was sampled from the present weights, and its prefix is scored under them. */
static void check_branch(const struct mini *x, const struct group *g, int at, const char *name)
{
    const struct trajectory *r = g->traj[at], *from = r->orig >= 0 ? g->traj[r->orig] : NULL;
    int n = trajectory_len(r), keep = from ? r->seq.born - r->seq.prompt_len : 0;
    acc_t *logp = xcalloc((size_t)n + 1, sizeof *logp), *ent = xcalloc((size_t)n + 1, sizeof *ent);
    mini_fresh(x, &r->seq, NULL, 0, logp, ent);
    CHECK(keep <= n && (!from || keep == r->idx + !x->c.branch.resample_token), "%s: row %d keeps %d of %d", name, at,
          keep, n);
    for (int i = 0; i < n; i++) {
        int p = r->seq.prompt_len + i;
        if (i < keep)
            CHECK(r->seq.ids[p] == from->seq.ids[p] && r->seq.m[p] == from->seq.m[p], "%s: row %d, prefix token %d",
                  name, at, i);
        if (i < keep)
            CHECK(r->seq.logp[p] == from->seq.logp[p] && r->logp[i] == from->logp[i], "%s: row %d, prefix numbers %d",
                  name, at, i);
        if (!r->seq.m[p]) continue;
        CHECK(r->logp[i] == logp[i], "%s: row %d of %d tokens, kept %d: position %d has logp %.9g, alone %.9g", name,
              at, n, keep, i, (double)r->logp[i], (double)logp[i]);
        if (i >= keep)
            CHECK(r->seq.logp[p] == logp[i] && r->seq.entropy[p] == ent[i],
                  "%s: row %d, position %d was not sampled under the present weights", name, at, i);
    }
    /* points were chosen on it: pi_old in its Omega is the weights that the initial rollouts were sampled from, for its
     * own tokens too */
    if (r->bs) mini_fresh(x, &r->seq, x->t.w_old, 0, logp, ent);
    for (int i = 0; r->bs && i < n; i++)
        if (r->seq.m[r->seq.prompt_len + i])
            CHECK(r->logp_omega[i] == logp[i], "%s: row %d, position %d: pi_old %.9g, alone %.9g", name, at, i,
                  (double)r->logp_omega[i], (double)logp[i]);
    free(logp);
    free(ent);
}

/* Random shapes: prompts, rollouts, shared tokens, limits, sizes of passes and of micro-batches, rounds. */
static void same_numbers(void **state)
{
    (void)state;
    int64_t branches = 0, copied = 0, between = 0;
    for (uint32_t shape = 0; shape < 14; shape++) {
        struct rng r = rng_make(77, shape, 0);
        char v[9][16], name[32];
        int initial = 1 + (int)rng_below(&r, 5), points = 1 + (int)rng_below(&r, 3), rounds = 1 + (int)rng_below(&r, 2),
            prompts = 1 + (int)rng_below(&r, 3);
        int length = 3 + (int)rng_below(&r, 70), all = initial;
        for (int i = 0; i < rounds; i++) all *= points + 1;
        const int value[9] = { prompts,
                               prompts,
                               initial,
                               MIN(all, 24),
                               points,
                               rounds,
                               length,
                               9 + (int)rng_below(&r, 56),
                               134 + (int)rng_below(&r, 300) };
        for (int i = 0; i < 9; i++) snprintf(v[i], sizeof v[i], "%d", value[i]);
        snprintf(name, sizeof name, "shape %u", shape);
        struct mini x;
        struct group g[3];
        struct step_sums z = { 0 };
        mini_open(&x,
                  KEYS("actor.ppo_epochs", "2", "data.train_batch_size", v[0], "actor.ppo_mini_batch_size", v[1],
                       "rollout.initial_rollouts", v[2], "rollout.n", v[3], "branch.points", v[4], "branch.rounds",
                       v[5], "data.max_response_length", v[6], "rollout.max_len", "134"),
                  KEYS("rollout.max_num_seqs", "9", "rollout.max_num_batched_tokens", v[7],
                       "actor.ppo_max_token_len_per_gpu", v[8], "actor.optim.lr", "0.01", "actor.optim.lr_warmup_steps",
                       "0", "branch.resample_token", shape % 3 ? "true" : "false", "branch.candidates",
                       shape % 2 ? "open" : "any", "rollout.temperature", shape % 4 ? "1" : "0.8"),
                  100 + shape);
        x.script.shared = (int)rng_below(&r, 40);
        x.script.ends = 10 + 20 * (int)rng_below(&r, 3);
        mini_sample(&x, g, prompts, shape);
        for (int update = 0; update < 2; update++) {
            uint64_t version = x.s.m.version;
            mini_branch(&x, g, prompts, update > 0, &z);
            for (int i = 0; i < prompts; i++)
                for (int j = g[i].initial; j < g[i].n; j++) {
                    check_branch(&x, &g[i], j, name);
                    branches++;
                    between += update && g[i].traj[j]->bs != NULL;
                    copied += update && g[i].traj[j]->orig >= 0;
                }
            g[0].traj[0]->seq.reward += 0.7;               /* something to learn in every shape */
            if (g[0].n > 1) g[0].traj[g[0].n - 1]->seq.reward -= 0.3;
            x.c.actor.live_rows_only = false;
            assert_true(policy_update(&x.t, g, prompts, update > 0, &z));
            assert_true(x.s.m.version > version);
            mini_drop_pages(&x, g, prompts);
        }
        mini_end(&x, g, prompts);
        mini_close(&x);
    }
    CHECK(branches > 200 && copied > 100 && between > 30,
          "%lld branches, %lld from rescored rollouts, %lld branched again", (long long)branches, (long long)copied,
          (long long)between);
}

/* ---- where they leave: the Branching Score computed again ---- */

static void z_scores(double *x, const uint8_t *m, int n)
{
    double sum = 0, square = 0, count = 0, lo = HUGE_VAL, hi = -HUGE_VAL;
    for (int i = 0; i < n; i++) if (m[i]) { sum += x[i]; count++; lo = fmin(lo, x[i]); hi = fmax(hi, x[i]); }
    for (int i = 0; i < n; i++) if (m[i]) square += (x[i] - sum / count) * (x[i] - sum / count);
    for (int i = 0; i < n; i++) x[i] = !m[i] || lo == hi ? 0 : (x[i] - sum / count) / (sqrt(square / count) + 1e-6);
}

/* White space as Python 3.11's str.isspace() lists it, and nothing else. */
static bool blank_text(const char *text, int n)
{
    static const char *const space[] = { "\t",     "\n",     "\v",     "\f",     "\r",       "\x1c",
                                         "\x1d",   "\x1e",   "\x1f",   " ",      "\xc2\x85", "\xc2\xa0",
                                         "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",   "\u2004",
                                         "\u2005", "\u2006", "\u2007", "\u2008", "\u2009",   "\u200a",
                                         "\u2028", "\u2029", "\u202f", "\u205f", "\u3000" };
    int at = 0, len = 1;
    for (; at < n && len; at += len) {
        len = 0;
        for (size_t k = 0; k < sizeof space / sizeof *space; k++)
            if (strlen(space[k]) <= (size_t)(n - at) && !memcmp(text + at, space[k], strlen(space[k])))
                len = (int)strlen(space[k]);
    }
    return at >= n && len;
}

struct point { int row, pos, tier; double rank, score; };

static int better(const void *pa, const void *pb)
{
    const struct point *a = pa, *b = pb;
    if (a->tier != b->tier) return b->tier - a->tier;
    if (a->rank != b->rank) return a->rank > b->rank ? -1 : 1;
    return a->row != b->row ? a->row - b->row : a->pos - b->pos;
}

/* Candidates of a row, best first, as section 3 says; returns how many. logp of pi_old is that of the sampler. */
static int ranked(struct point *out, const struct mini *x, const struct trajectory *r, int row)
{
    const struct config *c = &x->c;
    int n = trajectory_len(r), found = 0,
        budget = MIN(c->data.max_response_length, c->rollout.max_len - r->seq.prompt_len);
    const uint8_t *m = r->seq.m + r->seq.prompt_len;
    double *f = xcalloc((size_t)n + 1, sizeof *f), *h = xcalloc((size_t)n + 1, sizeof *h);
    for (int i = 0; i < n; i++) {
        double s = 0;
        for (int k = i; k < n; k++)
            if (m[k])
                s += pow(c->branch.gamma, k - i) * ((double)r->logp[k] - (double)r->seq.logp[r->seq.prompt_len + k]);
        f[i] = fmin(fmax(exp(fmin(fmax(s, -20), 20)), 1 - c->branch.clip_low), 1 + c->branch.clip_high);
        h[i] = (double)r->entropy[i];
    }
    z_scores(f, m, n);
    z_scores(h, m, n);
    bool update_batch = true;
    for (int i = 0; i < n; i++) update_batch = update_batch && f[i] == 0;
    for (int i = 0; i < n; i++) {
        int bytes, id = r->seq.ids[r->seq.prompt_len + i];
        const char *text = tokenizer_bytes(x->s.tok, id, &bytes);
        bool blank = blank_text(text, bytes);
        if (!m[i] || (c->branch.candidates != CANDIDATES_ANY && blank)) continue;
        if (c->branch.candidates == CANDIDATES_OPEN && (id == x->script.end || i + 1 >= budget)) continue;
        bool strict = c->branch.strict_first && f[i] > 0 && h[i] > 0;
        double key = update_batch && c->branch.entropy_if_flat ? h[i] : f[i] * h[i];
        out[found++] =
            (struct point){ row, i, strict,
                            !strict && c->branch.strict_first && c->branch.fallback == FALLBACK_ENTROPY ? h[i] : key,
                            key };
    }
    qsort(out, (size_t)found, sizeof *out, better);
    free(f);
    free(h);
    return found;
}

/* One round from the initial rollouts: every row's best points in its order (pool = rollout), or the best of all (pool
 * = prompt); then the same again. */
static int check_points(const struct mini *x, const struct group *g, const char *name)
{
    struct point list[4096];
    int all = 0, distinct = 0, begin[8] = { 0 }, took[8] = { 0 };
    bool pooled = x->c.branch.pool == POOL_PROMPT;
    for (int i = 0; i < g->initial; i++) {
        all += ranked(list + all, x, g->traj[i], i);
        begin[i + 1] = all;
        distinct += MIN(x->c.branch.points, all - begin[i]);
    }
    if (pooled) {
        qsort(list, (size_t)all, sizeof *list, better);
        /* chosen, but nothing can follow: left out */
        for (int i = distinct = 0; i < MIN(all, x->c.rollout.n - g->initial); i++)
            if (list[i].pos + !x->c.branch.resample_token < x->c.data.max_response_length) list[distinct++] = list[i];
    }
    for (int j = 0; j < g->n - g->initial; j++) {
        const struct trajectory *b = g->traj[g->initial + j];
        if (j >= distinct) {
            const struct trajectory *same = g->traj[g->initial + j - distinct];
            CHECK(b->orig == same->orig && b->idx == same->idx, "%s: branch %d is not branch %d again", name, j,
                  j - distinct);
            continue;
        }
        int at = pooled ? j : begin[b->orig] + took[b->orig]++;
        CHECK(pooled || (took[b->orig] <= x->c.branch.points && at < begin[b->orig + 1]), "%s: branch %d, rollout %d",
              name, j, b->orig);
        CHECK(b->orig == list[at].row && b->idx == list[at].pos, "%s: branch %d leaves rollout %d at %d, not %d at %d",
              name, j, b->orig, b->idx, list[at].row, list[at].pos);
        CHECK_NEAR(b->score, list[at].score, 1e-3 * (1 + fabs(list[at].score)), "%s: score of branch %d", name, j);
    }
    return MIN(distinct, g->n - g->initial);
}

static void points(void **state)
{
    (void)state;
    static const struct { const char *name; const char *set[14]; } cases[] = {
        { "default",        { NULL } },
        { "paper",          { "algorithm.preset", "paper" } },
        { "official",       { "algorithm.preset", "official", "branch.when", "minibatch", "branch.entropy", "full" } },
        { "wide clamp",     { "branch.clip_low", "0.9", "branch.clip_high", "5", "branch.pool", "prompt" } },
        { "product", { "branch.clip_low", "0.9", "branch.clip_high", "5", "branch.strict_first", "false",
          "branch.gamma", "1" } },
        { "strict product", { "branch.clip_low", "0.9", "branch.fallback", "product", "branch.pool", "prompt" } },
    };
    int seen = 0;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct mini x;
        struct group g[3];
        struct step_sums z = { 0 };
        mini_open(&x, cases[k].set,
                  KEYS("data.train_batch_size", "3", "actor.ppo_mini_batch_size", "3", "rollout.n", "16",
                       "rollout.initial_rollouts", "4", "branch.points", "3", "data.max_prompt_length", "64",
                       "data.max_response_length", "40", "rollout.max_len", "104", "actor.optim.lr", "0.02",
                       "actor.optim.lr_warmup_steps", "0"),
                  31);
        mini_sample(&x, g, 3, 1);
        for (int update = 0; update < 2; update++) {
            mini_branch(&x, g, 3, update > 0, &z);
            for (int i = 0; i < 3; i++) seen += check_points(&x, &g[i], cases[k].name);
            assert_true(policy_update(&x.t, g, 3, update > 0, &z));
            mini_drop_pages(&x, g, 3);
        }
        mini_end(&x, g, 3);
        mini_close(&x);
    }
    CHECK(seen > 300, "%d points", seen);
}

/* ---- what they may still do ---- */

/* A rollout that made all its calls: a branch from before them has them again, or has none left where the prefix's tags
 * count. */
static void call_budget(void **state)
{
    (void)state;
    for (int prefix = 0; prefix < 2; prefix++) {
        struct mini x;
        struct group g[1];
        struct step_sums z = { 0 };
        mini_open(&x,
                  KEYS("data.train_batch_size", "1", "actor.ppo_mini_batch_size", "1", "rollout.n", "16",
                       "rollout.initial_rollouts", "4", "branch.points", "3", "tools.call_limit", "2",
                       "data.max_response_length", "90", "rollout.max_len", "150", "branch.score", "random",
                       "branch.tool_budget", prefix ? "prefix" : "response"),
                  NULL, 8);
        x.script.calls = 200;
        mini_sample(&x, g, 1, 0);
        mini_branch(&x, g, 1, false, &z);
        int over = 0, made = 0;
        for (int j = g[0].initial; j < g[0].n; j++) {
            const struct trajectory *r = g[0].traj[j];
            int before = 0, tags = 0, real_calls = 0;
            for (int i = 0; i < r->seq.calls; i++)
                before += r->seq.call[i].close < r->seq.born - r->seq.prompt_len && !r->seq.call[i].over_limit;
            for (int p = 0; p < r->seq.born; p++)
                tags += r->seq.ids[p] == x.script.close || r->seq.ids[p] == tokenizer_id(x.s.tok, "</search>");
            int spent = prefix && tags > before ? tags : before;
            for (int i = 0; i < r->seq.calls; i++) {
                const struct call *c = &r->seq.call[i];
                real_calls += !c->over_limit;
                if (c->close < r->seq.born - r->seq.prompt_len) continue;
                CHECK(c->over_limit == (spent >= 2), "%s: branch %d, call %d after %d", prefix ? "prefix" : "response",
                      j, i, spent);
                spent += !c->over_limit;
                over += c->over_limit;
                made += !c->over_limit;
            }
            CHECK(real_calls <= 2, "branch %d made %d calls", j, real_calls);
        }
        CHECK(over > 3 && made > 3, "%d calls over the limit, %d made", over, made);
        mini_end(&x, g, 1);
        mini_close(&x);
    }
}

/* A point at the last token that the limits allow, its token kept: no branch, as in the official request builder; and
 * never one too many. */
static void no_room(void **state)
{
    (void)state;
    struct mini x;
    struct group g[1];
    struct step_sums z = { 0 };
    mini_open(&x,
              KEYS("data.train_batch_size", "1", "actor.ppo_mini_batch_size", "1", "rollout.n", "40",
                   "rollout.initial_rollouts", "4", "branch.points", "9", "data.max_response_length", "6",
                   "rollout.max_len", "70", "branch.candidates", "any", "branch.resample_token", "false"),
              NULL, 8);
    x.script.ends = 0, x.script.calls = 0;
    mini_sample(&x, g, 1, 0);
    mini_branch(&x, g, 1, false, &z);
    for (int j = g[0].initial; j < g[0].n; j++) {
        const struct trajectory *r = g[0].traj[j];
        CHECK(r->idx < 5 && trajectory_len(r) > r->idx + 1, "branch %d at %d of %d", j, r->idx, trajectory_len(r));
    }
    CHECK(g[0].n > 4 && g[0].n < 40, "%d rollouts", g[0].n);
    mini_end(&x, g, 1);
    mini_close(&x);
}

/* ---- the step's own weights, pages, passes ---- */

/* A step of two mini-batches: what it began with is pi_old, and the next step's "previous", unless it changed
 * nothing. */
static void previous_weights(void **state)
{
    (void)state;
    if (on_shim()) skip();
    struct mini x;
    struct err e;
    struct metrics m = { 0 };
    mini_open(&x,
              KEYS("data.train_batch_size", "4", "actor.ppo_mini_batch_size", "2", "rollout.n", "6",
                   "rollout.initial_rollouts", "3", "branch.points", "1", "data.max_response_length", "12",
                   "rollout.max_len", "76", "branch.omega", "previous", "actor.live_rows_only", "false",
                   "actor.optim.lr", "0.01"),
              NULL, 8);
    size_t bytes = (size_t)x.s.m.count * sizeof(elem_t);
    elem_t *began[4];
    for (int k = 0; k < 4; k++) {
        began[k] = xmalloc(bytes);
        memcpy(began[k], x.s.m.w, bytes);
        /* step 1: a random policy's rollouts are all malformed, so that nothing moves */
        x.c.actor.entropy_coeff = k == 1 ? 0 : 0.1;
        x.c.actor.live_rows_only = k == 1;
        metrics_clear(&m);
        assert_true(trainer_step(&x.t, &m, NULL, &e));
        CHECK((memcmp(began[k], x.s.m.w, bytes) == 0) == (k == 1), "step %d moved the weights, or did not", k);
        CHECK(memcmp(x.t.w_prev, began[k == 1 ? 0 : k], bytes) == 0,
              "after step %d, those of the last step that changed anything", k);
        CHECK(x.t.silent == (k == 1), "step %d", k);
        CHECK_NEAR(metrics_get(&m, "actor/lr"), 0.01 * (k + 1 < 2 ? 0.5 : 1), 1e-12,
                   "the rate of step %d, update or not", k);
    }
    for (int k = 0; k < 4; k++) free(began[k]);
    metrics_free(&m);
    mini_close(&x);
}

/* Two steps; `scored`: pi_old from a scoring pass, as where sampler and scorer do not share their bits; `pages`: as
 * many as the pool has where 0. */
static struct metrics two_steps(bool scored, const char *const *set, int *most)
{
    struct mini x;
    struct err e;
    struct metrics m = { 0 };
    mini_open(&x,
              KEYS("data.train_batch_size", "6", "actor.ppo_mini_batch_size", "2", "rollout.n", "9",
                   "rollout.initial_rollouts", "3", "branch.points", "2", "data.max_response_length", "40",
                   "rollout.max_len", "104", "actor.optim.lr", "0.02", "actor.entropy_coeff", "0.1",
                   "actor.live_rows_only", "false"),
              set, 8);
    x.t.score_old = scored;
    for (int k = 0; k < 2; k++) {
        metrics_clear(&m);
        assert_true(trainer_step(&x.t, &m, NULL, &e));
        kv_check_all(&x.s.kv);
        assert_int_equal(x.s.kv.free, x.s.kv.pages);
    }
    if (most) *most = x.s.kv.pages;
    mini_close(&x);
    return m;
}

static void same_but(const struct metrics *a, const struct metrics *b, const char *const *but, const char *name)
{
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        bool aside = metrics_is_timing(a->v[i].name);
        for (int k = 0; but[k]; k++) aside = aside || !strcmp(a->v[i].name, but[k]);
        if (!aside)
            CHECK(a->v[i].value == b->v[i].value, "%s: %s is %.17g, not %.17g", name, a->v[i].name, b->v[i].value,
                  a->v[i].value);
    }
}

/* On a CPU both ways give the same bits: the pass changes nothing but the work done, and the noise is 0. */
static void scored_pi_old(void **state)
{
    (void)state;
    if (on_shim()) skip();
    struct metrics a = two_steps(false, KEYS("actor.ppo_epochs", "2"), NULL),
                   b = two_steps(true, KEYS("actor.ppo_epochs", "2"), NULL);
    same_but(&a, &b, KEYS("perf/scored_rows"), "scored");
    CHECK(metrics_get(&b, "appo/omega_noise") == 0 && metrics_get(&b, "perf/scored_rows") > metrics_get(&a, "perf/"
                                                                                                            "scored_"
                                                                                                            "rows"),
          "no pass was made");
    metrics_free(&a);
    metrics_free(&b);
}

/* Numbers from a sampler that is off by rounding: Omega and the ratio must come from the two scoring passes alone. */
static void noisy_sampler(void **state)
{
    (void)state;
    struct mini x;
    struct group g[2];
    struct step_sums z = { 0 };
    struct traj_list l = { 0 };
    mini_open(&x,
              KEYS("data.train_batch_size", "4", "actor.ppo_mini_batch_size", "2", "rollout.n", "6",
                   "rollout.initial_rollouts", "3", "branch.points", "1", "data.max_response_length", "30",
                   "rollout.max_len", "94"),
              NULL, 8);
    mini_sample(&x, g, 2, 0);
    for (int i = 0; i < 2; i++) {
        traj_list_add(&l, &g[i], i, 0, 3);
        for (int j = 0; j < 3; j++) {
            struct sequence *seq = &g[i].traj[j]->seq;
            for (int p = seq->prompt_len; p < seq->n; p++) if (seq->m[p]) seq->logp[p] += (acc_t)(1e-3 * (p % 3 - 1));
        }
    }
    rescore_old(&x.t, &l, &z);
    for (int i = 0; i < l.n; i++) rescore_note_noise(&x.c, l.traj[i], &z);
    traj_list_free(&l);
    CHECK(z.omega_noise.n > 50 && mean_of(&z.omega_noise) > 1e-4 && z.omega_noise.max < 0.1, "noise %g, at most %g",
          mean_of(&z.omega_noise), z.omega_noise.max);
    mini_branch(&x, g, 2, false, &z);
    CHECK(z.fallback == z.branch_points && z.omega_clamped.min == 1 && z.omega_clamped.max == 1,
          "Omega sees the sampler's noise: %g to %g", z.omega_clamped.min, z.omega_clamped.max);
    mini_drop_pages(&x, g, 2);
    mini_branch(&x, g, 2, true, &z);
    CHECK(z.fallback == z.branch_points && z.omega_clamped.min == 1 && z.omega_clamped.max == 1,
          "and after a scoring pass: %g to %g", z.omega_clamped.min, z.omega_clamped.max);
    assert_true(policy_update(&x.t, g, 2, false, &z));
    CHECK_NEAR(z.ppo_kl.max, 0, 0, "the ratio does");
    CHECK(z.probs_diff.max > 0, "the difference of sampler and trainer is that of the sampler's own numbers");
    mini_end(&x, g, 2);
    mini_close(&x);
}

/* Pages of the first mini-batch alone are kept, and are there when it is branched; with less room for others the
 * numbers are the same. */
static void pages_of_one_mini_batch(void **state)
{
    (void)state;
    if (on_shim()) skip();
    int many, few, all;
    struct metrics a = two_steps(false, KEYS("rollout.max_num_seqs", "24"), &many),
                   b = two_steps(false, KEYS("rollout.max_num_seqs", "2"), &few);
    same_but(&a, &b, KEYS(""), "two sequences at a time");
    CHECK(many == (24 + 2 * 3) * kv_pages_for(104) && few == (2 + 2 * 3) * kv_pages_for(104), "%d and %d pages", many,
          few);
    metrics_free(&b);
    b = two_steps(false, KEYS("branch.when", "step"), &all);
    CHECK(all == (24 + 6 * 3) * kv_pages_for(104), "once a step, all of them wait: %d pages", all);
    metrics_free(&b);
    /* no update between mini-batches: the later ones' pages are written again, the numbers are those of the sampler */
    b = two_steps(false,
                  KEYS("branch.rounds", "2", "branch.points", "1", "rollout.max_num_seqs", "2", "actor.entropy_coeff",
                       "0", "actor.live_rows_only", "true"),
                  NULL);
    CHECK(metrics_get(&b, "perf/scored_rows") > 0 && metrics_get(&b, "actor/grad_norm") == 0, "no update, and pages "
                                                                                              "written again");
    struct metrics c = two_steps(false,
                                 KEYS("branch.rounds", "2", "branch.points", "1", "rollout.max_num_seqs", "24",
                                      "actor.entropy_coeff", "0", "actor.live_rows_only", "true"),
                                 NULL);
    same_but(&b, &c, KEYS(""), "two rounds, two sequences at a time");
    metrics_free(&a);
    metrics_free(&b);
    metrics_free(&c);
}

/* ---- whole runs ---- */

/* Two prompts a mini-batch, two mini-batches a step, on the shipped policy. */
struct run { char folder[64]; bool ok; struct err e; struct run_report report; };

/* A listener on the run's plain lines: raises run_stop when step `at` is said to be done (-1: never). */
struct listener { int at; };
static ssize_t listen_write(void *cookie, const char *text, size_t n)
{
    const struct listener *l = cookie;
    char want[32];
    snprintf(want, sizeof want, "step:%d ", l->at);
    if (l->at >= 0 && n >= strlen(want) && memcmp(text, want, strlen(want)) == 0) run_stop = 1;
    return (ssize_t)n;
}

static void run_once(struct run *r, const char *const *set, int stop_after)
{
    struct config c;
    struct session s;
    struct listener l = { stop_after };
    FILE *say = fopencookie(&l, "w", (cookie_io_functions_t){ .write = listen_write });
    config_init(&c);
    mini_set(&c, KEYS("trainer.threads", "1", "data.train_batch_size", "4", "actor.ppo_mini_batch_size", "2",
                      "rollout.n", "6", "rollout.initial_rollouts", "2", "branch.points", "2", "data.val_per_family",
                      "1", "trainer.total_training_steps", "2", "trainer.save_freq", "1", "actor.kl_loss_coef", "0.01",
                      "branch.omega", "previous", "data.max_response_length", "96", "rollout.val_kwargs.temperature",
                      "0.7"));
    mini_set(&c, set);
    mini_set(&c, KEYS("trainer.default_local_dir", r->folder));
    setenv("APPO_HOME", ".", 1);
    run_stop = 0;
    r->ok = session_open(&s, &c, true, &r->e) && run_training(&s, &r->report, say, &r->e);
    if (r->ok) assert_int_equal(s.kv.free, s.kv.pages);
    session_close(&s);
    config_free(&c);
    fclose(say);
    dev_set_threads(1);
}

static void run_open(struct run *r)
{
    *r = (struct run){ .folder = "/tmp/appo-run-XXXXXX" };
    if (!mkdtemp(r->folder)) die("%s cannot be made", r->folder);
}

static json_t **metrics_of(const struct run *r, int *steps)
{
    struct str path = { 0 }, text = { 0 };
    str_printf(&path, "%s/appo/debug/metrics.jsonl", r->folder);
    assert_true(file_read(path.p, 1 << 20, &text, NULL));
    json_t **all = xcalloc(64, sizeof *all);
    *steps = 0;
    for (char *p = strtok(text.p, "\n"); p; p = strtok(NULL, "\n")) {
        json_t *data = json_object_get(all[*steps] = json_loads(p, 0, NULL), "data");
        assert_non_null(data);
        const char *key;
        json_t *value;
        void *next;
        json_object_foreach_safe(data, next, key, value) if (metrics_is_timing(key)) json_object_del(data, key);
        assert_true(json_object_size(data) > 5);
        (*steps)++;
    }
    str_free(&path);
    str_free(&text);
    return all;
}

/* within 0: equal; else step 1 to this part of 1 + each number's size: AdamW makes whole steps of gradients that are
 * rounding, so that later ones part. */
static void compare(const struct run *a, const struct run *b, double within, const char *name)
{
    int na, nb;
    json_t **x = metrics_of(a, &na), **y = metrics_of(b, &nb);
    CHECK(na == 3 && nb == 3, "%s: %d and %d lines", name, na, nb);
    for (int i = 0; i < na; i++) {
        const char *key;
        json_t *value, *data = json_object_get(x[i], "data"), *other = json_object_get(y[i], "data");
        assert_int_equal(json_object_size(data), json_object_size(other));
        json_object_foreach(within > 0 && i > 1 ? NULL : data, key, value) {
            double got = json_number_value(json_object_get(other, key)), want = json_number_value(value);
            CHECK(json_object_get(other, key), "%s: step %d has no %s", name, i, key);
            /* scores of branch points have been divided by the spread of Omega in a rollout, which may be 1e-3 */
            CHECK_NEAR(got, want, within * (strncmp(key, "appo/branch_score", 17) ? 1 : 100) * (1 + fabs(want)),
                       "%s: step %d, %s", name, i, key);
        }
        json_decref(x[i]);
        json_decref(y[i]);
    }
    free(x);
    free(y);
}

/* elsewhere: not where builds are slow. */
static void same_metrics(void **state)
{
    (void)state;
    static const struct { const char *name; const char *set[6]; double within; bool elsewhere; } cases[] = {
        { "again",              { NULL }, 0, true },
        { "two threads",        { "trainer.threads", "2" }, 0, true },
        { "other passes", { "rollout.max_num_seqs", "5", "rollout.max_num_batched_tokens", "37", "model.recompute",
          "full" }, 0, false },
        { "room for one rollout",   { "rollout.max_total_tokens", "160" }, 0, false },
        { "room for three and a half", { "rollout.max_total_tokens", "560", "branch.rounds", "1" }, 0, true },
        { "recompute of what is cheap", { "model.recompute", "cheap" }, 0, true },
        { "other micro-batches",{ "actor.ppo_max_token_len_per_gpu", "211" }, 1e-6, true },
    };
    struct run first;
    run_open(&first);
    run_once(&first, NULL, -1);
    CHECK(first.ok, "%s", first.e.text);
    CHECK(first.report.probs_diff_max == 0 && first.report.tokens_trained > 0,
          "sampled and trained probabilities differ by %g", first.report.probs_diff_max);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (slow_build() && cases[i].elsewhere) continue;
        struct run r;
        run_open(&r);
        run_once(&r, cases[i].set, -1);
        CHECK(r.ok, "%s: %s", cases[i].name, r.e.text);
        compare(&first, &r, cases[i].within, cases[i].name);
        mini_clean(r.folder);
    }
    /* 0: before the first step, which leaves nothing and is begun anew */
    for (int stop = slow_build(); stop < 2; stop++) {
        char name[32];
        struct run r;
        snprintf(name, sizeof name, "stopped after %d", stop);
        run_open(&r);
        run_once(&r, KEYS("trainer.save_freq", "0"), stop);
        CHECK(r.ok && r.report.stopped && r.report.steps == stop, "%s: stopped after %d", name, r.report.steps);
        struct str path = { 0 };
        str_printf(&path, "%s/appo/debug/global_step_%d/state.json", r.folder, stop);
        CHECK(file_exists(path.p) == (stop > 0), "%s: %s", name, path.p);
        str_free(&path);
        run_once(&r, KEYS("trainer.save_freq", "0"), -1);
        CHECK(r.ok && !r.report.stopped, "%s: %s", name, r.e.text);
        compare(&first, &r, 0, name);
        mini_clean(r.folder);
    }
    mini_clean(first.folder);
}

/* The first weights and those of the step before in host memory, the optimizer too; stopped and resumed. */
static void host_memory_changes_no_number(void **state)
{
    (void)state;
    struct run first, r;
    run_open(&first);
    run_once(&first, KEYS("actor.kl_loss_coef", "0.1"), -1);
    CHECK(first.ok, "%s", first.e.text);
    run_open(&r);
    for (int stop = 1; stop >= -1; stop -= 2) {
        run_once(&r, KEYS("actor.kl_loss_coef", "0.1", "ref.offload", "true", "actor.offload", "optimizer",
                          "trainer.save_freq", "0"), stop);
        CHECK(r.ok, "%s", r.e.text);
    }
    compare(&first, &r, 0, "in host memory");
    mini_clean(r.folder);
    mini_clean(first.folder);
}

/* The message of five bad updates; the checkpoint of a named step; a changed configuration. */
static void refusals(void **state)
{
    (void)state;
    struct run r, other;
    struct str from = { 0 };
    int steps;
    run_open(&r);
    run_open(&other);
    run_once(&r, NULL, -1);
    assert_true(r.ok);
    str_printf(&from, "%s/appo/debug/global_step_1", r.folder);
    run_once(&other, KEYS("trainer.resume", from.p), -1);
    CHECK(other.ok && other.report.steps == 2, "%s", other.e.text);
    json_t **a = metrics_of(&r, &steps), **b = metrics_of(&other, &steps);
    assert_int_equal(steps, 1);
    CHECK(json_equal(a[2], b[0]), "resumed from a named checkpoint, step 2 has other metrics");
    for (int i = 0; i < 3; i++) json_decref(a[i]);
    json_decref(b[0]);
    free(a);
    free(b);
    run_once(&r, KEYS("actor.optim.lr", "1e-3", "trainer.total_training_steps", "5"), -1);
    CHECK(!r.ok && strstr(r.e.text, "actor.optim.lr"), "a changed learning rate: %s", r.ok ? "went on" : r.e.text);
    run_once(&r, KEYS("rollout.max_len", "100000", "actor.ppo_max_token_len_per_gpu", "100000"), -1);
    CHECK(!r.ok && strstr(r.e.text, "max_position_embeddings"), "too long: %s", r.ok ? "went on" : r.e.text);
    run_once(&r, KEYS("trainer.resume", "/nowhere"), -1);
    CHECK(!r.ok && strstr(r.e.text, "/nowhere"), "no checkpoint: %s", r.ok ? "went on" : r.e.text);
    mini_clean(r.folder);
    mini_clean(other.folder);
    str_free(&from);
}

static void five_in_a_row(void **state)
{
    (void)state;
    struct mini x;
    struct err e = { { 0 } };
    struct metrics m = { 0 };
    mini_open(&x,
              KEYS("data.train_batch_size", "2", "actor.ppo_mini_batch_size", "1", "rollout.n", "4",
                   "rollout.initial_rollouts", "2", "branch.points", "1", "data.max_response_length", "12",
                   "rollout.max_len", "76"),
              NULL, 8);
    x.c.reward.malformed = (double)NAN;                  /* no key can say so; a bug might */
    size_t bytes = (size_t)x.s.m.count * sizeof(elem_t);
    elem_t *w = xmalloc(bytes);
    memcpy(w, x.s.m.w, bytes);
    int steps = 0;
    while (trainer_step(&x.t, &m, NULL, &e)) { steps++; assert_true(steps < 9); }
    CHECK(steps == 2 && x.t.skipped == 5, "%d steps, %d updates skipped", steps, x.t.skipped);
    CHECK_NEAR(metrics_get(&m, "actor/skipped_steps"), 5, 0, "metric");
    CHECK(strstr(e.text, "five updates in a row") && strstr(e.text, "actor.optim.lr"), "%s", e.text);
    CHECK(memcmp(w, x.s.m.w, bytes) == 0, "the weights have changed");
    CHECK(x.s.kv.free == x.s.kv.pages, "pages are still held");
    free(w);
    metrics_free(&m);
    mini_close(&x);
}

static int unfinished;
static int note_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st; (void)type; (void)at;
    if (strstr(path, ".tmp")) { unfinished++; print_error("left behind: %s\n", path); }
    return 0;
}

/* A disk that takes no file above some size: a message, and nothing under a name that promises more. */
static void full_disk(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 3000, 300000 };
    struct rlimit old, now;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*was)(int) = signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct run r;
        struct str path = { 0 };
        run_open(&r);
        now = (struct rlimit){ sizes[i], old.rlim_max };
        setrlimit(RLIMIT_FSIZE, &now);
        run_once(&r, KEYS("trainer.val_before_train", "false", "data.train_batch_size", "2"), -1);
        setrlimit(RLIMIT_FSIZE, &old);
        CHECK(!r.ok && strstr(r.e.text, r.folder), "files of %zu bytes: %s", sizes[i], r.ok ? "went on" : r.e.text);
        str_printf(&path, "%s/appo/debug/global_step_1", r.folder);
        CHECK(!file_exists(path.p), "files of %zu bytes: a checkpoint is there", sizes[i]);
        unfinished = 0;
        nftw(r.folder, note_file, 16, FTW_PHYS);
        CHECK(unfinished == 0, "files of %zu bytes", sizes[i]);
        str_free(&path);
        mini_clean(r.folder);
    }
    signal(SIGXFSZ, was);
}

int main(int argc, char **argv)
{
    (void)argc;
    /* threads that wait by spinning take a minute of a busy machine; read before main, so start again */
    if (!getenv("OMP_WAIT_POLICY")) {
        setenv("OMP_WAIT_POLICY", "passive", 1);
        execv("/proc/self/exe", argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_numbers), cmocka_unit_test(points), cmocka_unit_test(call_budget),
        cmocka_unit_test(no_room), cmocka_unit_test(previous_weights), cmocka_unit_test(scored_pi_old),
        cmocka_unit_test(noisy_sampler), cmocka_unit_test(pages_of_one_mini_batch), cmocka_unit_test(five_in_a_row),
        cmocka_unit_test(same_metrics),
        cmocka_unit_test(host_memory_changes_no_number), cmocka_unit_test(refusals), cmocka_unit_test(full_disk),
    };
    return cmocka_run_group_tests_name("branching", tests, NULL, NULL);
}
