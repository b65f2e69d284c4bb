/* evaluate.c: samples answers to held-out prompts. Answers are counted in the order of prompts, so that the sums do not
 * depend on the order in which they end. */
#include "engine/run/evaluate.h"
#include "base/clock.h"
#include "engine/comm/comm.h"
#include "engine/run/eval_answers.h"
#include "engine/train/deal.h"
#include "engine/train/grade.h"
#include "engine/train/prompt_queue.h"
#include "base/utf8.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Evaluations use random keys that no training step uses. */
enum { EVAL_SEED = 20260, EVAL_STEP = 0x40000000, EVAL_AT_ONCE = 2048 };

static void note(struct eval_source *e, const struct answer *a, bool greedy)
{
    if (greedy) {
        e->greedy_n++;
        e->greedy_correct += a->correct;
        return;
    }
    e->n++;
    e->correct += a->correct;
    e->well_formed += a->well_formed;
    e->calls += a->calls;
    e->length += a->length;
    e->reward += a->reward;
}

/* The sums of a source, a new one at the end if there is none. */
static struct eval_source *find_source(struct eval_result *r, const char *name)
{
    char cut[EVAL_NAME];
    snprintf(cut, sizeof cut, "%s", name);
    size_t n = strlen(cut);
    if (name[n]) while (n && utf8_continues(name[n])) cut[--n] = 0;        /* not within a character of UTF-8 */
    for (int i = 0; i < r->sources; i++)
        if (!strcmp(r->source[i].name, cut)) return &r->source[i];
    if (r->sources == EVAL_SOURCES) return &r->source[EVAL_SOURCES - 1];
    struct eval_source *fresh = &r->source[r->sources++];
    strcpy(fresh->name, r->sources == EVAL_SOURCES ? "others" : cut);
    return fresh;
}

int eval_prompts(const struct session *s)
{
    if (s->val.rows.n) return s->val.rows.n;
    return s->train.rows.n ? 0 : FAMILIES * s->c->data.val_per_family;
}

static void open_prompt(struct group *g, struct session *s, int i, bool greedy, int samples)
{
    uint32_t step = EVAL_STEP + greedy;
    if (s->val.rows.n) group_begin_record(g, s, &s->val, i, step, (uint32_t)i, samples);
    else
        group_begin_task(g, s, i % FAMILIES, SPLIT_TEST, EVAL_SEED, (uint64_t)(i / FAMILIES), step, (uint32_t)i,
                         samples);
}

static const char *source_of(const struct session *s, int i)
{
    return s->val.rows.n ? s->val.rows.prompt[i].data_source : family_name[i % FAMILIES];
}

int eval_answers(const struct session *s) { return eval_prompts(s) * (s->c->rollout.val_kwargs_n + 1); }

/* A rollout that is running: g->traj[at], number k of the answers to prompt; g NULL: graded. */
struct running {
    struct group *g;
    int at;
    int prompt;
    int k;
};
struct eval {
    struct session *s;
    struct answers x;
    const struct eval_options *how;
    struct running *running;
    struct sequence **seq;          /* of running[n] */
    int n;
    int done;
    bool greedy;                    /* the answers that are being sampled */
    int *prompt;                    /* the prompts of this part */
    struct group *g;                /* theirs, where this rank runs them */
    struct str sent;                /* the answers of this part for the other ranks */
};

/* Grades and keeps each answer as soon as it has ended, so that an evaluation that is stopped loses little. */
static void take_ended(struct eval *v)
{
    for (int i = 0; i < v->n; i++) {
        struct running *r = &v->running[i];
        if (!r->g || v->seq[i]->finish == FINISH_NONE) continue;
        struct trajectory *t = r->g->traj[r->at];
        trajectory_grade(r->g, t, v->s);
        if (comm_ranks() == 1) answers_put(&v->x, r->g, t, r->prompt, r->k);
        else answers_send(&v->x, r->g, t, r->prompt, r->k, &v->sent);
        r->g = NULL;
        v->done++;
    }
}

static void on_ended(void *ctx, int done, int total)
{
    struct eval *v = ctx;
    (void)done, (void)total;
    take_ended(v);
    if (v->how->progress) v->how->progress(v->how->ctx, v->done, v->x.prompts * (v->x.samples + 1));
}

