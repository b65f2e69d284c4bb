/* trainer.c: a training step from questions to metrics. */
#include "engine/trainer.h"
#include "base/clock.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))

static real *copy_weights(const struct model *m)
{
    real *w = dev_alloc((size_t)m->count * sizeof *w);
    dev_copy(w, m->w, (size_t)m->count * sizeof *w);
    return w;
}

void trainer_make(struct trainer *t, struct session *s)
{
    const struct config *c = s->c;
    *t = (struct trainer){ .s = s, .c = c };
    if (c->branch.omega == OMEGA_REFERENCE || c->actor.kl_loss_coef > 0) t->w_ref = copy_weights(&s->m);
    if (c->branch.omega == OMEGA_PREVIOUS) t->w_prev = copy_weights(&s->m);
}

void trainer_free(struct trainer *t)
{
    if (t->w_ref) dev_free(t->w_ref);
    if (t->w_prev) dev_free(t->w_prev);
    *t = (struct trainer){ 0 };
}

/* The step's prompts: the next rows of the files, or embedded questions, families in turn, each used once in a run. */
static struct group *open_groups(struct trainer *t)
{
    const struct config *c = t->c;
    int prompts = c->data.train_batch_size, n = c->algorithm.adv_estimator == ALGO_APPO ? c->rollout.initial_rollouts : c->rollout.n;
    struct group *g = xcalloc((size_t)prompts, sizeof *g);
    for (int p = 0; p < prompts; p++) {
        uint64_t index = (uint64_t)t->step * (uint64_t)prompts + (uint64_t)p;
        if (t->s->train.rows.n) group_begin_row(&g[p], t->s, &t->s->train, questions_row(&t->s->train, c, index), (uint32_t)t->step, (uint32_t)p, n);
        else group_begin(&g[p], t->s, (int)(index % FAMILIES), SPLIT_TRAIN, (uint64_t)c->trainer.seed, index, (uint32_t)t->step, (uint32_t)p, n);
    }
    return g;
}

static void sample(struct trainer *t, struct group *g, int prompts, struct step_sums *z)
{
    int total = 0;
    for (int p = 0; p < prompts; p++) total += g[p].initial;
    struct episode **ep = xcalloc((size_t)total, sizeof *ep);
    int k = 0;
    for (int p = 0; p < prompts; p++)
        for (int j = 0; j < g[p].initial; j++) ep[k++] = &g[p].row[j]->ep;
    struct rollout_config r = session_sampling(t->s);
    rollout_set(t->s->ro, &r);
    struct rollout_stats stats;
    double start = seconds();
    rollout_run(t->s->ro, ep, total, t->c->algorithm.adv_estimator == ALGO_APPO, NULL, NULL, &stats);
    z->t_gen += seconds() - start;
    z->generated += stats.generated;
    z->tool_tokens += stats.tool_tokens;
    z->tool_wait += stats.tool_wait_s;
    start = seconds();
    for (int p = 0; p < prompts; p++)
        for (int j = 0; j < g[p].initial; j++) group_grade(&g[p], g[p].row[j], t->s);
    z->t_reward += seconds() - start;
    free(ep);
}

static int bad_calls(const struct episode *ep)
{
    int n = 0;
    for (int k = 0; k < ep->calls; k++) n += ep->call[k].tool == TOOL_NONE;
    return n;
}

static void note_rollouts(const struct group *g, int n, bool turns, struct step_sums *z)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < g[i].rows; j++) {
            const struct row *r = g[i].row[j];
            mean_add(r->branch ? &z->reward_branch : &z->reward_init, r->ep.reward);
            if (r->branch) continue;
            z->rows++;
            z->correct += r->correct;
            z->well_formed += r->well_formed;
            z->ended += r->ep.finish == FINISH_END;
            mean_add(&z->length, row_len(r));
            mean_add(&z->prompt, r->ep.prompt_len);
            mean_add(&z->calls, r->ep.calls);
            if (turns) mean_add(&z->bad_calls, bad_calls(&r->ep));
            for (int k = r->ep.prompt_len; k < r->ep.n; k++)
                if (r->ep.m[k]) mean_add(&z->entropy, (double)r->ep.entropy[k]);
        }
}

static json_t *numbers(const wide *x, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(a, json_real((double)x[i]));
    return a;
}

static json_t *answers(const struct task *t)
{
    if (!t->sample) return json_string(t->q.answer);
    if (t->sample->n_refs == 1) return json_string(t->sample->ground_truth);
    json_t *a = json_array();
    for (int i = 0; i < t->sample->n_refs; i++) json_array_append_new(a, json_string(t->sample->refs[i]));
    return a;
}

