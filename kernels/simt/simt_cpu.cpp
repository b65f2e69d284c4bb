/* simt_cpu.cpp: the scheduler of the shim. Fibers switch stacks in 20 instructions of x86-64; each stack ends in a page
 * that may not be touched. Static shared memory is thread-local data that the build gathers in the section simt_shared,
 * so that it can be filled with NaN between launches. */
#include "kernels/cuda/simt.h"
#include "kernels/simt/simt_memory.h"
#include "kernels/simt/simt_stream.h"
#include <omp.h>
#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { STACK = 256 << 10 };
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
enum { STACK = 64 << 10 };
#endif
enum { PAGE = 4096, FORWARD = 0, REVERSE = 1, BOTH = 2, SERIAL_THREADS = 4096 };

__thread simt_block *simt_b;
extern __thread char __start_simt_shared[] __attribute__((weak)), __stop_simt_shared[] __attribute__((weak));

static int order = -1;                  /* what was asked for; -1: the environment was not read yet */
static int lanes;                       /* of the launch that runs: FORWARD, REVERSE or a seed */
static bool catching;
static char caught[512];

int simt_get_order()
{
    if (order >= 0) return order;
    const char *s = getenv("APPO_SIMT_ORDER");
    if (!s || !*s || !strcmp(s, "forward")) order = FORWARD;
    else if (!strcmp(s, "reverse")) order = REVERSE;
    else if (!strcmp(s, "both")) order = BOTH;
    else if (atoi(s) > BOTH) order = atoi(s);
    else die("APPO_SIMT_ORDER=%s: it is forward, reverse, both or a seed of at least 3", s);
    return order;
}
void simt_set_order(int o) { order = o; }
void simt_catch(bool on) { catching = on; caught[0] = 0; }
const char *simt_caught() { return caught[0] ? caught : nullptr; }

/* Save the six registers a callee must keep, change stacks, take back six. */
extern "C" void simt_switch(void **from, void *to);
asm(".text\n.globl simt_switch\n.type simt_switch,@function\nsimt_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size simt_switch,.-simt_switch\n");
static inline void to_fiber(simt_fiber *f)
{
    simt_fiber *me = simt_b->cur;
    simt_b->cur = f;
    simt_switch(&me->sp, f->sp);
}
static inline void to_scheduler() { simt_switch(&simt_b->cur->sp, simt_b->sched_sp); }
static inline void from_scheduler(simt_fiber *f) { simt_b->cur = f; simt_switch(&simt_b->sched_sp, f->sp); }

/* Dies; in a test of the shim only stores the message and abandons the block: its fibers are never resumed. */
static void give_up(const char *what)
{
    char text[512];
    size_t n = (size_t)snprintf(text, sizeof text, "simt: %s in block (%u,%u,%u) of %s", what, simt_b->bid.x,
                                simt_b->bid.y, simt_b->bid.z, simt_b->k->name);
    for (int i = 0, shown = 0; i < simt_b->n && shown < 4 && n < sizeof text; i++) {
        const simt_warp *w = simt_b->w + i / 32;
        unsigned bit = 1u << (i & 31);
        if (!((w->meet | w->block | w->group) & bit)) continue;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s thread %d at line %d (%s)",
                              shown++ ? "," : "; waiting:", i, simt_b->f[i].line,
                              w->meet & bit    ? "warp"
                              : w->group & bit ? "warpgroup"
                                               : "block");
    }
    if (!catching) die("%s", text);
    memcpy(caught, text, sizeof text);
    simt_b->live = -1;
}

void simt_die(const char *what)
{
    give_up(what);
    to_scheduler();
    abort();
}

/* One bit of run: the lane after `from` in this launch's order. */
static inline int pick(unsigned run, int from)
{
    if (lanes == FORWARD) { unsigned up = run & ~0u << from; return __builtin_ctz(up ? up : run); }
    if (lanes == REVERSE) { unsigned up = run & ((1u << from) - 1); return 31 - __builtin_clz(up ? up : run); }
    static __thread uint32_t x = 1;
    x = x * 1664525u + 1013904223u + (uint32_t)lanes;
    for (int skip = (int)((uint64_t)x * (unsigned)__builtin_popcount(run) >> 32); skip > 0; skip--) run &= run - 1;
    return __builtin_ctz(run);
}

/* The next lane of this warp that can run gets the processor; none: back to the scheduler. */
void simt_yield()
{
    simt_fiber *me = simt_b->cur;
    unsigned run = simt_b->w[me->warp].run;
    if (!run) to_scheduler();
    else to_fiber(simt_b->f + me->warp * 32 + pick(run, me->lane));
}

static void fiber_main()
{
    simt_b->k->fn(simt_b->k->arg);
    simt_fiber *me = simt_b->cur;
    simt_b->w[me->warp].run &= ~(1u << me->lane);
    simt_b->live--;
    simt_yield();
    abort();
}

void simt_block_barrier(int line)
{
    simt_fiber *me = simt_b->cur;
    me->line = line;
    simt_b->w[me->warp].run &= ~(1u << me->lane);
    simt_b->w[me->warp].block |= 1u << me->lane;
    simt_yield();
}

/* Stacks start at different cache sets: 32 lanes of a warp at the same offset of a power of two would push one another
 * out. */
static void fiber_reset(simt_fiber *f, char *stack, int color)
{
    void **sp = (void **)(void *)(stack + STACK - 192 * color) - 3;     /* a function starts with rsp = 16 n + 8 */
    *--sp = (void *)fiber_main;
    for (int i = 0; i < 6; i++) *--sp = nullptr;
    f->sp = sp;
}