static int answers_of(const struct eval *v) { return v->greedy ? 1 : v->x.samples; }
static int first_of(const struct eval *v) { return v->greedy ? v->x.samples : 0; }

static int missing(const struct eval *v, int prompt)
{
    int n = 0;
    for (int j = 0; j < answers_of(v); j++) n += !answers_at(&v->x, prompt, first_of(v) + j)->have;
    return n;
}

/* This rank takes a prompt of the part. */
static int take_prompt(void *ctx, int item, struct sequence ***seq)
{
    struct eval *v = ctx;
    int prompt = v->prompt[item], from = v->n;
    open_prompt(&v->g[item], v->s, prompt, v->greedy, answers_of(v));
    for (int j = 0; j < answers_of(v); j++) {
        if (answers_at(&v->x, prompt, first_of(v) + j)->have) continue;
        v->running[v->n] = (struct running){ &v->g[item], j, prompt, first_of(v) + j };
        v->seq[v->n++] = &v->g[item].traj[j]->seq;
    }
    *seq = v->seq + from;
    return v->n - from;
}

/* Gives all ranks the answers of this part. */
static void exchange(struct eval *v)
{
    struct comm_parts all;
    struct err e;
    if (comm_ranks() == 1) return;
    comm_gather(&all, v->sent.p, v->sent.n);
    for (int r = 0; r < comm_ranks(); r++)
        if (r != comm_rank() &&
            !answers_take(&v->x, all.p + all.begin[r], all.begin[r + 1] - all.begin[r], &e))
            die("answers that rank %d sent: %s", r, e.text);
    comm_parts_free(&all);
    str_free(&v->sent);
    v->sent = (struct str){ 0 };
    v->done = 0;
    for (int64_t i = 0; i < (int64_t)v->x.prompts * (v->x.samples + 1); i++) v->done += v->x.a[i].have;
}

/* Samples the missing answers to prompts [from, from + n). */
static void run_some(struct eval *v, struct eval_result *res, int from, int n)
{
    struct rollout_config rule = session_eval_sampling(v->s, v->greedy);
    struct prompt_queue q = { .open = take_prompt, .ended = on_ended, .ctx = v };
    double *cost = xcalloc((size_t)n, sizeof *cost);
    int open = 0;
    v->prompt = xcalloc((size_t)n, sizeof *v->prompt);
    v->g = xcalloc((size_t)n, sizeof *v->g);
    v->seq = xcalloc((size_t)n * (size_t)answers_of(v), sizeof *v->seq);
    v->running = xcalloc((size_t)n * (size_t)answers_of(v), sizeof *v->running);
    v->n = 0;
    for (int i = from; i < from + n; i++) {
        if (!missing(v, i)) continue;
        cost[open] = deal_prompt_cost(v->s->val.rows.n ? v->s->val.prompt[i].n : 0, 0, missing(v, i)) + missing(v, i);
        v->prompt[open++] = i;
    }
    /* calls on_ended for each that has ended, not for those given up */
    if (open) prompt_queue_run(&q, v->s->ro, &rule, cost, open, open, false);
    exchange(v);
    res->generated += q.stats.generated;
    res->halted = comm_any(q.stats.halted);
    for (int i = 0; i < n; i++) if (v->g[i].n) group_end(&v->g[i], v->s);
    free(v->seq);
    free(v->running);
    free(v->g);
    free(v->prompt);
    free(cost);
}

static void run(struct eval *v, struct eval_result *res, bool greedy)
{
    v->greedy = greedy;
    /* in parts, to hold fewer rollouts at once; a sample does not depend on what runs beside it */
    for (int from = 0, n; from < v->x.prompts && !res->halted; from += n) {
        n = v->x.prompts - from < EVAL_AT_ONCE ? v->x.prompts - from : EVAL_AT_ONCE;
        run_some(v, res, from, n);
    }
}

static void sum_up(const struct eval *v, struct eval_result *r)
{
    for (int i = 0; i < v->x.prompts; i++)
        for (int k = 0; k <= v->x.samples; k++) {
            const struct answer *a = answers_at(&v->x, i, k);
            note(find_source(r, source_of(v->s, i)), a, k == v->x.samples);
            note(&r->all, a, k == v->x.samples);
        }
}

