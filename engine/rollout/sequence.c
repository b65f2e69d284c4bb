/* sequence.c: tokens and numbers of one rollout. A fork owns a copy of its prefix, so a sequence never points into
 * another and either may be freed first. */
#include "engine/rollout/sequence.h"
#include "base/err.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void reserve(struct sequence *seq, int n)
{
    if (n <= seq->cap) return;
    ENSURE(n <= INT_MAX / 2);
    int cap = n > 2 * seq->cap ? n : 2 * seq->cap;
    if (cap < 64) cap = 64;
    seq->ids = xrealloc(seq->ids, (size_t)cap * sizeof *seq->ids);
    seq->m = xrealloc(seq->m, (size_t)cap * sizeof *seq->m);
    seq->logp = xrealloc(seq->logp, (size_t)cap * sizeof *seq->logp);
    seq->entropy = xrealloc(seq->entropy, (size_t)cap * sizeof *seq->entropy);
    seq->cap = cap;
}

void sequence_put(struct sequence *seq, int id, bool generated, acc_t logp, acc_t entropy)
{
    reserve(seq, seq->n + 1);
    seq->ids[seq->n] = id;
    seq->m[seq->n] = generated;
    seq->logp[seq->n] = generated ? logp : 0;
    seq->entropy[seq->n] = generated ? entropy : 0;
    seq->n++;
}

void sequence_begin(struct sequence *seq, const int *prompt_ids, int n)
{
    ENSURE(n > 0 && seq->n == 0 && seq->kv.len == 0);
    reserve(seq, n);
    for (int i = 0; i < n; i++) sequence_put(seq, prompt_ids[i], false, 0, 0);
    seq->prompt_len = seq->born = n;
    seq->parent = -1;
    seq->finish = FINISH_NONE;
}

static void calls_copy(struct sequence *dst, const struct sequence *src, int response)
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

void sequence_fork(struct sequence *dst, const struct sequence *src, int token_index, struct kv *kv)
{
    int n = token_index;
    ENSURE(dst->n == 0 && dst->kv.len == 0 && n >= src->prompt_len && n <= src->n);
    /* the kept prefix ends with the prompt, a generated token or a whole result */
    ENSURE(n == src->prompt_len || n == src->n || src->m[n - 1] || src->m[n]);
    *dst = (struct sequence){ .step = src->step,
                             .prompt = src->prompt,
                             .rollout = src->rollout,
                             .scope = src->scope,
                             .prompt_len = src->prompt_len,
                             .n = n,
                             .parent = -1,
                             .branch_pos = n - src->prompt_len,
                             .born = n };
    reserve(dst, n);
    memcpy(dst->ids, src->ids, (size_t)n * sizeof *dst->ids);
    memcpy(dst->m, src->m, (size_t)n * sizeof *dst->m);
    memcpy(dst->logp, src->logp, (size_t)n * sizeof *dst->logp);
    memcpy(dst->entropy, src->entropy, (size_t)n * sizeof *dst->entropy);
    calls_copy(dst, src, dst->branch_pos);
    if (kv) kv_fork(kv, &dst->kv, &src->kv, src->kv.len < n - 1 ? src->kv.len : n - 1);
}

void sequence_free(struct sequence *seq, struct kv *kv)
{
    if (kv) kv_drop(kv, &seq->kv);
    ENSURE(seq->kv.n_pages == 0);
    free(seq->kv.page);
    free(seq->ids);
    free(seq->m);
    free(seq->logp);
    free(seq->entropy);
    free(seq->call);
    *seq = (struct sequence){ 0 };
}
