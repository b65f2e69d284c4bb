/* test_kv_pages.c: pages that forks share: contents, copies on write, reference counts, and that a stale page is never
 * read. */
#include "engine/rollout/sequence.h"
#include "base/philox.h"
#include "tests/engine/rollout/same.h"
#include "tests/engine/tools/two_tools.h"

enum { PAGES = 64 };
static struct model model;
static struct arena arena;
static struct kv kv;

static int width(void) { return model.qkv_dim; }

/* Key and value row of a token: a function of its value and the layer. */
static void row_of(elem_t *row, uint32_t value, int layer)
{
    struct rng r = rng_make(7, (uint32_t)layer, value);
    for (int i = 0; i < width(); i++) row[i] = (elem_t)(rng_uniform(&r) - 0.5);
}

static void write_token(struct kv *to, struct kv_seq *s, int pos, uint32_t value, uint64_t version)
{
    elem_t *row = xmalloc((size_t)width() * sizeof *row);
    int64_t slot = kv_slot(to, s, pos, version);
    for (int l = 0; l < to->layers; l++) {
        row_of(row, value, l);
        op_kv_write(to->pool + l * to->layer_stride, row, &slot, 1, to->h);
    }
    free(row);
}

/* Attention output at the end of the sequence, in every layer: depends on every key and value. */
static void read_all(const struct kv *from, const struct kv_seq *s, elem_t *out)
{
    int pos = s->len - 1, dim = from->h.heads * from->h.hd;
    elem_t *row = xmalloc((size_t)width() * sizeof *row);
    row_of(row, 12345, 9);
    for (int l = 0; l < from->layers; l++)
        op_attn_paged(out + l * dim, row, from->pool + l * from->layer_stride, s->page, s->n_pages, &pos, 1, from->h);
    free(row);
}

static void fill_nan(struct kv *p)
{
    for (int64_t i = 0; i < p->layers * p->layer_stride; i++) p->pool[i] = (elem_t)NAN;
}

static int make(void **state)
{
    (void)state;
    tiny_model(&model, 1);
    arena_make(&arena, "kv", 4u << 20);
    kv_make(&kv, &model, PAGES, &arena);
    fill_nan(&kv);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    kv_destroy(&kv);
    arena_free(&arena);
    model_free(&model);
    return 0;
}

/* Sequences in a shared pool against the same values written to a pool without sharing. */
struct shadow { struct kv_seq s; uint32_t value[200]; };

static void same_as_unshared(struct kv *plain, const struct shadow *w, int step)
{
    elem_t got[256], want[256];
    struct kv_seq fresh = { 0 };
    if (!w->s.len) return;
    for (int i = 0; i < w->s.len; i++) write_token(plain, &fresh, i, w->value[i], 1);
    read_all(&kv, &w->s, got);
    read_all(plain, &fresh, want);
    CHECK(memcmp(got, want, (size_t)(kv.layers * kv.h.heads * kv.h.hd) * sizeof *got) == 0, "step %d, length %d", step,
          w->s.len);
    kv_drop(plain, &fresh);
}

