/* rescore.c: the scoring pass of a mini-batch under the present, previous or first weights. With refill the pass also
 * writes the keys and values of every trajectory into its pages; branches read them and need no prefill. */
#include "engine/train/rescore.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

double train_inv_temp(const struct config *c) { return c->rollout.temperature > 0 ? 1 / c->rollout.temperature : 1; }

struct seq_view *trajectory_views(struct trajectory **traj, const int *uid, int n, const int64_t *begin)
{
    struct seq_view *s = xcalloc((size_t)n, sizeof *s);
    for (int i = 0; i < n; i++) {
        const struct sequence *seq = &traj[i]->seq;
        s[i] = (struct seq_view){
            .ids = seq->ids, .m = seq->m, .n = seq->n, .group = uid[i], .flat = begin[i] - seq->prompt_len
        };
    }
    return s;
}

int64_t *trajectory_begins(struct trajectory **traj, int n)
{
    int64_t *begin = xcalloc((size_t)n + 1, sizeof *begin);
    for (int i = 0; i < n; i++) begin[i + 1] = begin[i] + trajectory_len(traj[i]);
    return begin;
}

/* Gives every sequence of the pack its pages, while the pool has some: a rank that has taken another one's prompts may
 * hold more than its share, and the branches of a sequence without pages are prefilled. Whole pages of the prefix that
 * a sequence shares with the one before it are shared; the pass writes the rest, once for each sequence that holds the
 * position. Returns slot[copies][p->n]:
 * where the pass puts the keys and values of each position of the pack; -1: no copy. */
static int64_t *page_slots(struct trainer *t, const struct pack *p, struct trajectory **traj, int *copies)
{
    struct kv *kv = &t->s->kv;
    int *used = xcalloc((size_t)p->n, sizeof *used), made = 0;
    int64_t *slot = NULL;
    for (int i = 0; i < p->seqs; i++) {
        struct sequence *seq = &traj[p->order[i]]->seq;
        int full = i ? MIN(p->shared[i], traj[p->order[i - 1]]->seq.kv.len) / KV_PAGE * KV_PAGE : 0;
        if (kv->free < kv_pages_for(seq->n - 1) - full / KV_PAGE) continue;
        if (full) kv_fork(kv, &seq->kv, &traj[p->order[i - 1]]->seq.kv, full);
        for (int pos = full; pos < seq->n - 1; pos++) {
            int at = p->path[p->path_at[i] + pos];
            if (used[at] == made) {
                slot = xrealloc(slot, (size_t)(made + 1) * (size_t)p->n * sizeof *slot);
                for (int64_t k = 0; k < p->n; k++) slot[made * p->n + k] = -1;
                made++;
            }
            slot[used[at]++ * p->n + at] = kv_slot(kv, &seq->kv, pos, t->s->m.version);
        }
    }
    free(used);
    *copies = made;
    return slot;
}

/* Log-probs and, unless NULL, entropies of a list, as flat vectors with offsets begin. */
struct score_out {
    acc_t *logp;
    acc_t *entropy;
};

/* Scores the list under w (NULL: the present weights). refill: also writes the pages of every trajectory, under the
 * present weights. */
static void score_under(struct trainer *t, const struct traj_list *l, const int64_t *begin, const elem_t *w,
                        struct score_out out, bool refill, struct step_sums *z)
{
    struct seq_view *s = trajectory_views(l->traj, l->uid, l->n, begin);
    struct score_rule rule = { .w = w,
                               .stream = w && t->c->ref.offload ? &t->stream : NULL,
                               .inv_temp = train_inv_temp(t->c),
                               .top_k = t->c->branch.entropy == ENTROPY_TOP10 ? 10 : 0 };
    for (int done = 0; done < l->n;) {
        struct pack p;
        int take = pack_fit(s + done, l->n - done, t->s->learner.max_rows);
        pack_make(&p, s + done, take);
        struct kv_fill fill = { .pool = t->s->kv.pool, .layer_stride = t->s->kv.layer_stride };
        int64_t *slot = refill ? page_slots(t, &p, l->traj + done, &fill.copies) : NULL;
        fill.slot = slot;
        rule.kv = refill ? &fill : NULL;
        learner_score(&t->s->learner, &p, &rule, out.logp, out.entropy);
        z->scored_positions += p.n;
        free(slot);
        pack_free(&p);
        done += take;
    }
    free(s);
}

/* Replaces *to by a copy of flat[begin .. begin + n). */
static void hand_out(acc_t **to, const acc_t *flat, int64_t begin, int n)
{
    free(*to);
    *to = xmalloc((size_t)(n + 1) * sizeof **to);
    memcpy(*to, flat + begin, (size_t)n * sizeof **to);
}

