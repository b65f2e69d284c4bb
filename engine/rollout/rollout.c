/* rollout.c: the buffers of a rollout, and a run of sequences to their ends: admit, pass, share, handle the new tokens.
 * Results of tools are put in between passes. */
#include "engine/rollout/rollout.h"
#include "base/clock.h"
#include "engine/rollout/rollout_in.h"
#include "base/err.h"
#include "model/head.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a run waits at its end for late calls that cannot be cancelled. */
static const double DRAIN_S = 10;

/* as an arena rounds sizes up */
static size_t arena_size(size_t bytes) { return (bytes + 255) / 256 * 256; }

static void host_make(struct pass_batch *h, size_t rows, size_t ld, size_t seqs)
{
    h->ids = xcalloc(rows, sizeof *h->ids);
    h->pos = xcalloc(rows, sizeof *h->pos);
    h->kv_slot = xcalloc(rows, sizeof *h->kv_slot);
    h->table = xcalloc(rows * ld, sizeof *h->table);
    h->pick = xcalloc(seqs, sizeof *h->pick);
    h->key = xcalloc(seqs, sizeof *h->key);
    h->id = xcalloc(1, arena_size(seqs * sizeof *h->id) + 2 * arena_size(seqs * sizeof *h->logp));
    h->logp = (acc_t *)(void *)((char *)h->id + arena_size(seqs * sizeof *h->id));
    h->ent = (acc_t *)(void *)((char *)h->logp + arena_size(seqs * sizeof *h->logp));
}

static void dev_make(struct pass_batch *d, size_t rows, size_t ld, size_t seqs, struct arena *a)
{
    d->ids = arena_get(a, rows * sizeof *d->ids, "rollout rows");
    d->pos = arena_get(a, rows * sizeof *d->pos, "rollout rows");
    d->kv_slot = arena_get(a, rows * sizeof *d->kv_slot, "rollout rows");
    d->table = arena_get(a, rows * ld * sizeof *d->table, "rollout page tables");
    d->pick = arena_get(a, seqs * sizeof *d->pick, "rollout samples");
    d->key = arena_get(a, seqs * sizeof *d->key, "rollout samples");
    d->id = arena_get(a, seqs * sizeof *d->id, "rollout samples");
    d->logp = arena_get(a, seqs * sizeof *d->logp, "rollout samples");
    d->ent = arena_get(a, seqs * sizeof *d->ent, "rollout samples");
}

static void batches_make(struct rollout *r, struct arena *a)
{
    r->limits.picks = r->c.max_seqs < r->c.max_rows ? r->c.max_seqs : r->c.max_rows;
    size_t rows = (size_t)r->c.max_rows, seqs = (size_t)r->limits.picks;
    host_make(&r->pass.host, rows, (size_t)r->limits.table_ld, seqs);
    dev_make(&r->pass.dev, rows, (size_t)r->limits.table_ld, seqs, a);
    r->pass.dev_room = (char *)r->pass.dev.ids;
    r->pass.staging = xcalloc(1, (size_t)((char *)r->pass.dev.id - r->pass.dev_room));
    ENSURE((char *)r->pass.dev.ent - (char *)r->pass.dev.id == (char *)r->pass.host.ent - (char *)r->pass.host.id);
    r->pass.owner = xcalloc(seqs, sizeof(struct seq_slot *));
    r->limits.head_rows = (int)logits_chunk(r->m->c.vocab, a->elem_bytes, 1, r->limits.picks);
    r->pass.logits = arena_elems(a, r->limits.head_rows * vocab_ld(r->m), "rollout logits");
    r->pass.head_in = arena_elems(a, (int64_t)r->limits.head_rows * r->m->c.dim, "rollout logits");
}

