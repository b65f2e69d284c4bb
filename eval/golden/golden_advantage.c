/* golden_advantage.c: golden branch points and advantages, through the same request builder and operations as a
 * training step. */
#include "engine/branch/branch_points.h"
#include "eval/golden/golden_case.h"
#include <stdio.h>
#include <string.h>

/* The inputs of a branch_select case. */
struct select_case {
    int rows, len, prompt, want, pad, vocab;
    int64_t n, *begin;
    int *uid, *kind, *prompts, *responses;
    uint8_t *m, *never;
    acc_t *logp, *logp_old, *entropy;
    struct branch_config config;
};

static bool read_select(struct golden_case *c, struct select_case *s)
{
    if (!golden_shape(c, &s->rows, &s->len)) return false;
    s->n = (int64_t)s->rows * s->len;
    s->prompt = golden_int(c, "P");
    s->want = golden_int(c, "K");
    s->pad = golden_int(c, "pad_id");
    if (c->broken) return false;
    if (s->prompt < 0 || s->want < 0 || (int64_t)s->want * s->rows > 1 << 22) {
        c->broken = true;
        return fail(c->e, "case \"%s\": P or K is out of range", c->name);
    }
    s->uid = golden_ints(c, "uid", s->rows);
    s->kind = golden_is_null(c, "kind") ? NULL : golden_ints(c, "kind", s->rows);
    s->prompts = golden_ints(c, "prompts", (int64_t)s->rows * s->prompt);
    s->responses = golden_ints(c, "responses", s->n);
    s->m = golden_bytes(c, "loss_mask", s->n);
    s->logp = golden_accs(c, "old_logp", s->n);
    s->logp_old = golden_accs(c, "rollout_logp", s->n);
    s->entropy = golden_accs(c, "entropy", s->n);
    double gamma = golden_number(c, "gamma"), eps = golden_number(c, "eps");
    int64_t blanks = golden_length(c, "blank_ids");
    int *blank = golden_ints(c, "blank_ids", blanks);
    if (c->broken) return false;
    for (int64_t i = 0; i < s->n; i++)
        if (s->responses[i] >= s->vocab) s->vocab = s->responses[i] < 1 << 24 ? s->responses[i] + 1 : INT32_MAX;
    if (s->vocab > 1 << 24) {
        c->broken = true;
        return fail(c->e, "case \"%s\": a token id in \"responses\" is out of range", c->name);
    }
    s->never = golden_alloc(c, (size_t)s->vocab);
    for (int64_t i = 0; i < blanks; i++) if (blank[i] >= 0 && blank[i] < s->vocab) s->never[blank[i]] = 1;
    s->begin = golden_begin(c, s->rows, s->len);
    s->config = branch_official();
    /* the official discount is a float32 */
    s->config.rule = (struct branch_rule){ (double)(float)gamma, 1 - eps, 1 + eps };
    return true;
}

/* F and BS: rollouts that the official code skips (branches, those without a generated token) are 0 in the file. */
static void check_scores(struct golden_case *c, const struct select_case *s)
{
    double *f_want = golden_doubles(c, "F", s->n), *bs_want = golden_doubles(c, "BS", s->n);
    double f_noise = golden_number(c, "fp64_maxdiff.F"), bs_noise = golden_number(c, "fp64_maxdiff.BS");
    size_t bytes = (size_t)s->n * sizeof(acc_t);
    acc_t *f = golden_alloc(c, bytes), *zf = golden_alloc(c, bytes), *zh = golden_alloc(c, bytes),
          *bs = golden_alloc(c, bytes);
    if (c->broken) return;
    op_branch_score(&(struct branch_scores){ f, zf, zh, bs }, &(struct branch_in){
        .logp = s->logp, .logp_old = s->logp_old, .entropy = s->entropy, .m = s->m, .begin = s->begin, .rows = s->rows
    }, &s->config.rule);
    for (int r = 0; r < s->rows; r++) {
        bool skipped = (s->kind && s->kind[r]) || !memchr(s->m + s->begin[r], 1, (size_t)s->len);
        for (int64_t i = s->begin[r]; skipped && i < s->begin[r + 1]; i++) f[i] = bs[i] = 0;
    }
    golden_near_all(c, "F", f, f_want, s->n, f_noise);
    golden_near_all(c, "BS", bs, bs_want, s->n, bs_noise);
}

