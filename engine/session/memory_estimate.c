/* memory_estimate.c: lays out the run's arenas without allocating and runs its largest steps in dry mode, on a model
 * that has shapes but no weights. */
#include "engine/session/memory_estimate.h"
#include "base/arith.h"
#include "base/err.h"
#include "base/memory.h"
#include "base/str.h"
#include "engine/comm/comm.h"
#include "engine/session/run_sizes.h"
#include "model/load.h"
#include "model/weight_stream.h"
#include <string.h>

/* Only a GPU build can compute the scratch memory of its operations; other builds assume so many bytes. Measured on the
 * shim, bf16: SmolLM2-135M 44 MiB, Qwen2.5-1.5B 294, 7B 295 in batches of 8,192 tokens, 301 and 317 of 65,536. */
enum { GPU_SCRATCH = 320 << 20 };

/* What NCCL takes for its channels; not measured. A GPU build of this program opens it before it asks for the free
 * memory. */
enum { GPU_COMM = 1 << 30 };
/* What MPI takes in a process for each rank of its host. Measured with Open MPI 4.1: 13.5 MiB of 2 ranks, 27 of 4. */
enum { CPU_COMM = 7 << 20 };

/* An invalid pointer that stands for device memory: dry mode dereferences none. */
static void *nowhere(void) { return (void *)(uintptr_t)256; }

static size_t copies(const struct config *c)
{
    struct weight_copies w = trainer_weight_copies(c);
    return (size_t)w.ref + w.prev + w.old;
}

static void estimate_copies(struct memory_estimate *n, const struct model *m, const struct config *c, size_t elem_bytes)
{
    struct arena room;
    struct weight_stream s;
    size_t all = copies(c) * n->weights;
    arena_dry_as(&room, "copies", elem_bytes);
    if (c->ref.offload && all) weight_stream_make(&s, m, &room);
    n->copies = c->ref.offload ? room.peak : all;
    n->pinned_copies = c->ref.offload ? all : 0;
}

static void estimate_training(struct memory_estimate *n, struct model *m, const struct config *c,
                              const struct memory_rule *rule, bool dry)
{
    struct learner l;
    struct learner_rule r = learner_rule_of(c);
    r.elem_bytes = rule->elem_bytes;
    if (rule->ranks) r.ranks = rule->ranks, r.rank = 0;
    learner_lay_out(&l, m, r);
    if (dry) learner_warm_up(&l);
    n->state = l.state;
    n->work = l.work;
    n->pinned = l.host_bytes;
    learner_free(&l);
}

/* Does not make the pool of keys and values itself: the host's lists of its pages may be gigabytes too. False: more
 * pages than can be numbered. */
static bool estimate_sampling(struct memory_estimate *n, struct model *m, const struct config *c,
                              const struct memory_rule *as, bool dry)
{
    size_t elem_bytes = as->elem_bytes ? as->elem_bytes : sizeof(elem_t);
    struct call_form tags = { 0 };
    struct rollout_config rule = rollout_config_of(c, &tags);
    int64_t pages = session_pages_of(c, as->ranks ? as->ranks : comm_ranks()), bytes;
    arena_dry_as(&n->pool, "rollout", elem_bytes);
    if (pages > INT32_MAX / KV_PAGE ||
        __builtin_mul_overflow(kv_page_elems(m->h) * (int64_t)elem_bytes * m->c.layers, pages, &bytes))
        return false;
    struct kv kv = { .h = m->h,
                     .layers = m->c.layers,
                     .pages = (int)pages,
                     .layer_stride = kv_page_elems(m->h) * pages,
                     .pool = nowhere() };
    arena_get(&n->pool, (size_t)bytes, "keys and values");
    struct rollout *r = rollout_make(m, NULL, &kv, &(struct toolbox){ 0 }, &rule, &n->pool);
    if (dry) rollout_warm_up(r);
    rollout_free(r);
    n->keys = (size_t)bytes;
    return true;
}

/* Host memory beside the arenas of a CPU. Products keep their matrices packed until AdamW writes the weights: at the
 * end of an update there are both packed forms of the policy's matrices and the forward form of every copy that scored.
 * With trainer.save_async=on the copy that a checkpoint is written from lives beside the next step; without it saving
 * takes a few MiB, less than the backward form, which is dropped by then. The tokenizer takes 300 bytes an id (SmolLM2:
 * 14 MB for 49,152). */
