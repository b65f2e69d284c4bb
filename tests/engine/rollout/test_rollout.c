/* test_rollout.c: a sequence must not depend on what runs beside it; log-prob and entropy of every sampled token must
 * be those of the training forward pass, bit for bit; all pages are released. */
#include "engine/rollout/rollout_in.h"
#include "base/philox.h"
#include "tests/engine/rollout/same.h"
#include "tests/engine/tools/two_tools.h"
#include <stdatomic.h>

static struct model model;
static struct tokenizer *tok[2];            /* tags as text; tags as special tokens */
/* calls made and calls over the limit, so that no case is silently missed */
static uint64_t kinds[2];

/* A tool whose result is a function of prompt and query; the time it takes is random. */
struct tool_speed { int max_us; atomic_int calls; };
static void slow_tool(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                      struct str *out)
{
    struct tool_speed *w = ctx;
    static atomic_uint clock;
    struct philox p = philox4x32(1, atomic_fetch_add(&clock, 1), 0, 0, 0);
    if (w->max_us) usleep(p.v[0] % (unsigned)w->max_us);
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) sum = sum * 31 + (unsigned char)query[i];
    str_printf(out, "%c%lld", tool_name(tool)[0], (long long)who->scope % 10);
    for (uint32_t i = 0; i < sum % 9; i++) str_printf(out, " %u", (sum + i) % 100);
    atomic_fetch_add(&w->calls, 1);
}

/* Makes a random model call tools. Each stretch between results has a random plan, a function of (prompt, rollout,
 * calls): some free tokens, an opening tag, some free tokens, a closing tag; sometimes without one of the tags, or the
 * end. */
static void put_tag(const struct tokenizer *t, int k, int *id, int from, const char *tag)
{
    struct ids x = { 0 };
    if (!tokenizer_encode(t, &x, tag, strlen(tag), true)) die("tag %s", tag);
    if (k >= from && k < from + x.n) *id = x.p[k - from];
    ids_free(&x);
}

static void plan(void *ctx, const struct sequence *seq, int *id)
{
    const struct tokenizer *t = ctx;
    int k = 0;
    while (k < seq->n - seq->prompt_len && seq->m[seq->n - 1 - k]) k++;
    struct philox p = philox4x32(77, seq->prompt, seq->rollout, (uint32_t)seq->calls, 0);
    int before = (int)(p.v[0] % 6), inside = (int)(p.v[1] % 4);
    uint32_t kind = p.v[2] % 8;
    bool python = p.v[3] & 1;
    if (*id == TINY_END) *id = 'e';                             /* only the plan ends a sequence */
    if (kind == 7 && k >= before) { *id = TINY_END; return; }
    if (kind != 6) put_tag(t, k, id, before, python ? "<python>" : "<search>");
    if (kind != 5)
        put_tag(t, k, id, before + (tokenizer_id(t, "<search>") < 0 ? 8 : 1) + inside,
                python && kind != 4 ? "</python>"
                : kind == 3         ? "</search>x"
                                    : "</search>");
}

static const struct rollout_config base_config = { .temperature = 0.8,
                                                   .top_p = 1,
                                                   .seed = 5,
                                                   .max_len = 128,
                                                   .max_response = 100,
                                                   .call_limit = 2,
                                                   .max_tool_tokens = 12,
                                                   .max_rows = 64,
                                                   .max_seqs = 50,
                                                   .tool_threads = 3,
                                                   .tool_timeout_s = 20,
                                                   .force = plan };

/* A rollout with its own pool and arena. */
struct bench { struct arena arena; struct kv kv; struct rollout *r; struct tool_speed speed; };

static void bench_make(struct bench *b, const struct rollout_config *c, const struct tokenizer *t, int pages)
{
    struct rollout_config own = *c;
    if (!own.force_ctx) own.force_ctx = (void *)(uintptr_t)t;
    arena_make(&b->arena, "rollout", 24u << 20);
    kv_make(&b->kv, &model, pages, &b->arena);
    for (int64_t i = 0; i < b->kv.layers * b->kv.layer_stride; i++) b->kv.pool[i] = (elem_t)NAN;
    struct toolbox box = { .run = slow_tool, .ctx = &b->speed };
    b->r = rollout_make(&model, t, &b->kv, &box, &own, &b->arena);
}

static void bench_free(struct bench *b)
{
    kv_check_all(&b->kv);
    assert_int_equal(b->kv.free, b->kv.pages);
    rollout_free(b->r);
    kv_destroy(&b->kv);
    arena_free(&b->arena);
}

enum { PROMPTS = 6, EACH = 4, ROOTS = PROMPTS * EACH, FORKS = 32, ALL = ROOTS + FORKS };

