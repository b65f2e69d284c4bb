/* rollout_admit.c: scheduler. A sequence is admitted only if its worst-case page count plus those of all running
 * sequences fits the pool, so nothing is ever preempted. It keeps its slot until it ends; a slot whose tool runs has no
 * rows in a pass, and the others do not wait for it. */
#include "engine/rollout/rollout_in.h"
#include "base/err.h"
#include <string.h>

int sequence_limit(const struct rollout *r, const struct sequence *seq)
{
    return schedule_limit(seq->prompt_len, r->c.max_response, r->c.max_len);
}

/* Free pages that the running sequences may still take. Only running sequences take pages, so the sum never exceeds the
 * free ones. */
static int claims(const struct rollout *r)
{
    int sum = 0;
    for (int i = 0; i < r->n_live; i++) {
        const struct seq_slot *s = &r->seq_slot[r->live[i]];
        sum += kv_claim(r->kv, &s->seq->kv, s->limit);
    }
    return sum;
}

static void ended(struct rollout *r, int index, enum finish why)
{
    struct sequence *seq = r->run.seq[index];
    seq->finish = why;
    if (!r->run.keep_kv || seq->unread) kv_drop(r->kv, &seq->kv);
    r->run.finished[r->run.done++] = index;
}

void slot_release(struct rollout *r, struct seq_slot *s, enum finish why)
{
    int i = 0;
    ended(r, s->index, why);
    s->state = SLOT_FREE;
    s->seq = NULL;
    while (&r->seq_slot[r->live[i]] != s) i++;
    memmove(r->live + i, r->live + i + 1, (size_t)(--r->n_live - i) * sizeof *r->live);
}

/* Evicts cached pages until the worst case of seq fits beside the claims of the running sequences; false: it cannot.
 * Order: finished sequences, the last of the run's list first (the caller reads in its order); pages that the hook
 * evict offers; and, if nothing is running that could free pages, shared prompt caches, then prefixes of sequences not
 * yet started, last first. */
static bool evict_for(struct rollout *r, struct sequence *seq)
{
    for (;;) {
        if (r->kv->free >= claims(r) + kv_claim(r->kv, &seq->kv, sequence_limit(r, seq))) return true;
        struct kv_seq *victim = NULL;
        for (int k = r->run.before, last = -1; k < r->run.done; k++)
            if (r->run.finished[k] > last && r->run.seq[r->run.finished[k]]->kv.n_pages)
                victim = &r->run.seq[last = r->run.finished[k]]->kv;
        if (!victim && r->c.evict && r->c.evict(r->c.evict_ctx)) {
            r->run.stats.kv_dropped++;
            continue;
        }
        for (int g = 0; !victim && !r->n_live && g < r->run.groups; g++)
            if (r->run.group[g].cache.n_pages) victim = &r->run.group[g].cache;
        for (int i = r->run.n - 1; !victim && !r->n_live && i >= r->run.next; i--)
            if (r->run.seq[i]->kv.n_pages && r->run.seq[i]->finish == FINISH_NONE) victim = &r->run.seq[i]->kv;
        if (!victim) return false;
        kv_drop(r->kv, victim);
        r->run.stats.kv_dropped++;
    }
}

static void group_started(struct rollout *r, struct prompt_group *g)
{
    if (--g->left == 0) kv_drop(r->kv, &g->cache);
}

/* Places the sequence into a free slot. It may be a fork whose last token ends the text or completes a call. */
static void slot_occupy(struct rollout *r, struct seq_slot *s, int index)
{
    struct sequence *seq = r->run.seq[index];
    s->seq = seq;
    s->index = index;
    s->limit = sequence_limit(r, seq);
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
    if (r->run.group_of[index] < 0 || seq->kv.len) return;
    struct prompt_group *g = &r->run.group[s->group = r->run.group_of[index]];
    if (g->leader < 0) g->leader = (int)(s - r->seq_slot);
    else s->state = SLOT_PREFILL;
}

