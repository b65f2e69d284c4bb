/* test_turns.c: rollouts whose calls are turns of the chat format, every generated token given: ids and mask are those
 * of the conversation written whole; limits; late tools; forks before, inside and behind a turn of calls; what runs
 * beside an sequence; a training step with branches. */
#define _GNU_SOURCE     /* nftw */
#include "engine/run/run.h"
#include "engine/train/grade.h"
#include "engine/run/sft.h"
#include "engine/train/policy_update.h"
#include "engine/session/model_export.h"
#include "tests/engine/train/chat_session.h"
#include "tests/engine/rollout/same.h"
#include "tests/engine/tools/turn_format.h"
#include "tests/folder.h"
#include "tests/slow.h"
#include "tests/engine/tools/two_tools.h"

enum { VOCAB = 272, QWEN_VOCAB = 151936 };
static struct model small, large;           /* large: the rows that Qwen3's ids need */
static struct tokenizer *tok[TURNYS];
static const struct rollout_config usual = { .temperature = 0.8,
                                             .top_p = 1,
                                             .seed = 5,
                                             .max_len = 900,
                                             .max_response = 800,
                                             .call_limit = 9,
                                             .max_rows = 64,
                                             .max_seqs = 4,
                                             .tool_threads = 3,
                                             .tool_timeout_s = 20 };

static const struct { const char *chat; enum call_format format; enum turny kind; } worlds[] = {
    { "chatml", CALLS_HERMES, TURNY_TOKENS }, { "qwen2.5", CALLS_HERMES, TURNY_TEXT },
    { "qwen3", CALLS_HERMES, TURNY_TOKENS }, { "qwen2.5", CALLS_HERMES, TURNY_QWEN3 },
    { "qwen3", CALLS_HERMES, TURNY_QWEN3 },
};
enum { WORLDS = sizeof worlds / sizeof *worlds };

#define CALL(json) "<tool_call>\n" json "\n</tool_call>"
#define PY(code) CALL("{\"name\": \"python\", \"arguments\": {\"code\": \"" code "\"}}")
#define FIND(q) CALL("{\"name\": \"search\", \"arguments\": {\"query\": \"" q "\"}}")

/* What is said, turn by turn, and what comes back behind each turn, parted by '^'; NULL: nothing, the rollout is at its
 * end. The think part is what Qwen3's template writes. */
#define T "<think>\nhm\n</think>\n\n"
enum { MOST = 4 };
struct spoken {
    const char *name, *says[MOST], *back[MOST];
    int call_limit, max_tool, python, search, none, calls;
};
static const struct spoken sft_conversations[] = {
    { "no call", { T "four" }, { NULL }, 9, 0, 0, 0, 0, 0 },
    { "one call", { T PY("1+1"), T "<answer>2</answer>" }, { "R:1+1" }, 9, 0, 1, 0, 0, 1 },
    { "words around a call", { T "Let me see.\n" PY("1") "\nSo.", T "1" }, { "R:1" }, 9, 0, 1, 0, 0, 1 },
    { "two calls in a turn", { T FIND("a") "\n" PY("b"), T "c" }, { "R:a^R:b" }, 9, 0, 1, 1, 0, 2 },
    { "the slow one first", { T PY("slow") FIND("x") PY("slow y"), T "c" }, { "R:slow^R:x^R:slow y" }, 9, 0, 2, 1, 0,
      3 },
    { "three turns", { T FIND("a"), T PY("b"), T FIND("c"), T "d" }, { "R:a", "R:b", "R:c" }, 9, 0, 1, 2, 0, 3 },
    { "not JSON", { T CALL("python(1)"), T PY("1"), T "1" }, { CALL_NOT_JSON, "R:1" }, 9, 0, 1, 0, 1, 2 },
    { "no such tool", { T CALL("{\"name\": \"shell\", \"arguments\": {\"x\": 1}}") PY("1"), T "1" },
      { CALL_UNKNOWN "^R:1" }, 9, 0, 1, 0, 1, 2 },
    { "empty query", { T PY("") FIND(" "), T "1" }, { TOOL_EMPTY "^" TOOL_EMPTY }, 9, 0, 1, 1, 0, 2 },
    { "limit within a turn", { T PY("1") PY("2") PY("3"), T "1" }, { "R:1^R:2^" TOOL_NO_CALLS }, 2, 0, 2, 0, 0, 3 },
    { "past the limit", { T PY("1"), T PY("2"), T "x" }, { "R:1", TOOL_NO_CALLS }, 1, 0, 1, 0, 0, 2 },
    { "bad calls count", { T CALL("{"), T PY("2"), T "x" }, { CALL_NOT_JSON, TOOL_NO_CALLS }, 1, 0, 0, 0, 1, 2 },
    { "no calls at all", { T PY("1"), T "x" }, { TOOL_NO_CALLS }, 0, 0, 0, 0, 0, 1 },
    { "a thought is no call", { "<think>\n" PY("1") "\n</think>\n\nx" }, { NULL }, 9, 0, 0, 0, 0, 0 },
    { "open call", { T "<tool_call>\n{\"name\": \"python\"", T "x" }, { CALL_NOT_JSON }, 9, 0, 0, 0, 1, 1 },
    { "call never closed", { T "<tool_call>\n{\"name\": \"python\", \"arguments\": {\"code\": \"1\"}}", T "x" },
      { "R:1" }, 9, 0, 1, 0, 0, 1 },
    { "its tags in a text", { T PY("</tool_call>"), T "x" }, { "R:</tool_call>" }, 9, 0, 1, 0, 0, 1 },
    { "tags are text here", { T "<python>1</python><search>q</search>" }, { NULL }, 9, 0, 0, 0, 0, 0 },
    { "look-alikes", { T FIND("<|im_end|>"), T "x" }, { "R:<|im_end|>" }, 9, 0, 0, 1, 0, 1 },
    { "accents", { T FIND("\xc3\xa9t\xc3\xa9 \\u00e9"), T "x" }, { "R:\xc3\xa9t\xc3\xa9 \xc3\xa9" }, 9, 0, 0, 1, 0, 1 },
};
enum { CONVERSATIONS = sizeof sft_conversations / sizeof *sft_conversations };