static void root_make(struct sequence *seq, int i)
{
    static const int lens[PROMPTS] = { 1, 3, 16, 17, 33, 40 };      /* near page boundaries */
    int prompt = i / EACH, ids[40];
    struct rng r = rng_make(9, (uint32_t)prompt, 0);
    for (int k = 0; k < lens[prompt]; k++) ids[k] = (int)rng_below(&r, 256);
    sequence_begin(seq, ids, lens[prompt]);
    seq->prompt = (uint32_t)prompt;
    seq->rollout = (uint32_t)(i % EACH);
    seq->scope = 1000 + prompt;
}

/* A random point for fork i to leave its parent: at a generated token or behind one. */
static int fork_index(const struct sequence *p, int i)
{
    struct rng r = rng_make(21, (uint32_t)i, 0);
    for (int tries = 0;; tries++) {
        int at = p->prompt_len + (int)rng_below(&r, (uint32_t)(p->n - p->prompt_len) + 1);
        if (tries < 30 && i % 4 == 0) at = at / KV_PAGE * KV_PAGE;
        if (tries < 30 && i % 4 == 1) at = at / KV_PAGE * KV_PAGE + 1;
        if (at < p->prompt_len || at > p->n) continue;
        if (at == p->prompt_len || at == p->n || p->m[at] || p->m[at - 1]) return at;
    }
}

static void shuffle(struct sequence **p, int n, uint32_t seed)
{
    struct rng r = rng_make(4, seed, 0);
    for (int i = n - 1; i > 0; i--) {
        int j = (int)rng_below(&r, (uint32_t)i + 1);
        struct sequence *x = p[i];
        p[i] = p[j];
        p[j] = x;
    }
}

struct way {
    const char *name;
    int max_rows, max_seqs, pages, threads, max_us;
    bool shuffled, keep, special_only, pulled;
};

/* Pages of sequences of earlier runs. */
struct past { struct kv *kv; struct sequence *seq; int n; };
static bool evict(void *ctx)
{
    struct past *p = ctx;
    for (int i = 0; i < p->n; i++)
        if (p->seq[i].kv.n_pages) { kv_drop(p->kv, &p->seq[i].kv); return true; }
    return false;
}

/* The roots prompt by prompt, as the hook `more` hands them over. */
struct supply { struct rollout *r; struct sequence *seq, *list[EACH]; int given, asked; };
static int supply(void *ctx, struct sequence ***seq)
{
    struct supply *x = ctx;
    int waiting = 0, running = 0;
    x->asked++;
    for (int i = 0; i < x->given; i++) {
        waiting += x->seq[i].finish == FINISH_NONE && x->seq[i].kv.len == 0 && x->seq[i].n == x->seq[i].prompt_len;
        running += x->seq[i].finish == FINISH_NONE;
    }
    /* a slot is free and nobody waits for it: what has no pages yet is running, too */
    CHECK(running < x->r->c.max_seqs && waiting <= running, "asked with %d running", running);
    if (x->given == ROOTS) return 0;
    for (int j = 0; j < EACH; j++) x->list[j] = &x->seq[x->given++];
    *seq = x->list;
    return EACH;
}

/* Runs roots, forks of roots, and forks of those; seq[ALL] from {0}. */
static void run_all(struct sequence *seq, const struct way *w, const struct tokenizer *t, struct rollout_stats sum[2])
{
    struct bench b = { .speed = { .max_us = w->max_us } };
    struct rollout_config c = base_config;
    struct sequence *list[ALL];
    struct past past = { &b.kv, seq, 0 };
    c.max_rows = w->max_rows;
    c.max_seqs = w->max_seqs;
    c.evict = evict;
    c.evict_ctx = &past;
    dev_set_threads(w->threads);
    bench_make(&b, &c, t, w->pages);
    for (int i = 0; i < ROOTS; i++) root_make(list[i] = &seq[i], i);
    if (w->shuffled) shuffle(list, ROOTS, 1);
    struct supply more = { .r = b.r, .seq = seq, .given = EACH };
    if (w->pulled) {
        b.r->c.more = supply;
        b.r->c.more_ctx = &more;
    }
    rollout_run(b.r, list, w->pulled ? EACH : ROOTS, w->keep, NULL, NULL, &sum[0]);
    if (w->pulled) CHECK(more.given == ROOTS && more.asked == PROMPTS, "asked %d times", more.asked);
    b.r->c.more = NULL;
    for (int round = 0; round < 2; round++) {
        int from = ROOTS + round * FORKS / 2, n = FORKS / 2;
        for (int i = from; i < from + n; i++) {
            int parent = round ? ROOTS + (i * 7) % (FORKS / 2) : (i * 5) % ROOTS;
            sequence_fork(&seq[i], &seq[parent], fork_index(&seq[parent], i), &b.kv);
            seq[i].rollout = (uint32_t)(100 + i);
            seq[i].parent = parent;
            list[i - from] = &seq[i];
        }
        if (w->shuffled) shuffle(list, n, 2);
        past.n = from;
        rollout_run(b.r, list, n, w->keep, NULL, NULL, &sum[1]);
    }
    for (int i = 0; i < ALL; i++) kv_drop(&b.kv, &seq[i].kv);
    bench_free(&b);
    dev_set_threads(1);
}

