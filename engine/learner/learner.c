/* learner.c: forward pass, gradient of the logits from the loss coefficients, backward pass, AdamW. Logits exist for
 * one chunk of rows at a time; if a pack fits one chunk, nothing is computed twice. Each pack costs at most one host
 * sync, to fetch logp and entropy; none if both are NULL. */
#include "engine/learner/learner.h"
#include "engine/learner/optimizer.h"
#include "engine/learner/reduce.h"
#include "engine/comm/comm.h"
#include "model/backward.h"
#include "model/forward.h"
#include "model/head.h"
#include "base/err.h"
#include "base/arith.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t batch_bytes(const struct learner *l) { return (size_t)l->max_rows * 512 + (1 << 20); }

static void lay_out_work(struct learner *l, struct arena *a, enum recompute recompute)
{
    const struct model *m = l->m;
    acts_make(&l->acts, m, l->max_rows, recompute, true, a);
    l->logits = arena_elems(a, l->chunk * vocab_ld(m), "logits");
    l->head_x = arena_elems(a, l->chunk * m->c.dim, "head in");
    l->head_dx = arena_elems(a, l->chunk * m->c.dim, "d head in");
    l->dhidden = arena_elems(a, l->max_rows * m->c.dim, "d hidden");
    /* room for each pack's ids, pos, rows, begins, targets (a row of logits may have many), slots, coefficients and
     * numbers */
    size_t mark = arena_mark(a);
    arena_get(a, batch_bytes(l), "batch");
    arena_release(a, mark);
}

static void lay_out_state(struct learner *l, struct arena *a)
{
    reduce_lay_out(l, a);
    optimizer_lay_out(l, a);
}

void learner_lay_out(struct learner *l, struct model *m, struct learner_rule r)
{
    size_t elem_bytes = r.elem_bytes ? r.elem_bytes : sizeof(elem_t);
    *l = (struct learner){ .m = m,
                           .max_rows = r.max_rows,
                           .chunk = logits_chunk(m->c.vocab, elem_bytes, 64, r.max_rows),
                           .bf16_moments = r.bf16_moments,
                           .offload = r.offload,
                           .no_master = r.no_master,
                           .ranks = MAX(1, r.ranks),
                           .rank = r.rank,
                           .zero = r.ranks > 1 ? r.zero : 0,
                           .exact = r.exact,
                           .packs = -1,
                           .state_n = m->count,
                           .seed = r.seed };
    buckets_make(&l->buckets, m);
    if (l->zero) {
        l->state_from = shard_begin(m->count, l->ranks, l->rank);
        l->state_n = shard_begin(m->count, l->ranks, l->rank + 1) - l->state_from;
    }
    arena_dry_as(&l->state, "optimizer", elem_bytes);
    arena_dry_as(&l->work, "training", elem_bytes);
    lay_out_state(l, &l->state);
    lay_out_work(l, &l->work, r.recompute);
}

void learner_make(struct learner *l, struct model *m, struct learner_rule r)
{
    learner_lay_out(l, m, r);
    size_t state = l->state.peak, work = l->work.peak;
    acts_free(&l->acts);
    arena_make(&l->state, "optimizer", state);
    arena_make(&l->work, "training", work);
    lay_out_state(l, &l->state);
    lay_out_work(l, &l->work, r.recompute);
    optimizer_open(l);
    if (!dev_dry_begin()) return;
    learner_warm_up(l);
    dev_dry_end(true);
}

void learner_free(struct learner *l)
{
    model_ready(l->m);
    acts_free(&l->acts);
    buckets_free(&l->buckets);
    optimizer_close(l);
    arena_free(&l->state);
    arena_free(&l->work);
}

static void *put(struct arena *a, const void *host, size_t bytes, const char *what)
{
    void *p = arena_get(a, bytes, what);
    dev_put(p, host, bytes);
    return p;
}

static void forward(struct learner *l, const struct model *m, const struct pack *p, const struct kv_fill *kv)
{
    struct arena *a = &l->work;
    ENSURE(p->n <= l->max_rows);
    size_t mark = arena_mark(a), n = (size_t)p->n;
    struct batch b = { .n = p->n,
                       .ids = put(a, p->ids, n * sizeof(int), "ids"),
                       .pos = put(a, p->pos, n * sizeof(int), "positions"),
                       .plan = p->plan };
    struct kv_out out = { 0 };
    if (kv) {
        out = (struct kv_out){ .pool = kv->pool, .layer_stride = kv->layer_stride, .copies = kv->copies };
        out.slot = put(a, kv->slot, n * (size_t)kv->copies * sizeof(int64_t), "slots");
    }
    model_forward(m, &l->acts, &b, kv ? &out : NULL);
    arena_release(a, mark);            /* later copies into this memory are queued behind the forward pass */
}