static void echo(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n, struct str *out)
{
    (void)ctx, (void)who, (void)tool;
    if (n >= 4 && !memcmp(query, "slow", 4)) usleep(3000);
    str_puts(out, "R:");
    str_put(out, query, n);
}

/* Replaces each sampled token by the next one of the script. */
static void recite(void *ctx, const struct sequence *seq, int *id)
{
    const struct ids *s = ctx;
    int k = 0;
    for (int i = seq->prompt_len; i < seq->n; i++) k += seq->m[i];
    *id = k < s->n ? s->p[k] : 'z';
}

static int stride(int most) { return slow_build() ? most : 1; }

static struct model *model_of(size_t w) { return worlds[w].kind == TURNY_QWEN3 ? &large : &small; }

/* The ids of one assistant's turn as a model writes it: with added tokens that are not special. */
static void turn_ids(struct ids *out, const struct chat *c, const char *text)
{
    struct ids all = { 0 };
    struct chat_mask mask = { 0 };
    struct chat_message m[2] = { { CHAT_USER, "q", .n = 1 }, { CHAT_ASSISTANT, text, .n = strlen(text) } };
    assert_true(chat_write(c, &all, &mask, m, 2, NULL, false));
    for (int i = 0; i < all.n; i++) if (mask.p[i]) ids_put(out, all.p[i]);
    chat_mask_free(&mask);
    ids_free(&all);
}

static void script_of(struct ids *out, const struct chat *c, const struct spoken *x)
{
    for (int i = 0; i < MOST && x->says[i]; i++) turn_ids(out, c, x->says[i]);
}

static void prompt_of(struct sequence *seq, const struct chat *c)
{
    struct ids ids = { 0 };
    chat_prompt(c, &ids, "q");
    sequence_begin(seq, ids.p, ids.n);
    ids_free(&ids);
}

/* Runs one script to its end in a rollout of its own; seq from {0}, or a fork. */
static void recite_one(struct sequence *seq, const struct ids *script, struct model *m, const struct call_form *f,
                       const struct rollout_config *c, const struct toolbox *box)
{
    struct arena arena;
    struct kv kv;
    struct rollout_config own = *c;
    own.force = recite;
    own.force_ctx = (void *)(uintptr_t)script;
    own.form = f;
    m->c.n_eos = f->chat->stops;
    memcpy(m->c.eos, f->chat->stop, sizeof f->chat->stop);
    arena_make(&arena, "recite", m == &large ? 220u << 20 : 12u << 20);
    kv_make(&kv, m, 70, &arena);
    struct rollout *r = rollout_make(m, f->chat->t, &kv, box, &own, &arena);
    if (!seq->n) prompt_of(seq, f->chat);
    rollout_run(r, &seq, 1, false, NULL, NULL, NULL);
    rollout_free(r);
    assert_int_equal(kv.free, kv.pages);
    kv_destroy(&kv);
    arena_free(&arena);
}

/* The conversation as messages; texts of results are cut out of back. */
static void messages_of(const struct spoken *x, struct chat_message *m, int *n)
{
    m[(*n)++] = (struct chat_message){ CHAT_USER, "q", .n = 1 };
    for (int i = 0; i < MOST && x->says[i]; i++) {
        m[(*n)++] = (struct chat_message){ CHAT_ASSISTANT, x->says[i], .n = strlen(x->says[i]) };
        for (const char *p = x->back[i]; p; ) {
            size_t len = strcspn(p, "^");
            m[(*n)++] = (struct chat_message){ CHAT_TOOL, p, .n = len };
            p = p[len] ? p + len + 1 : NULL;
        }
    }
}

