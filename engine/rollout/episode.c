/* episode.c: one rollout's tokens and numbers. A fork owns copies of its prefix: an episode never points into another,
 * so either may be freed first. */
#include "engine/rollout/episode.h"
#include "base/err.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void room(struct episode *ep, int n)
{
    if (n <= ep->cap) return;
    ENSURE(n <= INT_MAX / 2);
    int cap = n > 2 * ep->cap ? n : 2 * ep->cap;
    if (cap < 64) cap = 64;
    ep->ids = xrealloc(ep->ids, (size_t)cap * sizeof *ep->ids);
    ep->m = xrealloc(ep->m, (size_t)cap * sizeof *ep->m);
    ep->logp = xrealloc(ep->logp, (size_t)cap * sizeof *ep->logp);
    ep->entropy = xrealloc(ep->entropy, (size_t)cap * sizeof *ep->entropy);
    ep->cap = cap;
}

void episode_put(struct episode *ep, int id, bool generated, acc_t logp, acc_t entropy)
{
    room(ep, ep->n + 1);
    ep->ids[ep->n] = id;
    ep->m[ep->n] = generated;
    ep->logp[ep->n] = generated ? logp : 0;
    ep->entropy[ep->n] = generated ? entropy : 0;
    ep->n++;
}

void episode_begin(struct episode *ep, const int *prompt_ids, int n)
{
    ENSURE(n > 0 && ep->n == 0 && ep->kv.len == 0);
    room(ep, n);
    for (int i = 0; i < n; i++) episode_put(ep, prompt_ids[i], false, 0, 0);
    ep->prompt_len = ep->born = n;
    ep->parent = -1;
    ep->finish = FINISH_NONE;
}

static void calls_copy(struct episode *dst, const struct episode *src, int response)
{
    while (dst->calls < src->calls && src->call[dst->calls].close < response) {
        const struct call *c = &src->call[dst->calls++];
        if (!c->over_limit) dst->calls_by[c->tool]++;
    }
    if (!dst->calls) return;
    dst->calls_cap = dst->calls;
    dst->call = xmalloc((size_t)dst->calls * sizeof *dst->call);
    memcpy(dst->call, src->call, (size_t)dst->calls * sizeof *dst->call);
}

void episode_fork(struct episode *dst, const struct episode *src, int token_index, struct kv *kv)
{
    int n = token_index;
    ENSURE(dst->n == 0 && dst->kv.len == 0 && n >= src->prompt_len && n <= src->n);
    /* what is kept ends with the prompt, a generated token or a whole result */
    ENSURE(n == src->prompt_len || n == src->n || src->m[n - 1] || src->m[n]);
    *dst = (struct episode){ .step = src->step,
                             .prompt = src->prompt,
                             .rollout = src->rollout,
                             .scope = src->scope,
                             .user = src->user,
                             .prompt_len = src->prompt_len,
                             .n = n,
                             .parent = -1,
                             .branch_pos = n - src->prompt_len,
                             .born = n };
    room(dst, n);
    memcpy(dst->ids, src->ids, (size_t)n * sizeof *dst->ids);
    memcpy(dst->m, src->m, (size_t)n * sizeof *dst->m);
    memcpy(dst->logp, src->logp, (size_t)n * sizeof *dst->logp);
    memcpy(dst->entropy, src->entropy, (size_t)n * sizeof *dst->entropy);
    calls_copy(dst, src, dst->branch_pos);
    if (kv) kv_fork(kv, &dst->kv, &src->kv, src->kv.len < n - 1 ? src->kv.len : n - 1);
}

void episode_free(struct episode *ep, struct kv *kv)
{
    if (kv) kv_drop(kv, &ep->kv);
    ENSURE(ep->kv.n_pages == 0);
    free(ep->kv.page);
    free(ep->ids);
    free(ep->m);
    free(ep->logp);
    free(ep->entropy);
    free(ep->call);
    *ep = (struct episode){ 0 };
}