static void same_sequence(const char *name, int i, const struct sequence *a, const struct sequence *b)
{
    CHECK(a->n == b->n && a->finish == b->finish && a->calls == b->calls,
          "%s, sequence %d: %d and %d tokens, %d and %d calls", name, i, a->n, b->n, a->calls, b->calls);
    for (int k = 0; k < a->n; k++) {
        CHECK(a->ids[k] == b->ids[k] && a->m[k] == b->m[k], "%s, sequence %d, token %d: id %d and %d", name, i, k,
              a->ids[k], b->ids[k]);
        CHECK(a->logp[k] == b->logp[k], "%s, sequence %d, token %d: logp %.9g and %.9g", name, i, k, (double)a->logp[k],
              (double)b->logp[k]);
        CHECK(a->entropy[k] == b->entropy[k], "%s, sequence %d, token %d: entropy", name, i, k);
    }
    same_calls(name, i, a, b);
}

/* Invariants of a finished rollout. */
static void well_made(const struct sequence *seq, int i)
{
    int response = sequence_response(seq), by[TOOLS] = { 0 };
    CHECK(seq->finish != FINISH_NONE, "sequence %d", i);
    CHECK(seq->n <= 128 && response <= 100, "sequence %d has %d tokens", i, seq->n);
    if (seq->finish == FINISH_LENGTH)
        CHECK(seq->n == 128 || response == 100, "sequence %d stopped at %d tokens", i, seq->n);
    for (int k = 0; k < seq->n; k++) {
        if (k < seq->prompt_len) { assert_false(seq->m[k]); continue; }
        if (seq->m[k] && seq->ids[k] == TINY_END)
            CHECK(k == seq->n - 1 && seq->finish == FINISH_END, "sequence %d: token %d follows its end", i, k + 1);
    }
    for (int k = 0; k < seq->calls; k++) {
        const struct call *c = &seq->call[k];
        CHECK(c->begin <= c->end && c->end <= c->close + 1 && c->close < response, "sequence %d, call %d", i, k);
        CHECK(seq->m[seq->prompt_len + c->close] &&
                  (c->close + 1 == response || !seq->m[seq->prompt_len + c->close + 1]),
              "sequence %d, call %d", i, k);
        CHECK(c->over_limit == (k >= base_config.call_limit), "sequence %d, call %d", i, k);
        by[c->tool] += !c->over_limit;
        kinds[0]++;
        kinds[1] += c->over_limit;
    }
    assert_memory_equal(by, seq->calls_by, sizeof by);
}

static const struct way ways[] = {
    { "reference", 64, 50, 600, 1, 0, false, true, false, false },
    { "one row", 1, 50, 600, 1, 0, false, true, true, false },
    { "seven rows, three slots", 7, 3, 600, 1, 300, true, true, false, false },
    { "one slot", 64, 1, 600, 1, 0, true, true, true, false },
    { "two threads, slow tools", 64, 50, 600, 2, 2000, true, true, false, false },
    { "no pages kept", 33, 20, 600, 1, 100, true, false, false, false },
    { "a pool for one", 16, 50, 8, 1, 0, false, true, true, false },
    { "a pool for two", 64, 50, 17, 1, 200, true, true, false, false },
    { "pulled prompt by prompt", 64, 50, 600, 1, 0, false, true, false, true },
    { "pulled with five slots", 64, 5, 600, 1, 100, false, true, false, true },
    { "pulled, a pool for two", 64, 50, 17, 1, 0, false, true, false, true },
};

