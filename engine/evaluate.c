/* evaluate.c: the held-out questions, sampled and greedy. */
#include "engine/evaluate.h"
#include "base/clock.h"
#include "base/stop.h"
#include <stdlib.h>
#include <string.h>

/* Evaluations draw from keys no training step uses. */
enum { EVAL_SEED = 20260, EVAL_STEP = 0x40000000, EVAL_AT_ONCE = 2048 };

static void note(struct eval_row *e, const struct row *r, bool greedy)
{
    if (greedy) {
        e->greedy_n++;
        e->greedy_correct += r->correct;
        return;
    }
    e->n++;
    e->correct += r->correct;
    e->well_formed += r->well_formed;
    e->calls += r->ep.calls;
    e->length += row_len(r);
    e->reward += r->ep.reward;
}

/* The row of a source, a new one at the end if there is none. */
static struct eval_row *row_of(struct eval_result *r, const char *name)
{
    char cut[EVAL_NAME];
    snprintf(cut, sizeof cut, "%s", name);
    size_t n = strlen(cut);
    if (name[n]) while (n && (name[n] & 0xC0) == 0x80) cut[--n] = 0;        /* not within a character of UTF-8 */
    for (int i = 0; i < r->sources; i++)
        if (!strcmp(r->source[i].name, cut)) return &r->source[i];
    if (r->sources == EVAL_SOURCES) return &r->source[EVAL_SOURCES - 1];
    struct eval_row *row = &r->source[r->sources++];
    strcpy(row->name, r->sources == EVAL_SOURCES ? "others" : cut);
    return row;
}

int eval_questions(const struct session *s)
{
    if (s->val.rows.n) return s->val.rows.n;
    return s->train.rows.n ? 0 : FAMILIES * s->c->data.val_per_family;
}

static void open_question(struct group *g, struct session *s, int i, bool greedy, int samples)
{
    uint32_t step = EVAL_STEP + greedy;
    if (s->val.rows.n) group_begin_row(g, s, &s->val, i, step, (uint32_t)i, samples);
    else group_begin(g, s, i % FAMILIES, SPLIT_TEST, EVAL_SEED, (uint64_t)(i / FAMILIES), step, (uint32_t)i, samples);
}

/* Questions [from, from + n). */
static void run_some(struct session *s, struct eval_result *res, int from, int n, bool greedy, void (*progress)(void *, int, int), void *ctx)
{
    int samples = greedy ? 1 : s->c->rollout.val_kwargs_n;
    struct group *g = xcalloc((size_t)n, sizeof *g);
    struct episode **ep = xcalloc((size_t)n * (size_t)samples, sizeof *ep);
    for (int i = 0; i < n; i++) {
        open_question(&g[i], s, from + i, greedy, samples);
        for (int j = 0; j < samples; j++) ep[i * samples + j] = &g[i].row[j]->ep;
    }
    struct rollout_stats stats;
    rollout_run(s->ro, ep, n * samples, false, progress, ctx, &stats);
    res->generated += stats.generated;
    res->halted = stats.halted;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < samples && !res->halted; j++) {
            group_grade(&g[i], g[i].row[j], s);
            note(row_of(res, task_source(&g[i].task)), g[i].row[j], greedy);
            note(&res->all, g[i].row[j], greedy);
        }
        group_end(&g[i], s);
    }
    free(ep);
    free(g);
}

static void run(struct session *s, struct eval_result *res, bool greedy, void (*progress)(void *, int, int), void *ctx)
{
    struct rollout_config c = session_eval_sampling(s, greedy);
    int questions = eval_questions(s);
    c.halt = &run_stop;
    rollout_set(s->ro, &c);
    /* a draw does not depend on what runs beside it: only so many rollouts are held at once */
    for (int from = 0, n; from < questions && !res->halted; from += n) {
        n = questions - from < EVAL_AT_ONCE ? questions - from : EVAL_AT_ONCE;
        run_some(s, res, from, n, greedy, progress, ctx);
    }
}