static void is_conversation(const struct spoken *x, const struct chat *c, const struct sequence *seq, size_t w)
{
    struct ids all = { 0 };
    struct chat_mask mask = { 0 };
    struct chat_message m[24];
    struct str text = { 0 };
    int n = 0;
    messages_of(x, m, &n);
    assert_true(chat_write(c, &all, &mask, m, n, NULL, false));
    while (all.n && all.p[all.n - 1] != c->end) all.n--;                /* the line break behind the last end */
    tokenizer_decode(c->t, &text, seq->ids + seq->prompt_len, sequence_response(seq), true);
    CHECK(seq->n == all.n && !memcmp(seq->ids, all.p, (size_t)all.n * sizeof(int)),
          "%s, %s, %s tokenizer: %d ids, %d in the conversation:\n%s", x->name, worlds[w].chat,
          turny_name[worlds[w].kind], seq->n, all.n, text.p);
    for (int i = 0; i < seq->n; i++)
        CHECK(seq->m[i] == mask.p[i], "%s, %s: mask of token %d", x->name, worlds[w].chat, i);
    str_free(&text);
    chat_mask_free(&mask);
    ids_free(&all);
}

static void conversations(void **state)
{
    (void)state;
    struct toolbox box = { .run = echo };
    for (size_t w = 0; w < WORLDS; w++) {
        struct chat c;
        struct call_form f;
        bool wide_rows = worlds[w].kind == TURNY_QWEN3;
        if (on_shim() && w) continue;
        turny_open(&f, &c, tok[worlds[w].kind], worlds[w].chat, worlds[w].format);
        for (int i = wide_rows ? 3 : 0; i < CONVERSATIONS; i += wide_rows || on_shim() ? 4 : 1) {
            const struct spoken *x = &sft_conversations[i];
            struct rollout_config own = usual;
            struct sequence seq = { 0 };
            struct ids script = { 0 };
            script_of(&script, &c, x);
            own.call_limit = x->call_limit;
            recite_one(&seq, &script, model_of(w), &f, &own, &box);
            CHECK(seq.finish == FINISH_END, "%s: finish %d", x->name, seq.finish);
            is_conversation(x, &c, &seq, w);
            CHECK(seq.calls == x->calls && seq.calls_by[TOOL_PYTHON] == x->python &&
                      seq.calls_by[TOOL_SEARCH] == x->search && seq.calls_by[TOOL_NONE] == x->none,
                  "%s: %d calls, %d python, %d search, %d none", x->name, seq.calls, seq.calls_by[TOOL_PYTHON],
                  seq.calls_by[TOOL_SEARCH], seq.calls_by[TOOL_NONE]);
            for (int k = 0; k < seq.calls; k++) {
                const struct call *y = &seq.call[k];
                assert_true(y->begin < y->end && y->end <= y->close && seq.ids[seq.prompt_len + y->close] == c.end &&
                            seq.m[seq.prompt_len + y->close]);
                assert_true(!k || seq.call[k - 1].close <= y->close);
            }
            if (!wide_rows) same_as_training(&small, &seq, i, usual.temperature);
            ids_free(&script);
            sequence_free(&seq, NULL);
        }
        call_form_close(&f);
    }
}

/* The end of a document ends the rollout, with or without calls; behind two of Llama's ends of a turn it goes on. */
static void other_ends(void **state)
{
    (void)state;
    static const struct { const char *chat, *end; enum call_format format; bool on; } cases[] = {
        { "chatml", "<|im_end|>", CALLS_HERMES, true }, { "chatml", "<|endoftext|>", CALLS_HERMES, false },
        { "llama3.1", "<|eot_id|>", CALLS_LLAMA3_JSON, true }, { "llama3.1", "<|eom_id|>", CALLS_LLAMA3_JSON, true },
    };
    struct toolbox box = { .run = echo };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat c;
        struct call_form f;
        struct sequence seq = { 0 };
        struct ids script = { 0 };
        struct str text = { 0 };
        turny_open(&f, &c, tok[TURNY_TOKENS], cases[i].chat, cases[i].format);
        const char *call =
            cases[i].format == CALLS_HERMES ? PY("1") : "{\"name\": \"python\", \"parameters\": {\"code\": \"1\"}}";
        ENSURE(tokenizer_encode(c.t, &script, call, strlen(call), true));
        ids_put(&script, tokenizer_id(c.t, cases[i].end));
        ids_put(&script, 'x');
        ids_put(&script, c.end);
        recite_one(&seq, &script, &small, &f, &usual, &box);
        tokenizer_decode(c.t, &text, seq.ids + seq.prompt_len, sequence_response(&seq), true);
        CHECK(seq.finish == FINISH_END && seq.calls == cases[i].on && (seq.ids[seq.n - 2] == 'x') == cases[i].on,
              "%s: %s", cases[i].end, text.p);
        if (cases[i].format == CALLS_LLAMA3_JSON)
            assert_non_null(strstr(text.p, "<|start_header_id|>ipython<|end_header_id|>\n\n\"R:1\"<|eot_id|><|start_"
                                           "header_id|>assistant"));
        str_free(&text);
        ids_free(&script);
        sequence_free(&seq, NULL);
        call_form_close(&f);
    }
}

