/* rollout_pass.c: one forward pass of a rollout: its rows, pages and sampled tokens. Rows of decoding sequences come
 * first, so that a long prompt delays none of them; prompts and tool results fill the remaining rows and may take
 * several passes. */
#include "engine/rollout/rollout_in.h"
#include "base/err.h"
#include "model/forward.h"
#include "model/head.h"
#include <string.h>

static void add_rows(struct rollout *r, struct seq_slot *s, int take)
{
    struct sequence *seq = s->seq;
    struct pass_batch *h = &r->pass.host;
    int first = r->pass.rows;
    kv_check(r->kv, &seq->kv, r->m->version);
    for (int i = 0; i < take; i++) {
        int pos = seq->kv.len, row = r->pass.rows++;
        h->ids[row] = seq->ids[pos];
        h->pos[row] = pos;
        h->kv_slot[row] = kv_slot(r->kv, &seq->kv, pos, r->m->version);
    }
    /* after all kv_slot calls, which may replace a shared page */
    for (int row = first; row < r->pass.rows; row++)
        memcpy(h->table + (int64_t)row * r->limits.table_ld, seq->kv.page, (size_t)seq->kv.n_pages * sizeof *h->table);
    if (seq->kv.len < seq->n) return;
    h->pick[r->pass.picks] = r->pass.rows - 1;
    h->key[r->pass.picks] = (struct sample_key){
        .step = seq->step, .prompt = seq->prompt, .rollout = seq->rollout, .pos = (uint32_t)seq->n
    };
    r->pass.owner[r->pass.picks++] = s;
}

int pass_gather(struct rollout *r)
{
    r->pass.rows = r->pass.picks = 0;
    for (int i = 0; i < r->n_live; i++) {
        const struct seq_slot *s = &r->seq_slot[r->live[i]];
        r->due[i] = s->state == SLOT_DECODE ? s->seq->n - s->seq->kv.len : 0;
    }
    schedule_pass(r->take, r->due, r->n_live, r->c.max_rows);
    for (int prefill = 0; prefill < 2; prefill++)
        for (int i = 0; i < r->n_live; i++)
            if (r->take[i] && (r->due[i] > 1) == prefill) add_rows(r, &r->seq_slot[r->live[i]], r->take[i]);
    int held = r->kv->pages - r->kv->free;
    if (held > r->run.stats.peak_pages) r->run.stats.peak_pages = held;
    return r->pass.rows;
}

/* Fills the pass up with copies of its first row. They write no keys and their samples are ignored; they read what the
 * first row reads. */
static void fill_up(struct rollout *r, int size)
{
    struct pass_batch *h = &r->pass.host;
    for (int i = r->pass.rows; i < size; i++) {
        h->ids[i] = h->ids[0];
        h->pos[i] = h->pos[0];
        h->kv_slot[i] = -1;
        memcpy(h->table + (int64_t)i * r->limits.table_ld, h->table,
               (size_t)(h->pos[0] / KV_PAGE + 1) * sizeof *h->table);
        h->pick[i] = i;
        h->key[i] = h->key[0];
    }
}

/* Assigns device memory to the array `from`, behind the arrays placed before, and copies it to the staging buffer. */
static void *place(struct rollout *r, size_t *at, const void *from, size_t bytes)
{
    void *p = r->pass.dev_room + *at;
    memcpy(r->pass.staging + *at, from, bytes);
    *at += (bytes + 255) / 256 * 256;
    return p;
}

/* One copy instead of six of some microseconds each. The address of an array is a function of the pass's size, so a
 * captured graph finds it again. */
static void put_rows(struct rollout *r)
{
    const struct pass_batch *h = &r->pass.host;
    struct pass_batch *d = &r->pass.dev;
    size_t n = (size_t)r->pass.run_rows, picks = (size_t)r->pass.run_picks, at = 0;
    d->ids = place(r, &at, h->ids, n * sizeof *h->ids);
    d->pos = place(r, &at, h->pos, n * sizeof *h->pos);
    d->kv_slot = place(r, &at, h->kv_slot, n * sizeof *h->kv_slot);
    d->table = place(r, &at, h->table, n * (size_t)r->limits.table_ld * sizeof *h->table);
    d->pick = place(r, &at, h->pick, picks * sizeof *h->pick);
    d->key = place(r, &at, h->key, picks * sizeof *h->key);
    dev_put(r->pass.dev_room, r->pass.staging, at);
}