static void a_sequence_is_independent_of_the_others(void **state)
{
    (void)state;
    for (int t = 0; t < 2; t++) {
        struct sequence ref[ALL] = { 0 };
        struct rollout_stats first = { 0 };
        int ends = 0, lengths = 0;
        kinds[0] = kinds[1] = 0;
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            struct sequence own[ALL] = { 0 }, *seq = i ? own : ref;
            /* thousands of passes: one tokenizer is enough */
            if (ways[i].special_only && t == 0) continue;
            struct rollout_stats s[2];
            run_all(seq, &ways[i], tok[t], s);
            if (!i) first = s[0];
            CHECK(s[0].generated == first.generated && s[0].tool_tokens == first.tool_tokens &&
                      s[0].calls == first.calls,
                  "%s", ways[i].name);
            if (ways[i].pages == ways[0].pages)
                CHECK(s[0].prefilled == first.prefilled && !s[0].kv_dropped, "%s: each prompt runs once", ways[i].name);
            printf("%-26s %5d forward passes, %5d tokens, %5d prefilled, %4d of tools, peak %3d pages, %d evicted\n",
                   ways[i].name, (int)s[0].forwards, (int)s[0].generated, (int)s[0].prefilled, (int)s[0].tool_tokens,
                   s[0].peak_pages, (int)s[0].kv_dropped);
            for (int k = 0; k < ALL && i; k++) {
                same_sequence(ways[i].name, k, &ref[k], &seq[k]);
                sequence_free(&seq[k], NULL);
            }
        }
        for (int k = 0; k < ALL; k++) {
            well_made(&ref[k], k);
            same_as_training(&model, &ref[k], k, base_config.temperature);
            ends += ref[k].finish == FINISH_END;
            lengths += ref[k].finish == FINISH_LENGTH;
            sequence_free(&ref[k], NULL);
        }
        printf("%d calls, %d over the limit, %d sequences ended, %d ran out\n", (int)kinds[0], (int)kinds[1], ends,
               lengths);
        assert_true(kinds[0] > 30 && kinds[1] > 0 && ends > 5 && lengths > 5);
    }
}

static void a_shared_prompt_runs_once(void **state)
{
    (void)state;
    struct bench b = { 0 };
    struct rollout_config c = base_config;
    struct sequence seq[ROOTS] = { 0 }, *list[ROOTS];
    struct rollout_stats s;
    c.call_limit = 0;
    c.force = NULL;
    int prefill = 0, len[PROMPTS];
    bench_make(&b, &c, tok[1], 600);
    for (int i = 0; i < ROOTS; i++) { root_make(list[i] = &seq[i], i); len[i / EACH] = seq[i].prompt_len; }
    /* the last token of a prompt runs once for each rollout, and samples a token */
    for (int i = 0; i < PROMPTS; i++) prefill += len[i] - 1;
    rollout_run(b.r, list, ROOTS, true, NULL, NULL, &s);
    assert_int_equal(s.prefilled - s.tool_tokens, prefill);
    /* a fork with its pages runs one token again, wherever it was forked */
    struct sequence f = { 0 }, *one = &f;
    sequence_fork(&f, &seq[0], seq[0].n - 1, &b.kv);
    f.rollout = 99;
    rollout_run(b.r, &one, 1, true, NULL, NULL, &s);
    assert_int_equal(s.prefilled, s.tool_tokens);
    sequence_free(&f, &b.kv);
    for (int i = 0; i < ROOTS; i++) sequence_free(&seq[i], &b.kv);
    bench_free(&b);
}

static void greedy_takes_the_most_likely(void **state)
{
    (void)state;
    struct bench b = { 0 };
    struct rollout_config c = base_config;
    struct sequence seq[2] = { 0 }, *list[2] = { &seq[0], &seq[1] };
    c.temperature = 0;
    c.force = NULL;
    bench_make(&b, &c, tok[1], 40);
    root_make(&seq[0], 20);
    root_make(&seq[1], 21);
    rollout_run(b.r, list, 2, false, NULL, NULL, NULL);
    assert_int_equal(seq[0].n, seq[1].n);                         /* two rollouts of one prompt are equal */
    assert_memory_equal(seq[0].ids, seq[1].ids, (size_t)seq[0].n * sizeof *seq[0].ids);
    same_as_training(&model, &seq[0], 0, 0);
    /* ids without a text are never sampled */
    for (int i = 0; i < seq[0].n; i++) assert_true(seq[0].ids[i] < TINY_END + 9);
    for (int i = 0; i < 2; i++) sequence_free(&seq[i], &b.kv);
    bench_free(&b);
}

static int reported, reported_total;
static void report(void *ctx, int done, int total)
{
    (void)ctx;
    assert_int_equal(done, reported + 1);
    reported = done;
    reported_total = total;
}