/* For a whole pack, adjacent: logp[targets], entropy[rows] and least[rows], the log-prob of the least likely entry that
 * the entropy counts (top_k only). */
static acc_t *numbers_of(struct learner *l, const struct pack *p)
{
    return arena_get(&l->work, (size_t)(p->targets + 2 * p->rows) * sizeof(acc_t), "logp and entropy");
}

/* Contribution of the sampled token to the entropy of the top k, if it is not among them. */
static double beyond_top(double logp, double least) { return logp < least ? -exp(logp) * logp : 0; }

/* Copies the numbers to their places in the host vectors. */
static void numbers_get(const struct pack *p, const acc_t *numbers, bool top, acc_t *logp, acc_t *entropy)
{
    if (!logp && !entropy) return;
    size_t bytes = (size_t)(p->targets + (top ? 2 : 1) * p->rows) * sizeof(acc_t);
    acc_t *lp = xmalloc(bytes), *en = lp + p->targets, *least = en + p->rows;
    dev_get(lp, numbers, bytes);
    for (int64_t i = 0; i < p->rows; i++)
        for (int t = p->begin[i]; t < p->begin[i + 1]; t++) {
            if (logp) logp[p->tgt_flat[t]] = lp[t];
            if (entropy)
                entropy[p->tgt_flat[t]] =
                    top ? (acc_t)((double)en[i] + beyond_top((double)lp[t], (double)least[i])) : en[i];
        }
    free(lp);
}

/* One chunk of the rows that have targets, on the device. */
struct head_chunk {
    int64_t n;                      /* rows */
    int64_t targets, first;         /* targets; the first one's index in the pack */
    int *row, *begin, *tgt;
    acc_t *lse;
    acc_t *logp, *ent, *least;      /* the chunk's part of the pack's numbers */
};

static void chunk_take(struct learner *l, const struct pack *p, acc_t *numbers, int64_t from, struct head_chunk *c)
{
    struct arena *a = &l->work;
    c->n = MIN(l->chunk, p->rows - from);
    c->first = p->begin[from];
    c->targets = p->begin[from + c->n] - c->first;
    int *begin = xmalloc((size_t)(c->n + 1) * sizeof *begin);
    for (int64_t i = 0; i <= c->n; i++) begin[i] = p->begin[from + i] - (int)c->first;
    c->row = put(a, p->row + from, (size_t)c->n * sizeof(int), "rows");
    c->begin = put(a, begin, (size_t)(c->n + 1) * sizeof(int), "target begins");
    c->tgt = put(a, p->tgt + c->first, (size_t)c->targets * sizeof(int), "targets");
    c->lse = arena_get(a, (size_t)c->n * sizeof(acc_t), "lse");
    c->logp = numbers + c->first;
    c->ent = numbers + p->targets + from;
    c->least = c->ent + p->rows;
    free(begin);
}

static void chunk_stats(struct learner *l, const struct model *m, const struct head_chunk *c, double inv_temp)
{
    head_forward(m, l->logits, l->head_x, l->acts.hidden, c->row, c->n);
    op_row_stats((struct row_stats_args){
        .lse = c->lse, .logp = c->logp, .ent = c->ent, .x = l->logits, .inv_temp = inv_temp, .begin = c->begin,
        .tgt = c->tgt, .n = c->n, .vocab = m->c.vocab, .ld = vocab_ld(m) });
}