static const struct spoken two = {
    "two turns", { "a" FIND("qq") PY("slow"), "b" PY("r"), "c" }, { "R:qq^R:slow", "R:r" }, 9, 0, 2, 1, 0, 3
};

/* Every length limit around calls and results: never a token too many, no call without room for a result. */
static void limits(void **state)
{
    (void)state;
    struct toolbox box = { .run = echo };
    struct chat c;
    struct call_form f;
    struct sequence full = { 0 };
    struct ids script = { 0 };
    struct rollout_config own = usual;
    turny_open(&f, &c, tok[TURNY_TEXT], "chatml", CALLS_HERMES);
    script_of(&script, &c, &two);
    recite_one(&full, &script, &small, &f, &own, &box);
    assert_int_equal(full.finish, FINISH_END);
    int response = sequence_response(&full), close = full.call[0].close;
    for (int limit = 0; limit <= response + 1;
         limit += limit < close - 4 || limit > full.call[2].close + 4 ? stride(37) : stride(9)) {
        struct sequence seq = { 0 };
        own.max_response = limit;
        recite_one(&seq, &script, &small, &f, &own, &box);
        int n = sequence_response(&seq);
        CHECK(seq.finish == (limit >= response ? FINISH_END : FINISH_LENGTH) &&
                  n == (limit < response ? limit : response),
              "limit %d of %d: %d tokens", limit, response, n);
        assert_int_equal(seq.calls, limit > full.call[2].close + 1 ? 3 : limit > close + 1 ? 2 : 0);
        for (int i = 0; i < n && i <= close; i++)
            assert_int_equal(seq.ids[seq.prompt_len + i], full.ids[full.prompt_len + i]);
        for (int i = close + 1; i < n; i++) assert_int_equal(seq.m[seq.prompt_len + i], full.m[full.prompt_len + i]);
        sequence_free(&seq, NULL);
    }
    sequence_free(&full, NULL);
    ids_free(&script);
    call_form_close(&f);
}

static void sleeper(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                    struct str *out)
{
    (void)ctx, (void)who, (void)tool;
    usleep(query[0] == 's' ? 400000 : 0);
    str_put(out, query, n);
}

static void late_tools(void **state)
{
    (void)state;
    static const struct spoken late = { "late",
                                      { PY("fast") PY("s") FIND("s") PY("quick"), "x" },
                                      { "fast^" TOOL_TIMEOUT "^" TOOL_TIMEOUT "^quick" },
                                      9,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0 };
    struct toolbox box = { .run = sleeper };
    struct rollout_config own = usual;
    struct sequence seq = { 0 };
    struct ids script = { 0 };
    struct chat c;
    struct call_form f;
    turny_open(&f, &c, tok[TURNY_TOKENS], "chatml", CALLS_HERMES);
    script_of(&script, &c, &late);
    own.tool_timeout_s = 0.15;
    recite_one(&seq, &script, &small, &f, &own, &box);
    is_conversation(&late, &c, &seq, 0);
    ids_free(&script);
    sequence_free(&seq, NULL);
    call_form_close(&f);
}

/* A fork at any token, before, inside and behind a turn of calls and at its end token, goes on as its parent did. */
static void forks(void **state)
{
    (void)state;
    struct toolbox box = { .run = echo };
    for (size_t w = 0; w < (on_shim() ? 1 : 2); w++) {
        struct chat c;
        struct call_form f;
        struct sequence a = { 0 };
        struct ids script = { 0 };
        int made = 0;
        turny_open(&f, &c, tok[worlds[w].kind], worlds[w].chat, worlds[w].format);
        script_of(&script, &c, &two);
        recite_one(&a, &script, &small, &f, &usual, &box);
        for (int at = a.prompt_len; at <= a.n;
             at += at - a.prompt_len < a.call[0].close - 2 || at == a.n ? stride(31) : stride(5)) {
            if (at > a.prompt_len && at < a.n && !a.m[at - 1] && !a.m[at]) continue;        /* inside a result */
            struct sequence b = { 0 };
            sequence_fork(&b, &a, at, NULL);
            int closed = (at > a.prompt_len + a.call[0].close) + (at > a.prompt_len + a.call[1].close) +
                         (at > a.prompt_len + a.call[2].close);
            assert_true(b.calls == closed && sequence_calls(&b) == closed);
            recite_one(&b, &script, &small, &f, &usual, &box);
            CHECK(b.n == a.n && !memcmp(b.ids, a.ids, (size_t)a.n * sizeof *a.ids) && !memcmp(b.m, a.m, (size_t)a.n),
                  "fork at %d of %d", at, a.n);
            assert_true(b.finish == FINISH_END && !memcmp(b.calls_by, a.calls_by, sizeof a.calls_by));
            for (int i = 0; i < a.n; i++)
                CHECK(a.logp[i] == b.logp[i] && a.entropy[i] == b.entropy[i], "fork at %d: numbers of token %d", at, i);
            same_calls("fork", at, &a, &b);
            sequence_free(&b, NULL);
            made++;
        }
        assert_true(made > 150 / stride(31));
        /* the calls of the prefix have used up the limit */
        struct sequence b = { 0 };
        struct str text = { 0 };
        struct rollout_config own = usual;
        own.call_limit = 3;
        sequence_fork(&b, &a, a.prompt_len + a.call[2].close - 3, NULL);
        b.calls_spent = 1;
        recite_one(&b, &script, &small, &f, &own, &box);
        tokenizer_decode(c.t, &text, b.ids + b.born, b.n - b.born, true);
        assert_non_null(strstr(text.p, TOOL_NO_CALLS));
        assert_true(b.calls == 3 && b.call[2].over_limit && sequence_calls(&b) == 2);
        str_free(&text);
        sequence_free(&b, NULL);
        sequence_free(&a, NULL);
        ids_free(&script);
        call_form_close(&f);
    }
}