static void forks_read_what_was_written(void **state)
{
    (void)state;
    enum { SEQS = 8, STEPS = 3000 };
    static struct shadow w[SEQS];
    struct kv plain;
    struct arena more;
    struct rng r = rng_make(3, 0, 0);
    int copies = 0, forks = 0;
    arena_make(&more, "plain", 4u << 20);
    kv_make(&plain, &model, PAGES, &more);
    fill_nan(&plain);
    for (int step = 0; step < STEPS; step++) {
        struct shadow *a = &w[rng_below(&r, SEQS)], *b = &w[rng_below(&r, SEQS)];
        uint32_t what = rng_below(&r, 20), value = rng_u32(&r);
        if (what < 12 && a->s.len < 100) {
            int claim = kv_claim(&kv, &a->s, a->s.len + 1), before = kv.free;
            if (claim > kv.free) continue;
            bool copy = a->s.n_pages * KV_PAGE > a->s.len && claim;
            a->value[a->s.len] = value;
            write_token(&kv, &a->s, a->s.len, value, 1);
            assert_int_equal(before - kv.free, claim);
            copies += copy;
        } else if (what < 14 && a->s.len) {                     /* rewrite */
            int pos = (int)rng_below(&r, (uint32_t)a->s.len);
            if (!kv.free) continue;
            a->value[pos] = value;
            write_token(&kv, &a->s, pos, value, 1);
        } else if (what < 17 && a != b) {
            int len = (int)rng_below(&r, (uint32_t)a->s.len + 1);
            kv_drop(&kv, &b->s);
            kv_fork(&kv, &b->s, &a->s, len);
            memcpy(b->value, a->value, sizeof a->value);
            forks++;
        } else if (what == 17) {
            kv_cut(&kv, &a->s, (int)rng_below(&r, (uint32_t)a->s.len + 1));
        } else if (what == 18 && step % 3 == 0) {
            kv_drop(&kv, &a->s);
        }
        if (step % 7 == 0) same_as_unshared(&plain, &w[rng_below(&r, SEQS)], step);
        if (step % 50 == 0) kv_check_all(&kv);
    }
    printf("%d forks, %d copies of a shared page on the way on\n", forks, copies);
    assert_true(forks > 100 && copies > 20);
    for (int i = 0; i < SEQS; i++) { same_as_unshared(&plain, &w[i], STEPS); kv_drop(&kv, &w[i].s); }
    kv_check_all(&kv);
    assert_int_equal(kv.free, kv.pages);
    assert_int_equal(plain.free, plain.pages);
    kv_destroy(&plain);
    arena_free(&more);
}