void learner_score(struct learner *l, const struct pack *p, const struct score_rule *r, acc_t *logp, acc_t *entropy)
{
    struct model m = *l->m;
    if (r->w) m.w = (elem_t *)r->w, m.stream = r->stream;
    size_t start = arena_mark(&l->work);
    acc_t *numbers = numbers_of(l, p);
    forward(l, &m, p, r->kv);
    l->rows_run += p->n;
    for (int64_t from = 0; from < p->rows; from += l->chunk) {
        struct head_chunk c;
        size_t mark = arena_mark(&l->work);
        chunk_take(l, p, numbers, from, &c);
        chunk_stats(l, &m, &c, r->inv_temp);
        if (r->top_k > 0)
            op_top_k_entropy((struct top_k_entropy_args){
                .ent = c.ent, .least = c.least, .lse = c.lse, .x = l->logits, .inv_temp = r->inv_temp, .k = r->top_k,
                .n = c.n, .vocab = m.c.vocab, .ld = vocab_ld(&m) });
        arena_release(&l->work, mark);
    }
    numbers_get(p, numbers, r->top_k > 0, logp, entropy);
    arena_release(&l->work, start);
}

void learner_zero(struct learner *l) { reduce_begin(l, -1); }
void learner_begin(struct learner *l, int packs) { reduce_begin(l, packs); }
void learner_sum(struct learner *l) { reduce_end(l); }

/* Gathers g of the chunk's targets and ge of its rows from the host vectors. */
static void chunk_coefficients(struct learner *l, const struct pack *p, int64_t from, const struct head_chunk *c,
                               const acc_t *g, const acc_t *ge, acc_t **dg, acc_t **dge)
{
    acc_t *hg = xcalloc((size_t)c->targets, sizeof *hg), *hge = xcalloc((size_t)c->n, sizeof *hge);
    for (int64_t i = 0; i < c->n; i++)
        for (int t = p->begin[from + i]; t < p->begin[from + i + 1]; t++) {
            hg[t - c->first] = g[p->tgt_flat[t]];
            if (ge) hge[i] += ge[p->tgt_flat[t]];
        }
    *dg = put(&l->work, hg, (size_t)c->targets * sizeof *hg, "dloss/dlogp");
    *dge = ge ? put(&l->work, hge, (size_t)c->n * sizeof *hge, "dloss/dentropy") : NULL;
    free(hg);
    free(hge);
}

void learner_grad(struct learner *l, const struct pack *p, double inv_temp, const acc_t *g, const acc_t *ge,
                  acc_t *logp, acc_t *entropy)
{
    const struct model *m = l->m;
    const struct grad_sink to = reduce_sink(l);
    size_t start = arena_mark(&l->work);
    acc_t *numbers = numbers_of(l, p);
    forward(l, m, p, NULL);
    dev_zero(l->dhidden, (size_t)(p->n * m->c.dim) * sizeof(elem_t));
    for (int64_t from = 0; from < p->rows; from += l->chunk) {
        struct head_chunk c;
        acc_t *dg, *dge;
        size_t mark = arena_mark(&l->work);
        chunk_take(l, p, numbers, from, &c);
        chunk_stats(l, m, &c, inv_temp);
        chunk_coefficients(l, p, from, &c, g, ge, &dg, &dge);
        op_dlogits((struct dlogits_args){
            .x = l->logits, .lse = c.lse, .ent = c.ent, .g = dg, .ge = dge, .inv_temp = inv_temp, .begin = c.begin,
            .tgt = c.tgt, .n = c.n, .vocab = m->c.vocab, .ld = vocab_ld(m) });
        head_back(m, l->head_dx, l->logits, l->head_x, c.n, to.at(to.ctx, m->head));
        op_rows_put(l->dhidden, l->head_dx, c.row, c.n, m->c.dim);
        arena_release(&l->work, mark);
    }
    size_t n = (size_t)p->n;
    struct batch b = { .n = p->n, .plan = p->plan };
    b.ids = put(&l->work, p->ids, n * sizeof(int), "ids");
    b.pos = put(&l->work, p->pos, n * sizeof(int), "positions");
    model_backward_to(m, &l->acts, &b, l->dhidden, &to);
    reduce_pack(l);
    numbers_get(p, numbers, false, logp, entropy);
    arena_release(&l->work, start);
    l->rows_run += 3 * p->n;            /* a forward pass, and a backward pass, which costs two */
    l->targets_run += p->targets;
}

/* Of the gradient, range by range in the order of the ranks: the same bits on every rank, and with zero 0 and 1. Every
 * rank has all of an exact sum, whose norm does not depend on their number. */