static void prepare(simt_block *b)
{
    b->live = b->n;
    b->serial++;
    b->cur = nullptr;
    for (; b->stacks_guarded < b->n; b->stacks_guarded++)
        mprotect(b->stacks + (size_t)b->stacks_guarded * STACK, PAGE, PROT_NONE);
    for (int i = 0; i < b->n; i++) {
        simt_fiber *f = b->f + i;
        f->tid = { (unsigned)i % b->bdim.x, (unsigned)i / b->bdim.x % b->bdim.y,
                   (unsigned)i / (b->bdim.x * b->bdim.y) };
        f->lane = i & 31; f->warp = i >> 5;
        fiber_reset(f, b->stacks + (size_t)i * STACK, i & 31);
    }
    for (int k = 0; k < b->n / 32; k++) b->w[k] = { ~0u, 0, 0, 0 };
    /* NaN: no kernel may rely on zeroed shared memory */
    if (b->k->smem) memset(b->dyn, 0xff, b->k->smem);
}

/* Every live thread waits: they must all wait for the block, at one place. What is wrong, or NULL. */
static const char *release(simt_block *b)
{
    int at = 0, line = 0, warps = b->n / 32;
    for (int k = 0; k < warps; k++) {
        if (b->w[k].meet) return "a warp operation waits for lanes that never come";
        if (b->w[k].group) return "a warpgroup operation waits for lanes that never come";
        for (unsigned m = b->w[k].block; m; m &= m - 1) {
            int l = b->f[k * 32 + __builtin_ctz(m)].line;
            if (line && line != l) return "threads of one block wait at different barriers";
            line = l; at++;
        }
    }
    if (at != b->n) return "a barrier waits for threads that have ended";
    for (int k = 0; k < warps; k++) { b->w[k].run = b->w[k].block; b->w[k].block = 0; }
    return nullptr;
}

static void run_block(simt_block *b)
{
    int warps = b->n / 32;
    prepare(b);
    while (b->live > 0) {
        bool ran = true;
        /* again where a warpgroup that has met wakes warps that were already visited */
        while (ran) {
            ran = false;
            for (int k = 0; k < warps; k++) {
                int wi = lanes == REVERSE ? warps - 1 - k : k;
                unsigned run;
                for (; b->live >= 0 && (run = b->w[wi].run); ran = true) from_scheduler(b->f + wi * 32 + pick(run, 0));
            }
        }
        const char *wrong = b->live > 0 ? release(b) : nullptr;
        if (wrong) give_up(wrong);
    }
    if (b->live < 0) ASAN_UNPOISON_MEMORY_REGION(b->stacks, (size_t)SIMT_MAX_THREADS * STACK);
}

static simt_block *make_block()
{
    simt_block *b = (simt_block *)xcalloc(1, sizeof *b);
    b->stacks = (char *)mmap(nullptr, (size_t)SIMT_MAX_THREADS * STACK, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *window = (char *)aligned_alloc(1024, SIMT_SHARED + 1024);
    if (b->stacks == MAP_FAILED || !window) die("out of memory for the stacks of %d fibers", SIMT_MAX_THREADS);
    b->dyn = window + SIMT_SHARED_FROM;
    return b;
}

static void run_once(dim3 g, dim3 bd, const simt_kernel *k)
{
    int64_t blocks = (int64_t)g.x * g.y * g.z, threads = bd.x * bd.y * bd.z;
    #pragma omp parallel if (blocks > 1 && blocks * threads > SERIAL_THREADS)
    {
        static thread_local simt_block *mine;
        if (!mine) mine = make_block();
        simt_b = mine;
        mine->n = (int)threads; mine->bdim = bd; mine->gdim = g; mine->k = k;
        if (lanes != FORWARD && __start_simt_shared)
            memset(__start_simt_shared, 0xff, (size_t)(__stop_simt_shared - __start_simt_shared));
        ASAN_POISON_MEMORY_REGION(mine->dyn, SIMT_SHARED);
        ASAN_UNPOISON_MEMORY_REGION(mine->dyn, k->smem);
        #pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < blocks; i++) {
            int64_t j = lanes == REVERSE ? blocks - 1 - i : i;
            mine->bid = { (unsigned)(j % g.x), (unsigned)(j / g.x % g.y), (unsigned)(j / ((int64_t)g.x * g.y)) };
            run_block(mine);
        }
    }
}

void simt_run_grid(dim3 g, dim3 b, simt_kernel k)
{
    int64_t threads = (int64_t)b.x * b.y * b.z;
    if (!g.x || !g.y || !g.z) return;
    if (threads % 32 || threads < 1 || threads > SIMT_MAX_THREADS)
        die("%s: a block of %lld threads", k.name, (long long)threads);
    if (g.x > 0x7fffffff || g.y > 65535 || g.z > 65535) die("%s: a grid of %u x %u x %u blocks", k.name, g.x, g.y, g.z);
    if (k.smem > SIMT_SHARED) die("%s: %zu bytes of shared memory, an SM has %d", k.name, k.smem, SIMT_SHARED);
    const int asked = simt_get_order();
    caught[0] = 0;
    lanes = asked == BOTH ? FORWARD : asked;
    if (asked != BOTH) {
        run_once(g, b, &k);
        return;
    }
    std::lock_guard<std::recursive_mutex> held(simt_memory_lock);
    simt_memory_save();
    run_once(g, b, &k);
    if (caught[0]) return;
    simt_memory_swap();
    lanes = REVERSE;
    run_once(g, b, &k);
    char text[sizeof caught];
    if (!caught[0] && !simt_memory_same(k.name, text, sizeof text)) {
        if (!catching) die("%s", text);
        memcpy(caught, text, sizeof text);
    }
}
