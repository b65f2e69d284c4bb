/* test_lanes.c: the operations whose inner loops are compiled for AVX-512 as well give the same bits with and without
 * it and with any number of threads, for lengths that fill vectors and lengths that do not; and rows that threads share
 * are each processed once. */
#include "kernels/cpu/gemm_isa.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/vec.h"
#include "tests/kernels/case.h"
#include <omp.h>

/* One run of one operation: everything it wrote, on the host. */
struct outcome { double *x; int64_t n; };
static struct outcome outcome(int64_t n) { return (struct outcome){ host(n), 0 }; }
static void add(struct outcome *o, const elem_t *d, int64_t n)
{
    memcpy(o->x + o->n, got(d, n), (size_t)n * sizeof *o->x);
    o->n += n;
}

struct shape { int n, dim; struct heads h; };
typedef struct outcome op(const struct shape *s, struct rng r);

static struct outcome norms(const struct shape *s, struct rng r)
{
    int64_t c = (int64_t)s->n * s->dim;
    struct outcome o = outcome(4 * c + s->n + 2 * s->dim);
    elem_t *x = elems(noise(&r, c, 2), c), *more = elems(noise(&r, c, 1), c), *res = elems(NULL, c),
           *y = elems(NULL, c), *w = elems(noise(&r, s->dim, 1), s->dim);
    acc_t *rstd = accs(NULL, s->n), *dw = accs(host(s->dim), s->dim), *db = accs(host(s->dim), s->dim);
    op_add_rmsnorm((struct rmsnorm_args){
        .res = res, .y = y, .rstd = rstd, .x = x, .add = more, .w = w, .eps = 1e-5, .n = s->n, .dim = s->dim });
    add(&o, res, c), add(&o, y, c), add(&o, rstd, s->n);
    op_rmsnorm_back((struct rmsnorm_back_args){
        .dx = x, .dw = dw, .dy = y, .dres = more, .res = res, .w = w, .rstd = rstd, .n = s->n, .dim = s->dim });
    op_bias_back(db, x, s->n, s->dim);
    add(&o, x, c), add(&o, dw, s->dim), add(&o, db, s->dim);
    return o;
}

static struct outcome swiglus(const struct shape *s, struct rng r)
{
    int64_t c = (int64_t)s->n * s->dim;
    struct outcome o = outcome(3 * c);
    elem_t *gate_up = elems(noise(&r, 2 * c, 9), 2 * c), *dy = elems(noise(&r, c, 1), c), *y = elems(NULL, c);
    op_swiglu(y, gate_up, s->n, s->dim);
    op_swiglu_back(gate_up, dy, gate_up, s->n, s->dim);
    add(&o, y, c), add(&o, gate_up, 2 * c);
    return o;
}

static struct outcome logits(const struct shape *s, struct rng r)
{
    int64_t ld = s->dim + 3, c = s->n * ld, n = s->n;
    struct outcome o = outcome(c + 5 * n);
    elem_t *x = elems(noise(&r, c, 12), c);
    acc_t *lse = accs(NULL, n), *logp = accs(NULL, n), *ent = accs(NULL, n), *logp2 = accs(NULL, n),
          *ent2 = accs(NULL, n);
    int *tgt = ints(keep(xcalloc((size_t)n, sizeof *tgt), false), n), *id = ints(tgt, n);
    struct sample_key *key = keep(xcalloc((size_t)n, sizeof *key), false);
    for (int i = 0; i < n; i++) {
        tgt[i] = (int)rng_below(&r, (uint32_t)s->dim);
        key[i].rollout = (uint32_t)i;
    }
    op_row_stats((struct row_stats_args){
        .lse = lse, .logp = logp, .ent = ent, .x = x, .inv_temp = 0.7, .tgt = tgt, .n = n, .vocab = s->dim, .ld = ld });
    op_sample((struct sample_args){
        .id = id, .logp = logp2, .ent = ent2, .x = x,
        .rule = &(struct sample_rule){ .temperature = 1.25, .top_p = 1, .seed = 3 }, .key = key, .n = n,
        .vocab = s->dim, .ld = ld });
    op_dlogits((struct dlogits_args){
        .x = x, .lse = lse, .ent = ent, .g = logp2, .ge = ent2, .inv_temp = 0.7, .tgt = id, .n = n, .vocab = s->dim,
        .ld = ld });
    add(&o, lse, n), add(&o, logp, n), add(&o, ent, n), add(&o, logp2, n), add(&o, ent2, n), add(&o, x, c);
    return o;
}