void evaluate(struct session *s, struct eval_result *r, void (*progress)(void *, int, int), void *ctx)
{
    *r = (struct eval_result){ 0 };
    double start = seconds();
    run(s, r, false, progress, ctx);
    if (!r->halted) run(s, r, true, progress, ctx);
    r->wall_s = seconds() - start;
}

static double per(double sum, int n) { return n ? sum / n : 0; }

static json_t *row_json(const struct eval_row *e)
{
    return json_pack("{s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:i,s:i,s:i}", "n", e->n, "success", per(e->correct, e->n), "greedy", per(e->greedy_correct, e->greedy_n),
                     "format", per(e->well_formed, e->n), "calls", per(e->calls, e->n), "length", per(e->length, e->n), "reward", per(e->reward, e->n),
                     "correct", e->correct, "greedy_n", e->greedy_n, "greedy_correct", e->greedy_correct);
}

json_t *eval_json(const struct eval_result *r)
{
    json_t *o = json_object(), *families = json_object();
    for (int i = 0; i < r->sources; i++) json_object_set_new(families, r->source[i].name, row_json(&r->source[i]));
    json_object_set_new(o, "success", json_real(per(r->all.correct, r->all.n)));
    json_object_set_new(o, "greedy", json_real(per(r->all.greedy_correct, r->all.greedy_n)));
    json_object_set_new(o, "overall", row_json(&r->all));
    json_object_set_new(o, "families", families);
    json_object_set_new(o, "wall_s", json_real(r->wall_s));
    return o;
}

static bool row_parse(struct eval_row *e, const json_t *j)
{
    double format = 0, calls = 0, length = 0, reward = 0;
    if (json_unpack((json_t *)j, "{s:i,s:i,s:i,s:i,s:F,s:F,s:F,s:F}", "n", &e->n, "correct", &e->correct, "greedy_n", &e->greedy_n,
                    "greedy_correct", &e->greedy_correct, "format", &format, "calls", &calls, "length", &length, "reward", &reward)) return false;
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
    json_t *row;
    bool ok = row_parse(&r->all, json_object_get(j, "overall"));
    json_object_foreach(json_object_get(j, "families"), name, row) ok = ok && row_parse(row_of(r, name), row);
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

static void line(const char *name, int width, const struct eval_row *b, const struct eval_row *a, FILE *f)
{
    fprintf(f, "%-*s %5.1f", width, name, 100 * per(b->correct, b->n));
    if (a) fprintf(f, " -> %5.1f", 100 * per(a->correct, a->n));
    fprintf(f, "   %5.1f", 100 * per(b->greedy_correct, b->greedy_n));
    if (a) fprintf(f, " -> %5.1f", 100 * per(a->greedy_correct, a->greedy_n));
    fprintf(f, "   %4.2f", per(b->calls, b->n));
    if (a) fprintf(f, " -> %4.2f", per(a->calls, a->n));
    fprintf(f, "   %5.1f", per(b->length, b->n));
    if (a) fprintf(f, " -> %5.1f", per(a->length, a->n));
    fputc('\n', f);
}

void eval_table(const struct eval_result *before, const struct eval_result *after, FILE *f)
{
    int width = 10;
    for (int i = 0; i < before->sources; i++)
        if ((int)strlen(before->source[i].name) > width) width = (int)strlen(before->source[i].name);
    fprintf(f, after ? "%-*s %-14s   %-14s   %-12s   %s\n" : "%-*s %-5s   %-5s   %-4s   %s\n",
            width, "source", after ? "success %" : "succ%", after ? "greedy %" : "gre.%", after ? "tool calls" : "call", "tokens of answer");
    for (int i = 0; i < before->sources; i++) line(before->source[i].name, width, &before->source[i], after ? &after->source[i] : NULL, f);
    line("all", width, &before->all, after ? &after->all : NULL, f);
}