static void a_fork_takes_only_what_it_adds(void **state)
{
    (void)state;
    static const struct { int len, fork, shared, on_write; } cases[] = {
        { 40, 40, 3, 1 },           /* in the middle of a page: that page is copied at the first write */
        { 40, 32, 2, 1 },           /* at a page's end: a new page, no copy */
        { 40, 33, 3, 1 }, { 16, 16, 1, 1 }, { 16, 15, 1, 1 }, { 1, 1, 1, 1 }, { 5, 0, 0, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kv_seq a = { 0 }, b = { 0 };
        for (int p = 0; p < cases[i].len; p++) write_token(&kv, &a, p, (uint32_t)p, 1);
        int before = kv.free;
        kv_fork(&kv, &b, &a, cases[i].fork);
        assert_int_equal(kv.free, before);
        assert_int_equal(b.n_pages, cases[i].shared);
        int last = cases[i].fork / KV_PAGE, old = last < b.n_pages ? b.page[last] : -1;
        write_token(&kv, &b, b.len, 99, 1);
        assert_int_equal(before - kv.free, cases[i].on_write);
        assert_true(b.page[last] != old);
        /* after the fork's copy the page has one holder again */
        if (old >= 0) assert_true(a.page[last] == old && kv.ref[old] == 1);
        kv_drop(&kv, &b);
        kv_drop(&kv, &a);
        assert_int_equal(kv.free, kv.pages);
    }
}

static void sequences_fork(void **state)
{
    (void)state;
    int prompt[20];
    struct sequence a = { 0 }, b = { 0 }, c = { 0 };
    for (int i = 0; i < 20; i++) prompt[i] = i;
    sequence_begin(&a, prompt, 20);
    a.step = 1, a.prompt = 2, a.rollout = 3, a.scope = 4;
    /* 8 tokens of a result at 10..17 */
    for (int i = 0; i < 30; i++) sequence_put(&a, 100 + i, i < 10 || i >= 18, (acc_t)-i, (acc_t)i);
    struct call first = { .tool = TOOL_SEARCH, .begin = 5, .end = 8, .close = 9 },
                second = { .tool = TOOL_PYTHON, .begin = 20, .end = 22, .close = 23, .over_limit = true };
    a.call = xcalloc(2, sizeof *a.call);
    a.call[0] = first;
    a.call[1] = second;
    a.calls = a.calls_cap = 2;
    a.calls_by[TOOL_SEARCH] = 1;
    for (int p = 0; p < 49; p++) write_token(&kv, &a.kv, p, (uint32_t)p, 1);

    static const struct {
        int at, calls, kv_len;
    } cases[] = { { 20, 0, 19 }, { 21, 0, 20 }, { 29, 0, 28 }, { 30, 1, 29 },
                  { 38, 1, 37 }, { 43, 1, 42 }, { 44, 2, 43 }, { 50, 2, 49 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sequence_fork(&b, &a, cases[i].at, &kv);
        assert_int_equal(b.n, cases[i].at);
        assert_int_equal(b.born, cases[i].at);
        assert_int_equal(b.branch_pos, cases[i].at - 20);
        assert_int_equal(b.calls, cases[i].calls);
        assert_int_equal(b.calls_by[TOOL_SEARCH], cases[i].calls > 0);
        assert_int_equal(b.calls_by[TOOL_PYTHON], 0);           /* the second was over the limit */
        assert_int_equal(b.kv.len, cases[i].kv_len);
        assert_memory_equal(b.ids, a.ids, (size_t)b.n * sizeof *b.ids);
        assert_memory_equal(b.m, a.m, (size_t)b.n);
        assert_memory_equal(b.logp, a.logp, (size_t)b.n * sizeof *b.logp);
        assert_memory_equal(b.entropy, a.entropy, (size_t)b.n * sizeof *b.entropy);
        assert_true(b.prompt == 2 && b.step == 1 && b.scope == 4 && b.parent == -1 && b.finish == FINISH_NONE);
        sequence_put(&b, 7, true, 0, 0);
        sequence_fork(&c, &b, b.n, &kv);                         /* a fork of a fork outlives both */
        sequence_free(&b, &kv);
        assert_int_equal(c.ids[c.n - 1], 7);
        assert_int_equal(c.kv.len, cases[i].kv_len);
        sequence_free(&c, &kv);
    }
    kv_drop(&kv, &a.kv);
    sequence_fork(&b, &a, 25, &kv);                              /* without pages: it will run its prefix again */
    assert_int_equal(b.kv.len, 0);
    sequence_free(&b, NULL);
    sequence_free(&a, NULL);
    assert_int_equal(kv.free, kv.pages);
}

static struct kv_seq held;
static void stale_read(void) { kv_check(&kv, &held, 2); }
static void stale_write(void) { kv_slot(&kv, &held, held.len, 2); }
static void gap(void) { kv_slot(&kv, &held, held.len + 1, 1); }
static void dry(void) { for (int i = held.len;; i++) kv_slot(&kv, &held, i, 1); }
static void twice(void) { struct kv_seq again = held; kv_cut(&kv, &held, 0); kv_cut(&kv, &again, 0); }
static void inside_result(void)
{
    struct sequence a = { 0 }, b = { 0 };
    int p = 1;
    sequence_begin(&a, &p, 1);
    sequence_put(&a, 1, true, 0, 0);
    for (int i = 0; i < 3; i++) sequence_put(&a, 2, false, 0, 0);
    sequence_put(&a, 1, true, 0, 0);
    sequence_fork(&b, &a, 3, NULL);
}

static void broken_invariants_die(void **state)
{
    (void)state;
    for (int p = 0; p < 20; p++) write_token(&kv, &held, p, 1, 1);
    kv_check(&kv, &held, 1);
    dies("stale read", stale_read, "version 1 of the weights, which are now version 2");
    dies("stale write", stale_write, "version 1 of the weights, which are now version 2");
    dies("gap", gap, "broken invariant");
    dies("dry", dry, "all 64 pages");
    dies("twice", twice, "broken invariant");
    dies("inside a result", inside_result, "broken invariant");
    kv_drop(&kv, &held);
    /* free pages get the new version when they are taken */
    for (int p = 0; p < 20; p++) write_token(&kv, &held, p, 1, 2);
    kv_check(&kv, &held, 2);
    kv_drop(&kv, &held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forks_read_what_was_written), cmocka_unit_test(a_fork_takes_only_what_it_adds),
        cmocka_unit_test(sequences_fork),
        cmocka_unit_test(broken_invariants_die),
    };
    return cmocka_run_group_tests_name("kv", tests, make, drop);
}