static double sum_of_squares(struct learner *l)
{
    if (l->ranks == 1 || l->exact) return op_sumsq(l->g, l->m->count);
    double *part = xcalloc((size_t)l->ranks, sizeof *part), sum = 0;
    for (int r = 0; r < l->ranks; r++) {
        int64_t from = shard_begin(l->m->count, l->ranks, r), to = shard_begin(l->m->count, l->ranks, r + 1);
        if (l->zero == 0 || r == l->rank) part[r] = op_sumsq(l->g + (from - l->g_from), to - from);
    }
    if (l->zero) comm_sum(part, l->ranks);
    for (int r = 0; r < l->ranks; r++) sum += part[r];
    free(part);
    return sum;
}

static void weights_arrive(void *ctx)
{
    struct learner *l = ctx;
    comm_wait(l->weights_mark);
    l->m->arrive = NULL;
    gemm_weights_changed();
}

/* Queues the gathering of the ranks' new weights. */
static void gather_weights(struct learner *l)
{
    size_t *begin = xcalloc((size_t)l->ranks + 1, sizeof *begin);
    for (int r = 0; r <= l->ranks; r++)
        begin[r] = (size_t)shard_begin(l->m->count, l->ranks, r) * sizeof *l->m->w;
    comm_dev_gather(l->m->w, begin);
    l->weights_mark = comm_mark();
    l->m->arrive = weights_arrive;
    l->m->arrive_ctx = l;
    free(begin);
}

bool learner_step(struct learner *l, const struct optim_rule *o, double *norm)
{
    reduce_wait(l);
    model_ready(l->m);                  /* a rank without a pack has not read the weights of the last step */
    *norm = sqrt(sum_of_squares(l));
    if (!isfinite(*norm)) { l->skipped_in_row++; return false; }
    l->skipped_in_row = 0;
    l->steps++;
    struct adamw a = { .lr = o->lr, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps, .t = l->steps, .scale = 1 };
    if (o->max_norm > 0 && *norm > o->max_norm) a.scale = o->max_norm / (*norm + 1e-6);
    optimizer_step(l, o, a);
    if (l->zero) gather_weights(l);
    l->m->version++;
    return true;
}

/* One sequence of max_rows rows, scored and trained on as in policy_update.c. */
void learner_warm_up(struct learner *l)
{
    int64_t n = l->max_rows;
    int *zero = xcalloc((size_t)n, sizeof *zero), *begin = xmalloc((size_t)(n + 1) * sizeof *begin),
        *end = xmalloc((size_t)n * sizeof *end);
    int64_t *flat = xcalloc((size_t)n, sizeof *flat);
    acc_t g = 0;
    for (int64_t i = 0; i <= n; i++) begin[i] = (int)i;
    for (int64_t i = 0; i < n; i++) end[i] = (int)n;
    struct pack p = { .n = n,
                      .ids = zero,
                      .pos = zero,
                      .end = end,
                      .rows = n,
                      .targets = n,
                      .row = zero,
                      .begin = begin,
                      .tgt = zero,
                      .tgt_flat = flat };
    struct learner was = *l;
    p.plan = attn_plan_make(end, n);
    learner_score(l, &p, &(struct score_rule){ .inv_temp = 1 }, NULL, NULL);
    learner_grad(l, &p, 1, &g, &g, NULL, NULL);
    op_sumsq(l->g, l->g_n);
    op_kl(&g, NULL, &g, &g, 1, KL_K1);              /* for all operations on vectors of rollouts */
    attn_plan_free(p.plan);
    l->rows_run = was.rows_run;
    l->targets_run = was.targets_run;
    free(zero);
    free(begin);
    free(end);
    free(flat);
}

/* If every rank holds all of it, the writing is split as zero 1 splits the state. */
int learner_pieces(const struct learner *l, int rank, int ranks, bool to_write, struct learner_piece **piece)
{
    int64_t count = l->m->count, begin = l->state_from, end = begin + l->state_n;
    if (to_write && l->state_n == count) {
        begin = shard_begin(count, ranks, rank);
        end = shard_begin(count, ranks, rank + 1);
    }
    *piece = xmalloc(sizeof **piece);
    **piece = (struct learner_piece){ begin, end - begin, begin - l->state_from };
    return 1;
}

double lr_at(double lr, int64_t t, int64_t warmup, int64_t total, double floor)
{
    if (t < warmup) return lr * (double)(t + 1) / (double)warmup;
    if (floor >= 1 || total <= warmup) return lr;
    double x = (double)(t - warmup) / (double)(total - warmup);
    return lr * (floor + (1 - floor) * 0.5 * (1 + cos(M_PI * MIN(x, 1.0))));
}