/* ---- sequences that run side by side ---- */

enum { MANY = 24 };
struct crowd { const struct ids *script; };

/* The model's own token replaces a ~. */
static void partly(void *ctx, const struct sequence *seq, int *id)
{
    const struct crowd *x = ctx;
    int k = 0, own = *id;
    for (int i = seq->prompt_len; i < seq->n; i++) k += seq->m[i];
    const struct ids *s = &x->script[seq->prompt % 3];
    *id = k < s->n ? s->p[k] : TINY_END + 1;
    if (*id == '~' && own < 256) *id = own;
}

static void crowd_run(struct sequence *seq, const struct call_form *f, const struct crowd *x, int rows, int slots,
                      int threads, bool backwards)
{
    struct arena arena;
    struct kv kv;
    struct toolbox box = { .run = echo };
    struct rollout_config own = usual;
    struct sequence *list[MANY];
    own.force = partly;
    own.force_ctx = (void *)(uintptr_t)x;
    own.form = f;
    own.max_rows = rows;
    own.max_seqs = slots;
    own.tool_threads = threads;
    small.c.n_eos = f->chat->stops;
    memcpy(small.c.eos, f->chat->stop, sizeof f->chat->stop);
    arena_make(&arena, "crowd", 64u << 20);
    kv_make(&kv, &small, slots * 60, &arena);
    struct rollout *r = rollout_make(&small, f->chat->t, &kv, &box, &own, &arena);
    for (int i = 0; i < MANY; i++) {
        prompt_of(&seq[i], f->chat);
        seq[i].prompt = (uint32_t)i / 2;
        seq[i].rollout = (uint32_t)i % 2;
        list[backwards ? MANY - 1 - i : i] = &seq[i];
    }
    rollout_run(r, list, MANY, false, NULL, NULL, NULL);
    rollout_free(r);
    assert_int_equal(kv.free, kv.pages);
    kv_destroy(&kv);
    arena_free(&arena);
}

static void a_sequence_is_independent_of_the_others(void **state)
{
    (void)state;
    static const char *const says[3][3] = { { "~~~~" FIND("q") PY("slow ~~~~") "~", "~~~", NULL },
                                            { PY("1"), "~" PY("~") PY("{"), "~~" },
                                            { "~", NULL, NULL } };
    static const struct {
        int rows, slots, threads;
        bool backwards;
    } ways[] = { { 64, 24, 3, false }, { 7, 3, 1, true }, { 33, 8, 8, true } };
    struct chat c;
    struct call_form f;
    struct ids script[3] = { { 0 } };
    struct crowd x = { script };
    struct sequence ref[MANY] = { { 0 } };
    turny_open(&f, &c, tok[TURNY_TOKENS], "chatml", CALLS_HERMES);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3 && says[i][k]; k++) turn_ids(&script[i], &c, says[i][k]);
    for (size_t i = 0; i < sizeof ways / sizeof *ways && !on_shim(); i++) {
        struct sequence own[MANY] = { { 0 } }, *seq = i ? own : ref;
        crowd_run(seq, &f, &x, ways[i].rows, ways[i].slots, ways[i].threads, ways[i].backwards);
        for (int k = 0; i && k < MANY; k++) {
            CHECK(seq[k].n == ref[k].n && seq[k].finish == ref[k].finish &&
                      !memcmp(seq[k].ids, ref[k].ids, (size_t)ref[k].n * sizeof(int)),
                  "way %zu, sequence %d", i, k);
            for (int j = 0; j < ref[k].n; j++)
                assert_true(seq[k].logp[j] == ref[k].logp[j] && seq[k].m[j] == ref[k].m[j]);
            same_calls("way", k, &ref[k], &seq[k]);
        }
        for (int k = 0; i && k < MANY; k++) sequence_free(&seq[k], NULL);
    }
    int calls = 0;
    for (int k = 0; k < MANY; k++) { calls += ref[k].calls; sequence_free(&ref[k], NULL); }
    assert_true(calls >= 24 || on_shim());
    for (int i = 0; i < 3; i++) ids_free(&script[i]);
    call_form_close(&f);
}

