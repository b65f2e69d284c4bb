/* trainer.c: copies of the weights. pi_old and the previous weights swap buffers at the end of a step instead of being
 * copied twice. */
#include "engine/train/trainer.h"

static elem_t *copy_weights(const struct trainer *t)
{
    const struct model *m = &t->s->m;
    size_t bytes = (size_t)m->count * sizeof(elem_t);
    elem_t *w = t->c->ref.offload ? dev_host_alloc(bytes) : dev_alloc(bytes);
    model_ready(m);
    dev_copy(w, m->w, bytes);
    return w;
}

static void free_weights(const struct trainer *t, elem_t *w)
{
    if (t->c->ref.offload) dev_host_free(w);
    else dev_free(w);
}

static void stream_make(struct trainer *t)
{
    const struct model *m = &t->s->m;
    arena_dry(&t->stream_room, "copies");
    weight_stream_make(&t->stream, m, &t->stream_room);
    arena_make(&t->stream_room, "copies", t->stream_room.peak);
    weight_stream_make(&t->stream, m, &t->stream_room);
}

void trainer_make(struct trainer *t, struct session *s)
{
    struct weight_copies need = trainer_weight_copies(s->c);
    *t = (struct trainer){
        .s = s, .c = s->c, .score_old = !exact_numerics(), .warmup = s->c->actor.optim_lr_warmup_steps
    };
    if (t->warmup < 0) t->warmup = (int)(s->c->actor.optim_lr_warmup_steps_ratio * s->steps);
    if (s->c->ref.offload && (need.ref || need.prev || need.old)) stream_make(t);
    if (need.ref) t->w_ref = copy_weights(t);
    if (need.prev) t->w_prev = copy_weights(t);
    if (need.old) t->w_old = copy_weights(t);
}

void trainer_free(struct trainer *t)
{
    if (t->w_ref) free_weights(t, t->w_ref);
    if (t->w_prev) free_weights(t, t->w_prev);
    if (t->w_old) free_weights(t, t->w_old);
    if (t->stream_room.base) arena_free(&t->stream_room);
    *t = (struct trainer){ 0 };
}

void trainer_begin(struct trainer *t)
{
    if (!t->w_old) return;
    model_ready(&t->s->m);
    dev_copy(t->w_old, t->s->m.w, (size_t)t->s->m.count * sizeof(elem_t));
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
