/* rollout_pass.c: one forward pass of a rollout: its rows, its pages, its draws. Rows of decoding sequences come first,
 * so that a long prompt delays nobody; prompts and tool results fill what is left and may take several passes. */
#include "engine/rollout/rollout_in.h"
#include "base/err.h"
#include "model/forward.h"
#include "model/head.h"
#include "base/arith.h"
#include <string.h>

static void add_rows(struct rollout *r, struct seq_slot *s, int take)
{
    struct sequence *seq = s->seq;
    struct rows *h = &r->host;
    int first = r->n_rows;
    kv_check(r->kv, &seq->kv, r->m->version);
    for (int i = 0; i < take; i++) {
        int pos = seq->kv.len, row = r->n_rows++;
        h->ids[row] = seq->ids[pos];
        h->pos[row] = pos;
        h->slot[row] = kv_slot(r->kv, &seq->kv, pos, r->m->version);
    }
    /* after all slots: taking one may replace a shared page */
    for (int row = first; row < r->n_rows; row++)
        memcpy(h->table + (int64_t)row * r->ld, seq->kv.page, (size_t)seq->kv.n_pages * sizeof *h->table);
    if (seq->kv.len < seq->n) return;
    h->pick[r->n_picks] = r->n_rows - 1;
    h->key[r->n_picks] = (struct sample_key){
        .step = seq->step, .prompt = seq->prompt, .rollout = seq->rollout, .pos = (uint32_t)seq->n
    };
    r->owner[r->n_picks++] = s;
}

int pass_gather(struct rollout *r)
{
    r->n_rows = r->n_picks = 0;
    for (int prefill = 0; prefill < 2; prefill++)
        for (int i = 0; i < r->lives; i++) {
            struct seq_slot *s = &r->seq_slot[r->live[i]];
            int due = s->seq->n - s->seq->kv.len, room = r->c.max_rows - r->n_rows;
            if (s->state != SLOT_DECODE || due == 0 || (prefill == 0 && due > 1) || room == 0) continue;
            add_rows(r, s, due < room ? due : room);
        }
    int held = r->kv->pages - r->kv->free;
    if (held > r->stats.peak_pages) r->stats.peak_pages = held;
    return r->n_rows;
}

/* Passes that only draw come in few sizes, so that each size is recorded once and then replayed: a model of 28 layers
 * is 250 launches a token, 2 to 4 us of the host's time each, where one token's weights take 0.2 ms (0.5B) to 3 ms (8B)
 * to read. Sizes: 1, 2, 4, 8 rows, where weights are what is read; multiples of 8 up to 64, for the tensor cores take
 * rows by eights; then four sizes an octave: 11 % of rows too many on average, 24 % (65 rows as 80) at most. Beyond
 * 1024 rows the launches hide behind the work. */
int pass_size(int rows, int most)
{
    int size = 1, step = 8;
    while (size < rows) size *= 2;
    if (rows > 8) {
        while (step * 8 < size) step *= 2;
        size = (int)round_up(rows, step);
    }
    return size < most ? size : most;
}

/* Fills the pass up with copies of its first row that write no keys and whose draws nobody looks at: what a copy reads,
 * that row reads too. */
static void fill_up(struct rollout *r, int size)
{
    struct rows *h = &r->host;
    for (int i = r->n_rows; i < size; i++) {
        h->ids[i] = h->ids[0];
        h->pos[i] = h->pos[0];
        h->slot[i] = -1;
        memcpy(h->table + (int64_t)i * r->ld, h->table, (size_t)(h->pos[0] / KV_PAGE + 1) * sizeof *h->table);
        h->pick[i] = i;
        h->key[i] = h->key[0];
    }
}

/* Room on the device for what `from` holds, behind what has its place there. */
static void *place(struct rollout *r, size_t *at, const void *from, size_t bytes)
{
    void *p = r->room + *at;
    memcpy(r->sent + *at, from, bytes);
    *at += (bytes + 255) / 256 * 256;
    return p;
}

/* One copy instead of six, of some microseconds each. Where an array lies is a function of the pass's size, so a
 * recorded pass finds it again. */
static void put_rows(struct rollout *r)
{
    const struct rows *h = &r->host;
    struct rows *d = &r->dev;
    size_t n = (size_t)r->run_rows, picks = (size_t)r->run_picks, at = 0;
    d->ids = place(r, &at, h->ids, n * sizeof *h->ids);
    d->pos = place(r, &at, h->pos, n * sizeof *h->pos);
    d->slot = place(r, &at, h->slot, n * sizeof *h->slot);
    d->table = place(r, &at, h->table, n * (size_t)r->ld * sizeof *h->table);
    d->pick = place(r, &at, h->pick, picks * sizeof *h->pick);
    d->key = place(r, &at, h->key, picks * sizeof *h->key);
    dev_put(r->room, r->sent, at);
}