/* ---- a training step of a session whose model is random: what it says is given, but for some tokens of its own
 * ---- */

static void given(void *ctx, const struct sequence *seq, int *id)
{
    const struct crowd *x = ctx;
    int k = 0, own = *id;
    for (int i = seq->prompt_len; i < seq->n; i++) k += seq->m[i];
    const struct ids *s = &x->script[seq->prompt % 2];
    *id = k < s->n ? s->p[k] : CHATTY_END;
    if (*id == '~' && own < 256) *id = own;
}

static void sample_rows(struct session *s, struct group *g, struct crowd *x)
{
    struct rollout_config r = session_sampling(s);
    struct sequence *seq[4];
    r.force = given;
    r.force_ctx = x;
    rollout_set(s->ro, &r);
    for (int p = 0; p < 2; p++) {
        group_begin_record(&g[p], s, &s->train, p, 0, (uint32_t)p, 2);
        for (int j = 0; j < 2; j++) seq[2 * p + j] = &g[p].traj[j]->seq;
    }
    rollout_run(s->ro, seq, 4, true, NULL, NULL, NULL);
}

static void is_graded(struct session *s, struct group *g)
{
    static const struct {
        const char *kind;
        double reward[2];
    } rules[] = { { "exact", { 1.25, -1 } }, { "deep_research", { 1.1, -1 } }, { "task", { 1.25, -1 } } };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        mini_set((struct config *)(uintptr_t)s->c,
                 (const char *const[]){ "reward.kind", rules[i].kind, "reward.tool_bonus", "0.25", NULL });
        for (int p = 0; p < 2; p++) {
            trajectory_grade(&g[p], g[p].traj[0], s);
            CHECK_NEAR(g[p].traj[0]->seq.reward, rules[i].reward[p], 1e-12, "%s, prompt %d", rules[i].kind, p);
            CHECK(g[p].traj[0]->correct == !p && g[p].traj[0]->well_formed == !p, "%s, prompt %d", rules[i].kind, p);
        }
    }
}

static const char *const step_keys[] = {
    "tools.format", "hermes", "data.train_batch_size", "2", "actor.ppo_mini_batch_size", "2", "rollout.n", "6",
    "rollout.initial_rollouts", "2", "branch.points", "2", "branch.tool_budget", "prefix", "branch.score", "random",
    "branch.min_gap", "9", "branch.candidates", "any", "rollout.max_len", "2400", "data.max_prompt_length", "2000",
    "data.max_response_length", "400", "actor.ppo_max_token_len_per_gpu", "2400", "rollout.max_num_seqs", "4",
    "rollout.max_num_batched_tokens", "512", NULL };

static void training_step(void **state)
{
    (void)state;
    static const char answer[] = "<think>~~~~~~~~</think><answer>\\boxed{2}</answer>";
    struct config c;
    struct session s;
    struct trainer t;
    struct err e;
    struct group g[2];
    struct ids script[2] = { { 0 } };
    struct crowd x = { script };
    struct step_sums z = { 0 };
    if (on_shim()) skip();
    chatty_model(dir);
    chatty_write(dir, "set.jsonl",
                 "{\"question\":\"1+1?\",\"answer\":\"2\"}\n{\"question\":\"2+2?\",\"answer\":\"4\"}\n");
    chatty_set(&c, dir, step_keys);
    mini_set(&c, (const char *const[]){ "data.train_files", in_dir("set.jsonl"), NULL });
    CHECK(session_open(&s, &c, true, &e) && session_open_prompts(&s, true, &e), "%s", e.text);
    trainer_make(&t, &s);
    turn_ids(&script[0], &s.chat, "<think>~~~~</think>" PY("1+1") FIND("one"));
    turn_ids(&script[0], &s.chat, answer);
    turn_ids(&script[1], &s.chat, PY("2+2") "~~~~");
    turn_ids(&script[1], &s.chat, "four");
    sample_rows(&s, g, &x);
    is_graded(&s, g);
    branch_rollouts(&t, g, 2, false, &z);
    int inside = 0, behind = 0;
    for (int p = 0; p < 2; p++)
        for (int j = 0; j < g[p].n; j++) {
            const struct trajectory *r = g[p].traj[j];
            CHECK(r->seq.finish == FINISH_END && r->seq.calls == 2 - p && r->seq.calls_by[TOOL_PYTHON] == 1,
                  "prompt %d, rollout %d: %d calls", p, j, r->seq.calls);
            same_as_training(&s.m, &r->seq, j, 1);
            if (!r->branch) continue;
            const struct sequence *from = &g[p].traj[r->orig]->seq;
            inside += r->idx <= from->call[0].close;
            behind += r->idx > from->call[0].close;
        }
    assert_true(g[0].n == 6 && g[1].n == 6 && inside > 0 && behind > 0);
    assert_true(policy_update(&t, g, 2, false, &z));
    CHECK(t.probs_diff_max == 0 && t.tokens_trained > 0, "%g", t.probs_diff_max);
    for (int p = 0; p < 2; p++) group_end(&g[p], &s);
    for (int k = 0; k < 2; k++) ids_free(&script[k]);
    trainer_free(&t);
    session_close(&s);
    config_free(&c);
}

