/* workload.c: draws a step. */
#include "eval/simulate/workload.h"
#include "base/arith.h"
#include "base/philox.h"
#include <math.h>
#include <stdlib.h>

/* last word of the counter of each use */
enum { USE_PROMPT = 1, USE_LENGTH, USE_CALLS, USE_WAIT, USE_POINT };

static double uniform(uint32_t x) { return ((double)x + 0.5) * 0x1p-32; }

double workload_normal(double u, double v) { return sqrt(-2 * log(u)) * cos(6.283185307179586 * v); }

/* Lower tail by its expansion in t = sqrt(-2 ln p), Abramowitz and Stegun 26.2.23: off by less than 4.5e-4. */
static double upper_quantile(double p)
{
    double t = sqrt(-2 * log(p));
    return t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
}

double workload_sigma(double mean, double max, double n)
{
    if (!(mean > 0) || max <= mean || n < 2) return 0;
    double z = upper_quantile(1 / (n + 1)), q = z * z - 2 * log(max / mean);
    return q > 0 ? z - sqrt(q) : z;
}

void workload_of(struct workload *w, const struct config *c)
{
    bool appo = c->algorithm.adv_estimator == ALGO_APPO;
    *w = (struct workload){
        .seed = (uint64_t)c->trainer.seed,
        .prompts = c->data.train_batch_size,
        .mini_batch = c->actor.ppo_mini_batch_size,
        .epochs = c->actor.ppo_epochs,
        .initial = appo ? c->rollout.initial_rollouts : c->rollout.n,
        .all = c->rollout.n,
        .points = c->branch.points,
        .branches = appo && c->rollout.n > c->rollout.initial_rollouts,
        .at_step = c->branch.when == BRANCH_STEP,
        .every = c->branch.every,
        .verl = c->actor.epoch_order == EPOCHS_VERL,
        .train_branches = c->branch.train,
        .reference = c->actor.kl_loss_coef > 0,
        .max_prompt = c->data.max_prompt_length,
        .max_response = c->data.max_response_length,
        .max_len = c->rollout.max_len,
        .max_seqs = c->rollout.max_num_seqs,
        .max_rows = c->rollout.max_num_batched_tokens,
        .pack = c->actor.ppo_max_token_len_per_gpu,
        .prompt_mean = c->data.max_prompt_length / 4.0,
        .prompt_sigma = 0.3,
        .response_mean = c->data.max_response_length / 4.0,
        .response_sigma = 0.7,
        .alike = 0.5,
        .fresh = 0.5,
        .distinct = 1,
        .live = 1,
    };
}

int workload_initial(const struct workload *w) { return w->branches ? w->initial : w->all; }
int workload_branches(const struct workload *w) { return w->branches ? w->all - w->initial : 0; }

/* Log-normal with this mean, at least 1 and at most `most`. */
static int length_of(double mean, double sigma, double normal, int most)
{
    double x = mean * exp(sigma * normal - sigma * sigma / 2);
    return x < 1 ? 1 : x > most ? most : (int)(x + 0.5);
}

/* Splits `tokens` new tokens into segments with calls between them: as many for a token as a rollout of mean length has
 * (results are what makes a response long); u of (0, 1) rounds their number. */
static void split(struct sim_rollout *r, const struct workload *w, int tokens, double u, int step)
{
    int result = (int)(w->call_tokens + 0.5),
        calls = (int)MIN(w->calls * tokens / w->response_mean + u, (double)(SEGMENTS - 1));
    while (calls > 0 && tokens - calls * result < calls + 1) calls--;
    int own = tokens - calls * result;
    r->segments = calls + 1;
    for (int i = 0; i <= calls; i++) {
        r->generate[i] = own / (calls + 1) + (i < own % (calls + 1));
        r->result[i] = i < calls ? result : 0;
        struct philox x = philox4x32(w->seed, (uint32_t)step, (uint32_t)r->prompt,
                                     (uint32_t)(r->number * SEGMENTS + i), USE_WAIT);
        r->wait[i] = i < calls ? -w->call_s * log(uniform(x.v[0])) : 0;
    }
    r->length = r->start + tokens;
}

