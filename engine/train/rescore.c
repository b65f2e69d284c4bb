/* rescore.c: the scoring forward of a mini-batch under present, previous and first weights. It also fills the pages
 * that branches read: it is their prefill. */
#include "engine/train/train_step.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

double train_inv_temp(const struct config *c) { return c->rollout.temperature > 0 ? 1 / c->rollout.temperature : 1; }

/* Sequences of rows for packing; position i of row r lives at begin[r] + i. */
struct seq_view *trajectory_views(struct trajectory **row, const int *uid, int rows, const int64_t *begin)
{
    struct seq_view *s = xcalloc((size_t)rows, sizeof *s);
    for (int i = 0; i < rows; i++) {
        const struct sequence *seq = &row[i]->seq;
        s[i] = (struct seq_view){
            .ids = seq->ids, .m = seq->m, .n = seq->n, .group = uid[i], .flat = begin[i] - seq->prompt_len
        };
    }
    return s;
}

int64_t *trajectory_begins(struct trajectory **row, int rows)
{
    int64_t *begin = xcalloc((size_t)rows + 1, sizeof *begin);
    for (int i = 0; i < rows; i++) begin[i + 1] = begin[i] + trajectory_len(row[i]);
    return begin;
}

/* Every sequence of the pack gets pages: whole pages of what it shares with the one before it are shared, the rest is
 * written by the pass, also where a row of a page that is not shared whole belongs to several. slot[copies][n]. */
static int64_t *page_slots(struct trainer *t, const struct pack *p, struct trajectory **row, int *copies)
{
    struct kv *kv = &t->s->kv;
    int *used = xcalloc((size_t)p->n, sizeof *used), layers = 0;
    int64_t *slot = NULL;
    for (int i = 0; i < p->seqs; i++) {
        struct sequence *seq = &row[p->order[i]]->seq;
        int full = p->shared[i] / KV_PAGE * KV_PAGE;
        if (full) kv_fork(kv, &seq->kv, &row[p->order[i - 1]]->seq.kv, full);
        for (int pos = full; pos < seq->n - 1; pos++) {
            int at = p->path[p->path_at[i] + pos];
            if (used[at] == layers) {
                slot = xrealloc(slot, (size_t)(layers + 1) * (size_t)p->n * sizeof *slot);
                for (int64_t k = 0; k < p->n; k++) slot[layers * p->n + k] = -1;
                layers++;
            }
            slot[used[at]++ * p->n + at] = kv_slot(kv, &seq->kv, pos, t->s->m.version);
        }
    }
    free(used);
    *copies = layers;
    return slot;
}

/* logp and entropy of all rows under w (NULL: the present weights). refill: also the pages of every row, under the
 * present weights. */
static void score_under(struct trainer *t, struct trajectory **row, const int *uid, int rows, const int64_t *begin,
                        const elem_t *w, acc_t *logp, acc_t *entropy, bool refill, struct step_sums *z)
{
    struct seq_view *s = trajectory_views(row, uid, rows, begin);
    struct score_rule rule = { .w = w,
                               .inv_temp = train_inv_temp(t->c),
                               .top_k = t->c->branch.entropy == ENTROPY_TOP10 ? 10 : 0 };
    for (int done = 0; done < rows;) {
        struct pack p;
        int take = pack_fit(s + done, rows - done, t->s->learner.max_rows);
        pack_make(&p, s + done, take);
        struct kv_fill fill = { .pool = t->s->kv.pool, .layer_stride = t->s->kv.layer_stride };
        int64_t *slot = refill ? page_slots(t, &p, row + done, &fill.copies) : NULL;
        fill.slot = slot;
        rule.kv = refill ? &fill : NULL;
        learner_score(&t->s->learner, &p, &rule, logp, entropy);
        z->scored_positions += p.n;
        free(slot);
        pack_free(&p);
        done += take;
    }
    free(s);
}

static void hand_out(acc_t **to, const acc_t *update_batch, int64_t begin, int n)
{
    free(*to);
    *to = xmalloc((size_t)(n + 1) * sizeof **to);
    memcpy(*to, update_batch + begin, (size_t)n * sizeof **to);
}

/* Rollouts that kept no pages: those of a later mini-batch, whose turn came without an update in between. The pass that
 * scores stale ones is their prefill too, and cheaper than one for each branch. */
