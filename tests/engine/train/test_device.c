/* test_device.c: what steps ask of the device: after the first of its kind a decode step and a training step allocate
 * nothing and wait only for numbers that the host needs; recorded decode steps give the bits of those that are called
 * one operation at a time. On a CPU only the counting is left of it. */
#define _GNU_SOURCE      /* nftw */
#include "engine/rollout/rollout_in.h"
#include "tests/engine/train/mini.h"
#include "tests/engine/rollout/same.h"

static struct model model;
static struct tokenizer *tok;

/* Waits are counted where there is a device, and no debug build that fetches every result. */
static bool waits_count(void)
{
#ifdef APPO_CHECKS
    return false;
#else
    return strcmp(dev_name(), "cpu") != 0;
#endif
}

enum { RUNS = 13, PROMPT = 5 };

struct world { struct arena arena; struct kv kv; struct rollout *r; };
static const struct rollout_config sampling = { .temperature = 0.9,
                                                .top_p = 1,
                                                .seed = 5,
                                                .max_len = 60,
                                                .max_response = 60,
                                                .max_rows = 32,
                                                .max_seqs = 11,
                                                .tool_threads = 1 };

static void no_tool(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                    struct str *out)
{
    (void)ctx; (void)who; (void)tool; (void)query; (void)n;
    str_puts(out, "1");
}

static void world_make(struct world *w)
{
    arena_make(&w->arena, "rollout", 8u << 20);
    kv_make(&w->kv, &model, 11 * kv_pages_for(100), &w->arena);
    dev_zero(w->kv.pool, (size_t)(w->kv.layers * w->kv.layer_stride) * sizeof(elem_t));
    w->r = rollout_make(&model, tok, &w->kv, &(struct toolbox){ .run = no_tool }, &sampling, &w->arena);
}

static void world_free(struct world *w)
{
    rollout_free(w->r);
    assert_int_equal(w->kv.free, w->kv.pages);
    kv_destroy(&w->kv);
    arena_free(&w->arena);
}

/* Sequences with unequal room for a response, so that every number of rows from all slots down to 1 turns up. */
static void run(struct world *w, struct sequence *seq, double temperature, struct rollout_stats *s)
{
    struct sequence *list[RUNS];
    struct rollout_config c = sampling;
    c.temperature = temperature;
    rollout_set(w->r, &c);
    for (int i = 0; i < RUNS; i++) {
        int ids[PROMPT + 3 * RUNS], len = PROMPT + 3 * i;
        for (int k = 0; k < len; k++) ids[k] = (i * 31 + k * 7) % 256;
        seq[i] = (struct sequence){ 0 };
        sequence_begin(list[i] = &seq[i], ids, len);
        seq[i].prompt = (uint32_t)i;
    }
    rollout_run(w->r, list, RUNS, false, NULL, NULL, s);
}

static void same_and_free(const char *name, struct sequence *a, struct sequence *b)
{
    for (int i = 0; i < RUNS; i++) {
        CHECK(a[i].n == b[i].n, "%s, sequence %d: %d and %d tokens", name, i, a[i].n, b[i].n);
        for (int k = 0; k < a[i].n; k++)
            CHECK(a[i].ids[k] == b[i].ids[k] && a[i].logp[k] == b[i].logp[k] && a[i].entropy[k] == b[i].entropy[k],
                  "%s, sequence %d, token %d: id %d and %d, logp %.9g and %.9g", name, i, k, a[i].ids[k], b[i].ids[k],
                  (double)a[i].logp[k], (double)b[i].logp[k]);
        sequence_free(&b[i], NULL);
    }
}