/* The request builder's rollouts: the initial ones only; of[i] = rollout of the case. */
static int build_rows(struct golden_case *c, const struct select_case *s, struct branch_row *rows, int *of)
{
    uint8_t *ok = golden_alloc(c, (size_t)s->n), *solid = golden_alloc(c, (size_t)s->n);
    int n = 0;
    for (int r = 0; r < s->rows; r++) {
        if (s->kind && s->kind[r]) continue;
        int64_t at = s->begin[r];
        int length = 0;
        for (int i = 0; i < s->prompt; i++) length += s->prompts[(int64_t)r * s->prompt + i] != s->pad;
        for (int64_t i = at; i < s->begin[r + 1]; i++) solid[i] = s->responses[i] != s->pad;
        branch_candidates(ok + at, s->responses + at, s->m + at, s->len, s->never, s->vocab, 0);
        of[n] = r;
        rows[n++] =
            (struct branch_row){ { s->logp + at, s->logp_old + at, s->entropy + at, s->m + at, ok + at, s->len },
                                 s->uid[r],
                                 length,
                                 solid + at };
    }
    return n;
}

static void check_points(struct golden_case *c, const struct branch_request *got, int n, const int *of, double noise)
{
    int64_t want = golden_length(c, "selected.row");
    int *row = golden_ints(c, "selected.row", want), *idx = golden_ints(c, "selected.idx", want);
    int *remaining = golden_ints(c, "selected.remaining", want), *prefix = golden_ints(c, "selected.prefix_len", want);
    double *score = golden_doubles(c, "selected.score", want);
    if (c->broken) return;
    golden_same(c, "number of branch points", 0, n, (double)want);
    for (int i = 0; i < n && i < want; i++) {
        golden_same(c, "row", i, of[got[i].row], row[i]);
        golden_same(c, "idx", i, got[i].pos, idx[i]);
        golden_same(c, "remaining", i, got[i].remaining, remaining[i]);
        golden_same(c, "prefix_len", i, got[i].prefix_len, prefix[i]);
        golden_near(c, "score", i, got[i].choice.score, score[i], golden_limit(score[i], noise));
    }
}

static void check_select(struct golden_case *c)
{
    struct select_case s = { 0 };
    if (!read_select(c, &s)) return;
    check_scores(c, &s);
    double noise = golden_number(c, "fp64_maxdiff.BS");
    bool none = golden_bool(c, "returned_none", false);
    struct branch_row *rows = golden_alloc(c, (size_t)s.rows * sizeof *rows);
    struct branch_summary *sum = golden_alloc(c, (size_t)s.rows * sizeof *sum);
    int *of = golden_alloc(c, (size_t)s.rows * sizeof *of), n_rows = build_rows(c, &s, rows, of), prompts;
    struct branch_request *got = golden_alloc(c, (size_t)n_rows * (size_t)s.want * sizeof *got);
    int n =
        branch_requests(got, sum, &prompts, rows, n_rows, s.want, s.len, &s.config, &(struct branch_key){ .round = 1 });
    int64_t want = golden_length(c, "prompt_order");
    int *order = golden_ints(c, "prompt_order", want), *strict = golden_ints(c, "n_strict", want),
        *candidates = golden_ints(c, "n_candidates", want);
    if (c->broken) return;
    golden_same(c, "number of prompts", 0, prompts, (double)want);
    for (int i = 0; i < prompts && i < want; i++) {
        golden_same(c, "prompt_order", i, sum[i].uid, order[i]);
        golden_same(c, "n_strict", i, sum[i].strict, strict[i]);
        golden_same(c, "n_candidates", i, sum[i].candidates, candidates[i]);
    }
    golden_same(c, "returned_none", 0, n == 0, none);
    check_points(c, got, n, of, noise);
}

bool golden_branch_select(const json_t *root, struct golden_tally *t, struct err *e)
{
    return golden_each(root, "cases", check_select, t, e);
}

static struct branch_record *read_records(struct golden_case *c, int *n)
{
    *n = 0;
    if (golden_is_null(c, "metas") || c->broken) return NULL;
    int64_t count = golden_length(c, "metas");
    const json_t *list = golden_field(c, "metas");
    struct branch_record *rec = golden_alloc(c, (size_t)count * sizeof *rec);
    for (int64_t i = 0; i < count && !c->broken; i++) {
        struct golden_case meta = { .json = json_array_get(list, (size_t)i), .e = c->e };
        snprintf(meta.name, sizeof meta.name, "%.40s\", metas number \"%d", c->name, (int)i);
        rec[i] = (struct branch_record){ golden_int(&meta, "orig"), golden_int(&meta, "row"), golden_int(&meta, "idx"),
                                         golden_number(&meta, "score") };
        c->broken |= meta.broken;
    }
    *n = (int)count;
    return rec;
}

