/* trainer.c: copies of the weights. pi_old and the previous weights swap buffers at the end of a step instead of being
 * copied twice. */
#include "engine/train/trainer.h"

static elem_t *copy_weights(const struct model *m)
{
    elem_t *w = dev_alloc((size_t)m->count * sizeof *w);
    dev_copy(w, m->w, (size_t)m->count * sizeof *w);
    return w;
}

void trainer_make(struct trainer *t, struct session *s)
{
    struct weight_copies need = trainer_weight_copies(s->c);
    *t = (struct trainer){
        .s = s, .c = s->c, .score_old = !exact_numerics(), .warmup = s->c->actor.optim_lr_warmup_steps
    };
    if (t->warmup < 0) t->warmup = (int)(s->c->actor.optim_lr_warmup_steps_ratio * s->steps);
    if (need.ref) t->w_ref = copy_weights(&s->m);
    if (need.prev) t->w_prev = copy_weights(&s->m);
    if (need.old) t->w_old = copy_weights(&s->m);
}

void trainer_free(struct trainer *t)
{
    if (t->w_ref) dev_free(t->w_ref);
    if (t->w_prev) dev_free(t->w_prev);
    if (t->w_old) dev_free(t->w_old);
    *t = (struct trainer){ 0 };
}

void trainer_begin(struct trainer *t)
{
    if (t->w_old) dev_copy(t->w_old, t->s->m.w, (size_t)t->s->m.count * sizeof(elem_t));
}

void trainer_end(struct trainer *t, uint64_t version_at_begin)
{
    if (!t->w_prev || t->s->m.version == version_at_begin) return;
    elem_t *w = t->w_prev;
    t->w_prev = t->w_old;
    t->w_old = w;
}

void trainer_progress(const struct trainer *t, const char *what, int done, int total)
{
    if (t->progress) t->progress(t->progress_ctx, what, done, total);
}

void sums_add_wait(struct step_sums *z, double wait_s)
{
    z->t_rank_wait += wait_s;
    z->t_rank_tail += wait_s;
}

void sums_add_run(struct step_sums *z, const struct rollout_stats *s)
{
    z->generated += s->generated;
    z->tool_tokens += s->tool_tokens;
    z->tool_wait += s->tool_wait_s;
    z->timeouts += s->timeouts;
    z->search_hits += s->search_hits;
    z->search_misses += s->search_misses;
}
