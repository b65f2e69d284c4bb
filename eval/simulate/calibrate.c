/* calibrate.c: reads the files, asks the simulator what each step of a run consisted of, fits. */
#include "eval/simulate/calibrate.h"
#include "base/arith.h"
#include "base/file.h"
#include "base/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { UNKNOWNS = 3 };
static const size_t FILE_MAX = (size_t)1 << 28;

/* Equations of one fit: counts and seconds, both over the first count, so that a noisy step weighs as much as another
 * and the fit's total is that of the files. */
struct equations {
    struct calibrate_row *row;
    int n, cap;
};

static void equation(struct equations *q, double a, double b, double c, double seconds)
{
    if (!(seconds > 0) || !(a > 0)) return;
    if (q->n == q->cap) q->row = xrealloc(q->row, (size_t)(q->cap = q->cap * 2 + 64) * sizeof *q->row);
    q->row[q->n++] = (struct calibrate_row){ { 1, b / a, c / a }, seconds / a };
}

static double predicted(const double *x, int n, const struct calibrate_row *row)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += row->count[i] * x[i];
    return sum;
}

/* Gauss on the normal equations of the unknowns in `use`. False: singular. */
static bool solve(double *x, int n, unsigned use, const struct calibrate_row *row, int rows)
{
    double a[UNKNOWNS][UNKNOWNS + 1] = { { 0 } };
    int at[UNKNOWNS], m = 0;
    for (int i = 0; i < n; i++) if (use >> i & 1) at[m++] = i;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < m; j++) a[i][j] += row[r].count[at[i]] * row[r].count[at[j]];
            a[i][m] += row[r].count[at[i]] * row[r].seconds;
        }
    for (int i = 0; i < m; i++) {
        double before = a[i][i];
        for (int k = 0; k < i; k++) {
            double f = a[i][k] / a[k][k];
            for (int j = k; j <= m; j++) a[i][j] -= f * a[k][j];
        }
        if (!(a[i][i] > 1e-9 * before)) return false;
    }
    memset(x, 0, (size_t)n * sizeof *x);
    for (int i = m - 1; i >= 0; i--) {
        double v = a[i][m];
        for (int j = i + 1; j < m; j++) v -= a[i][j] * x[at[j]];
        x[at[i]] = v / a[i][i];
    }
    return true;
}

/* The first unknown is always there; another one only where it halves the squared error: two counts that grow
 * together would otherwise share the time by chance. */
bool calibrate_fit(double *x, int n, const struct calibrate_row *row, int rows)
{
    double best = HUGE_VAL, y[UNKNOWNS];
    for (int size = 1; size <= n; size++)
        for (unsigned use = 1; use < 1u << n; use += 2) {
            if (!rows || __builtin_popcount(use) != size || !solve(y, n, use, row, rows)) continue;
            bool fine = true;
            double error = 0;
            for (int i = 0; i < n; i++) fine = fine && y[i] >= 0 && isfinite(y[i]);
            for (int r = 0; r < rows; r++) error += pow(predicted(y, n, &row[r]) - row[r].seconds, 2);
            if (!fine || error >= (best < HUGE_VAL ? 0.5 * best : best)) continue;
            best = error;
            memcpy(x, y, (size_t)n * sizeof *x);
        }
    return best < HUGE_VAL;
}

/* ---- a run ---- */

enum metric {
    GEN, SCORE, BRANCH, REWARD, UPDATE, STEP, GENERATED, OF_BRANCHES, TOTAL, TRAINED, SCORED, RESPONSE, LONGEST, PROMPT,
    LONGEST_PROMPT, CALLS, FRESH, RANK_TOKENS, RANK_WAIT, METRICS
};
static const struct { const char *name; bool needed; } metric[METRICS] = {
    [GEN] = { "timing_s/gen", true }, [SCORE] = { "timing_s/score", true }, [BRANCH] = { "timing_s/branch", true },
    [REWARD] = { "timing_s/reward", true }, [UPDATE] = { "timing_s/update_actor", true },
    [STEP] = { "timing_s/step", true }, [GENERATED] = { "perf/generated_tokens", true },
    [OF_BRANCHES] = { "perf/branch_tokens", true }, [TOTAL] = { "perf/total_num_tokens", true },
    [TRAINED] = { "perf/trained_rows", true }, [SCORED] = { "perf/scored_rows", true },
    [RESPONSE] = { "response_length/mean", true }, [LONGEST] = { "response_length/max", true },
    [PROMPT] = { "prompt_length/mean", true }, [LONGEST_PROMPT] = { "prompt_length/max", true },
    [CALLS] = { "tools/calls/mean", false }, [FRESH] = { "appo/branch_tokens/mean", false },
    [RANK_TOKENS] = { "ranks/tokens/mean", false }, [RANK_WAIT] = { "timing_s/rank_wait", false },
};