static void draw(struct sim_rollout *r, const struct workload *w, const struct sim_prompt *p, int step, int prompt,
                 int number, double common)
{
    struct philox x = philox4x32(w->seed, (uint32_t)step, (uint32_t)prompt, (uint32_t)number, USE_LENGTH),
                  y = philox4x32(w->seed, (uint32_t)step, (uint32_t)prompt, (uint32_t)number, USE_CALLS);
    double normal = sqrt(w->alike) * common + sqrt(1 - w->alike) * workload_normal(uniform(x.v[0]), uniform(x.v[1]));
    int tokens = length_of(w->response_mean, w->response_sigma, normal, MIN(w->max_response, w->max_len - p->length));
    *r = (struct sim_rollout){ .prompt = prompt, .number = number, .start = p->length };
    split(r, w, tokens, uniform(y.v[0]), step);
}

/* A branch of a parent: it keeps a share of the parent's response, of mean 1 - fresh, and draws the rest as the rest of
 * another rollout of the prompt. */
static void fork_from(struct sim_rollout *r, const struct workload *w, const struct sim_prompt *p, int step, int prompt,
                      int number, double common)
{
    const struct sim_rollout *parent = &p->initial[(number - w->initial) / MAX(1, w->points) % w->initial];
    struct sim_rollout other;
    struct philox x = philox4x32(w->seed, (uint32_t)step, (uint32_t)prompt, (uint32_t)number, USE_POINT);
    double kept = pow(uniform(x.v[0]), w->fresh / MAX(1e-9, 1 - w->fresh));
    draw(&other, w, p, step, prompt, number, common);
    int response = parent->length - p->length, at = MIN((int)(kept * response), response - 1);
    int most = MIN(w->max_response, w->max_len - p->length) - at;
    int tokens = (int)((1 - kept) * (other.length - p->length) + 0.5);
    *r = (struct sim_rollout){ .prompt = prompt, .number = number, .start = p->length + at, .branch = true };
    split(r, w, MAX(1, MIN(tokens, most)), uniform(x.v[1]), step);
}

struct sim_prompt *workload_step(const struct workload *w, int step)
{
    struct sim_prompt *all = xcalloc((size_t)w->prompts, sizeof *all);
    int n = workload_initial(w), branches = workload_branches(w);
    for (int i = 0; i < w->prompts; i++) {
        struct sim_prompt *p = &all[i];
        struct philox x = philox4x32(w->seed, (uint32_t)step, (uint32_t)i, 0, USE_PROMPT),
                      y = philox4x32(w->seed, (uint32_t)step, (uint32_t)i, 1, USE_PROMPT);
        double common = workload_normal(uniform(x.v[2]), uniform(x.v[3]));
        p->length = length_of(w->prompt_mean, w->prompt_sigma, workload_normal(uniform(x.v[0]), uniform(x.v[1])),
                              MIN(w->max_prompt, w->max_len - 1));
        p->live = uniform(y.v[0]) < w->live;
        p->initial = xcalloc((size_t)n, sizeof *p->initial);
        p->branch = branches ? xcalloc((size_t)branches, sizeof *p->branch) : NULL;
        for (int j = 0; j < n; j++) draw(&p->initial[j], w, p, step, i, j, common);
        for (int j = 0; j < branches; j++) fork_from(&p->branch[j], w, p, step, i, w->initial + j, common);
    }
    return all;
}

void workload_free(struct sim_prompt *p, const struct workload *w)
{
    for (int i = 0; i < w->prompts; i++) {
        free(p[i].initial);
        free(p[i].branch);
    }
    free(p);
}

int64_t workload_generated(const struct sim_rollout *r)
{
    int64_t n = 0;
    for (int i = 0; i < r->segments; i++) n += r->generate[i];
    return n;
}

int64_t workload_results(const struct sim_rollout *r)
{
    int64_t n = 0;
    for (int i = 0; i < r->segments; i++) n += r->result[i];
    return n;
}