/* Ids without a text (a vocabulary padded to a round size) are never sampled. */
static void allow_make(struct rollout *r, struct arena *a)
{
    int vocab = r->m->c.vocab, missing = 0, bytes;
    size_t words = ((size_t)vocab + 31) / 32;
    uint32_t *allow = xcalloc(words, sizeof *allow);
    for (int i = 0; i < vocab; i++) {
        if (!r->t || tokenizer_bytes(r->t, i, &bytes)) allow[i / 32] |= 1u << (i % 32);
        else missing++;
    }
    if (missing == vocab) die("none of the model's %d ids has a text in this tokenizer", vocab);
    if (missing) r->pass.allow = arena_get(a, words * sizeof *allow, "ids that may be sampled");
    if (missing && !a->dry) dev_put(r->pass.allow, allow, words * sizeof *allow);
    free(allow);
}

struct rollout *rollout_make(const struct model *m, const struct tokenizer *t, struct kv *kv, const struct toolbox *box,
                             const struct rollout_config *c, struct arena *a)
{
    struct rollout *r = xcalloc(1, sizeof *r);
    ENSURE(c->max_rows > 0 && c->max_seqs > 0 && c->tool_threads > 0 && c->max_len > 0);
    *r = (struct rollout){ .m = m,
                           .t = t,
                           .kv = kv,
                           .box = *box,
                           .c = *c,
                           .limits = { .max_len = c->max_len, .table_ld = kv_pages_for(c->max_len) } };
    rollout_set(r, c);
    if (t && tokenizer_vocab(t) > m->c.vocab)
        die("the tokenizer has ids up to %d, the model %d rows for them", tokenizer_vocab(t) - 1, m->c.vocab);
    if (kv->pages < r->limits.table_ld)
        die("a pool of %d pages (%d positions) of keys and values cannot hold one sequence of %d tokens, which takes "
            "%d "
            "pages",
            kv->pages, kv->pages * KV_PAGE, c->max_len, r->limits.table_ld);
    acts_make(&r->pass.acts, m, c->max_rows, RECOMPUTE_NONE, false, a);
    batches_make(r, a);
    allow_make(r, a);
    r->seq_slot = xcalloc((size_t)c->max_seqs, sizeof *r->seq_slot);
    r->live = xcalloc((size_t)c->max_seqs, sizeof *r->live);
    r->due = xcalloc((size_t)c->max_seqs, sizeof *r->due);
    r->take = xcalloc((size_t)c->max_seqs, sizeof *r->take);
    if (a->dry || !dev_dry_begin()) return r;
    rollout_warm_up(r);
    dev_dry_end(true);
    return r;
}

void rollout_set(struct rollout *r, const struct rollout_config *c)
{
    if (c->max_len > r->limits.max_len) die("max_len %d, this rollout was made for %d", c->max_len, r->limits.max_len);
    if (c->max_len > r->m->c.max_len)
        die("max_len %d is more than the model's max_position_embeddings %d", c->max_len, r->m->c.max_len);
    ENSURE(c->max_rows == r->c.max_rows && c->max_seqs == r->c.max_seqs);
    ENSURE(c->max_response >= 0 && c->temperature >= 0 && c->top_p > 0 && c->top_k >= 0);
    struct rollout_config old = r->c;
    if (c->temperature != old.temperature || c->top_p != old.top_p || c->top_k != old.top_k || c->seed != old.seed)
        pass_forget(r);
    r->c = *c;
    r->c.tool_threads = old.tool_threads;
    r->c.tool_timeout_s = old.tool_timeout_s;
}

void rollout_set_evict(struct rollout *r, bool (*evict)(void *ctx), void *ctx)
{
    r->c.evict = evict;
    r->c.evict_ctx = ctx;
}

void rollout_free(struct rollout *r)
{
    if (!r) return;
    struct pass_batch *h = &r->pass.host;
    void *p[] = {
        h->ids, h->pos, h->kv_slot, h->table, h->pick, h->key, h->id, r->pass.staging, r->pass.owner, r->live,
        r->due, r->take
    };
    tools_free(r->pool);
    pass_forget(r);
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
    for (int i = 0; i < r->c.max_seqs; i++) str_free(&r->seq_slot[i].tail);
    free(r->seq_slot);
    acts_free(&r->pass.acts);
    free(r);
}