static bool no_pages(struct trajectory **row, int rows)
{
    for (int i = 0; i < rows; i++) if (row[i]->seq.kv.len || row[i]->seq.n < 2) return false;
    return rows > 0;
}

void rescore(struct trainer *t, struct trajectory **row, const int *uid, int rows, bool stale, bool refill,
                struct step_sums *z)
{
    const struct config *c = t->c;
    int64_t *begin = trajectory_begins(row, rows);
    size_t bytes = (size_t)(begin[rows] + 1) * sizeof(acc_t);
    acc_t *now = xcalloc(1, bytes), *ent = xcalloc(1, bytes), *rho = xcalloc(1, bytes), *ref = xcalloc(1, bytes);
    /* same weights, same numbers: what was sampled is what a forward pass would give */
    for (int i = 0; i < rows; i++) {
        memcpy(now + begin[i], trajectory_logp_old(row[i]), (size_t)trajectory_len(row[i]) * sizeof *now);
        memcpy(ent + begin[i], row[i]->seq.entropy + row[i]->seq.prompt_len,
               (size_t)trajectory_len(row[i]) * sizeof *ent);
    }
    if (c->branch.omega == OMEGA_ROLLOUT) memcpy(rho, now, bytes);
    if (stale && refill)
        for (int i = 0; i < rows; i++) kv_drop(&t->s->kv, &row[i]->seq.kv);
    bool fill = refill && (stale || no_pages(row, rows));
    /* without an update since, logp is what it was: a second pass of a GPU that is not exact would differ by rounding,
     * and Omega must not see that */
    if (stale || fill || c->branch.entropy == ENTROPY_TOP10)
        score_under(t, row, uid, rows, begin, NULL, stale ? now : NULL, ent, fill, z);
    /* a branch's own tokens were not drawn from pi_old: their logp under it needs a pass (its prefix gets the bits it
     * has) */
    if (c->branch.omega == OMEGA_ROLLOUT && t->w_old && rows && row[0]->branch)
        score_under(t, row, uid, rows, begin, t->w_old, rho, NULL, false, z);
    if (c->branch.omega == OMEGA_PREVIOUS) score_under(t, row, uid, rows, begin, t->w_prev, rho, NULL, false, z);
    if (c->branch.omega == OMEGA_REFERENCE) score_under(t, row, uid, rows, begin, t->w_ref, rho, NULL, false, z);
    if (c->branch.omega == OMEGA_NONE) memcpy(rho, now, bytes);
    if (c->actor.kl_loss_coef > 0) score_under(t, row, uid, rows, begin, t->w_ref, ref, NULL, false, z);
    for (int i = 0; i < rows; i++) {
        int n = trajectory_len(row[i]);
        hand_out(&row[i]->logp, now, begin[i], n);
        hand_out(&row[i]->entropy, ent, begin[i], n);
        hand_out(&row[i]->logp_omega, rho, begin[i], n);
        if (c->actor.kl_loss_coef > 0) hand_out(&row[i]->logp_ref, ref, begin[i], n);
    }
    free(now); free(ent); free(rho); free(ref);
    free(begin);
}

/* The noise of Omega: what exp(S) is where pi_theta is pi_old and the two ways differ by rounding alone. */
static void note_noise(const struct config *c, const struct trajectory *r, struct step_sums *z)
{
    int n = trajectory_len(r);
    double s = 0;
    for (int i = n - 1; i >= 0; i--) {
        int at = r->seq.prompt_len + i;
        s = c->branch.gamma * s + (r->seq.m[at] ? (double)r->logp_old[i] - (double)r->seq.logp[at] : 0);
        if (r->seq.m[at]) mean_add(&z->omega_noise, fabs(exp(s < -20 ? -20 : s > 20 ? 20 : s) - 1));
    }
}

void rescore_old(struct trainer *t, struct trajectory **row, const int *uid, int rows, struct step_sums *z)
{
    int64_t *begin = trajectory_begins(row, rows);
    acc_t *old = xcalloc((size_t)begin[rows] + 1, sizeof *old);
    score_under(t, row, uid, rows, begin, NULL, old, NULL, false, z);
    for (int i = 0; i < rows; i++) {
        hand_out(&row[i]->logp_old, old, begin[i], trajectory_len(row[i]));
        note_noise(t->c, row[i], z);
    }
    free(old);
    free(begin);
}