static void estimate_host(struct memory_estimate *n, const struct model *m, const struct config *c,
                          enum memory_purpose what)
{
    size_t forward = model_packed(m, false), backward = model_packed(m, true);
    struct weight_copies w = trainer_weight_copies(c);
    bool trains = what != MEMORY_SAMPLE;
    struct model two = *m;
    two.c.layers = MIN(2, two.c.layers);            /* and the head: those of the stream */
    size_t of_copies = c->ref.offload && copies(c) ? model_packed(&two, false) : copies(c) * forward;
    n->packed = forward + (trains ? backward : 0) + (what == MEMORY_TRAIN ? of_copies : 0);
    size_t moments = (size_t)m->count * (learner_rule_of(c).bf16_moments ? sizeof(uint16_t) : sizeof(acc_t));
    if (what == MEMORY_TRAIN && c->trainer.save_async == SAVE_ASYNC)
        n->saving = (1 + (size_t)w.ref + (size_t)w.prev) * n->weights + 2 * moments;
    n->program = ((size_t)8 << 20) + (size_t)m->c.vocab * 300;
}

void memory_estimate_make_as(struct memory_estimate *n, const struct model_config *shape, const struct config *c,
                             const struct memory_rule *rule)
{
    struct model m;
    size_t elem_bytes = rule->elem_bytes ? rule->elem_bytes : sizeof(elem_t);
    bool trains = rule->what != MEMORY_SAMPLE, countable = true, cpu = !rule->elem_bytes && !strcmp(dev_name(), "cpu");
    model_lay_out(&m, shape);
    m.w = nowhere();
    m.freq = nowhere();
    *n = (struct memory_estimate){ .weights = (size_t)m.count * elem_bytes };
    if (rule->what == MEMORY_TRAIN) estimate_copies(n, &m, c, elem_bytes);
    bool dry = !rule->elem_bytes && dev_dry_begin();
    if (trains) estimate_training(n, &m, c, rule, dry);
    if (rule->what != MEMORY_SFT) countable = estimate_sampling(n, &m, c, rule, dry);
    if (dry) n->scratch = dev_dry_end(false);
    if (rule->elem_bytes) n->scratch = GPU_SCRATCH;
    int ranks = rule->ranks ? rule->ranks : comm_ranks();
    if (ranks > 1 && rule->elem_bytes) n->comm = GPU_COMM;
    if (ranks > 1 && cpu) n->comm = (size_t)(rule->ranks ? ranks : comm_local_ranks()) * CPU_COMM;
    if (cpu) estimate_host(n, &m, c, rule->what);
    n->all = n->weights + n->copies + n->state.peak + n->work.peak + n->pool.peak + n->scratch + n->comm + n->packed +
             n->saving + n->program + (cpu ? n->pinned + n->pinned_copies : 0);
    if (!countable) n->all = SIZE_MAX;
    m.w = NULL;
    m.freq = NULL;
    model_free(&m);
}

void memory_estimate_make(struct memory_estimate *n, const struct model_config *shape, const struct config *c,
                          bool trains)
{
    memory_estimate_make_as(n, shape, c, &(struct memory_rule){ .what = trains ? MEMORY_TRAIN : MEMORY_SAMPLE });
}

static double gib(size_t bytes) { return (double)bytes / 0x1p30; }

/* The parts of the total; from the fifth on those of at least 5 MiB. */
static void put_parts(struct str *s, const struct memory_estimate *n)
{
    bool cpu = !strcmp(dev_name(), "cpu");
    const struct { const char *what; size_t bytes; } parts[] = {
        { "weights", n->weights + n->copies + (cpu ? n->pinned_copies : 0) },
        { "optimizer", n->state.peak + (cpu ? n->pinned : 0) },
        { "training", n->work.peak },
        { "keys and values", n->keys },
        { "sampling", n->pool.peak - n->keys },
        { "packed matrices", n->packed },
        { "saving", n->saving },
        { "scratch", n->scratch },
        { "program", n->program },
    };
    for (size_t i = 0, any = 0; i < sizeof parts / sizeof *parts; i++)
        if (i < 4 || parts[i].bytes >= 5 << 20)
            str_printf(s, "%s%s %.2f", any++ ? ", " : "", parts[i].what, gib(parts[i].bytes));
}

