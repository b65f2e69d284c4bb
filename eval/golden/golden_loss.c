/* golden_loss.c: golden policy losses and KL terms with their gradients. A gradient's limit is 1e-4 of itself plus 1e-6
 * of the case's largest, the error that float32 sums of cancelling terms leave. null: the official float32 number
 * overflowed. */
#include "eval/golden/golden_case.h"
#include "kernels/ops_rl.h"
#include <math.h>
#include <string.h>

static enum loss_agg read_agg(struct golden_case *c, const char *path)
{
    /* as enum loss_agg */
    static const char *const names[] = { "token-mean", "seq-mean-token-mean", "seq-mean-token-sum",
                                         "seq-mean-token-sum-norm" };
    const char *text = golden_text(c, path);
    for (int i = 0; i < 4; i++) if (!strcmp(text, names[i])) return (enum loss_agg)i;
    if (!c->broken) fail(c->e, "case \"%s\": field \"%s\": no aggregation is called \"%.60s\"", c->name, path, text);
    c->broken = true;
    return AGG_TOKEN_MEAN;
}

/* Slopes and gradients. null: the official derivative is 0 * inf behind a clamp; the rule gives 0 there, which passes,
 * as does a number that is not finite. */
static void near_slopes(struct golden_case *c, const char *what, const acc_t *got, const double *want, int64_t n,
                        double noise)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) if (fabs(want[i]) > most) most = fabs(want[i]);
    for (int64_t i = 0; i < n; i++) {
        if (isnan(want[i]) && got[i] == 0) continue;
        double allowed =
            isnan(want[i]) ? 1 : 1e-4 * fabs(want[i]) + 1e-6 * most + 2 * (isnan(noise) ? 0 : noise) + 1e-12;
        golden_near(c, what, i, (double)got[i], want[i], allowed);
    }
}

/* One loss case. */
struct loss_case {
    int rows, len;
    int64_t n, *begin;
    struct loss_in in;
    acc_t *g, *influence;
    uint8_t *kept;
    double *want_grad, want_loss, loss_noise, grad_noise;
};

static bool read_loss(struct golden_case *c, struct loss_case *l)
{
    if (!golden_shape(c, &l->rows, &l->len)) return false;
    l->n = (int64_t)l->rows * l->len;
    l->begin = golden_begin(c, l->rows, l->len);
    l->in = (struct loss_in){ .logp = golden_accs(c, "logp", l->n),
                              .logp_old = golden_accs(c, "old_logp", l->n),
                              .adv = golden_accs(c, "adv", l->n),
                              .m = golden_bytes(c, "mask", l->n),
                              .begin = l->begin,
                              .rows = l->rows };
    l->g = golden_alloc(c, (size_t)l->n * sizeof *l->g);
    l->influence = golden_alloc(c, (size_t)l->n * sizeof *l->influence);
    l->kept = golden_alloc(c, (size_t)l->rows);
    l->want_grad = golden_doubles(c, "grad", l->n);
    l->want_loss = golden_number(c, "loss");
    l->loss_noise = golden_number(c, "fp64_maxdiff.loss");
    l->grad_noise = golden_number(c, "fp64_maxdiff.grad");
    return !c->broken;
}

static void near_metric(struct golden_case *c, const char *path, double got, double want)
{
    golden_near(c, path, 0, got, want, golden_limit(want, 0));
}

static void check_common(struct golden_case *c, const struct loss_case *l, const struct loss_stats *s, double ppo_kl,
                         double clipfrac, double lower)
{
    golden_near(c, "loss", 0, s->loss, l->want_loss, golden_limit(l->want_loss, l->loss_noise));
    near_slopes(c, "grad", l->g, l->want_grad, l->n, l->grad_noise);
    near_metric(c, "ppo_kl", s->ppo_kl, ppo_kl);
    near_metric(c, "clipfrac", s->clipfrac, clipfrac);
    near_metric(c, "clipfrac_lower", s->clipfrac_lower, lower);
}

/* Where m = 0 the official code still applies its safety limit, to meaningless numbers; ours does not read them. */
static void check_influence(struct golden_case *c, const struct loss_case *l, const double *want, double thresh)
{
    for (int64_t i = 0; i < l->n; i++) {
        double delta = (double)l->in.logp[i] - (double)l->in.logp_old[i];
        if (!l->in.m[i] && l->in.adv[i] < 0 && exp(fmin(delta, 20)) > thresh) continue;
        golden_near(c, "influence", i, (double)l->influence[i], want[i], 5 * golden_limit(want[i], 0));
    }
}

static struct loss_rule future_rule_of(struct golden_case *c, int len)
{
    double eps = golden_number(c, "config.eps_f"), clip_c = golden_number(c, "config.clip_c");
    bool high_only = golden_bool(c, "config.high_only", false);
    struct loss_rule r = {
        .clip_low = golden_number(c, "config.clip_low"), .clip_high = golden_number(c, "config.clip_high"),
        .clip_c = clip_c, .drop_rows = true, .agg = read_agg(c, "config.agg"), .max_len = len,
        .future = { .mode = FUTURE_SCALE, .b = golden_number(c, "config.weight"), .gamma = exp2(-1 / golden_number(c,
          "config.decay_rate")),
                    .lo = high_only ? 1 : 1 - eps, .hi = 1 + eps, .leave_out = log(clip_c),
                    .safety_thresh = golden_number(c, "config.safety_thresh") },
    };
    if (!(eps > 0)) r.future.lo = r.future.hi = 0;
    return r;
}

