/* token_scores.c: forward pass, then logits chunk by chunk. The top-k search runs on the host, because no training step
 * needs it. */
#include "engine/learner/token_scores.h"
#include "model/forward.h"
#include "model/head.h"
#include "base/err.h"
#include "base/arith.h"
#include <stdlib.h>
#include <string.h>

/* Room for a batch: ids and positions; of a chunk rows, targets and results; the top-k ids with begins and
 * log-probs. */
static size_t batch_bytes(const struct token_scorer *s)
{
    return (size_t)s->max_rows * 32 + (size_t)s->chunk * (size_t)(s->top + 1) * 16 + (1 << 16);
}

static void lay_out(struct token_scorer *s, struct arena *a)
{
    const struct model *m = s->m;
    acts_make(&s->acts, m, s->max_rows, RECOMPUTE_FULL, false, a);
    s->logits = arena_get(a, (size_t)(s->chunk * vocab_ld(m)) * sizeof(elem_t), "logits");
    s->x = arena_get(a, (size_t)(s->chunk * m->c.dim) * sizeof(elem_t), "head in");
    arena_get(a, batch_bytes(s), "batch");
}

void token_scorer_make(struct token_scorer *s, const struct model *m, int64_t max_rows, int top)
{
    *s = (struct token_scorer){
        .m = m,
        .max_rows = max_rows,
        .chunk = logits_chunk(m->c.vocab, sizeof(elem_t), 64, max_rows),
        .top = MIN(top, m->c.vocab)
    };
    ENSURE(top <= SCORER_TOP);
    arena_dry(&s->arena, "scoring");
    lay_out(s, &s->arena);
    size_t need = s->arena.peak;
    acts_free(&s->acts);
    arena_make(&s->arena, "scoring", need);
    lay_out(s, &s->arena);
    /* each batch takes its memory from the end */
    arena_release(&s->arena, arena_mark(&s->arena) - (batch_bytes(s) + 255) / 256 * 256);
}

void token_scorer_free(struct token_scorer *s)
{
    acts_free(&s->acts);
    arena_free(&s->arena);
}

static void *put(struct arena *a, const void *host, size_t bytes, const char *what)
{
    void *p = arena_get(a, bytes, what);
    dev_put(p, host, bytes);
    return p;
}

/* Indices of the `top` largest of x[vocab], in order. */
static void top_k(const acc_t *x, int vocab, int top, int *id)
{
    for (int j = 0, n = 0; j < vocab; j++) {
        if (n == top && !(x[j] > x[id[n - 1]])) continue;
        int at = n < top ? n++ : n - 1;
        for (; at > 0 && x[j] > x[id[at - 1]]; at--) id[at] = id[at - 1];
        id[at] = j;
    }
}

/* Copies x[n][each] from the device to the places of n tokens. */
static void scatter(acc_t *to, const acc_t *x, const int64_t *flat, int n, int each)
{
    acc_t *host = xmalloc((size_t)n * (size_t)each * sizeof *host);
    dev_get(host, x, (size_t)n * (size_t)each * sizeof *host);
    for (int i = 0; i < n; i++) memcpy(to + flat[i] * each, host + i * each, (size_t)each * sizeof *host);
    free(host);
}

/* The chunk's most likely tokens, then their log-probs as targets of the same rows. */
static void chunk_top(struct token_scorer *s, const int64_t *flat, int n, double inv_temp, int *top_id, acc_t *top_logp)
{
    int vocab = s->m->c.vocab, top = s->top, *id = xmalloc((size_t)n * (size_t)top * sizeof *id),
        *begin = xmalloc((size_t)(n + 1) * sizeof *begin);
    acc_t *z = xmalloc((size_t)vocab * sizeof *z);
    for (int i = 0; i <= n; i++) begin[i] = i * top;
    for (int i = 0; i < n; i++) {
        model_get(z, s->logits + i * vocab_ld(s->m), vocab);
        top_k(z, vocab, top, id + i * top);
        memcpy(top_id + flat[i] * top, id + i * top, (size_t)top * sizeof *id);
    }
    int *tgt = put(&s->arena, id, (size_t)n * (size_t)top * sizeof *id, "top k"),
        *at = put(&s->arena, begin, (size_t)(n + 1) * sizeof *begin, "begins");
    acc_t *logp = arena_get(&s->arena, (size_t)n * (size_t)top * sizeof *logp, "logp of top k");
    op_row_stats((struct row_stats_args){
        .logp = logp, .x = s->logits, .inv_temp = inv_temp, .begin = at, .tgt = tgt, .n = n, .vocab = vocab,
        .ld = vocab_ld(s->m) });
    scatter(top_logp, logp, flat, n, top);
    free(id);
    free(begin);
    free(z);
}

void token_scorer_run(struct token_scorer *s, const struct pack *p, double inv_temp, acc_t *logp, acc_t *entropy,
                      int *top_id, acc_t *top_logp)
{
    struct arena *a = &s->arena;
    size_t mark = arena_mark(a), n = (size_t)p->n;
    ENSURE(p->n <= s->max_rows && p->rows == p->targets);
    struct batch b = { .n = p->n,
                       .ids = put(a, p->ids, n * sizeof(int), "ids"),
                       .pos = put(a, p->pos, n * sizeof(int), "positions"),
                       .plan = p->plan };
    model_forward(s->m, &s->acts, &b, NULL);
    arena_release(a, mark);
    for (int64_t from = 0; from < p->rows; from += s->chunk) {
        int rows = (int)MIN(s->chunk, p->rows - from);
        size_t bytes = (size_t)rows * sizeof(acc_t);
        const int64_t *flat = p->tgt_flat + from;
        int *row = put(a, p->row + from, (size_t)rows * sizeof *row, "rows"),
            *tgt = put(a, p->tgt + from, (size_t)rows * sizeof *tgt, "targets");
        acc_t *lp = arena_get(a, bytes, "logp"), *ent = arena_get(a, bytes, "entropy");
        head_forward(s->m, s->logits, s->x, s->acts.hidden, row, rows);
        op_row_stats((struct row_stats_args){
            .logp = lp, .ent = ent, .x = s->logits, .inv_temp = inv_temp, .tgt = tgt, .n = rows, .vocab = s->m->c.vocab,
            .ld = vocab_ld(s->m) });
        scatter(logp, lp, flat, rows, 1);
        scatter(entropy, ent, flat, rows, 1);
        if (s->top) chunk_top(s, flat, rows, inv_temp, top_id, top_logp);
        arena_release(a, mark);
    }
}