static void finished_sequences_are_left_alone(void **state)
{
    (void)state;
    struct bench b = { 0 };
    struct sequence seq[3] = { 0 }, *list[3] = { &seq[0], &seq[1], &seq[2] };
    bench_make(&b, &base_config, tok[0], 60);
    for (int i = 0; i < 3; i++) root_make(&seq[i], i * 4);
    seq[1].finish = FINISH_LENGTH;
    reported = 1;
    rollout_run(b.r, list, 3, false, report, NULL, NULL);
    assert_int_equal(reported, 3);
    assert_int_equal(reported_total, 3);
    assert_int_equal(seq[1].n, seq[1].prompt_len);
    for (int i = 0; i < 3; i++) sequence_free(&seq[i], &b.kv);
    bench_free(&b);
}

/* Without room for all, the first sequences of the list keep their pages, because they are read first. Unread ones keep
 * none. */
static void the_first_sequences_keep_their_pages(void **state)
{
    (void)state;
    for (int unread = 0; unread < 2; unread++) {
        struct bench b = { 0 };
        struct rollout_config c = base_config;
        struct sequence seq[ROOTS] = { 0 }, *list[ROOTS];
        struct rollout_stats s;
        int kept = 0, last = -1, first_lost = ROOTS;
        c.max_seqs = 2;
        bench_make(&b, &c, tok[1], 40);
        for (int i = 0; i < ROOTS; i++) {
            root_make(list[i] = &seq[i], i);
            seq[i].unread = unread && i >= 3;
        }
        rollout_run(b.r, list, ROOTS, true, NULL, NULL, &s);
        for (int i = 0; i < ROOTS; i++) {
            bool has = seq[i].kv.n_pages > 0;
            kept += has;
            if (has) last = i;
            if (!has && first_lost == ROOTS) first_lost = i;
        }
        if (unread)
            CHECK(kept == 3 && last == 2 && s.kv_dropped == 0, "%d keep pages, %d sequences evicted", kept,
                  (int)s.kv_dropped);
        /* two run at a time, so at most the neighbours of the first ones lose their pages */
        else
            CHECK(kept > 2 && s.kv_dropped > 0 && first_lost >= 3,
                  "%d keep pages, the first without is %d, %d evicted", kept, first_lost, (int)s.kv_dropped);
        for (int i = 0; i < ROOTS; i++) sequence_free(&seq[i], &b.kv);
        bench_free(&b);
    }
}

static void small_pool(void) { struct bench b = { 0 }; bench_make(&b, &base_config, tok[0], 7); }
static void long_limit(void)
{
    struct bench b = { 0 };
    struct rollout_config c = base_config;
    c.max_len = 513;
    bench_make(&b, &c, tok[0], 60);
}
static struct bench *used;
static struct sequence kept;
static void old_pages(void)
{
    struct sequence f = { 0 }, *list = &f;
    model.version++;
    sequence_fork(&f, &kept, kept.prompt_len + 1, &used->kv);
    rollout_run(used->r, &list, 1, false, NULL, NULL, NULL);
}
static void pages_held(void)
{
    struct kv_seq hog = { 0 };
    struct sequence a = { 0 }, *list = &a;
    for (int i = 0; used->kv.free > 5; i++) kv_slot(&used->kv, &hog, i, model.version);
    root_make(&a, 0);
    rollout_run(used->r, &list, 1, false, NULL, NULL, NULL);
}

static void impossible_requests_die(void **state)
{
    (void)state;
    struct bench b = { 0 };
    struct sequence *list = &kept;
    dies("pool too small", small_pool, "a pool of 7 pages");
    dies("longer than the model", long_limit, "max_position_embeddings 512");
    bench_make(&b, &base_config, tok[0], 60);
    root_make(&kept, 5);
    rollout_run(b.r, &list, 1, true, NULL, NULL, NULL);
    used = &b;
    assert_true(kept.kv.len > kept.prompt_len);
    dies("pages of older weights", old_pages, "drop it and run its tokens again");
    dies("others hold the pages", pages_held, "others hold all but 5");
    sequence_free(&kept, &b.kv);
    bench_free(&b);
}

static int make(void **state)
{
    (void)state;
    tiny_model(&model, 3);
    for (int t = 0; t < 2; t++) tok[t] = tiny_tokenizer(t);
    dev_set_threads(1);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    for (int t = 0; t < 2; t++) tokenizer_free(tok[t]);
    model_free(&model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_is_independent_of_the_others), cmocka_unit_test(a_shared_prompt_runs_once),
        cmocka_unit_test(greedy_takes_the_most_likely), cmocka_unit_test(finished_sequences_are_left_alone),
        cmocka_unit_test(the_first_sequences_keep_their_pages), cmocka_unit_test(impossible_requests_die),
    };
    return cmocka_run_group_tests_name("rollout", tests, make, drop);
}