/* Rotation with and without norms, attention over a forest and over pages, there and back. */
static struct outcome attention(const struct shape *s, struct rng r)
{
    const struct heads h = s->h;
    int64_t width = (h.heads + 2 * h.kv) * h.hd, hq = h.heads * h.hd, n = s->n, c = n * width,
            pages = (n + KV_PAGE - 1) / KV_PAGE;
    struct outcome o = outcome(3 * c + 2 * n * hq + n * h.heads + 2 * h.hd);
    elem_t *in = elems(noise(&r, c, 2), c), *qkv = elems(NULL, c), *out = elems(NULL, n * hq),
           *dout = elems(noise(&r, n * hq, 1), n * hq), *dqkv = elems(NULL, c);
    elem_t *qn = elems(noise(&r, h.hd, 1), h.hd), *kn = elems(noise(&r, h.hd, 1), h.hd);
    acc_t *freq = accs(noise(&r, h.hd / 2, 1), h.hd / 2), *lse = accs(NULL, n * h.heads),
          *rstd = accs(NULL, n * (h.heads + h.kv));
    acc_t *dqn = accs(host(h.hd), h.hd), *dkn = accs(host(h.hd), h.hd);
    int *pos = keep(xcalloc((size_t)n, sizeof *pos), false), *end = keep(xcalloc((size_t)n, sizeof *end), false);
    for (int i = 0; i < n; i++) {                        /* trees of 100 rows, in each a side branch at rows 40 .. 59 */
        int tree = i / 100 * 100, at = i % 100;
        pos[i] = at < 60 ? at : at - 20;
        end[i] = (int)MIN(n, at >= 40 && at < 60 ? tree + 60 : tree + 100);
    }
    op_rope((struct rope_args){
        .out = qkv, .rstd = rstd, .in = in, .qnorm = qn, .knorm = kn, .eps = 1e-5, .freq = freq, .pos = pos, .n = n,
        .h = h });
    struct attn_plan *p = attn_plan_make(end, n);
    op_attn(out, lse, qkv, p, h);
    op_attn_back(dqkv, dout, out, lse, qkv, p, h);
    attn_plan_free(p);
    add(&o, qkv, c), add(&o, out, n * hq), add(&o, lse, n * h.heads);
    op_rope_back((struct rope_back_args){
        .din = dqkv, .dqnorm = dqn, .dknorm = dkn, .dout = dqkv, .in = in, .rstd = rstd, .qnorm = qn, .knorm = kn,
        .freq = freq, .pos = pos, .n = n, .h = h });
    add(&o, dqkv, c), add(&o, dqn, h.hd), add(&o, dkn, h.hd);
    op_rope((struct rope_args){ .out = dqkv, .in = in, .eps = 0, .freq = freq, .pos = pos, .n = n, .h = h });
    add(&o, dqkv, c);
    elem_t *pool = elems(NULL, pages * kv_page_elems(h));
    int64_t *slot = keep(xcalloc((size_t)n, sizeof *slot), false);
    int *table = keep(xcalloc((size_t)(n * pages), sizeof *table), false);
    for (int i = 0; i < n; i++) {                        /* one sequence, its pages from the last one down */
        slot[i] = (pages - 1 - i / KV_PAGE) * KV_PAGE + i % KV_PAGE;
        pos[i] = (int)rng_below(&r, (uint32_t)n);
        for (int k = 0; k < pages; k++) table[i * pages + k] = (int)(pages - 1 - k);
    }
    op_kv_write(pool, qkv, slot, n, h);
    op_attn_paged(out, qkv, pool, table, (int)pages, pos, n, h);
    add(&o, out, n * hq);
    return o;
}