bool evaluate_to(struct session *s, struct eval_result *r, const struct eval_options *how, struct err *e)
{
    struct eval v = { .s = s, .how = how };
    double start = seconds();
    *r = (struct eval_result){ 0 };
    bool ok = answers_open(&v.x, s, comm_first() ? how->dir : "", how->step, eval_prompts(s),
                           s->c->rollout.val_kwargs_n, e);
    ok = comm_agree(ok, e);
    answers_share(&v.x);
    r->known = v.done = v.x.known;
    if (ok) run(&v, r, false);
    if (ok && !r->halted) run(&v, r, true);
    r->answers = v.done;
    if (ok && !r->halted) sum_up(&v, r);
    comm_sum_counts(&r->generated, 1);
    r->wall_s = seconds() - start;
    struct err late;
    bool closed = answers_close(&v.x, ok ? e : &late);
    return ok && comm_agree(closed, e);
}

void evaluate(struct session *s, struct eval_result *r, void (*progress)(void *, int, int), void *ctx)
{
    struct err e;
    if (!evaluate_to(s, r, &(struct eval_options){ "", 0, progress, ctx }, &e))
        die("an evaluation in memory: %s", e.text);
}

static double per(double sum, int n) { return n ? sum / n : 0; }

/* Wilson's 95 % interval of the probability behind a share of `part` in n. With several samples a prompt only prompts
 * count as trials, since samples of one prompt are not independent: the interval is rather too wide. */
static void interval(double part, int n, int trials, double *low, double *high)
{
    const double z = 1.959963984540054;
    double p = per(part, n), m = trials,
           half = m > 0 ? z / (1 + z * z / m) * sqrt(p * (1 - p) / m + z * z / (4 * m * m)) : 0;
    double mid = m > 0 ? (p + z * z / (2 * m)) / (1 + z * z / m) : 0;
    *low = m > 0 ? fmax(mid - half, 0) : 0;
    *high = m > 0 ? fmin(mid + half, 1) : 1;
}

static json_t *source_json(const struct eval_source *e)
{
    double low, high, greedy_low, greedy_high;
    interval(e->correct, e->n, e->greedy_n, &low, &high);
    interval(e->greedy_correct, e->greedy_n, e->greedy_n, &greedy_low, &greedy_high);
    json_t *o = json_pack("{s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:i,s:i,s:i}", "n", e->n, "success", per(e->correct, e->n),
                          "greedy", per(e->greedy_correct, e->greedy_n), "format", per(e->well_formed, e->n), "calls",
                          per(e->calls, e->n), "length", per(e->length, e->n), "reward", per(e->reward, e->n),
                          "correct", e->correct, "greedy_n", e->greedy_n, "greedy_correct", e->greedy_correct);
    json_object_set_new(o, "success_95", json_pack("[f,f]", low, high));
    json_object_set_new(o, "greedy_95", json_pack("[f,f]", greedy_low, greedy_high));
    return o;
}

json_t *eval_json(const struct eval_result *r)
{
    json_t *o = json_object(), *families = json_object();
    for (int i = 0; i < r->sources; i++) json_object_set_new(families, r->source[i].name, source_json(&r->source[i]));
    json_object_set_new(o, "success", json_real(per(r->all.correct, r->all.n)));
    json_object_set_new(o, "greedy", json_real(per(r->all.greedy_correct, r->all.greedy_n)));
    json_object_set_new(o, "overall", source_json(&r->all));
    json_object_set_new(o, "families", families);
    json_object_set_new(o, "wall_s", json_real(r->wall_s));
    return o;
}

static bool source_parse(struct eval_source *e, const json_t *j)
{
    double format = 0, calls = 0, length = 0, reward = 0;
    if (json_unpack((json_t *)j, "{s:i,s:i,s:i,s:i,s:F,s:F,s:F,s:F}", "n", &e->n, "correct", &e->correct, "greedy_n",
                    &e->greedy_n, "greedy_correct", &e->greedy_correct, "format", &format, "calls", &calls, "length",
                    &length, "reward", &reward))
        return false;
    e->well_formed = (int)(format * e->n + 0.5);
    e->calls = calls * e->n;
    e->length = length * e->n;
    e->reward = reward * e->n;
    return true;
}