/* Whether no trajectory kept its pages: those of a later mini-batch that is reached without an update in between. One
 * scoring pass is then their prefill, which is cheaper than one for each branch. */
static bool no_pages(const struct traj_list *l)
{
    for (int i = 0; i < l->n; i++) if (l->traj[i]->seq.kv.len || l->traj[i]->seq.n < 2) return false;
    return l->n > 0;
}

/* Whether logp_omega of this list needs a pass, and under which weights. */
static bool omega_pass(const struct trainer *t, const struct traj_list *l, const elem_t **w)
{
    switch (t->c->branch.omega) {
    case OMEGA_PREVIOUS: *w = t->w_prev; return true;
    case OMEGA_REFERENCE: *w = t->w_ref; return true;
    /* A branch's own tokens were not sampled from pi_old, so their logp under it needs a pass; the prefix gets the bits
     * that it has. */
    case OMEGA_ROLLOUT: *w = t->w_old; return t->w_old && l->n && l->traj[0]->branch;
    case OMEGA_NONE: break;
    }
    return false;
}

void rescore(struct trainer *t, const struct traj_list *l, bool stale, bool refill, struct step_sums *z)
{
    const struct config *c = t->c;
    int64_t *begin = trajectory_begins(l->traj, l->n);
    size_t bytes = (size_t)(begin[l->n] + 1) * sizeof(acc_t);
    acc_t *logp = xcalloc(1, bytes), *entropy = xcalloc(1, bytes), *logp_omega = xcalloc(1, bytes),
          *logp_ref = xcalloc(1, bytes);
    /* same weights, same numbers: a forward pass would give what the sampler recorded */
    for (int i = 0; i < l->n; i++) {
        const struct trajectory *r = l->traj[i];
        size_t len = (size_t)trajectory_len(r);
        memcpy(logp + begin[i], trajectory_logp_old(r), len * sizeof *logp);
        memcpy(entropy + begin[i], r->seq.entropy + r->seq.prompt_len, len * sizeof *entropy);
    }
    if (c->branch.omega == OMEGA_ROLLOUT) memcpy(logp_omega, logp, bytes);
    if (stale && refill)
        for (int i = 0; i < l->n; i++) kv_drop(&t->s->kv, &l->traj[i]->seq.kv);
    bool fill = refill && (stale || no_pages(l));
    /* Without an update since, logp stays what it was: a second pass of a GPU that is not exact would differ by
     * rounding, and Omega must not see that. */
    if (stale || fill || c->branch.entropy == ENTROPY_TOP10)
        score_under(t, l, begin, NULL, (struct score_out){ stale ? logp : NULL, entropy }, fill, z);
    const elem_t *w;
    if (omega_pass(t, l, &w)) score_under(t, l, begin, w, (struct score_out){ logp_omega, NULL }, false, z);
    if (c->branch.omega == OMEGA_NONE) memcpy(logp_omega, logp, bytes);
    bool kl = c->actor.kl_loss_coef > 0;
    if (kl) score_under(t, l, begin, t->w_ref, (struct score_out){ logp_ref, NULL }, false, z);
    for (int i = 0; i < l->n; i++) {
        struct trajectory *r = l->traj[i];
        int n = trajectory_len(r);
        hand_out(&r->logp, logp, begin[i], n);
        hand_out(&r->entropy, entropy, begin[i], n);
        hand_out(&r->logp_omega, logp_omega, begin[i], n);
        if (kl) hand_out(&r->logp_ref, logp_ref, begin[i], n);
    }
    free(logp); free(entropy); free(logp_omega); free(logp_ref);
    free(begin);
}

void rescore_note_noise(const struct config *c, const struct trajectory *r, struct step_sums *z)
{
    int n = trajectory_len(r);
    double s = 0;
    for (int i = n - 1; i >= 0; i--) {
        int at = r->seq.prompt_len + i;
        s = c->branch.gamma * s + (r->seq.m[at] ? (double)r->logp_old[i] - (double)r->seq.logp[at] : 0);
        if (r->seq.m[at]) mean_add(&z->omega_noise, fabs(exp(s < -20 ? -20 : s > 20 ? 20 : s) - 1));
    }
}

void rescore_old(struct trainer *t, const struct traj_list *l, struct step_sums *z)
{
    int64_t *begin = trajectory_begins(l->traj, l->n);
    acc_t *logp_old = xcalloc((size_t)begin[l->n] + 1, sizeof *logp_old);
    score_under(t, l, begin, NULL, (struct score_out){ logp_old, NULL }, false, z);
    for (int i = 0; i < l->n; i++)
        hand_out(&l->traj[i]->logp_old, logp_old, begin[i], trajectory_len(l->traj[i]));
    free(logp_old);
    free(begin);
}