static void put_fixes(struct str *s, const struct config *c, enum memory_purpose what)
{
    bool step = c->branch.when == BRANCH_STEP;
    if (what != MEMORY_SAMPLE && c->model.recompute != RECOMPUTE_FULL)
        str_printf(s, "Set model.recompute=%s. ", c->model.recompute == RECOMPUTE_NONE ? "cheap or full" : "full");
    if (what == MEMORY_SFT) {
        str_printf(s, "Lower actor.ppo_max_token_len_per_gpu=%d", c->actor.ppo_max_token_len_per_gpu);
        return;
    }
    if (c->rollout.max_total_tokens)
        str_printf(s, "Lower rollout.max_total_tokens=%lld, or: ", (long long)c->rollout.max_total_tokens);
    str_printf(s, "Lower%s rollout.max_num_seqs=%d, %s=%d or rollout.max_len=%d",
               what == MEMORY_TRAIN ? " actor.ppo_max_token_len_per_gpu," : "", c->rollout.max_num_seqs,
               step ? "data.train_batch_size" : "actor.ppo_mini_batch_size", branched_prompts(c), c->rollout.max_len);
}

/* It cannot be swapped out: a twentieth stays for others. */
size_t memory_pinnable(void)
{
    size_t left = host_memory("").available;
    return left - left / 20;
}

static bool host_fits(const struct memory_estimate *n, const char *path, struct err *e)
{
    size_t need = memory_pinned(n), left = need ? memory_pinnable() : 0;
    if (need <= left / (size_t)comm_local_ranks()) return true;
    return fail(e,
                "%s: actor.offload=optimizer takes %.2f GiB of host memory and ref.offload %.2f, %.2f GiB are "
                "available for a rank. Set actor.optim.state_dtype=bf16, actor.offload=none or "
                "ref.offload=false",
                path, gib(n->pinned), gib(n->pinned_copies), gib(left) / comm_local_ranks());
}

bool memory_fits_share(const struct config *c, const char *path, enum memory_purpose what, double share, struct err *e)
{
    struct model_config shape;
    struct err ignored;
    struct memory_estimate n;
    size_t left, total;
    if (!model_load_config(&shape, path, &ignored) || (what != MEMORY_SFT && c->rollout.max_len > shape.max_len))
        return true;
    const struct op_shape asked = {
        path, { shape.heads, shape.kv_heads, shape.head_dim }, shape.dim, shape.vocab, what != MEMORY_SAMPLE
    };
    if (!ops_support(&asked, e)) return false;
    memory_estimate_make_as(&n, &shape, c, &(struct memory_rule){ .what = what });
    dev_memory(&left, &total);
    bool cpu = !strcmp(dev_name(), "cpu");
    size_t kept = cpu ? left / 20 : 0;
    if (!cpu && !host_fits(&n, path, e)) return false;
    if ((double)n.all <= (double)(left - kept) * share || n.all == SIZE_MAX) return true;
    struct str parts = { 0 }, fixes = { 0 };
    put_parts(&parts, &n);
    put_fixes(&fixes, c, what);
    fail(e,
         "%s: this run takes %.2f GiB (%s); %s has %.2f of %.2f GiB free%s. %s; appo plan memory=%.1fGiB shows how far",
         path, gib(n.all), parts.p, dev_name(), gib(left), gib(total), kept ? " (a twentieth stays for others)" : "",
         fixes.p, gib(left - kept));
    str_free(&parts);
    str_free(&fixes);
    return false;
}

bool memory_fits(const struct config *c, const char *path, enum memory_purpose what, struct err *e)
{
    if (what != MEMORY_SAMPLE && c->actor.optim_master == MASTER_NONE && sizeof(elem_t) == sizeof(acc_t))
        return fail(e,
                    "actor.optim.master=none is for weights stored as bf16 (a GPU build); this build stores " ELEM_NAME
                    " and has no other copy: leave it auto");
    return memory_fits_share(c, path, what, 1, e);
}

bool session_fits(const struct config *c, const char *path, bool trains, struct err *e)
{
    return memory_fits(c, path, trains ? MEMORY_TRAIN : MEMORY_SAMPLE, e);
}
