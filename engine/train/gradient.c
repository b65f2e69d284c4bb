/* gradient.c: each rank packs and runs its share; a pack is a micro-batch. Who sampled a trajectory does not matter,
 * because every rank holds its ids. */
#include "engine/train/gradient.h"
#include "base/arith.h"
#include "engine/comm/comm.h"
#include "engine/train/rescore.h"
#include "engine/train/shares.h"
#include <stdlib.h>
#include <string.h>

/* Trajectories k[0 .. n) as sequences to pack. Their targets are those of the batch: m is one block for all. */
static struct seq_view *views(const struct update_batch *f, const int *k, int n, uint8_t **m)
{
    struct trajectory **traj = xcalloc((size_t)n + 1, sizeof *traj);
    int *uid = xcalloc((size_t)n + 1, sizeof *uid);
    size_t most = 0;
    int64_t *begin = xcalloc((size_t)n + 1, sizeof *begin);
    for (int i = 0; i < n; i++) {
        traj[i] = f->traj[k[i]];
        uid[i] = f->uid[k[i]];
        begin[i] = f->begin[k[i]];
        most = MAX(most, (size_t)traj[i]->seq.n);
    }
    struct seq_view *s = trajectory_views(traj, uid, n, begin);
    *m = xcalloc((size_t)n + 1, most + 1);
    for (int i = 0; i < n; i++) {
        memcpy(*m + (size_t)i * most + traj[i]->seq.prompt_len, f->m + begin[i], (size_t)trajectory_len(traj[i]));
        s[i].m = *m + (size_t)i * most;
    }
    free(traj); free(uid); free(begin);
    return s;
}

/* logp_train of every trajectory in the loss, on all ranks. */
static void gather_logp(struct update_batch *f, const struct shares *s)
{
    struct comm_parts all;
    int me = comm_rank();
    size_t n = 0;
    acc_t *mine = xmalloc((size_t)(f->n + 1) * sizeof *mine);
    for (int i = s->begin[me]; i < s->begin[me + 1]; i++) {
        int64_t at = f->begin[s->k[i]], end = f->begin[s->k[i] + 1];
        memcpy(mine + n, f->logp_train + at, (size_t)(end - at) * sizeof *mine);
        n += (size_t)(end - at);
    }
    comm_gather(&all, mine, n * sizeof *mine);
    const char *from = all.p;                       /* each rank's trajectories, in the order of the share */
    for (int i = 0; i < s->begin[comm_ranks()]; i++) {
        int64_t at = f->begin[s->k[i]], end = f->begin[s->k[i] + 1];
        memcpy(f->logp_train + at, from, (size_t)(end - at) * sizeof *mine);
        from += (size_t)(end - at) * sizeof *mine;
    }
    comm_parts_free(&all);
    free(mine);
}

int *gradient_packs(const struct seq_view *s, int n, int64_t max_rows, bool one_prompt, int *count)
{
    int *end = xcalloc((size_t)n + 1, sizeof *end);
    *count = 0;
    for (int done = 0; done < n; (*count)++) {
        int most = one_prompt ? done + 1 : n;
        while (most < n && s[most].group == s[done].group) most++;
        end[*count] = done += pack_fit(s + done, most - done, max_rows);
    }
    return end;
}

void batch_gradient(struct trainer *t, struct update_batch *f, const struct group *g, int groups, struct step_sums *z)
{
    struct shares share;
    struct learner *l = &t->s->learner;
    uint8_t *m;
    int64_t count[2] = { 0 };                       /* positions and targets */
    shares_make(&share, f, t->c, g, groups, comm_ranks());
    const int *k = share.k + share.begin[comm_rank()];
    int n = share.begin[comm_rank() + 1] - share.begin[comm_rank()];
    struct seq_view *s = views(f, k, n, &m);
    int packs_n, *end = gradient_packs(s, n, l->max_rows, t->c->actor.grad_sum == GRAD_SUM_EXACT, &packs_n);
    learner_begin(l, packs_n);
    for (int i = 0, first = 0; i < packs_n; first = end[i++]) {
        struct pack p;
        pack_make(&p, s + first, end[i] - first);
        learner_grad(l, &p, train_inv_temp(t->c), f->g, t->c->actor.entropy_coeff != 0 ? f->ge : NULL, f->logp_train,
                     NULL);
        count[0] += p.n;
        count[1] += p.targets;
        pack_free(&p);
    }
    learner_sum(l);
    if (comm_ranks() > 1) gather_logp(f, &share);
    comm_sum_counts(count, 2);
    z->trained_positions += count[0];
    t->tokens_trained += count[1];
    free(m); free(s); free(end);
    shares_free(&share);
}