/* The hook may replace a sampled id; logp and entropy are then recomputed for the new id from the same logits. */
static void forced(struct rollout *r, int at, int n)
{
    struct pass_batch *h = &r->pass.host, *d = &r->pass.dev;
    double inv_temp = r->c.temperature > 0 ? 1 / r->c.temperature : 1;
    dev_get(h->id + at, d->id + at, (size_t)n * sizeof *h->id);
    for (int i = at; i < at + n; i++) {
        r->c.force(r->c.force_ctx, r->pass.owner[i]->seq, &h->id[i]);
        ENSURE(h->id[i] >= 0 && h->id[i] < r->m->c.vocab);
    }
    dev_put(d->id + at, h->id + at, (size_t)n * sizeof *h->id);
    op_row_stats((struct row_stats_args){
        .logp = d->logp + at, .ent = d->ent + at, .x = r->pass.logits, .inv_temp = inv_temp, .tgt = d->id + at, .n = n,
        .vocab = r->m->c.vocab, .ld = vocab_ld(r->m) });
}

/* All operations of a pass: the part that is captured. */
static void operations(void *ctx)
{
    struct rollout *r = ctx;
    const struct pass_batch *d = &r->pass.dev;
    struct paged p = { .n = r->pass.run_rows,
                       .ids = d->ids,
                       .pos = d->pos,
                       .slot = d->kv_slot,
                       .table = d->table,
                       .ld = r->limits.table_ld,
                       .pool = r->kv->pool,
                       .layer_stride = r->kv->layer_stride };
    struct sample_rule rule = {
        .temperature = r->c.temperature, .top_p = r->c.top_p, .top_k = r->c.top_k, .seed = r->c.seed,
        .allow = r->pass.allow
    };
    model_forward_paged(r->m, &r->pass.acts, &p);
    for (int at = 0; at < r->pass.run_picks; at += r->limits.head_rows) {
        int n = r->pass.run_picks - at < r->limits.head_rows ? r->pass.run_picks - at : r->limits.head_rows;
        head_forward(r->m, r->pass.logits, r->pass.head_in, r->pass.acts.hidden, d->pick + at, n);
        op_sample((struct sample_args){
            .id = d->id + at, .logp = d->logp + at, .ent = d->ent + at, .x = r->pass.logits, .rule = &rule,
            .key = d->key + at, .n = n, .vocab = r->m->c.vocab, .ld = vocab_ld(r->m) });
        if (r->c.force) forced(r, at, n);
    }
}

/* Index of the graph for a size: sizes up to 8, then multiples of 8. Only the largest, that of all slots, may be any
 * number. */
static int graph_of(int size) { return size <= 8 ? size : 8 + (size + 7) / 8; }

/* Passes whose rows all sample come in few sizes, so that each size is captured once as a CUDA graph and then launched:
 * a model of 28 layers is 250 kernel launches a token, 2 to 4 us of host time each, while reading one token's weights
 * takes 0.2 ms (0.5B) to 3 ms (8B). Beyond GRAPH_ROWS rows the launches are hidden by the work. */
void pass_run(struct rollout *r)
{
    struct pass_batch *h = &r->pass.host;
    bool samples_only =
        dev_graph_supported() && !r->c.force && r->pass.rows == r->pass.picks && r->pass.rows <= GRAPH_ROWS;
    r->pass.run_rows = r->pass.rows;
    r->pass.run_picks = r->pass.picks;
    if (samples_only)
        fill_up(r, r->pass.run_rows = r->pass.run_picks = schedule_pass_size(r->pass.rows, r->limits.picks));
    put_rows(r);
    if (samples_only) dev_graph_run(&r->pass.graph[graph_of(r->pass.run_rows)], operations, r);
    else operations(r);
    r->run.stats.forwards++;
    r->run.stats.prefilled += r->pass.rows - r->pass.picks;
    /* ids, logp and entropy are adjacent on both sides: one copy, one host sync */
    if (r->pass.picks) dev_get(h->id, r->pass.dev.id, (size_t)((char *)(h->ent + r->pass.picks) - (char *)h->id));
}

void rollout_warm_up(struct rollout *r)
{
    struct rollout_config was = r->c;
    r->c.force = NULL;
    r->pass.run_rows = r->c.max_rows;
    r->pass.run_picks = r->limits.picks;
    operations(r);
    /* the only operation that may need more scratch for fewer rows, because it splits their positions among more
     * blocks */
    for (int n = 1; n <= r->c.max_rows && n <= GRAPH_ROWS; n++)
        op_attn_paged(r->pass.acts.layer[0].attn_out, r->pass.acts.layer[0].qkv_rot, r->kv->pool, r->pass.dev.table,
                      r->limits.table_ld, r->pass.dev.pos, n, r->m->h);
    r->c = was;
}

void pass_forget(struct rollout *r)
{
    for (int i = 0; i < GRAPHS; i++) {
        dev_graph_free(r->pass.graph[i]);
        r->pass.graph[i] = NULL;
    }
}
