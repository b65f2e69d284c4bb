/* rollout.c: who runs when. An sequence is admitted when its worst case of pages fits beside the worst cases of those
 * already admitted, so that the pool never runs dry on the way; it leaves its seat when it ends. Seats whose tool runs
 * have no rows in a pass, and the others do not wait for them. */
#include "engine/rollout/rollout.h"
#include "base/clock.h"
#include "engine/rollout/rollout_in.h"
#include "base/err.h"
#include "model/head.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Late calls that do not let themselves be cancelled are waited for as long, then given up. */
static const double DRAIN_S = 10;

static size_t piece(size_t bytes) { return (bytes + 255) / 256 * 256; }       /* as an arena cuts them */

static void host_make(struct rows *h, size_t rows, size_t ld, size_t seqs)
{
    h->ids = xcalloc(rows, sizeof *h->ids);
    h->pos = xcalloc(rows, sizeof *h->pos);
    h->slot = xcalloc(rows, sizeof *h->slot);
    h->table = xcalloc(rows * ld, sizeof *h->table);
    h->pick = xcalloc(seqs, sizeof *h->pick);
    h->key = xcalloc(seqs, sizeof *h->key);
    h->id = xcalloc(1, piece(seqs * sizeof *h->id) + 2 * piece(seqs * sizeof *h->logp));
    h->logp = (acc_t *)(void *)((char *)h->id + piece(seqs * sizeof *h->id));
    h->ent = (acc_t *)(void *)((char *)h->logp + piece(seqs * sizeof *h->logp));
}

static void dev_make(struct rows *d, size_t rows, size_t ld, size_t seqs, struct arena *a)
{
    d->ids = arena_get(a, rows * sizeof *d->ids, "rollout rows");
    d->pos = arena_get(a, rows * sizeof *d->pos, "rollout rows");
    d->slot = arena_get(a, rows * sizeof *d->slot, "rollout rows");
    d->table = arena_get(a, rows * ld * sizeof *d->table, "rollout page tables");
    d->pick = arena_get(a, seqs * sizeof *d->pick, "rollout draws");
    d->key = arena_get(a, seqs * sizeof *d->key, "rollout draws");
    d->id = arena_get(a, seqs * sizeof *d->id, "rollout draws");
    d->logp = arena_get(a, seqs * sizeof *d->logp, "rollout draws");
    d->ent = arena_get(a, seqs * sizeof *d->ent, "rollout draws");
}

static void rows_make(struct rollout *r, struct arena *a)
{
    r->seqs = r->c.max_seqs < r->c.max_rows ? r->c.max_seqs : r->c.max_rows;
    size_t rows = (size_t)r->c.max_rows, seqs = (size_t)r->seqs;
    host_make(&r->host, rows, (size_t)r->ld, seqs);
    dev_make(&r->dev, rows, (size_t)r->ld, seqs, a);
    r->room = (char *)r->dev.ids;
    r->sent = xcalloc(1, (size_t)((char *)r->dev.id - r->room));
    ENSURE((char *)r->dev.ent - (char *)r->dev.id == (char *)r->host.ent - (char *)r->host.id);
    r->owner = xcalloc(seqs, sizeof(struct seq_slot *));
    r->head_rows = (int)logits_chunk(r->m->c.vocab, a->elem_bytes, 1, r->seqs);
    r->logits = arena_elems(a, r->head_rows * vocab_ld(r->m), "rollout logits");
    r->x = arena_elems(a, (int64_t)r->head_rows * r->m->c.dim, "rollout logits");
}

/* Ids without a text (a vocabulary padded to a round size) are never drawn. */
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
    if (missing) r->allow = arena_get(a, words * sizeof *allow, "ids that may be drawn");
    if (missing && !a->dry) dev_put(r->allow, allow, words * sizeof *allow);
    free(allow);
}