static void check_future(struct golden_case *c)
{
    struct loss_case l;
    struct loss_stats s;
    if (!read_loss(c, &l)) return;
    struct loss_rule r = future_rule_of(c, l.len);
    double *influence = golden_doubles(c, "influence", l.n);
    uint8_t *kept = golden_bytes(c, "rows_kept", l.rows);
    if (c->broken) return;
    op_pg(l.g, NULL, l.influence, l.kept, &s, &l.in, &r);
    const struct { const char *path; double got; } metrics[] = {
        { "metrics.iw_mean", s.iw_mean }, { "metrics.iw_min", s.iw_min }, { "metrics.iw_max", s.iw_max },
        { "metrics.iw_clip_upper", s.iw_clip_upper }, { "metrics.iw_clip_lower", s.iw_clip_lower },
        { "metrics.iw_clip_total", s.iw_clip_upper + s.iw_clip_lower }, { "metrics.iw_raw_mean", s.iw_raw_mean },
        { "metrics.iw_raw_min", s.iw_raw_min }, { "metrics.iw_raw_max", s.iw_raw_max },
    };
    check_common(c, &l, &s, golden_number(c, "metrics.ppo_kl"), golden_number(c, "metrics.clipfrac"),
                 golden_number(c, "metrics.clipfrac_lower"));
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        double want = golden_number(c, metrics[i].path);
        golden_near(c, metrics[i].path, 0, metrics[i].got, want, 5 * golden_limit(want, 0));
    }
    check_influence(c, &l, influence, r.future.safety_thresh);
    for (int i = 0; i < l.rows; i++) golden_same(c, "rows_kept", i, l.kept[i], kept[i]);
}

static void check_dual(struct golden_case *c)
{
    struct loss_case l;
    struct loss_stats s;
    if (!read_loss(c, &l)) return;
    struct loss_rule r = { .clip_low = golden_number(c, "config.clip_low"),
                           .clip_high = golden_number(c, "config.clip_high"),
                           .clip_c = golden_number(c, "config.clip_c"),
                           .raw_delta = true,
                           .agg = read_agg(c, "config.agg"),
                           .max_len = l.len };
    double clip = golden_number(c, "config.clip");
    if (isnan(r.clip_low)) r.clip_low = clip;
    if (isnan(r.clip_high)) r.clip_high = clip;
    double kl = golden_number(c, "metrics.ppo_kl"), frac = golden_number(c, "metrics.clipfrac"),
           lower = golden_number(c, "metrics.clipfrac_lower");
    if (c->broken) return;
    op_pg(l.g, NULL, NULL, NULL, &s, &l.in, &r);
    check_common(c, &l, &s, kl, frac, lower);
}

static void check_kl(struct golden_case *c)
{
    static const struct {
        const char *name;
        enum kl_kind kind;
    } kinds[] = { { "kl", KL_K1 }, { "abs", KL_ABS }, { "mse", KL_K2 }, { "low_var_kl", KL_K3 } };
    int rows, len;
    if (!golden_shape(c, &rows, &len)) return;
    int64_t n = (int64_t)rows * len, *begin = golden_begin(c, rows, len);
    acc_t *logp = golden_accs(c, "logp", n), *ref = golden_accs(c, "ref_logp", n),
          *value = golden_alloc(c, (size_t)n * sizeof *value);
    acc_t *slope = golden_alloc(c, (size_t)n * sizeof *slope), *weight = golden_alloc(c, (size_t)rows * sizeof *weight),
          *g = golden_alloc(c, (size_t)n * sizeof *g);
    uint8_t *m = golden_bytes(c, "mask", n);
    double *want_value = golden_doubles(c, "kld", n), *want_slope = golden_doubles(c, "dkld", n),
           *want_grad = golden_doubles(c, "grad", n);
    double want_loss = golden_number(c, "loss"), value_noise = golden_number(c, "fp64_maxdiff.kld"),
           slope_noise = golden_number(c, "fp64_maxdiff.dkld");
    double loss_noise = golden_number(c, "fp64_maxdiff.loss"), grad_noise = golden_number(c, "fp64_maxdiff.grad");
    enum loss_agg agg = read_agg(c, "agg");
    const char *type = golden_text(c, "type");
    int k = 0;
    while (k < 4 && strcmp(type, kinds[k].name)) k++;
    if (k == 4 && !c->broken)
        c->broken = true, fail(c->e, "case \"%s\": field \"type\": no KL estimate is called \"%.60s\"", c->name, type);
    if (c->broken) return;
    op_kl(value, slope, logp, ref, n, kinds[k].kind);
    double loss = op_agg(weight, value, m, begin, rows, agg, len);
    for (int r = 0; r < rows; r++)
        for (int64_t i = begin[r]; i < begin[r + 1]; i++) g[i] = m[i] ? weight[r] * slope[i] : 0;
    golden_near_all(c, "kld", value, want_value, n, value_noise);
    near_slopes(c, "dkld", slope, want_slope, n, slope_noise);
    near_slopes(c, "grad", g, want_grad, n, grad_noise);
    golden_near(c, "loss", 0, loss, want_loss, golden_limit(want_loss, loss_noise));
}

bool golden_policy_loss(const json_t *root, struct golden_tally *t, struct err *e)
{
    return golden_each(root, "future_kl", check_future, t, e) && golden_each(root, "dual_clip", check_dual, t, e) &&
           golden_each(root, "kl_penalty", check_kl, t, e);
}
