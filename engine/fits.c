/* fits.c: adds up what a run will take, by the run's own layout on dry arenas and a dry run of its largest steps, of a model that is only a table. */
#include "engine/fits.h"
#include "base/err.h"
#include "engine/trainer.h"
#include "kernels/measure.h"
#include <string.h>

/* Pointers into nothing: a dry run follows none. */
static void *nowhere(void) { return (void *)(uintptr_t)256; }

static size_t copies(const struct config *c)
{
    struct weight_copies w = trainer_copies(c);
    return (size_t)w.ref + w.prev + w.old;
}

static void need_training(struct need *n, struct model *m, const struct config *c, bool dry)
{
    struct learner l;
    learner_lay_out(&l, m, learner_rule_of(c));
    if (dry) learner_rehearse(&l);
    n->state = l.state;
    n->work = l.work;
    learner_free(&l);
}

/* The pool of keys and values itself is not made: the host's lists of its pages may be gigabytes too. False: it has more pages than can be numbered. */
static bool need_sampling(struct need *n, struct model *m, const struct config *c, bool dry)
{
    struct session s = { .c = c };
    struct rollout_config rule = session_sampling(&s);
    int64_t pages = session_pages(c), bytes;
    arena_dry(&n->pool, "rollout");
    if (pages > INT32_MAX / KV_PAGE || __builtin_mul_overflow(kv_page_elems(m->h) * (int64_t)sizeof(real) * m->c.layers, pages, &bytes)) return false;
    struct kv kv = { .h = m->h, .layers = m->c.layers, .pages = (int)pages, .layer_stride = kv_page_elems(m->h) * pages, .pool = nowhere() };
    arena_get(&n->pool, (size_t)bytes, "keys and values");
    struct rollout *r = rollout_make(m, NULL, &kv, &(struct toolbox){ 0 }, &rule, &n->pool);
    if (dry) rollout_rehearse(r);
    rollout_free(r);
    n->keys = (size_t)bytes;
    return true;
}

void need_make(struct need *n, const struct model_config *shape, const struct config *c, bool trains)
{
    struct model m;
    model_lay_out(&m, shape);
    m.w = nowhere();
    m.freq = nowhere();
    *n = (struct need){ .weights = (size_t)m.count * sizeof(real) };
    n->copies = trains ? copies(c) * n->weights : 0;
    bool dry = dev_dry_begin();
    if (trains) need_training(n, &m, c, dry);
    bool countable = need_sampling(n, &m, c, dry);
    if (dry) n->scratch = dev_dry_end(false);
    n->all = countable ? n->weights + n->copies + n->state.peak + n->work.peak + n->pool.peak + n->scratch : SIZE_MAX;
    m.w = NULL;
    m.freq = NULL;
    model_free(&m);
}

static double gib(size_t bytes) { return (double)bytes / 0x1p30; }

bool session_fits(const struct config *c, const char *path, bool trains, struct err *e)
{
    struct model_config shape;
    struct err ignored;
    struct need n;
    size_t left, total;
    if (!model_load_config(&shape, path, &ignored) || c->rollout.max_len > shape.max_len) return true;
    if (!ops_take(&(struct op_shape){ path, { shape.heads, shape.kv_heads, shape.head_dim }, shape.dim, shape.vocab, trains }, e)) return false;
    need_make(&n, &shape, c, trains);
    measure_memory(&left, &total);
    if (!strcmp(dev_name(), "cpu")) left = total;
    if (n.all <= left || n.all == SIZE_MAX) return true;
    return fail(e, "%s: this run takes %.2f GiB (weights %.2f, optimizer %.2f, training %.2f, keys and values %.2f, sampling %.2f, scratch %.2f); "
                   "%s has %.2f of %.2f GiB free. %sLower%s rollout.max_num_seqs=%d, %s=%d or rollout.max_len=%d; "
                   "appo plan memory=%.1fGiB tells how far", path, gib(n.all), gib(n.weights + n.copies), gib(n.state.peak), gib(n.work.peak), gib(n.keys), gib(n.pool.peak - n.keys),
                gib(n.scratch), dev_name(), gib(left), gib(total), trains && !c->model.recompute ? "Set model.recompute=true. " : "",
                trains ? " actor.ppo_max_token_len_per_gpu," : "", c->rollout.max_num_seqs, c->branch.when == BRANCH_STEP ? "data.train_batch_size" : "actor.ppo_mini_batch_size",
                branched_first(c), c->rollout.max_len, gib(left));
}