/* Makes room for `extra` more sequences. */
static void run_reserve(struct rollout *r, int extra)
{
    struct rollout_sequences *x = &r->run;
    if (x->cap >= x->n + extra && x->seq) return;
    x->cap = MAX(x->n + extra, 2 * x->cap);
    size_t n = (size_t)x->cap + 1;
    x->seq = xrealloc(x->seq, n * sizeof *x->seq);
    x->finished = xrealloc(x->finished, n * sizeof *x->finished);
    x->group_of = xrealloc(x->group_of, n * sizeof *x->group_of);
    x->group = xrealloc(x->group, n * sizeof *x->group);
}

static void run_add(struct rollout *r, struct sequence **seq, int n)
{
    int first = r->run.n;
    run_reserve(r, n);
    for (int i = first; i < first + n; i++) {
        struct sequence *q = r->run.seq[i] = seq[i - first];
        ENSURE(q->n > 0 && q->kv.len <= q->n);
        if (q->finish != FINISH_NONE) { r->run.finished[r->run.done++] = i; continue; }
        /* its last token gives the logits */
        if (q->kv.len == q->n) kv_cut(r->kv, &q->kv, q->n - 1);
        kv_check(r->kv, &q->kv, r->m->version);
    }
    r->run.n += n;
    groups_find(r, first);
}

bool run_more(struct rollout *r)
{
    struct sequence **seq;
    int n = r->c.more(r->c.more_ctx, &seq);
    for (int i = 0; i < n; i++) ENSURE(seq[i]->finish == FINISH_NONE);
    if (n > 0) run_add(r, seq, n);
    r->run.more = n > 0;
    return n > 0;
}

static void run_begin(struct rollout *r, struct sequence **seq, int n, bool keep)
{
    ENSURE(n >= 0 && r->n_live == 0);
    r->run = (struct rollout_sequences){ .keep_kv = keep, .more = r->c.more != NULL };
    run_add(r, seq, n);
    r->run.before = r->run.done;    /* the pages of what was finished before are the caller's */
}

static void run_end(struct rollout *r)
{
    ENSURE(r->n_live == 0 && r->calls_running == 0);
    for (int g = 0; g < r->run.groups; g++) kv_drop(r->kv, &r->run.group[g].cache);
    if (r->pool) tools_drain(r->pool, DRAIN_S);
    free(r->run.seq);
    free(r->run.finished);
    free(r->run.group_of);
    free(r->run.group);
    r->run.seq = NULL;
    r->run.finished = r->run.group_of = NULL;
    r->run.group = NULL;
}

static void one_pass(struct rollout *r)
{
    if (!pass_gather(r)) {
        double t = seconds();
        ENSURE(r->calls_running > 0);
        slots_results(r, true);
        r->run.stats.tool_wait_s += seconds() - t;
        return;
    }
    pass_run(r);
    groups_share(r);
    r->run.stats.generated += r->pass.picks;
    for (int i = 0; i < r->pass.picks; i++) {
        sequence_put(r->pass.owner[i]->seq, r->pass.host.id[i], true, r->pass.host.logp[i], r->pass.host.ent[i]);
        slot_token(r, r->pass.owner[i]);
    }
}

/* Ends the run early: waits for the running calls and starts no sequence. */
static void halt(struct rollout *r)
{
    while (r->calls_running) slots_results(r, true);
    while (r->n_live) slot_release(r, &r->seq_slot[r->live[r->n_live - 1]], FINISH_LENGTH);
    r->run.stats.halted = true;
}

void rollout_run(struct rollout *r, struct sequence **seq, int n, bool keep_kv, void (*progress)(void *, int, int),
                 void *ctx, struct rollout_stats *stats)
{
    double t = seconds();
    run_begin(r, seq, n, keep_kv);
    for (int reported = r->run.done; r->run.done < r->run.n || r->run.more;) {
        if (r->c.halt && *r->c.halt) { halt(r); break; }
        slots_results(r, false);
        slots_admit(r);
        model_ready(r->m);
        if (r->run.done < r->run.n) one_pass(r);
        for (; progress && reported < r->run.done; reported++) progress(ctx, reported + 1, r->run.n);
    }
    run_end(r);
    r->run.stats.wall_s = seconds() - t;
    if (stats) *stats = r->run.stats;
}