enum { STATISTICS = 9 };
struct reader {
    struct calibration *k;
    const struct cost_model *m;
    struct equations sample, score, update, grade, rest;
    double sum[STATISTICS];         /* of the steps read */
    int steps;
    struct workload w;              /* of the run being read */
};

static const size_t statistic[] = {
    offsetof(struct workload, prompt_mean), offsetof(struct workload, prompt_sigma),
    offsetof(struct workload, response_mean), offsetof(struct workload, response_sigma),
    offsetof(struct workload, calls), offsetof(struct workload, call_tokens), offsetof(struct workload, distinct),
    offsetof(struct workload, live), offsetof(struct workload, fresh),
};
_Static_assert(sizeof statistic / sizeof *statistic == STATISTICS, "a sum each");
static double *statistic_of(struct workload *w, int i) { return (double *)((char *)w + statistic[i]); }

static bool get(double x[METRICS], const json_t *data, const char *file, int line, struct err *e)
{
    for (int i = 0; i < METRICS; i++) {
        const json_t *v = json_object_get(data, metric[i].name);
        x[i] = json_number_value(v);
        if (!v && !metric[i].needed) continue;
        if (!v) return fail(e, "%s:%d: no %s: a row of metrics.jsonl is needed", file, line, metric[i].name);
        if (!json_is_number(v) || !isfinite(x[i]) || x[i] < 0)
            return fail(e, "%s:%d: %s is not a number from 0", file, line, metric[i].name);
    }
    if (x[RANK_TOKENS] > 0 && x[GENERATED] > 65536 * x[RANK_TOKENS])
        return fail(e, "%s:%d: ranks/tokens/mean is less than a rank of 65536 generates", file, line);
    if (x[STEP] <= 0 || x[RESPONSE] <= 0 || x[PROMPT] <= 0)
        return fail(e, "%s:%d: a step of no time or no tokens", file, line);
    return true;
}

/* The statistics that x says of a step. */
static void statistics(struct workload *w, const double x[METRICS])
{
    double rollouts = (double)w->prompts * workload_initial(w),
           results = x[RESPONSE] - (x[GENERATED] - x[OF_BRANCHES]) / rollouts;
    w->prompt_mean = x[PROMPT];
    w->prompt_sigma = workload_sigma(x[PROMPT], x[LONGEST_PROMPT], w->prompts);
    w->response_mean = x[RESPONSE];
    w->response_sigma = workload_sigma(x[RESPONSE], x[LONGEST], rollouts);
    w->calls = MIN(x[CALLS], SEGMENTS - 1);
    w->call_tokens = x[CALLS] > 0 ? MAX(0, results) / x[CALLS] : 0;
    /* The trees of the prompts that are scored have these positions. Without a scoring pass (one update a step)
     * rollouts count as distinct. */
    int updates = w->prompts / w->mini_batch * w->epochs;
    double scored = x[SCORED] / MAX(1, (updates - 1 + (w->reference ? updates : 0)) * w->mini_batch),
           own = x[RESPONSE] * workload_initial(w), tree = scored > 0 ? scored : x[PROMPT] + own;
    w->distinct = MIN(1, MAX(0.001, (tree - x[PROMPT]) / own));
    w->live = 1;
    if (x[FRESH] > 0) w->fresh = MIN(0.99, MAX(0.01, x[FRESH] / x[RESPONSE]));
}