/* Another id may stand where one was drawn: the numbers are then its own, by the same read of the same logits. */
static void forced(struct rollout *r, int at, int n)
{
    struct rows *h = &r->host, *d = &r->dev;
    double inv_temp = r->c.temperature > 0 ? 1 / r->c.temperature : 1;
    dev_get(h->id + at, d->id + at, (size_t)n * sizeof *h->id);
    for (int i = at; i < at + n; i++) {
        r->c.force(r->c.force_ctx, r->owner[i]->seq, &h->id[i]);
        ENSURE(h->id[i] >= 0 && h->id[i] < r->m->c.vocab);
    }
    dev_put(d->id + at, h->id + at, (size_t)n * sizeof *h->id);
    op_row_stats((struct row_stats_args){
        .logp = d->logp + at, .ent = d->ent + at, .x = r->logits, .inv_temp = inv_temp, .tgt = d->id + at, .n = n,
        .vocab = r->m->c.vocab, .ld = vocab_ld(r->m) });
}

/* All operations of a pass: what is recorded. */
static void operations(void *ctx)
{
    struct rollout *r = ctx;
    const struct rows *d = &r->dev;
    struct paged p = { .n = r->run_rows,
                       .ids = d->ids,
                       .pos = d->pos,
                       .slot = d->slot,
                       .table = d->table,
                       .ld = r->ld,
                       .pool = r->kv->pool,
                       .layer_stride = r->kv->layer_stride };
    struct sample_rule rule = {
        .temperature = r->c.temperature, .top_p = r->c.top_p, .top_k = r->c.top_k, .seed = r->c.seed, .allow = r->allow
    };
    model_forward_paged(r->m, &r->acts, &p);
    for (int at = 0; at < r->run_picks; at += r->head_rows) {
        int n = r->run_picks - at < r->head_rows ? r->run_picks - at : r->head_rows;
        head_forward(r->m, r->logits, r->x, r->acts.hidden, d->pick + at, n);
        op_sample((struct sample_args){
            .id = d->id + at, .logp = d->logp + at, .ent = d->ent + at, .x = r->logits, .rule = &rule,
            .key = d->key + at, .n = n, .vocab = r->m->c.vocab, .ld = vocab_ld(r->m) });
        if (r->c.force) forced(r, at, n);
    }
}

/* Sizes up to 8, then by eighths; only the last one, that of all slots, may be anything. */
static int graph_of(int size) { return size <= 8 ? size : 8 + (size + 7) / 8; }

void pass_run(struct rollout *r)
{
    struct rows *h = &r->host;
    bool draws_only = dev_graph_supported() && !r->c.force && r->n_rows == r->n_picks && r->n_rows <= GRAPH_ROWS;
    r->run_rows = r->n_rows;
    r->run_picks = r->n_picks;
    if (draws_only) fill_up(r, r->run_rows = r->run_picks = pass_size(r->n_rows, r->seqs));
    put_rows(r);
    if (draws_only) dev_graph_run(&r->graph[graph_of(r->run_rows)], operations, r);
    else operations(r);
    r->stats.forwards++;
    r->stats.prefilled += r->n_rows - r->n_picks;
    /* ids, logp and entropy stand one behind the other, here and there: one wait */
    if (r->n_picks) dev_get(h->id, r->dev.id, (size_t)((char *)(h->ent + r->n_picks) - (char *)h->id));
}

void rollout_warm_up(struct rollout *r)
{
    struct rollout_config was = r->c;
    r->c.force = NULL;
    r->run_rows = r->c.max_rows;
    r->run_picks = r->seqs;
    operations(r);
    /* the only operation that may need more for fewer rows, whose positions it then splits among more blocks */
    for (int n = 1; n <= r->c.max_rows && n <= GRAPH_ROWS; n++)
        op_attn_paged(r->acts.layer[0].attn_out, r->acts.layer[0].qkv_rot, r->kv->pool, r->dev.table, r->ld, r->dev.pos,
                      n, r->m->h);
    r->c = was;
}

void pass_forget(struct rollout *r)
{
    for (int i = 0; i < GRAPHS; i++) {
        dev_graph_free(r->graph[i]);
        r->graph[i] = NULL;
    }
}