static void recorded_steps_give_the_same(void **state)
{
    (void)state;
    struct world w;
    struct sequence hot[RUNS], cold[RUNS], again[RUNS];
    struct rollout_stats s;
    world_make(&w);
    struct dev_counts start = dev_count();
    bool records = dev_graph_supported();
    dev_graph_enable(false);
    run(&w, hot, 0.9, &s);
    run(&w, cold, 0.5, &s);
    assert_int_equal(dev_count().captured, start.captured);
    dev_graph_enable(true);
    assert_true(dev_graph_supported() == records);
    run(&w, again, 0.9, &s);
    same_and_free("recorded", hot, again);
    run(&w, again, 0.9, &s);
    same_and_free("launched", hot, again);
    /* of 1, 2, 4, 8 rows, and 11, which is all slots, those that came twice; passes with prompts in them are not
     * recorded */
    struct dev_counts c = dev_count();
    printf("%d passes of a run, %d graphs captured, %d passes launched\n", (int)s.forwards,
           (int)(c.captured - start.captured), (int)(c.launched - start.launched));
    assert_true(records ? c.captured - start.captured >= 4 && c.captured - start.captured <= 5 : c.captured == 0);
    assert_true(!records || c.launched - start.launched > s.forwards / 2);
    run(&w, again, 0.5, &s);                        /* another rule of sampling: what was recorded is of no use */
    same_and_free("cold", cold, again);
    run(&w, again, 0.9, &s);
    same_and_free("hot again", hot, again);
    for (int i = 0; i < RUNS; i++) { sequence_free(&hot[i], NULL); sequence_free(&cold[i], NULL); }
    world_free(&w);
}

static void moved_scratch_is_noticed(void **state)
{
    (void)state;
    struct world w;
    struct sequence first[RUNS], again[RUNS];
    struct rollout_stats s;
    world_make(&w);
    run(&w, first, 0.9, &s);
    run(&w, again, 0.9, &s);
    same_and_free("before", first, again);
    struct dev_counts before = dev_count();
    if (dev_dry_begin()) {                          /* a longer table of pages needs more of it */
        op_attn_paged(NULL, NULL, NULL, NULL, 4096, NULL, 8, model.h);
        assert_true(dev_dry_end(true) > 0);
        assert_true(dev_count().allocs > before.allocs);
    }
    run(&w, again, 0.9, &s);
    same_and_free("moved", first, again);
    assert_true(!dev_graph_supported() || dev_count().captured > before.captured);
    for (int i = 0; i < RUNS; i++) sequence_free(&first[i], NULL);
    world_free(&w);
}

static void a_decode_step_waits_once(void **state)
{
    (void)state;
    struct world w;
    struct sequence seq[RUNS];
    struct rollout_stats s;
    world_make(&w);
    for (int i = 0; i < 3; i++) {
        struct dev_counts before = dev_count(), after;
        run(&w, seq, 0.9, &s);
        after = dev_count();
        CHECK(after.allocs == before.allocs, "run %d: %d allocations", i, (int)(after.allocs - before.allocs));
        int waits = (int)(after.syncs - before.syncs);
        CHECK(!waits_count() || waits == s.forwards, "run %d: %d waits in %d passes", i, waits, (int)s.forwards);
        for (int k = 0; k < RUNS; k++) sequence_free(&seq[k], NULL);
    }
    world_free(&w);
}

/* One update on sequences of this length; the waits it made. */
static int64_t update(struct learner *l, int len, bool numbers)
{
    enum { SEQS = 3 };
    struct seq_view s[SEQS];
    struct pack p;
    int ids[SEQS][64];
    uint8_t m[64];
    acc_t g[SEQS * 64], logp[SEQS * 64];
    double norm;
    memset(m, 1, sizeof m);
    for (int i = 0; i < SEQS * 64; i++) g[i] = (acc_t)-0.01;
    for (int i = 0; i < SEQS; i++) {
        for (int k = 0; k < len; k++) ids[i][k] = (i * 17 + k * 5) % 256;
        s[i] = (struct seq_view){ .ids = ids[i], .m = m, .n = len, .group = i, .flat = i * 64 };
    }
    struct dev_counts before = dev_count(), after;
    pack_make(&p, s, SEQS);
    learner_zero(l);
    learner_score(l, &p, &(struct score_rule){ .inv_temp = 1 }, numbers ? logp : NULL, NULL);
    learner_grad(l, &p, 1, g, NULL, numbers ? logp : NULL, NULL);
    struct optim_rule o = { .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .max_norm = 1 };
    assert_true(learner_step(l, &o, &norm));
    pack_free(&p);
    after = dev_count();
    CHECK(after.allocs == before.allocs || strcmp(dev_name(), "cpu") == 0, "sequences of %d: %d allocations", len,
          (int)(after.allocs - before.allocs));
    return after.syncs - before.syncs;
}