/* The equations of one step: what the simulator counts for it, corrected by the tokens that were measured. */
static void take_step(struct reader *r, const double x[METRICS])
{
    struct workload w = r->w;
    struct sim_result s;
    int threads = MAX(1, r->m->threads), cores = r->m->cores,
        ranks = x[RANK_TOKENS] > 0 ? (int)(x[GENERATED] / x[RANK_TOKENS] + 0.5) : 1;
    double slow = cores && ranks * threads > cores ? (double)ranks * threads / cores : 1;
    statistics(&w, x);
    simulate(&s, &w, r->m, sim_rule("steal"), ranks, 2, NULL);
    w.live = s.trained > 0 ? MIN(1, x[TRAINED] / s.trained) : 1;    /* of the positions when every prompt is trained */
    simulate(&s, &w, r->m, sim_rule("steal"), ranks, 2, NULL);
    double share = s.generated > 0 ? x[GENERATED] / s.generated : 1;
    equation(&r->sample, slow * s.gen.rows * share, slow * s.gen.passes, slow * s.gen.positions * share, x[GEN]);
    if (x[OF_BRANCHES] > 0)
        equation(&r->sample, slow * s.branch.rows * share, slow * s.branch.passes, slow * s.branch.positions * share,
                 x[BRANCH]);
    double updates = (double)(w.prompts / w.mini_batch) * w.epochs;
    if (s.scored > 0) equation(&r->score, slow * x[SCORED] * s.scored_most / s.scored, 0, 0, x[SCORE]);
    if (s.trained > 0)
        equation(&r->update, slow * x[TRAINED] * s.trained_most / s.trained, slow * updates, 0, x[UPDATE]);
    equation(&r->grade, (double)w.prompts * workload_initial(&w) / ranks, 0, 0, x[REWARD]);
    equation(&r->rest, 1, 0, 0, x[STEP] - x[GEN] - x[SCORE] - x[BRANCH] - x[REWARD] - x[UPDATE] -
             x[RANK_WAIT]);
    for (int i = 0; i < STATISTICS; i++) r->sum[i] += *statistic_of(&w, i);
    r->steps++;
}

/* Sets the configuration from the object "config" of run.json. */
static bool take_config(struct config *c, const json_t *keys, const char *file, struct err *e)
{
    const char *key;
    const json_t *v;
    json_object_foreach((json_t *)keys, key, v) {
        char *text = json_is_string(v) ? xstrdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY);
        bool ok = text && config_set(c, key, text, file, e);
        free(text);
        if (!ok) return fail_in(e, "%s", file);
    }
    return config_check(c, NULL, e) || fail_in(e, "%s", file);
}

/* The configuration of a run, from run.json in the folder of its metrics. */
static bool take_run(struct reader *r, const char *metrics, struct err *e)
{
    struct str text = { 0 }, path = { 0 };
    struct config c;
    const char *slash = strrchr(metrics, '/');
    str_printf(&path, "%.*srun.json", slash ? (int)(slash - metrics + 1) : 0, metrics);
    bool ok = file_read(path.p, FILE_MAX, &text, e) || fail_in(e, "the configuration of %s", metrics);
    json_t *o = ok ? json_from(path.p, text.p, text.n, e) : NULL;
    const json_t *keys = json_object_get(o, "config");
    config_init(&c);
    if (o && !json_is_object(keys)) fail(e, "%s: no config", path.p);
    ok = o && json_is_object(keys) && take_config(&c, keys, path.p, e);
    if (ok) workload_of(&r->w, &c);
    config_free(&c);
    json_decref(o);
    str_free(&text);
    str_free(&path);
    return ok;
}

/* ---- lines ---- */

/* A line of `appo bench`; false: of something that is not fitted. */
static bool take_bench(struct reader *r, const json_t *o)
{
    const char *name = json_string_value(json_object_get(o, "bench")), *model = json_string_value(
        json_object_get(o, "name"));
    const json_t *shape = json_object_get(o, "shape");
    double us = json_number_value(json_object_get(o, "us")),
           rows = json_number_value(json_object_get(shape ? shape : o, shape ? "n" : "rows")),
           context = json_number_value(json_object_get(shape, "ctx"));
    if (name && sscanf(name, "decode, context %lf", &context) == 1) model = "decode";
    else if (name && !strncmp(name, "training", 8)) model = "train";
    if (!model || !(us > 0) || !(rows > 0)) return false;
    if (!strcmp(model, "decode")) equation(&r->sample, rows, 1, rows * (context + 1), us * 1e-6);
    else if (!strcmp(model, "train")) equation(&r->update, rows, 0, 0, us * 1e-6);
    else return false;
    r->k->has_bench = true;
    return true;
}

