/* group_advantages.c: the estimators without branches. They do not depend on the weights: a step's advantages are
 * computed once, before its first update, and REINFORCE++ whitens over the tokens of the whole step, whatever the
 * mini-batches. Tool results are left out before the estimator runs: a return crosses them, and a discount counts
 * generated tokens. */
#include "engine/train/group_advantages.h"
#include <stdlib.h>

_Static_assert((int)ALGO_OPO - (int)ALGO_GRPO == (int)ADV_OPO, "enum algo is in the order of enum estimator");

/* The generated tokens of all rollouts of the groups, rollout by rollout, and the reward on the last of each. A rollout
 * without any token has one place with m = 0 for its reward. */
struct generated {
    int rows, *uid;
    int64_t *begin;
    acc_t *reward, *adv;
    uint8_t *m;
};

static int generated_tokens(const struct trajectory *r)
{
    int n = 0;
    for (int i = r->seq.prompt_len; i < r->seq.n; i++) n += r->seq.m[i];
    return n;
}

static void generated_make(struct generated *x, const struct group *g, int n)
{
    *x = (struct generated){ 0 };
    for (int i = 0; i < n; i++) x->rows += g[i].n;
    x->uid = xcalloc((size_t)x->rows + 1, sizeof *x->uid);
    x->begin = xcalloc((size_t)x->rows + 1, sizeof *x->begin);
    for (int i = 0, k = 0; i < n; i++)
        for (int j = 0; j < g[i].n; j++, k++) {
            int len = generated_tokens(g[i].traj[j]);
            x->uid[k] = i;
            x->begin[k + 1] = x->begin[k] + (len ? len : 1);
        }
    size_t all = (size_t)x->begin[x->rows];
    x->reward = xcalloc(all + 1, sizeof *x->reward);
    x->adv = xcalloc(all + 1, sizeof *x->adv);
    x->m = xcalloc(all + 1, 1);
    for (int i = 0, k = 0; i < n; i++)
        for (int j = 0; j < g[i].n; j++, k++) {
            int len = generated_tokens(g[i].traj[j]);
            for (int p = 0; p < len; p++) x->m[x->begin[k] + p] = 1;
            x->reward[x->begin[k + 1] - 1] = (acc_t)g[i].traj[j]->seq.reward;
        }
}

static void generated_free(struct generated *x)
{
    free(x->uid);
    free(x->begin);
    free(x->reward);
    free(x->adv);
    free(x->m);
}

void group_advantages(struct group *g, int n, const struct config *c)
{
    struct generated x;
    struct estimator_rule rule = {
        .kind = (enum estimator)(c->algorithm.adv_estimator - ALGO_GRPO),
        .by_std = c->advantage.norm_by_std,
        .gamma = c->algorithm.gamma,
    };
    ENSURE(c->algorithm.adv_estimator != ALGO_APPO);
    generated_make(&x, g, n);
    struct estimator_in in = { .reward = x.reward, .m = x.m, .begin = x.begin, .rows = x.rows, .group = x.uid };
    op_advantage(x.adv, NULL, &in, &rule);
    for (int i = 0, k = 0; i < n; i++)
        for (int j = 0; j < g[i].n; j++, k++) {
            struct trajectory *r = g[i].traj[j];
            const acc_t *next = x.adv + x.begin[k];
            free(r->adv);
            r->adv = xcalloc((size_t)trajectory_len(r) + 1, sizeof *r->adv);
            for (int p = 0; p < trajectory_len(r); p++)
                if (r->seq.m[r->seq.prompt_len + p]) r->adv[p] = *next++;
        }
    generated_free(&x);
}