static struct seq_slot *free_slot(struct rollout *r)
{
    for (int i = 0; i < r->c.max_seqs; i++)
        if (r->seq_slot[i].state == SLOT_FREE) {
            r->live[r->n_live++] = i;
            return &r->seq_slot[i];
        }
    die("%d of %d sequence slots taken, none free", r->n_live, r->c.max_seqs);
}

/* Starts the sequences of the run that wait. */
static void admit_waiting(struct rollout *r)
{
    for (; r->run.next < r->run.n && r->n_live < r->c.max_seqs; r->run.next++) {
        struct sequence *seq = r->run.seq[r->run.next];
        struct prompt_group *g = r->run.group_of[r->run.next] < 0 ? NULL : &r->run.group[r->run.group_of[r->run.next]];
        if (seq->finish != FINISH_NONE) continue;
        if (seq->n >= sequence_limit(r, seq)) {
            ended(r, r->run.next, FINISH_LENGTH);
        } else {
            bool shares = g && g->cache.len && !seq->kv.len;
            if (shares) kv_fork(r->kv, &seq->kv, &g->cache, g->cache.len < seq->n - 1 ? g->cache.len : seq->n - 1);
            if (!evict_for(r, seq)) {
                if (shares) kv_drop(r->kv, &seq->kv);
                break;
            }
            slot_occupy(r, free_slot(r), r->run.next);
        }
        if (g) group_started(r, g);
    }
    if (!r->n_live && r->run.next < r->run.n && r->run.done < r->run.n)
        die("a sequence of up to %d tokens needs %d pages of keys and values; of the pool's %d others hold all but %d",
            sequence_limit(r, r->run.seq[r->run.next]), kv_pages_for(sequence_limit(r, r->run.seq[r->run.next])),
            r->kv->pages, r->kv->free);
}

void slots_admit(struct rollout *r)
{
    do admit_waiting(r);
    while (r->run.more && r->run.next == r->run.n && r->n_live < r->c.max_seqs && run_more(r));
}

/* When a leader has run its prompt, the waiting slots of its group get its pages. A cache keeps them for the sequences
 * of the group that have not started, if there is room. */
void groups_share(struct rollout *r)
{
    for (int i = 0; i < r->n_live; i++) {
        struct seq_slot *s = &r->seq_slot[r->live[i]];
        if (s->state != SLOT_PREFILL) continue;
        const struct sequence *lead = r->seq_slot[r->run.group[s->group].leader].seq;
        int len = lead->prompt_len < s->seq->n - 1 ? lead->prompt_len : s->seq->n - 1;
        if (lead->kv.len < lead->prompt_len) continue;
        kv_fork(r->kv, &s->seq->kv, &lead->kv, len);
        s->state = SLOT_DECODE;
    }
    for (int i = 0; i < r->n_live; i++) {
        struct seq_slot *s = &r->seq_slot[r->live[i]];
        if (s->group < 0 || r->run.group[s->group].leader != r->live[i] || s->seq->kv.len < s->seq->prompt_len)
            continue;
        struct prompt_group *g = &r->run.group[s->group];
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

/* A group: sequences without pages that have the same prompt. A sequence alone in its group has none. */
void groups_find(struct rollout *r, int first)
{
    int before = r->run.groups;
    for (int i = first; i < r->run.n; i++) {
        const struct sequence *seq = r->run.seq[i];
        int g = r->run.groups;
        r->run.group_of[i] = -1;
        if (seq->finish != FINISH_NONE || seq->kv.len || seq->prompt_len < 2) continue;
        while (--g >= before && !same_prompt(seq, r->run.seq[r->run.group[g].first])) {}
        if (g < before) r->run.group[g = r->run.groups++] = (struct prompt_group){ .first = i, .leader = -1 };
        r->run.group[g].left++;
        r->run.group_of[i] = g;
    }
    for (int i = first; i < r->run.n; i++)
        if (r->run.group_of[i] >= 0 && r->run.group[r->run.group_of[i]].left == 1) r->run.group_of[i] = -1;
}