struct rollout *rollout_make(const struct model *m, const struct tokenizer *t, struct kv *kv, const struct toolbox *box,
                             const struct rollout_config *c, struct arena *a)
{
    struct rollout *r = xcalloc(1, sizeof *r);
    ENSURE(c->max_rows > 0 && c->max_seqs > 0 && c->tool_threads > 0 && c->max_len > 0);
    *r = (struct rollout){
        .m = m, .t = t, .kv = kv, .box = *box, .c = *c, .max_len = c->max_len, .ld = kv_need(c->max_len)
    };
    rollout_set(r, c);
    if (t && tokenizer_vocab(t) > m->c.vocab)
        die("the tokenizer has ids up to %d, the model %d rows for them", tokenizer_vocab(t) - 1, m->c.vocab);
    if (kv->pages < r->ld)
        die("a pool of %d pages (%d positions) of keys and values cannot hold one episode of %d tokens, which takes %d "
            "pages",
            kv->pages, kv->pages * KV_PAGE, c->max_len, r->ld);
    acts_make(&r->acts, m, c->max_rows, false, false, a);
    rows_make(r, a);
    allow_make(r, a);
    r->seq_slot = xcalloc((size_t)c->max_seqs, sizeof *r->seq_slot);
    r->live = xcalloc((size_t)c->max_seqs, sizeof *r->live);
    if (a->dry || !dev_dry_begin()) return r;
    rollout_warm_up(r);
    dev_dry_end(true);
    return r;
}

void rollout_set(struct rollout *r, const struct rollout_config *c)
{
    if (c->max_len > r->max_len) die("max_len %d, this rollout was made for %d", c->max_len, r->max_len);
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
    struct rows *h = &r->host;
    void *p[] = { h->ids, h->pos, h->slot, h->table, h->pick, h->key, h->id, r->sent, r->owner, r->live };
    tools_free(r->pool);
    pass_forget(r);
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
    for (int i = 0; i < r->c.max_seqs; i++) str_free(&r->seq_slot[i].tail);
    free(r->seq_slot);
    acts_free(&r->acts);
    free(r);
}

static int limit_of(const struct rollout *r, const struct sequence *seq)
{
    int64_t response = (int64_t)seq->prompt_len + r->c.max_response;
    return response < r->c.max_len ? (int)response : r->c.max_len;
}

/* What s may yet need; pages come only to slots, so the sum over slots never exceeds the free ones. */
static int claims(const struct rollout *r)
{
    int sum = 0;
    for (int i = 0; i < r->lives; i++) {
        const struct seq_slot *s = &r->seq_slot[r->live[i]];
        sum += kv_claim(r->kv, &s->seq->kv, s->limit);
    }
    return sum;
}

static void ended(struct rollout *r, int index, enum finish why)
{
    struct sequence *seq = r->seq[index];
    seq->finish = why;
    if (!r->keep || seq->unread) kv_drop(r->kv, &seq->kv);
    r->finished[r->done++] = index;
}

void slot_release(struct rollout *r, struct seq_slot *s, enum finish why)
{
    int i = 0;
    ended(r, s->index, why);
    s->state = SLOT_FREE;
    s->seq = NULL;
    while (&r->seq_slot[r->live[i]] != s) i++;
    memmove(r->live + i, r->live + i + 1, (size_t)(--r->lives - i) * sizeof *r->live);
}

/* Gives up pages that are only there to save work: of finished sequences, the last of the run's list first (the caller
 * reads in its order); the caller's; and where nobody is admitted, who could free some, the groups' and the forked
 * prefixes of those yet to start, last first. True: the worst case of ep is free beside the claims of the admitted. */
static bool make_room(struct rollout *r, struct sequence *seq)
{
    for (;;) {
        if (r->kv->free >= claims(r) + kv_claim(r->kv, &seq->kv, limit_of(r, seq))) return true;
        struct kv_seq *give = NULL;
        for (int k = r->before, last = -1; k < r->done; k++)
            if (r->finished[k] > last && r->seq[r->finished[k]]->kv.n_pages) give = &r->seq[last = r->finished[k]]->kv;
        if (!give && r->c.evict && r->c.evict(r->c.evict_ctx)) {
            r->stats.kv_dropped++;
            continue;
        }
        for (int g = 0; !give && !r->lives && g < r->groups; g++)
            if (r->group[g].cache.n_pages) give = &r->group[g].cache;
        for (int i = r->n - 1; !give && !r->lives && i >= r->next; i--)
            if (r->seq[i]->kv.n_pages && r->seq[i]->finish == FINISH_NONE) give = &r->seq[i]->kv;
        if (!give) return false;
        kv_drop(r->kv, give);
        r->stats.kv_dropped++;
    }
}

