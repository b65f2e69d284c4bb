/* scratch.cu: device memory that operations need while they run. A dry run of the largest step finds the sizes before
 * the work starts; without one it grows on demand. Places are separate because two operations of one CUDA graph may
 * each rely on theirs. */
#include "kernels/cuda/num.cuh"

static struct { void *p; size_t bytes, noted; } kept[SCRATCH_PLACES];
static bool dry;
static uint64_t moves = 1;

bool dry_run(void) { return dry; }
uint64_t scratch_moves(void) { return moves; }

static void hold(int place, size_t bytes)
{
    dev_free(kept[place].p);
    kept[place].p = dev_alloc(bytes);
    kept[place].bytes = bytes;
    moves++;
}

void *scratch(enum scratch_place place, size_t bytes)
{
    if (dry) {
        kept[place].noted = MAX(kept[place].noted, bytes);
        return (void *)256;
    }
    if (bytes > kept[place].bytes) hold(place, MAX(bytes, kept[place].bytes + kept[place].bytes / 2));
    return kept[place].p;
}

bool dev_dry_begin(void)
{
    ENSURE(!dry && !capturing());
    for (int i = 0; i < SCRATCH_PLACES; i++) kept[i].noted = 0;
    /* vectors of a mini-batch of rollouts: no dry run knows how long they get. 32 MiB are 17 of them, of 490 k tokens
     * each */
    kept[SCRATCH_RL].noted = (size_t)32 << 20;
    return dry = true;
}

size_t dev_dry_end(bool take)
{
    size_t all = 0;
    ENSURE(dry);
    dry = false;
    for (int i = 0; i < SCRATCH_PLACES; i++) {
        all += MAX(kept[i].bytes, kept[i].noted);
        if (take && kept[i].noted > kept[i].bytes) hold(i, kept[i].noted);
    }
    return all;
}

size_t dev_scratch(void)
{
    size_t all = 0;
    for (int i = 0; i < SCRATCH_PLACES; i++) all += kept[i].bytes;
    return all;
}

/* A piece of the pool: `bytes` as requested; idle pieces serve requests of at least half their size. */
struct piece { struct piece *next; void *p; size_t bytes; };
static struct piece *out, *idle;
static size_t idle_bytes;

void *pool_get(size_t bytes)
{
    struct piece **best = nullptr;
    for (struct piece **at = &idle; *at; at = &(*at)->next)
        if ((*at)->bytes >= bytes && (*at)->bytes / 2 <= bytes && (!best || (*at)->bytes < (*best)->bytes)) best = at;
    struct piece *x = best ? *best : (struct piece *)xmalloc(sizeof *x);
    if (best) {
        *best = x->next;
        idle_bytes -= x->bytes;
    } else {
        x->p = dev_alloc(bytes);
        x->bytes = bytes;
    }
    x->next = out;
    out = x;
    return x->p;
}

void pool_put(void *p)
{
    struct piece **at = &out;
    while (*at && (*at)->p != p) at = &(*at)->next;
    ENSURE(*at);
    struct piece *x = *at;
    *at = x->next;
    x->next = idle;
    idle = x;
    idle_bytes += x->bytes;
    /* the oldest are freed: last in the list */
    while (idle_bytes > (size_t)64 << 20) {
        for (at = &idle; (*at)->next; at = &(*at)->next) { }
        idle_bytes -= (*at)->bytes;
        dev_free((*at)->p);
        free(*at);
        *at = nullptr;
    }
}