bool eval_parse(struct eval_result *r, const json_t *j)
{
    *r = (struct eval_result){ 0 };
    const char *name;
    json_t *one;
    bool ok = source_parse(&r->all, json_object_get(j, "overall"));
    json_object_foreach(json_object_get(j, "families"), name, one) ok = ok && source_parse(find_source(r, name), one);
    r->wall_s = json_number_value(json_object_get(j, "wall_s"));
    return ok && r->sources;
}

void eval_metrics(const struct eval_result *r, struct metrics *m)
{
    char key[96];
    int samples = r->all.greedy_n ? r->all.n / r->all.greedy_n : 1;
    for (int i = 0; i < r->sources; i++) {
        snprintf(key, sizeof key, "val-core/%s/acc/mean@%d", r->source[i].name, samples);
        metrics_put(m, key, per(r->source[i].correct, r->source[i].n));
    }
    snprintf(key, sizeof key, "val-core/all/acc/mean@%d", samples);
    metrics_put(m, key, per(r->all.correct, r->all.n));
    metrics_put(m, "val-aux/all/greedy/mean@1", per(r->all.greedy_correct, r->all.greedy_n));
    metrics_put(m, "val-aux/all/format/mean@1", per(r->all.well_formed, r->all.n));
    snprintf(key, sizeof key, "val-aux/all/reward/mean@%d", samples);
    metrics_put(m, key, per(r->all.reward, r->all.n));
    metrics_put(m, "val-aux/num_turns/mean", per(r->all.calls, r->all.n));
}

/* A share in percent with its interval. */
static void put_share(FILE *f, int part, int n, int trials)
{
    double low, high;
    char text[32];
    interval(part, n, trials, &low, &high);
    snprintf(text, sizeof text, "(%.1f-%.1f)", 100 * low, 100 * high);
    fprintf(f, " %9.1f %-13s", 100 * per(part, n), text);
}

/* A line of a table of one evaluation: 78 columns with short names of sources. */
static void alone(const char *name, int width, const struct eval_source *r, FILE *f)
{
    print_clean(f, "%-*s", width, name);
    put_share(f, r->correct, r->n, r->greedy_n);
    put_share(f, r->greedy_correct, r->greedy_n, r->greedy_n);
    fprintf(f, " %10.2f %7.1f\n", per(r->calls, r->n), per(r->length, r->n));
}

static void both(const char *name, int width, const struct eval_source *b, const struct eval_source *a, FILE *f)
{
    print_clean(f, "%-*s", width, name);
    fprintf(f, " %5.1f -> %5.1f   %5.1f -> %5.1f", 100 * per(b->correct, b->n), 100 * per(a->correct, a->n),
            100 * per(b->greedy_correct, b->greedy_n), 100 * per(a->greedy_correct, a->greedy_n));
    fprintf(f, "   %4.2f -> %4.2f   %5.1f -> %5.1f\n", per(b->calls, b->n), per(a->calls, a->n), per(b->length, b->n),
            per(a->length, a->n));
}

void eval_table(const struct eval_result *before, const struct eval_result *after, FILE *f)
{
    int width = 10;
    for (int i = 0; i < before->sources; i++)
        if ((int)strlen(before->source[i].name) > width) width = (int)strlen(before->source[i].name);
    if (after)
        fprintf(f, "%-*s %-14s   %-14s   %-12s   tokens of answer\n", width, "source", "success %", "greedy %",
                "tool calls");
    else
        fprintf(f, "%-*s %9s %-13s %9s %-13s %10s %7s\n", width, "source", "success %", "(95 %)", "greedy %", "(95 %)",
                "tool calls", "tokens");
    for (int i = 0; i <= before->sources; i++) {
        bool all = i == before->sources;
        const struct eval_source *b = all ? &before->all : &before->source[i], *a = !after ? NULL
                                                                                 : all  ? &after->all
                                                                                        : &after->source[i];
        const char *name = all ? "all" : before->source[i].name;
        if (a) both(name, width, b, a, f);
        else alone(name, width, b, f);
    }
}