static void group_leave(struct rollout *r, struct shared *g)
{
    if (--g->left == 0) kv_drop(r->kv, &g->cache);
}

/* Where a new seat goes on: it may be a fork whose last token ends the text or completes a call. */
static void sit(struct rollout *r, struct seq_slot *s, int index)
{
    struct sequence *seq = r->seq[index];
    s->seq = seq;
    s->index = index;
    s->limit = limit_of(r, seq);
    s->group = -1;
    s->state = SLOT_DECODE;
    str_clear(&s->tail);
    for (s->tail_at = seq->n; s->tail_at > seq->prompt_len && seq->m[s->tail_at - 1]; s->tail_at--) {}
    for (int i = s->tail_at; i < seq->n - 1; i++) {
        int bytes;
        const char *text = tokenizer_bytes(r->t, seq->ids[i], &bytes);
        if (bytes) str_put(&s->tail, text, (size_t)bytes);
    }
    if (s->tail_at < seq->n && slot_token(r, s)) return;
    if (r->group_of[index] < 0 || seq->kv.len) return;
    struct shared *g = &r->group[s->group = r->group_of[index]];
    if (g->leader < 0) g->leader = (int)(s - r->seq_slot);
    else s->state = SLOT_PREFILL;
}

static struct seq_slot *free_seat(struct rollout *r)
{
    for (int i = 0; i < r->c.max_seqs; i++)
        if (r->seq_slot[i].state == SLOT_FREE) {
            r->live[r->lives++] = i;
            return &r->seq_slot[i];
        }
    die("%d of %d sequence slots taken, none free", r->lives, r->c.max_seqs);
}

/* Seats the next sequences, in the order they were given. */
static void admit(struct rollout *r)
{
    for (; r->next < r->n && r->lives < r->c.max_seqs; r->next++) {
        struct sequence *seq = r->seq[r->next];
        struct shared *g = r->group_of[r->next] < 0 ? NULL : &r->group[r->group_of[r->next]];
        if (seq->finish != FINISH_NONE) continue;
        if (seq->n >= limit_of(r, seq)) {
            ended(r, r->next, FINISH_LENGTH);
        } else {
            bool lent = g && g->cache.len && !seq->kv.len;
            if (lent) kv_fork(r->kv, &seq->kv, &g->cache, g->cache.len < seq->n - 1 ? g->cache.len : seq->n - 1);
            if (!make_room(r, seq)) {
                if (lent) kv_drop(r->kv, &seq->kv);
                break;
            }
            sit(r, free_seat(r), r->next);
        }
        if (g) group_leave(r, g);
    }
    if (!r->lives && r->next < r->n && r->done < r->n)
        die("an episode of up to %d tokens needs %d pages of keys and values; of the pool's %d others hold all but %d",
            limit_of(r, r->seq[r->next]), kv_need(limit_of(r, r->seq[r->next])), r->kv->pages, r->kv->free);
}

/* A leader's prompt is through: those who wait for it share its pages, and so will those of the group who are yet to
 * start, if there is room. */
static void share_prompts(struct rollout *r)
{
    for (int i = 0; i < r->lives; i++) {
        struct seq_slot *s = &r->seq_slot[r->live[i]];
        if (s->state != SLOT_PREFILL) continue;
        const struct sequence *lead = r->seq_slot[r->group[s->group].leader].seq;
        int len = lead->prompt_len < s->seq->n - 1 ? lead->prompt_len : s->seq->n - 1;
        if (lead->kv.len < lead->prompt_len) continue;
        kv_fork(r->kv, &s->seq->kv, &lead->kv, len);
        s->state = SLOT_DECODE;
    }
    for (int i = 0; i < r->lives; i++) {
        struct seq_slot *s = &r->seq_slot[r->live[i]];
        if (s->group < 0 || r->group[s->group].leader != r->live[i] || s->seq->kv.len < s->seq->prompt_len) continue;
        struct shared *g = &r->group[s->group];
        g->leader = -1;
        if (!g->left || g->cache.len) continue;
        kv_fork(r->kv, &g->cache, &s->seq->kv, s->seq->prompt_len);
        if (claims(r) > r->kv->free) kv_drop(r->kv, &g->cache);
    }
}