static void check_advantage(struct golden_case *c)
{
    int rows, len, records;
    if (!golden_shape(c, &rows, &len)) return;
    int64_t n = (int64_t)rows * len, *begin = golden_begin(c, rows, len);
    int *uid = golden_ints(c, "uid", rows);
    uint8_t *kind = golden_is_null(c, "kind") ? NULL : golden_bytes(c, "kind", rows),
            *m = golden_bytes(c, "response_mask", n);
    acc_t *reward = golden_accs(c, "rewards", n), *adv = golden_alloc(c, (size_t)n * sizeof *adv);
    acc_t *base = golden_alloc(c, (size_t)rows * sizeof *base), *score = golden_alloc(c, (size_t)rows * sizeof *score);
    double *want_adv = golden_doubles(c, "advantages", n), *want_base = golden_doubles(c, "base_adv", rows),
           *want_scaled = NULL;
    struct branch_record *rec = read_records(c, &records);
    struct advantage_rule rule = { DUAL_PREFIX, golden_bool(c, "norm_by_std", true), false };
    bool scale = golden_bool(c, "apply_M", false), noise = golden_bool(c, "rounding_noise", false);
    double discount = golden_number(c, "reward_scale_discount"), off = golden_number(c, "fp64_maxdiff");
    if (!golden_is_null(c, "scaled_rewards")) want_scaled = golden_doubles(c, "scaled_rewards", n);
    if (c->broken) return;
    if (scale) op_reward_scale(reward, begin, rows, rec, records, discount);
    if (want_scaled) golden_near_all(c, "scaled_rewards", reward, want_scaled, n, 0);
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t i = begin[r]; i < begin[r + 1]; i++) sum += (double)reward[i];
        score[r] = (acc_t)sum;
    }
    op_advantage_dual(adv, base, &(struct dual_in){
        .reward = score, .m = m, .begin = begin, .rows = rows, .uid = uid, .kind = kind, .rec = rec, .records = records
    }, &rule);
    /* the file's numbers are rounding noise: the true ones are 0 */
    if (noise) {
        memset(want_adv, 0, (size_t)n * sizeof *want_adv);
        memset(want_base, 0, (size_t)rows * sizeof *want_base);
        off = 0;
    }
    golden_near_all(c, "base_adv", base, want_base, rows, off);
    golden_near_all(c, "advantages", adv, want_adv, n, off);
}

bool golden_advantage(const json_t *root, struct golden_tally *t, struct err *e)
{
    return golden_each(root, "cases", check_advantage, t, e);
}

static const struct { const char *name; enum estimator kind; bool grouped; } estimators[] = {
    { "grpo", ADV_GRPO, true }, { "grpo_passk", ADV_GRPO_PASSK, true },
    { "reinforce_plus_plus", ADV_REINFORCE_PP, false },
    { "reinforce_plus_plus_baseline", ADV_REINFORCE_PP_BASELINE, true }, { "rloo", ADV_RLOO, true },
    { "opo", ADV_OPO, true }, { "remax", ADV_REMAX, false },
};

/* Estimators of the recorded files that the program does not build. */
static const struct { const char *name, *why; } not_built[] = { { "gae", "gae needs a critic, which is not built" } };

static void check_estimator(struct golden_case *c)
{
    int rows, len;
    const char *name = golden_text(c, "estimator");
    size_t k = 0;
    while (k < sizeof estimators / sizeof *estimators && strcmp(name, estimators[k].name)) k++;
    for (size_t i = 0; i < sizeof not_built / sizeof *not_built; i++)
        if (!strcmp(name, not_built[i].name)) { c->skipped = not_built[i].why; return; }
    if (!golden_shape(c, &rows, &len)) return;
    if (k == sizeof estimators / sizeof *estimators) {
        c->broken = true;
        fail(c->e, "case \"%s\": field \"estimator\": no estimator is called \"%.60s\"", c->name, name);
        return;
    }
    enum estimator kind = estimators[k].kind;
    int64_t n = (int64_t)rows * len, *begin = golden_begin(c, rows, len);
    int *group = estimators[k].grouped ? golden_ints(c, "group", rows) : NULL;
    acc_t *reward = golden_accs(c, "rewards", n);
    acc_t *baseline = kind == ADV_REMAX ? golden_accs(c, "baseline", rows) : NULL;
    uint8_t *m = golden_bytes(c, "response_mask", n);
    struct estimator_rule rule = { kind, golden_bool(c, "norm_by_std", true), golden_number(c, "gamma") };
    bool same = golden_bool(c, "returns_equal_advantages", false);
    double *want = golden_doubles(c, "advantages", n), *want_ret = same ? want : golden_doubles(c, "returns", n),
           off = golden_number(c, "fp64_maxdiff");
    acc_t *adv = golden_alloc(c, (size_t)n * sizeof *adv), *ret = golden_alloc(c, (size_t)n * sizeof *ret);
    if (c->broken) return;
    struct estimator_in in = { reward, baseline, m, begin, rows, group };
    op_advantage(adv, ret, &in, &rule);
    golden_near_all(c, "advantages", adv, want, n, off);
    golden_near_all(c, "returns", ret, want_ret, n, off);
}

bool golden_grpo_family(const json_t *root, struct golden_tally *t, struct err *e)
{
    return golden_each(root, "cases", check_estimator, t, e);
}
