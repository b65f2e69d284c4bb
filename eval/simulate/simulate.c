/* simulate.c: the phases of a step, one after another, and what they add up to. */
#include "eval/simulate/simulate.h"
#include "base/arith.h"
#include "eval/simulate/sampling.h"
#include <stdlib.h>
#include <string.h>

const char *const sim_phase_name[SIM_PHASES] = { "gen", "score", "branch", "update", "reduce", "host" };

const struct sim_rule sim_rules[] = {
    { "order", "prompts by number, one after the other; nothing is taken from others", DEAL_IN_ORDER, false, false },
    { "longest", "longest expected first, to the rank with least; nothing is taken", DEAL_LONGEST, false, false },
    { "steal", "the same, and a rank that runs dry takes prompts not yet begun: what a run does", DEAL_LONGEST, false,
      true },
    { "known", "the same by the lengths that come out, which no run knows: a bound", DEAL_LONGEST, true, true },
    { 0 },
};

const struct sim_rule *sim_rule(const char *name)
{
    for (const struct sim_rule *r = sim_rules; r->name; r++) if (!strcmp(r->name, name)) return r;
    return NULL;
}

struct sim {
    const struct workload *w;
    const struct cost_model *m;
    const struct sim_rule *rule;
    const struct cost_shape *shape;
    int ranks;
    struct sim_prompt *prompt;
    int *owner;                     /* [prompts] rank that sampled the prompt and holds its pages */
    double *end, *busy;             /* [ranks] of a phase */
    double *sorted;                 /* [ranks] */
    struct sampling_rank *rank;     /* [ranks] */
    double *passes;                 /* [ranks] of the step */
    struct sim_result *out;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sim_share_cores(double *end, int ranks, int cores, int threads)
{
    if (!cores || ranks * MAX(1, threads) <= cores) return;
    double *s = xcalloc((size_t)ranks, sizeof *s), *real = xcalloc((size_t)ranks, sizeof *real), t = 0;
    memcpy(s, end, (size_t)ranks * sizeof *s);
    qsort(s, (size_t)ranks, sizeof *s, by_value);
    for (int i = 0; i < ranks; i++) {
        double slow = (double)(ranks - i) * MAX(1, threads) / cores;
        real[i] = t += (s[i] - (i ? s[i - 1] : 0)) * (slow > 1 ? slow : 1);
    }
    for (int i = 0; i < ranks; i++) {
        double *at = bsearch(&end[i], s, (size_t)ranks, sizeof *s, by_value);
        end[i] = real[at - s];
    }
    free(s);
    free(real);
}

/* Ends a phase: x->end[k] is when rank k is done with it, x->busy[k] how long it worked. Returns its length. */
static double phase(struct sim *x, enum sim_phase p)
{
    double wall = 0;
    for (int k = 0; k < x->ranks; k++) x->sorted[k] = x->end[k];
    sim_share_cores(x->end, x->ranks, x->m->cores, x->m->threads);
    for (int k = 0; k < x->ranks; k++) {
        double slower = x->sorted[k] > 0 ? x->end[k] / x->sorted[k] : 1;
        wall = MAX(wall, x->end[k]);
        x->out->busy[p] += x->busy[k] * slower;
        x->out->tools += (x->end[k] - x->busy[k] * slower);
    }
    x->out->wall[p] += wall;
    x->out->step += wall;
    return wall;
}

/* A phase in which all ranks do the same. */
static void all_busy(struct sim *x, enum sim_phase p, double t)
{
    for (int k = 0; k < x->ranks; k++) x->end[k] = x->busy[k] = t;
    phase(x, p);
}

/* ---- dealing ---- */

/* By what a prompt is dealt: its length and the mean response of all, which is what a run knows; or what comes out. */
static double expected(const struct sim *x, int prompt)
{
    const struct sim_prompt *p = &x->prompt[prompt];
    int n = workload_initial(x->w);
    double sum = 0;
    for (int j = 0; j < n; j++) sum += p->initial[j].length - p->length;
    return deal_prompt_cost(p->length, x->rule->known ? sum / n : x->w->response_mean, n);
}

/* ---- phases ---- */

static void count_sampling(struct sim *x, struct sim_count *c)
{
    struct sim_result *o = x->out;
    const struct cost_shape *s = x->shape;
    double passes = 0, positions = 0;
    for (int k = 0; k < x->ranks; k++) {
        const struct sampling_rank *r = &x->rank[k];
        x->end[k] = r->end;
        x->busy[k] = r->busy;
        x->passes[k] += r->passes;
        o->rows += r->rows;
        o->positions += r->positions;
        o->generated += (double)r->tokens;
        o->taken += r->taken;
        passes += r->passes;
        positions += r->positions;
        c->passes += r->passes / x->ranks;
        c->rows += r->rows / x->ranks;
        c->positions += r->positions / x->ranks;
    }
    if (s) o->weight_reads += passes * s->parameters * s->elem_bytes;
    if (s) o->context_reads += positions * s->kv_bytes;
}

static double last_less_median(struct sim *x)
{
    memcpy(x->sorted, x->end, (size_t)x->ranks * sizeof *x->sorted);
    qsort(x->sorted, (size_t)x->ranks, sizeof *x->sorted, by_value);
    double median = x->ranks % 2 ? x->sorted[x->ranks / 2]
                                 : (x->sorted[x->ranks / 2 - 1] + x->sorted[x->ranks / 2]) / 2;
    return x->sorted[x->ranks - 1] - median;
}

/* Grading on the rank that sampled; all ranks get the trajectories of the prompts [first, first + n). */
static void hand_around(struct sim *x, int first, int n, bool branches)
{
    int each = branches ? workload_branches(x->w) : workload_initial(x->w);
    double tokens = 0;
    memset(x->end, 0, (size_t)x->ranks * sizeof *x->end);
    for (int i = first; i < first + n; i++)
        for (int j = 0; j < each; j++) {
            const struct sim_rollout *r = branches ? &x->prompt[i].branch[j] : &x->prompt[i].initial[j];
            tokens += r->length;
            x->out->results += (double)workload_results(r);
            x->end[x->owner[i]] += x->m->grade;
        }
    double t = cost_host_gather(x->m, x->ranks, tokens * x->m->token_bytes);
    for (int k = 0; k < x->ranks; k++) x->busy[k] = x->end[k] += t;
    x->out->gathered += x->ranks > 1 ? tokens * x->m->token_bytes : 0;
    phase(x, SIM_HOST);
}

static void sample_initial(struct sim *x)
{
    const struct workload *w = x->w;
    double *cost = xcalloc((size_t)w->prompts, sizeof *cost);
    struct sim_rollout **first = xcalloc((size_t)w->prompts, sizeof *first);
    struct deal d;
    for (int i = 0; i < w->prompts; i++) {
        first[i] = x->prompt[i].initial;
        cost[i] = expected(x, i);
    }
    deal_prompts(&d, cost, w->prompts, w->mini_batch, x->ranks, x->rule->deal);
    sampling_run(&(struct sampling){ .w = w, .m = x->m, .ranks = x->ranks, .units = w->prompts, .first = first,
                                     .each = workload_initial(w), .item = d.item, .begin = d.begin,
                                     .steal = x->rule->steal, .prompts = true }, x->owner, x->rank);
    count_sampling(x, &x->out->gen);
    phase(x, SIM_GEN);
    x->out->tail += last_less_median(x);
    hand_around(x, 0, w->prompts, false);
    deal_free(&d);
    free(cost);
    free(first);
}

/* Branches of prompts [at, at + n) where the pages of their parents lie. */
static void sample_branches(struct sim *x, int at, int n)
{
    const struct workload *w = x->w;
    int *item = xcalloc((size_t)n, sizeof *item), *begin = xcalloc((size_t)x->ranks + 1, sizeof *begin), units = 0,
        *owner = xcalloc((size_t)n, sizeof *owner);
    struct sim_rollout **first = xcalloc((size_t)n, sizeof *first);
    double *choose = xcalloc((size_t)x->ranks, sizeof *choose);
    for (int i = 0; i < n; i++) first[i] = x->prompt[at + i].branch;
    for (int k = 0; k < x->ranks; k++) {
        begin[k] = units;
        for (int i = 0; i < n; i++) if (x->owner[at + i] == k) item[units++] = i;
        choose[k] = (units - begin[k]) * workload_branches(w) * x->m->branch;
    }
    begin[x->ranks] = units;
    sampling_run(&(struct sampling){ .w = w, .m = x->m, .ranks = x->ranks, .units = n, .first = first,
                                     .each = workload_branches(w), .item = item, .begin = begin }, owner, x->rank);
    count_sampling(x, &x->out->branch);
    for (int k = 0; k < x->ranks; k++) x->end[k] += choose[k], x->busy[k] += choose[k];
    phase(x, SIM_BRANCH);
    x->out->branch_tail += last_less_median(x);
    hand_around(x, at, n, true);
    free(item); free(begin); free(first); free(choose); free(owner);
}

/* The tree of a prompt's rollouts: positions, and positions that they read. */
static void tree_of(const struct sim *x, int prompt, bool branches, double *positions, double *read)
{
    const struct workload *w = x->w;
    const struct sim_prompt *p = &x->prompt[prompt];
    double len = p->length;
    *positions = len;
    *read = len * len / 2;
    for (int j = 0; j < workload_initial(w) + (branches ? workload_branches(w) : 0); j++) {
        const struct sim_rollout *r = j < workload_initial(w) ? &p->initial[j] : &p->branch[j - workload_initial(w)];
        double own = r->length - r->start;
        *positions += own * w->distinct;
        *read += (own * r->start + own * own / 2) * w->distinct;
    }
}

/* A forward pass over the trees of prompts [at, at + n) on the ranks that hold them. */
static void score(struct sim *x, int at, int n, bool branches)
{
    const struct cost_model *m = x->m;
    double positions, read, *sum = xcalloc((size_t)x->ranks, sizeof *sum);
    memset(x->busy, 0, (size_t)x->ranks * sizeof *x->busy);
    for (int i = at; i < at + n; i++) {
        tree_of(x, i, branches, &positions, &read);
        sum[x->owner[i]] += positions;
        x->busy[x->owner[i]] += positions * m->score_row + read * m->score_context;
        x->out->scored += positions;
    }
    double most = 0;
    for (int k = 0; k < x->ranks; k++) {
        most = MAX(most, sum[k]);
        x->end[k] = x->busy[k] += (double)ceil_div((int64_t)sum[k], x->w->pack) * m->pack;
    }
    x->out->scored_most += most;
    phase(x, SIM_SCORE);
    free(sum);
}

/* The trees of rollouts [at, at + n) in the loss, as gradient.c has them: an initial rollout with the branches that
 * left it. rank[], weight[]: [n * initial]; returns how many. */
static int trees(const struct sim *x, int at, int n, int *prompt, int64_t *weight)
{
    const struct workload *w = x->w;
    int initial = workload_initial(w), trees = 0;
    for (int i = at; i < at + n; i++) {
        const struct sim_prompt *p = &x->prompt[i];
        for (int j = 0; p->live && j < initial; j++, trees++) {
            double rows = p->initial[j].length - 1;
            for (int b = j; w->train_branches && b < workload_branches(w); b += initial)
                rows += p->branch[b].length - p->branch[b].start;
            prompt[trees] = i * initial + j;
            weight[trees] = (int64_t)rows;
        }
    }
    return trees;
}

/* Deals the trees to the ranks; x->busy and load: their seconds and positions. A rank runs a prompt once for its trees
 * of it, and what they share: all but `more` of the second and later ones, so that all on one rank share as much as
 * w->distinct says. */
static void train_trees(struct sim *x, int at, int n, double *load)
{
    const struct cost_model *m = x->m;
    int initial = workload_initial(x->w), *tree = xcalloc((size_t)(n * initial) + 1, sizeof *tree),
        *rank = xcalloc((size_t)(n * initial) + 1, sizeof *rank), *last = xcalloc((size_t)x->ranks, sizeof *last);
    int64_t *weight = xcalloc((size_t)(n * initial) + 1, sizeof *weight);
    double kept = x->w->distinct * initial, first = MIN(1, kept),
           more = initial > 1 ? MAX(0, (kept - 1) / (initial - 1)) : 0;
    int count = trees(x, at, n, tree, weight);
    deal_units(rank, weight, count, x->ranks);
    for (int k = 0; k < x->ranks; k++) last[k] = -1;
    for (int i = 0; i < count; i++) {
        int k = rank[i], prompt = tree[i] / initial;
        const struct sim_prompt *p = &x->prompt[prompt];
        bool again = last[k] == prompt;
        double len = p->length, own = ((double)weight[i] + 1 - len) * (again ? more : first),
               positions = own + (again ? 0 : len), read = own * (len + own / 2) + (again ? 0 : len * len / 2);
        last[k] = prompt;
        load[k] += positions;
        x->busy[k] += positions * m->train_row + read * m->train_context;
        x->out->trained += positions;
        x->out->targets += (double)weight[i] + 1 - len;
    }
    free(tree); free(rank); free(last); free(weight);
}

/* Gradient of the trees that have an advantage, reduction, AdamW, weights. */
static void update(struct sim *x, int at, int n)
{
    const struct cost_model *m = x->m;
    double positions, read, tokens = 0, last = 0, most = 0, *load = xcalloc((size_t)x->ranks, sizeof *load);
    for (int i = 0; i < n; i++) {
        tree_of(x, at + i, true, &positions, &read);
        tokens += positions;
    }
    all_busy(x, SIM_HOST, tokens * m->credit);
    memset(x->busy, 0, (size_t)x->ranks * sizeof *x->busy);
    train_trees(x, at, n, load);
    for (int k = 0; k < x->ranks; k++) {
        double packs = (double)ceil_div((int64_t)load[k], x->w->pack);
        most = MAX(most, load[k]);
        last = MAX(last, packs > 0 ? x->busy[k] / packs * 2 / 3 : 0);
        x->end[k] = x->busy[k] += packs * m->pack + m->update;
    }
    phase(x, SIM_UPDATE);
    x->out->trained_most += most;
    bool shards = m->zero > 0;
    double sum = cost_sum(m, x->ranks, m->grad_bytes) * (shards ? 0.5 : 1), hidden = MIN(sum, m->overlap * last);
    double weights = shards ? cost_gather(m, x->ranks, m->weight_bytes) : 0;
    all_busy(x, SIM_REDUCE, sum - hidden + weights);
    all_busy(x, SIM_UPDATE, cost_adamw(m, x->ranks));
    double others = (x->ranks - 1.0) / x->ranks;
    x->out->reduced += others * m->grad_bytes * (shards ? 1 : 2);
    x->out->gathered += shards ? others * m->weight_bytes : 0;
    free(load);
}

static void step(struct sim *x, int number)
{
    const struct workload *w = x->w;
    int batches = w->prompts / w->mini_batch, updates = batches * w->epochs;
    sample_initial(x);
    if (w->score_old && updates > 1) score(x, 0, w->prompts, false);
    if (w->branches && w->at_step) sample_branches(x, 0, w->prompts);
    for (int k = 0; k < updates; k++) {
        int mini = w->verl ? k % batches : k / w->epochs, at = mini * w->mini_batch;
        bool branched = w->branches && !w->at_step && (number * batches + mini + 1) % w->every == 0;
        if (k > 0) score(x, at, w->mini_batch, false);
        if (w->reference) score(x, at, w->mini_batch, w->train_branches);
        if (branched) sample_branches(x, at, w->mini_batch);
        update(x, at, w->mini_batch);
    }
    all_busy(x, SIM_HOST, x->m->step);
}

/* Sums of `steps` steps to means of one, seconds of all ranks to shares. */
static void means(struct sim_result *r, int steps)
{
    double *all[] = { &r->step, &r->tail, &r->branch_tail, &r->generated, &r->results, &r->scored, &r->trained,
                      &r->targets,
                      &r->scored_most, &r->trained_most,
                      &r->rows, &r->positions, &r->taken, &r->weight_reads, &r->context_reads, &r->reduced,
                      &r->gathered, &r->passes, &r->gen.passes, &r->gen.rows, &r->gen.positions, &r->branch.passes,
                      &r->branch.rows, &r->branch.positions, &r->tools };
    double busy = 0, seconds;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) *all[i] /= steps;
    for (int p = 0; p < SIM_PHASES; p++) {
        r->wall[p] /= steps;
        busy += r->busy[p] /= steps;
    }
    seconds = r->step * r->ranks;
    r->tools /= seconds;
    r->idle = MAX(0, 1 - busy / seconds - r->tools);
}