static void same_everywhere(op *run, const char *name, const struct shape *s)
{
    const struct gemm_isa *isa[] = { gemm_isa_portable(), gemm_isa_avx2(), gemm_isa_avx512() };
    int before = dev_threads();
    struct rng r = rng_make(7, (uint32_t)s->n, (uint32_t)s->dim);
    struct outcome want = { 0 };
    for (int k = 0; k < 9; k++) {
        if (!isa[k / 3]) continue;
        gemm_isa_force(isa[k / 3]);
        dev_set_threads(1 + k % 3);
        struct outcome o = run(s, r);
        if (!want.x) want = o;
        CHECK(o.n == want.n && same_bits(o.x, want.x, o.n),
              "%s %dx%d, heads %d %d %d: %s with %d threads against portable with 1", name, s->n, s->dim, s->h.heads,
              s->h.kv, s->h.hd, isa[k / 3]->name, 1 + k % 3);
        for (int64_t i = 0; i < o.n; i++)
            CHECK(isfinite(o.x[i]), "%s %dx%d: number %lld", name, s->n, s->dim, (long long)i);
    }
    gemm_isa_force(NULL);
    dev_set_threads(before);
    drop();
}

static void rows_are_the_same(void **state)
{
    (void)state;
    static const struct shape cases[] = { { .n = 300, .dim = 96 },
                                          { .n = 7, .dim = 1 },
                                          { .n = 65, .dim = 33 },
                                          { .n = 40, .dim = 510 },
                                          { .n = 9, .dim = 47 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        same_everywhere(norms, "norms", &cases[i]);
        same_everywhere(swiglus, "swiglu", &cases[i]);
        same_everywhere(logits, "logits", &cases[i]);
    }
}

/* Groups of one, two, three heads and five; head dimensions that make one to eight vectors, whole and cut. */
static void attention_is_the_same(void **state)
{
    (void)state;
    static const struct shape cases[] = {
        { 230, 0, { 4, 2, 24 } }, { 150, 0, { 6, 2, 16 } }, { 130, 0, { 3, 3, 20 } }, { 120, 0, { 2, 1, 56 } },
        { 110, 0, { 4, 4, 120 } }, { 101, 0, { 5, 1, 2 } }, { 33, 0, { 2, 2, 128 } }, { 105, 0, { 2, 1, 40 } },
        { 1, 0, { 2, 1, 8 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) same_everywhere(attention, "attention", &cases[i]);
}

static void the_processor_is_asked(void **state)
{
    (void)state;
    gemm_isa_force(gemm_isa_portable());
    assert_string_equal(lanes()->name, "base");
    gemm_isa_force(NULL);
    if (!VEC || !lanes_avx512()) {
        print_message("no AVX-512 here: only the base architecture's loops were run\n");
        return;
    }
    gemm_isa_force(gemm_isa_avx512());
    assert_string_equal(lanes()->name, "avx512");
    gemm_isa_force(NULL);
}

static void every_row_is_given_once(void **state)
{
    (void)state;
    static const struct {
        int n, threads, most;
    } cases[] = { { 1000, 3, 8 }, { 5, 4, 1 }, { 0, 2, 3 }, { 1, 1, 9 }, { 777, 40, 2 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int n = cases[c].n, *times = xcalloc((size_t)n + 1, sizeof *times);
        struct share s;
        share_make(&s, n, cases[c].threads);
        #pragma omp parallel num_threads(cases[c].threads)
        for (int64_t i, last; share_take(&s, omp_get_thread_num(), cases[c].most, &i, &last); )
            for (; i < last; i++) {
                #pragma omp atomic
                times[i]++;
            }
        for (int i = 0; i < n; i++) CHECK(times[i] == 1, "%d rows, %d threads: row %d", n, cases[c].threads, i);
        int64_t first, last;
        CHECK(!share_take(&s, 0, 1, &first, &last), "%d rows, %d threads: one too many", n, cases[c].threads);
        free(times);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows_are_the_same), cmocka_unit_test(attention_is_the_same),
                                        cmocka_unit_test(the_processor_is_asked),
                                        cmocka_unit_test(every_row_is_given_once) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