static void dump_row(const struct trainer *t, const struct group *g, const struct row *r, FILE *f)
{
    struct str text = { 0 };
    row_text(r, t->s, &text);
    json_t *o = json_object(), *ids = json_array(), *mask = json_array();
    for (int i = 0; i < r->ep.n; i++) {
        json_array_append_new(ids, json_integer(r->ep.ids[i]));
        json_array_append_new(mask, json_integer(r->ep.m[i]));
    }
    json_object_set_new(o, "input", json_string(task_text(&g->task)));
    json_t *output = json_stringn(text.p, text.n);       /* NULL where the text is not UTF-8: then the ids alone tell */
    json_object_set_new(o, "output", output ? output : json_null());
    json_object_set_new(o, "gts", answers(&g->task));
    json_object_set_new(o, "score", json_real(r->ep.reward));
    json_object_set_new(o, "acc", json_boolean(r->correct));
    json_object_set_new(o, "step", json_integer(t->step + 1));
    json_object_set_new(o, g->task.sample ? "data_source" : "family", json_string(task_source(&g->task)));
    json_object_set_new(o, "prompt", json_integer(g->number));
    json_object_set_new(o, "rollout", json_integer(r->ep.rollout));
    json_object_set_new(o, "parent", r->orig >= 0 ? json_integer(g->row[r->orig]->ep.rollout) : json_null());
    json_object_set_new(o, "branch_index", r->orig >= 0 ? json_integer(r->idx) : json_null());
    json_object_set_new(o, "branch_score", r->orig >= 0 ? json_real(r->score) : json_null());
    json_object_set_new(o, "prompt_len", json_integer(r->ep.prompt_len));
    json_object_set_new(o, "ids", ids);
    json_object_set_new(o, "mask", mask);
    json_object_set_new(o, "logp", numbers(r->ep.logp, r->ep.n));
    json_object_set_new(o, "entropy", numbers(r->ep.entropy, r->ep.n));
    json_dumpf(o, f, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', f);
    json_decref(o);
    str_free(&text);
}

/* Scores again under the present weights what an update has made stale, where branches were made before it (branch.when = step). */
static void rescore(struct trainer *t, struct group *g, int n, struct step_sums *z)
{
    int rows = 0, k = 0;
    for (int i = 0; i < n; i++) rows += t->c->branch.train ? g[i].rows : g[i].initial;
    struct row **row = xcalloc((size_t)rows, sizeof *row);
    int *uid = xcalloc((size_t)rows, sizeof *uid);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < (t->c->branch.train ? g[i].rows : g[i].initial); j++) { uid[k] = i; row[k++] = g[i].row[j]; }
    score_rows(t, row, uid, rows, true, false, z);
    free(row);
    free(uid);
}

static void drop_pages(struct trainer *t, struct group *g, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < g[i].rows; j++) kv_drop(&t->s->kv, &g[i].row[j]->ep.kv);
}

static double largest_score(const struct group *g, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        for (int j = g[i].initial; j < g[i].rows; j++)
            if (g[i].row[j]->orig >= 0 && g[i].row[j]->score > most) most = g[i].row[j]->score;
    return most;
}

/* All updates of the step. */
static bool update(struct trainer *t, struct group *g, int prompts, FILE *dump, struct step_sums *z)
{
    const struct config *c = t->c;
    uint64_t sampled = t->s->m.version;
    bool ok = true, at_step = c->branch.when == BRANCH_STEP;
    if (at_step) branch_groups(t, g, prompts, false, z);
    t->score_max = at_step ? largest_score(g, prompts) : 0;
    for (int lo = 0; ok && lo < prompts; lo += c->actor.ppo_mini_batch_size) {
        int n = MIN(c->actor.ppo_mini_batch_size, prompts - lo);
        for (int epoch = 0; ok && epoch < c->actor.ppo_epochs; epoch++) {
            uint64_t version = t->s->m.version;
            bool stale = version != sampled;
            if (!at_step) {
                for (int i = lo; i < lo + n; i++) group_drop_branches(&g[i], t->s);
                branch_groups(t, g + lo, n, stale, z);
            } else if (stale) rescore(t, g + lo, n, z);
            ok = update_rows(t, g + lo, n, stale, z);
            if (t->s->m.version != version) drop_pages(t, g, prompts);
        }
        note_rollouts(g + lo, n, call_form_turns(&t->s->form), z);
        for (int i = lo; dump && i < lo + n; i++)
            for (int j = 0; j < g[i].rows; j++) dump_row(t, &g[i], g[i].row[j], dump);
        for (int i = lo; i < lo + n; i++) group_drop_branches(&g[i], t->s);
        drop_pages(t, g + lo, n);
    }
    return ok;
}

bool trainer_step(struct trainer *t, struct metrics *m, FILE *dump, struct err *e)
{
    struct step_sums z = { 0 };
    double start = seconds();
    int prompts = t->c->data.train_batch_size;
    struct group *g = open_groups(t);
    sample(t, g, prompts, &z);
    bool ok = update(t, g, prompts, dump, &z);
    for (int p = 0; p < prompts; p++) group_end(&g[p], t->s);
    free(g);
    t->step++;
    t->tokens_generated += z.generated;
    step_metrics(m, &z, t->step, t->skipped, t->c->algorithm.adv_estimator == ALGO_APPO, seconds() - start);
    if (!ok) return fail(e, "step %d: the loss or its gradient was not finite in five updates in a row: the weights are those before them; lower actor.optim.lr", t->step);
    return true;
}