void simulate(struct sim_result *r, const struct workload *w, const struct cost_model *m, const struct sim_rule *rule,
              int ranks, int steps, const struct cost_shape *shape)
{
    *r = (struct sim_result){ .ranks = ranks, .rule = rule };
    struct sim x = { .w = w, .m = m, .rule = rule, .shape = shape, .ranks = ranks, .out = r };
    x.owner = xcalloc((size_t)w->prompts, sizeof *x.owner);
    x.end = xcalloc((size_t)ranks, sizeof *x.end);
    x.busy = xcalloc((size_t)ranks, sizeof *x.busy);
    x.sorted = xcalloc((size_t)ranks, sizeof *x.sorted);
    x.passes = xcalloc((size_t)ranks, sizeof *x.passes);
    x.rank = xcalloc((size_t)ranks, sizeof *x.rank);
    for (int i = 0; i < steps; i++) {
        x.prompt = workload_step(w, i);
        memset(x.passes, 0, (size_t)ranks * sizeof *x.passes);
        step(&x, i);
        double most = 0;
        for (int k = 0; k < ranks; k++) most = MAX(most, x.passes[k]);
        r->passes += most;
        workload_free(x.prompt, w);
    }
    means(r, steps);
    free(x.owner); free(x.end); free(x.busy); free(x.sorted); free(x.passes); free(x.rank);
}