static bool take_line(struct reader *r, const json_t *o, const char *file, int line, bool *run, struct err *e)
{
    const json_t *data = json_object_get(o, "data");
    double x[METRICS];
    if (json_object_get(o, "bench") || json_object_get(o, "name")) {
        take_bench(r, o);
        return true;
    }
    if (!json_is_object(data))
        return fail(e, "%s:%d: neither a row of metrics.jsonl nor a line of appo bench --json", file, line);
    /* an evaluation before the first step, or one alone, has no times of a step */
    if (!json_object_get(data, "timing_s/step") && !json_object_get(data, "timing_s/gen")) return true;
    if (!*run && !take_run(r, file, e)) return false;
    *run = true;
    if (!get(x, data, file, line, e)) return false;
    take_step(r, x);
    return true;
}

/* The objects of a file, one after another: most stand on a line of their own, that of the product benches on many. */
static bool take_file(struct reader *r, const char *file, struct err *e)
{
    struct str text = { 0 };
    bool run = false, ok = file_read(file, FILE_MAX, &text, e);
    int line = 1, equations = r->sample.n + r->update.n;
    for (size_t at = 0; ok; ) {
        json_error_t why;
        for (; at < text.n && strchr(" \t\r\n", text.p[at]) && text.p[at]; at++) line += text.p[at] == '\n';
        if (at == text.n) break;
        json_t *o = json_loadb(text.p + at, text.n - at, JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, &why);
        if (!o) ok = fail(e, "%s:%d: %s", file, line + MAX(0, why.line - 1), why.text);
        else ok = take_line(r, o, file, line, &run, e);
        json_decref(o);
        for (size_t end = at + (size_t)(o ? why.position : 0); at < end; at++) line += text.p[at] == '\n';
    }
    str_free(&text);
    if (ok && r->sample.n + r->update.n == equations)
        return fail(e, "%s: nothing in it is fitted: metrics.jsonl of a run, or lines of appo bench cpu --json", file);
    return ok;
}

/* ---- all files ---- */

/* One fit; to[]: the constants of its counts. */
static void fit(struct calibration *k, enum calibrated which, const struct equations *q, int n, double *const *to)
{
    double x[UNKNOWNS] = { 0 };
    if (!calibrate_fit(x, n, q->row, q->n)) return;
    for (int i = 0; i < n; i++) *to[i] = x[i];
    for (int i = 0; i < q->n; i++)
        k->error[which] += pow(predicted(x, n, &q->row[i]) / q->row[i].seconds - 1, 2) / q->n;
    k->error[which] = sqrt(k->error[which]);
    k->equations += q->n;
}

static void fit_all(struct reader *r)
{
    struct cost_model *m = &r->k->m;
    fit(r->k, CALIBRATED_SAMPLING, &r->sample, 3, (double *[]){ &m->row, &m->pass, &m->context });
    fit(r->k, CALIBRATED_SCORING, &r->score, 1, (double *[]){ &m->score_row });
    fit(r->k, CALIBRATED_TRAINING, &r->update, 2, (double *[]){ &m->train_row, &m->update });
    fit(r->k, CALIBRATED_GRADING, &r->grade, 1, (double *[]){ &m->grade });
    fit(r->k, CALIBRATED_REST, &r->rest, 1, (double *[]){ &m->step });
    if (r->sample.n) m->weights = 0;
    if (r->sample.n) m->graphs = false;
    if (r->score.n) m->score_context = 0;
    else if (r->update.n) m->score_row = m->train_row / 3, m->score_context = 0;
    if (r->update.n) m->train_context = 0, m->pack = 0, m->adamw = 0;
}

bool calibrate(struct calibration *k, const char *files, const struct config *c, const struct cost_model *m,
               struct err *e)
{
    struct reader r = { .k = k, .m = m };
    char *list = xstrdup(files), *rest = NULL;
    bool ok = true;
    *k = (struct calibration){ .m = *m };
    for (char *file = strtok_r(list, ",", &rest); ok && file; file = strtok_r(NULL, ",", &rest))
        ok = take_file(&r, file, e);
    if (ok && !r.sample.n && !r.update.n) ok = fail(e, "--calibrate: no file is named");
    if (ok) fit_all(&r);
    workload_of(&k->w, c);
    k->has_run = ok && r.steps > 0;
    for (int i = 0; k->has_run && i < STATISTICS; i++) *statistic_of(&k->w, i) = r.sum[i] / r.steps;
    free(r.sample.row); free(r.score.row); free(r.update.row); free(r.grade.row); free(r.rest.row);
    free(list);
    return ok;
}