/* ---- whole runs of a model that was trained on one conversation ---- */

static const struct spoken learned = { "learned",
                                     { "<think> so</think>" PY("6*7") FIND("who"), "<think> "
                                                                                   "so</think><answer>\\boxed{42}</"
                                                                                   "answer>" },
                                     { "42^error: no search" },
                                     9,
                                     0,
                                     1,
                                     1,
                                     0,
                                     2 };

/* The tuned model is saved under its own name. */
static bool learn(const char *folder, struct err *e)
{
    struct config c;
    struct session s;
    struct chat_message m[8];
    struct sft_conversations t = { 0 };
    struct sft_rule r = { .steps = 220,
                          .batch = 1,
                          .warmup = 10,
                          .lr = 1e-2,
                          .floor = 0.1,
                          .beta1 = 0.9,
                          .beta2 = 0.98,
                          .max_norm = 1,
                          .seed = 1 };
    int n = 0;
    json_t *list = json_array();
    messages_of(&learned, m, &n);
    m[0].text = "6*7?";
    m[0].n = 4;
    for (int k = 0; k < n; k++) {
        static const char *const roles[] = {
            [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant", [CHAT_TOOL] = "tool"
        };
        json_array_append_new(list, json_pack("{s:s,s:s%}", "role", roles[m[k].role], "content", m[k].text, m[k].n));
    }
    json_t *row = json_pack("{s:o}", "messages", list);
    char *line = json_dumps(row, JSON_COMPACT);
    chatty_write(dir, "conversation.jsonl", line);
    free(line);
    json_decref(row);
    chatty_model(dir);
    chatty_set(&c, dir, step_keys);
    mini_set(&c, (const char *const[]){ "data.train_files", in_dir("conversation.jsonl"), NULL });
    bool ok = session_load(&s, &c, NULL, e);
    if (ok) session_open_learner(&s);
    ok = ok && sft_conversations_open(&t, &c, &s.form, 2400, e) &&
         sft_run_conversations(&s.learner, &t, &c, &r, NULL, NULL, e) && session_save(&s, folder, e);
    sft_conversations_free(&t);
    session_close(&s);
    config_free(&c);
    return ok;
}

/* Runs so many steps in a folder, with the dumps beside it. */
static void train(struct run_report *r, const char *folder, const char *steps)
{
    struct err e;
    struct config c;
    struct session s;
    char dumps[64];
    snprintf(dumps, sizeof dumps, "%s.dumps", folder);
    chatty_set(&c, in_dir("tuned"), step_keys);
    mini_set(&c, (const char *const[]){ "data.train_files",
                                        in_dir("one.jsonl"),
                                        "data.val_files",
                                        in_dir("one.jsonl"),
                                        "data.system_prompt",
                                        "none",
                                        "trainer.total_training_steps",
                                        steps,
                                        "trainer.default_local_dir",
                                        in_dir(folder),
                                        "rollout.initial_rollouts",
                                        "4",
                                        "rollout.n",
                                        "8",
                                        "rollout.temperature",
                                        "0.8",
                                        "reward.tool_bonus",
                                        "0.5",
                                        "actor.optim.lr",
                                        "1e-3",
                                        NULL });
    mini_set(&c, (const char *const[]){ "trainer.rollout_data_dir", in_dir(dumps), NULL });
    *r = (struct run_report){ 0 };
    CHECK(session_open(&s, &c, true, &e) && run_training(&s, r, NULL, &e), "%s", e.text);
    session_close(&s);
    config_free(&c);
}

/* Removes the milliseconds of calls, the only difference between two runs. */
static void read_dump(struct str *out, const char *folder, int step)
{
    struct err e;
    char name[64];
    snprintf(name, sizeof name, "%s.dumps/%d.jsonl.gz", folder, step);
    str_clear(out);
    CHECK(file_read(in_dir(name), 16 << 20, out, &e), "%s", e.text);
    for (char *p = out->p; (p = strstr(p, "\"ms\":")); ) {
        p += 5;
        size_t n = strspn(p, "0123456789.-");
        memmove(p, p + n, strlen(p + n) + 1);
    }
    out->n = strlen(out->p);
}

/* What it has learned is a turn of two calls and an answer; a run that was stopped goes on to the same rollouts, to the
 * bit. */
static void whole_runs(void **state)
{
    (void)state;
    struct err e;
    struct run_report whole, cut;
    struct str a = { 0 }, b = { 0 };
    if (slow_build()) skip();
    chatty_write(dir, "one.jsonl", "{\"question\":\"6*7?\",\"answer\":\"42\"}\n");
    CHECK(learn(in_dir("tuned"), &e), "%s", e.text);
    train(&whole, "whole", "3");
    CHECK(whole.before.all.greedy_correct == 1 && whole.before.all.greedy_n == 1,
          "the model does not generate the conversation that it was trained on");
    CHECK(whole.probs_diff_max == 0 && whole.tokens_trained > 0, "%g", whole.probs_diff_max);
    train(&cut, "cut", "1");
    train(&cut, "cut", "3");
    assert_int_equal(cut.steps, 3);
    for (int step = 1; step <= 3; step++) {
        read_dump(&a, "whole", step);
        read_dump(&b, "cut", step);
        CHECK(a.n == b.n && !memcmp(a.p, b.p, a.n), "rollouts of step %d differ", step);
        if (step == 1)
            CHECK(strstr(a.p, "</tool_call><|im_end|>\\n<|im_start|>user\\n<tool_response>\\n42\\n</"
                              "tool_response>\\n<tool_response>\\nerror: no search\\n"),
                  "%.3000s", a.p);
    }
    str_free(&a);
    str_free(&b);
}

/* Prompts declare the tools, with fitting instructions; a chat format without a place for them is rejected. */
static void prompts(void **state)
{
    (void)state;
    static const char rows[] = "{\"question\":\"who?\",\"answer\":\"I\"}\n{\"prompt\":[{\"role\":\"system\","
                               "\"content\":\"call as <python> x </python>\"},"
                               "{\"role\":\"user\",\"content\":\"who?\"}],\"answer\":\"I\"}\n";
    static const struct { const char *system, *has[2], *lacks[2]; } cases[] = {
        { "auto", { "either call tools", "call as <python>" }, { "<python>", "either call tools" } },
        { "none", { "# Tools", "call as <python>" }, { "helpful", "helpful" } },
        { "tools", { "either call tools", "either call tools" }, { "<python>", "<python>" } },
        { "mine", { "<|im_start|>system\nmine\n\n# Tools", "system\nmine\n" }, { "helpful", "call as" } },
    };
    struct config c;
    struct session s;
    struct err e;
    chatty_model(dir);
    chatty_write(dir, "rows.jsonl", rows);
    chatty_set(&c, dir, step_keys);
    CHECK(session_load(&s, &c, NULL, &e), "%s", e.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct prompt_set q;
        mini_set(&c, (const char *const[]){ "data.system_prompt", cases[i].system, NULL });
        CHECK(prompt_set_open(&q, "data.train_files", in_dir("rows.jsonl"), &c, &s.form, &e), "%s", e.text);
        for (int k = 0; k < 2; k++) {
            struct str text = { 0 };
            tokenizer_decode(s.tok, &text, q.prompt[k].p, q.prompt[k].n, true);
            CHECK(strstr(text.p, cases[i].has[k]) && !strstr(text.p, cases[i].lacks[k]) &&
                      strstr(text.p, "\"name\": \"search\"") && strstr(text.p, "user\nwho?<|im_end|>"),
                  "system_prompt=%s, row %d:\n%s", cases[i].system, k, text.p);
            str_free(&text);
        }
        prompt_set_free(&q);
    }
    session_close(&s);
    mini_set(&c, (const char *const[]){ "model.chat_format", "smollm2", NULL });
    CHECK(!session_load(&s, &c, NULL, &e) && strstr(e.text, "tools.format=hermes: this model's chat format has no "
                                                            "place"),
          "%s", e.text);
    session_close(&s);
    config_free(&c);
}

static int make(void **state)
{
    if (make_dir(state)) return -1;
    for (int k = 0; k < TURNYS; k++) tok[k] = turny_tokenizer((enum turny)k);
    for (int k = 0; k < 2; k++) {
        struct model_config c = { .arch = "LlamaForCausalLM",
                                  .vocab = k ? QWEN_VOCAB : VOCAB,
                                  .dim = 32,
                                  .layers = k ? 1 : 2,
                                  .heads = 4,
                                  .kv_heads = 2,
                                  .head_dim = 8,
                                  .ff = 48,
                                  .max_len = 1024,
                                  .tied = true,
                                  .rms_eps = 1e-5,
                                  .rope_theta = 10000,
                                  .bos = -1,
                                  .pad = -1,
                                  .eos = { 257 },
                                  .n_eos = 1 };
        model_make(k ? &large : &small, &c);
        model_init(k ? &large : &small, 3);
    }
    dev_set_threads(1);
    return 0;
}

static int drop(void **state)
{
    for (int k = 0; k < TURNYS; k++) tokenizer_free(tok[k]);
    model_free(&small);
    model_free(&large);
    return drop_dir(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(conversations), cmocka_unit_test(other_ends),
                                        cmocka_unit_test(limits),        cmocka_unit_test(late_tools),
                                        cmocka_unit_test(forks),
                                        cmocka_unit_test(a_sequence_is_independent_of_the_others),
                                        cmocka_unit_test(training_step), cmocka_unit_test(whole_runs),
                                        cmocka_unit_test(prompts) };
    return cmocka_run_group_tests_name("turns", tests, make, drop);
}