static bool same_prompt(const struct sequence *a, const struct sequence *b)
{
    return a->prompt == b->prompt && a->prompt_len == b->prompt_len &&
           memcmp(a->ids, b->ids, (size_t)a->prompt_len * sizeof *a->ids) == 0;
}

/* Episodes with nothing run yet and the same prompt; alone in its group, an sequence has none. */
static void find_groups(struct rollout *r)
{
    for (int i = 0; i < r->n; i++) {
        const struct sequence *seq = r->seq[i];
        int g = r->groups;
        r->group_of[i] = -1;
        if (seq->finish != FINISH_NONE || seq->kv.len || seq->prompt_len < 2) continue;
        while (--g >= 0 && !same_prompt(seq, r->seq[r->group[g].first])) {}
        if (g < 0) r->group[g = r->groups++] = (struct shared){ .first = i, .leader = -1 };
        r->group[g].left++;
        r->group_of[i] = g;
    }
    for (int i = 0; i < r->n; i++) if (r->group_of[i] >= 0 && r->group[r->group_of[i]].left == 1) r->group_of[i] = -1;
}

static void run_begin(struct rollout *r, struct sequence **seq, int n, bool keep)
{
    ENSURE(n >= 0 && r->lives == 0);
    r->seq = seq;
    r->n = n;
    r->next = r->done = r->before = r->groups = 0;
    r->keep = keep;
    r->stats = (struct rollout_stats){ 0 };
    r->finished = xcalloc((size_t)n + 1, sizeof *r->finished);
    r->group_of = xcalloc((size_t)n + 1, sizeof *r->group_of);
    r->group = xcalloc((size_t)n + 1, sizeof *r->group);
    for (int i = 0; i < n; i++) {
        ENSURE(seq[i]->n > 0 && seq[i]->kv.len <= seq[i]->n);
        if (seq[i]->finish != FINISH_NONE) { r->finished[r->done++] = i; continue; }
        /* its last token gives the logits */
        if (seq[i]->kv.len == seq[i]->n) kv_cut(r->kv, &seq[i]->kv, seq[i]->n - 1);
        kv_check(r->kv, &seq[i]->kv, r->m->version);
    }
    r->before = r->done;    /* what was finished before is the caller's */
    find_groups(r);
}

static void run_end(struct rollout *r)
{
    ENSURE(r->lives == 0 && r->in_tools == 0);
    for (int g = 0; g < r->groups; g++) kv_drop(r->kv, &r->group[g].cache);
    if (r->pool) tools_drain(r->pool, DRAIN_S);
    free(r->finished);
    free(r->group_of);
    free(r->group);
    r->finished = r->group_of = NULL;
    r->group = NULL;
    r->seq = NULL;
}

static void one_pass(struct rollout *r)
{
    if (!pass_gather(r)) {
        double t = seconds();
        ENSURE(r->in_tools > 0);
        slots_results(r, true);
        r->stats.tool_wait_s += seconds() - t;
        return;
    }
    pass_run(r);
    share_prompts(r);
    r->stats.generated += r->n_picks;
    for (int i = 0; i < r->n_picks; i++) {
        sequence_put(r->owner[i]->seq, r->host.id[i], true, r->host.logp[i], r->host.ent[i]);
        slot_token(r, r->owner[i]);
    }
}

/* Given up: calls that run are waited for, nobody starts. */
static void halt(struct rollout *r)
{
    while (r->in_tools) slots_results(r, true);
    while (r->lives) slot_release(r, &r->seq_slot[r->live[r->lives - 1]], FINISH_LENGTH);
    r->stats.halted = true;
}

void rollout_run(struct rollout *r, struct sequence **seq, int n, bool keep_kv, void (*progress)(void *, int, int),
                 void *ctx, struct rollout_stats *stats)
{
    double t = seconds();
    run_begin(r, seq, n, keep_kv);
    for (int told = r->done; r->done < n;) {
        if (r->c.halt && *r->c.halt) { halt(r); break; }
        slots_results(r, false);
        admit(r);
        if (r->done < n) one_pass(r);
        for (; progress && told < r->done; told++) progress(ctx, told + 1, n);
    }
    run_end(r);
    r->stats.wall_s = seconds() - t;
    if (stats) *stats = r->stats;
}