static void an_update_waits_for_what_is_asked(void **state)
{
    (void)state;
    struct learner l;
    struct model m;
    tiny_model(&m, 8);
    learner_make(&l, &m, (struct learner_rule){ .max_rows = 200 });
    for (int len = 60; len >= 5; len -= 11) {
        int64_t all = update(&l, len, true), few = update(&l, len, false);
        /* scores, what the gradient saw, the norm; the norm */
        CHECK(!waits_count() || (all == 3 && few == 1), "sequences of %d: %d and %d waits", len, (int)all, (int)few);
    }
    learner_free(&l);
    model_free(&m);
}

static void a_whole_step_allocates_nothing(void **state)
{
    (void)state;
    struct mini x;
    struct err e;
    struct metrics metrics = { 0 };
    static const char *const set[] = { "data.train_batch_size",
                                       "2",
                                       "actor.ppo_mini_batch_size",
                                       "1",
                                       "rollout.initial_rollouts",
                                       "2",
                                       "data.max_response_length",
                                       "24",
                                       NULL };
    mini_open(&x, set, NULL, 3);
    for (int step = 0; step < 2; step++) {
        struct dev_counts before = dev_count(), after;
        CHECK(trainer_step(&x.t, &metrics, NULL, &e), "%s", e.text);
        after = dev_count();
        printf("step %d: %d allocations, %d waits\n", step, (int)(after.allocs - before.allocs),
               (int)(after.syncs - before.syncs));
        assert_true(after.allocs == before.allocs || strcmp(dev_name(), "cpu") == 0);
        metrics_free(&metrics);
    }
    mini_close(&x);
}

static void sizes_of_passes(void **state)
{
    (void)state;
    static const int want[][2] = { { 1, 1 },     { 2, 2 },     { 3, 4 },     { 5, 8 },     { 8, 8 },
                                   { 9, 16 },    { 17, 24 },   { 33, 40 },   { 57, 64 },   { 65, 80 },
                                   { 128, 128 }, { 129, 160 }, { 257, 320 }, { 513, 640 }, { 1000, 1024 } };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        CHECK(schedule_pass_size(want[i][0], 5000) == want[i][1], "%d rows: %d", want[i][0],
              schedule_pass_size(want[i][0], 5000));
    for (int n = 1; n <= GRAPH_ROWS; n++) {
        int size = schedule_pass_size(n, 5000);
        CHECK(size >= n && schedule_pass_size(size, 5000) == size && (n <= 64 || 4 * (size - n) < n),
              "%d rows run as %d", n, size);
        CHECK(schedule_pass_size(n, n) == n, "%d rows of %d slots", n, n);
    }
}

int main(void)
{
    setenv("APPO_NUMERICS", "exact", 1);            /* fast numerics may give other bits for another number of rows */
    tiny_model(&model, 3);
    tok = tiny_tokenizer(true);
    dev_set_threads(1);
    const struct CMUnitTest tests[] = { cmocka_unit_test(sizes_of_passes),
                                        cmocka_unit_test(recorded_steps_give_the_same),
                                        cmocka_unit_test(moved_scratch_is_noticed),
                                        cmocka_unit_test(a_decode_step_waits_once),
                                        cmocka_unit_test(an_update_waits_for_what_is_asked),
                                        cmocka_unit_test(a_whole_step_allocates_nothing) };
    int failed = cmocka_run_group_tests_name("device", tests, NULL, NULL);
    tokenizer_free(tok);
    model_free(&model);
    return failed;
}
