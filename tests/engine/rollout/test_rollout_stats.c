/* test_rollout_stats.c: what a run of rollouts reports about its work: tokens of the policy and of tools, calls, and of
 * recorded searches how many were found. The tokens are given; how a search ends depends on its query. */
#include "engine/rollout/rollout.h"
#include "engine/tools/tool_pool.h"
#include "tests/check.h"
#include "tests/engine/rollout/tiny.h"

static void recite(void *ctx, const struct sequence *seq, int *id)
{
    const struct ids *s = ctx;
    int k = 0;
    for (int i = seq->prompt_len; i < seq->n; i++) k += seq->m[i];
    *id = k < s->n ? s->p[k] : 'z';
}

static void answer(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n, struct str *out)
{
    (void)ctx, (void)who, (void)tool;
    if (n == 4 && !memcmp(query, "near", 4)) tools_status(CALL_NEAREST);
    if (n == 4 && !memcmp(query, "none", 4)) tools_status(CALL_NOT_RECORDED);
    str_puts(out, "page");
}

/* Two searches that are found, one that is nearly, three that are not; a python call, and one past the limit. */
static const char script[] = "<search>hit</search><search>none</search><python>1</python><search>near</search>"
                             "<search>none</search><search>hit</search><search>none</search><search>hit</search>"
                             "<|end|>";
enum { CALLS = 8, LIMIT = 7 };

static void check_run(const struct model *m, const struct tokenizer *t, bool recorded)
{
    struct arena arena;
    struct kv kv;
    struct ids ids = { 0 };
    struct sequence seq = { 0 }, *list = &seq;
    struct rollout_stats stats;
    struct toolbox box = { .run = answer, .recorded = recorded };
    struct rollout_config c = { .temperature = 0.8, .top_p = 1, .seed = 5, .max_len = 400, .max_response = 390,
        .call_limit = LIMIT, .max_rows = 64, .max_seqs = 4, .tool_threads = 1, .tool_timeout_s = 20, .force = recite,
        .force_ctx = &ids };
    assert_true(tokenizer_encode(t, &ids, script, strlen(script), true));
    arena_make(&arena, "stats", 8u << 20);
    kv_make(&kv, m, 60, &arena);
    struct rollout *r = rollout_make(m, t, &kv, &box, &c, &arena);
    sequence_begin(&seq, (int[]){ 'p', 'q' }, 2);
    rollout_run(r, &list, 1, false, NULL, NULL, &stats);
    int64_t own = 0, tools = 0;
    for (int i = seq.prompt_len; i < seq.n; i++) {
        own += seq.m[i];
        tools += !seq.m[i];
    }
    CHECK(seq.finish == FINISH_END && seq.calls == CALLS, "%d calls", seq.calls);
    CHECK(stats.calls == CALLS && stats.timeouts == 0, "%lld calls", (long long)stats.calls);
    CHECK(stats.generated == own && own == ids.n && stats.tool_tokens == tools && tools > 0,
          "%lld tokens of the policy, %lld of tools", (long long)stats.generated, (long long)stats.tool_tokens);
    CHECK(stats.search_hits == (recorded ? 2 : 0), "recorded %d: %lld hits", recorded, (long long)stats.search_hits);
    CHECK(stats.search_misses == 4, "%lld misses", (long long)stats.search_misses);
    sequence_free(&seq, &kv);
    rollout_free(r);
    kv_destroy(&kv);
    arena_free(&arena);
    ids_free(&ids);
}

static void counts(void **state)
{
    (void)state;
    struct model m;
    tiny_model(&m, 3);
    for (int special = 0; special < 2; special++) {
        struct tokenizer *t = tiny_tokenizer(special);
        check_run(&m, t, false);
        check_run(&m, t, true);
        tokenizer_free(t);
    }
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(counts) };
    return cmocka_run_group_tests_name("rollout stats", tests, NULL, NULL);
}
