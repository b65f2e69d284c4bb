/* test_rollout_messages.c: SFT and prompts see the tokens that rollouts see: where texts are cut, and random scripted
 * policies whose rollout and whose conversation, in every way a file may write it, have equal ids and masks, for every
 * tokenizer at hand. */
#include "base/philox.h"
#include "engine/prompts/rollout_messages.h"
#include "engine/rollout/rollout.h"
#include "engine/prompts/prompts.h"
#include "tests/check.h"
#include "tests/engine/tools/turn_format.h"
#include "tests/slow.h"

/* ---- where a text is cut ---- */

/* Pieces separated by '|': the policy's text as it is, a result's text in [], a quoted result in {}. */
static void show(struct str *out, const char *text, size_t n)
{
    struct tag_pieces x = { 0 };
    size_t at = 0;
    str_clear(out);
    tags_cut(&x, text, n);
    for (int i = 0; i < x.n; i++) {
        const struct tag_piece *p = &x.p[i];
        CHECK(p->begin >= at && p->begin <= p->end && p->end <= n, "%.60s: piece %d", text, i);
        at = p->end;
        str_puts(out, &"|"[!i]);
        if (p->part != TAG_POLICY) str_putc(out, p->part == TAG_RESULT ? '[' : '{');
        str_put(out, text + p->begin, p->end - p->begin);
        if (p->part != TAG_POLICY) str_putc(out, p->part == TAG_RESULT ? ']' : '}');
    }
    tag_pieces_free(&x);
}

#define S "<search>q</search>"
#define P "<python>1</python>"

static void texts_are_cut(void **state)
{
    (void)state;
    static const struct { const char *text, *want; } cases[] = {
        { "", "" }, { "plain", "plain" }, { "a" S "b", "a" S "|b" }, { S, S }, { S "\n", S "|\n" },
        { S " <result>\nr\n</result>b", S "|[r]|b" }, { S "<result>r</result>b", S "|[r]|b" },
        { S "\n\n<result> r </result>\nb", S "|[r]|\nb" }, { S "<result>\n\nr\n\n</result>", S "|[\nr\n]" },
        { S "<result>\n r \n</result>", S "|[ r ]" }, { S "<result>\n\n</result>", S "|[]" },
        { S "<result></result>", S "|[]" }, { S "<result>\n</result>", S "|[]" }, { S "<result> </result>", S "|[]" },
        { S "<result> \nr\t</result>", S "|[r]" }, { S "<result>\r\nr\r\n</result>", S "|[r\r]" },
        { "a" S "<result>r</result><think>b</think>" P "<result>2</result>c",
          "a" S "|[r]|<think>b</think>" P "|[2]|c" },
        /* an unclosed result is text */
        { "the <result> answer is 46", "the <result> answer is 46" }, { S "<result>r", S "|<result>r" },
        { "a<result>b" S "<result>r</result>c", "a<result>b" S "|[r]|c" }, { "</result>", "</result>" },
        { "a</result>b<result>c", "a</result>b<result>c" }, { S "</result>", S "|</result>" },
        { S "<result", S "|<result" },
        { "</result>" S "<result>r</result></result>", "</result>" S "|[r]|</result>" },
        /* tags inside a result */
        { S "<result>a<result>b</result>c</result>d", S "|[a<result>b</result>c]|d" },
        { S "<result>a<result>b</result>c", S "|[a<result>b]|c" },
        { S "<result>a</result>b</result>c", S "|[a]|b</result>c" },
        { S "<result>x" S "y</result>z", S "|[x" S "y]|z" },
        { S "<result><search></result>a</search>", S "|[<search>]|a</search>" },
        { S "<result>a<result>b</result>" P "<result>c</result>", S "|[a<result>b]|" P "|[c]" },
        /* no call before it */
        { "a<result>b</result>c", "a|{<result>b</result>}|c" }, { "<result>b</result>", "{<result>b</result>}" },
        { "<result>a<result>b</result>c</result>", "{<result>a<result>b</result>c</result>}" },
        { "<result>a<result>b</result>c", "<result>a|{<result>b</result>}|c" },
        { S "so <result>b</result>", S "|so |{<result>b</result>}" },
        { S "<result>a</result><result>b</result>", S "|[a]|{<result>b</result>}" },
        { "<result>" S "<result>r</result></result>", "<result>" S "|[r]|</result>" },
        { "<search>q<result>r</result></search>a", "<search>q|{<result>r</result>}|</search>a" },
        /* no calls */
        { "</search>a", "</search>a" },
        { "<search>q</python><result>r</result>", "<search>q</python>|{<result>r</result>}" },
        { "<search>q</search></search>a", S "|</search>a" },
        { "<search>a<search>b</search>c", "<search>a<search>b</search>|c" },
        { "<Search>q</Search>", "<Search>q</Search>" }, { "<search>q< /search>", "<search>q< /search>" },
        { "<search></search>a", "<search></search>|a" },
        { "<python>a<search>b</python>c</search>d", "<python>a<search>b</python>|c</search>d" },
    };
    struct str got = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].text);
        char *copy = xmalloc(n + 1);            /* of exact size, so that the sanitizers find reads beside it */
        memcpy(copy, cases[i].text, n + 1);
        show(&got, copy, n);
        CHECK(!strcmp(got.p, cases[i].want), "%s: %s, not %s", cases[i].text, got.p, cases[i].want);
        free(copy);
    }
    str_free(&got);
}

/* Megabytes of tags take one pass. */
static void many_tags(void **state)
{
    (void)state;
    static const char *const unit[] = { "</search>",
                                        "<result>",
                                        "</result>",
                                        "<search>",
                                        S,
                                        S "<result>",
                                        "<result>" S,
                                        "<result></result>",
                                        S "<result>r</result>",
                                        "<search></python>",
                                        "<",
                                        ">" };
    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++)
        for (int two = 0; two < 2; two++) {
            struct str s = { 0 };
            struct tag_pieces x = { 0 };
            int times = slow_build() ? 2000 : 100000;
            for (int k = 0; k < times; k++) str_puts(&s, unit[i]);
            if (two) for (int k = 0; k < times; k++) str_puts(&s, unit[(i + 1) % (sizeof unit / sizeof *unit)]);
            assert_true(tags_cut(&x, s.p, s.n) >= 1);
            tag_pieces_free(&x);
            str_free(&s);
        }
}

/* ---- rollouts of scripted policies and the same conversations ---- */

enum { WORLDS = 8, PARTS = 4 };
static const struct { const char *tokenizer, *format; enum call_format calls; } worlds[WORLDS] = {
    { "policy", "appo", CALLS_TAGS }, { "smollm2", "smollm2", CALLS_TAGS }, { "qwen3", "qwen2.5", CALLS_TAGS },
    { "qwen3", "qwen3", CALLS_TAGS }, { "cl100k", "llama3.1", CALLS_TAGS }, { "deepseek_v3", NULL, CALLS_TAGS },
    { "qwen3", "qwen2.5", CALLS_HERMES }, { "cl100k", "llama3.1", CALLS_LLAMA3_JSON },
};
static struct world { struct tokenizer *t; struct chat c; struct call_form f; } world[WORLDS];

/* One conversation: the policy's texts before each result and after the last, and the results. */
struct script { int results; struct str says[PARTS], back[PARTS]; };

static const char *const bits[] = {
    "", "\n", " ", "\n\n", "<", ">", "><", ">\n", "</", "<think>", "</think>", "x", ".", "\xc3\xa9", "\r\n", "\t", "12",
    "  ", " the", "<answer>", "</answer>", "\xc2\xa0", "\xf0\x9f\x98\x80", "'s", "\"", "{", "}\n", "\\boxed{3}", "\n ",
    "_", ")", ".\n\n", "\xe4\xbd\xa0\xe5\xa5\xbd", "> <", ">>", "<<", "=\n", "a b c", "\n\n\n", " \n",
};
enum { BITS = sizeof bits / sizeof *bits };
static const char *const pages[] = {
    "<result>a</result>",          "</search>", "<search>", "<|im_end|>", "<answer>",
    "Page 1: rank 35.\nPage 2: x", "</python>", "</think>", "<|end|>",    "<tool_call>"
};
enum { PAGES = sizeof pages / sizeof *pages };

static void random_text(struct str *s, struct rng *r, bool page)
{
    str_puts(s, "");
    for (uint32_t k = rng_below(r, 4); k > 0; k--) str_puts(s, bits[rng_below(r, BITS)]);
    if (page && rng_below(r, 4) == 0) str_puts(s, pages[rng_below(r, PAGES)]);
    if (page && rng_below(r, 3) == 0) str_puts(s, bits[rng_below(r, BITS)]);
}

static void random_call(struct str *s, struct rng *r, enum call_format calls)
{
    bool python = rng_below(r, 2);
    if (calls == CALLS_HERMES)
        str_printf(s, "<tool_call>\n{\"name\": \"%s\", \"arguments\": {\"%s\": \"1\"}}\n</tool_call>",
                   tool_name(python), python ? "query" : "code");
    else if (calls == CALLS_LLAMA3_JSON) str_puts(s, "{\"name\": \"python\", \"parameters\": {\"code\": \"1\"}}");
    else {
        str_printf(s, "<%s>q", tool_name(python));          /* an empty query has a fixed result */
        random_text(s, r, false);
        str_printf(s, "</%s>", tool_name(python));
    }
}

static void script_make(struct script *x, uint32_t number, const struct world *w)
{
    struct rng r = rng_make(7, 0x73616964, number);
    *x = (struct script){ .results = 1 + (int)rng_below(&r, PARTS - 1) };
    for (int i = 0; i <= x->results; i++) {
        str_clear(&x->says[i]);
        if (w->f.format != CALLS_LLAMA3_JSON || i == x->results) random_text(&x->says[i], &r, false);
        if (i == x->results) break;
        random_call(&x->says[i], &r, w->f.format);
        str_clear(&x->back[i]);
        random_text(&x->back[i], &r, true);
    }
    /* templates that strip an assistant's text do it in the conversation, too */
    if (w->c.v.family == CHAT_LLAMA3)
        for (int i = 0; i <= x->results; i++) {
            struct str own = { 0 };
            str_printf(&own, "%s%s%s", i && !call_form_turns(&w->f) ? "" : "(", x->says[i].p,
                       i == x->results || call_form_turns(&w->f) ? i < x->results ? "" : ")" : "");
            if (w->f.format == CALLS_LLAMA3_JSON && i < x->results) { str_free(&own); continue; }
            str_free(&x->says[i]);
            x->says[i] = own;
        }
}

static void script_free(struct script *x)
{
    for (int i = 0; i < PARTS; i++) { str_free(&x->says[i]); str_free(&x->back[i]); }
}

static const struct chat_message question = { CHAT_USER, "q?", .n = 2 };

/* Tokens that a model writes for one text: the canonical ones, with added tokens that are not special. */
static void own_ids(struct ids *out, const struct world *w, const struct str *text)
{
    /* ends may be stripped */
    struct chat_piece piece[] = { { .text = "(", .n = 1 },
                                  { .text = text->p, .n = text->n, .own = true },
                                  { .text = ")", .n = 1 } };
    struct ids all = { 0 };
    struct chat_mask mask = { 0 };
    assert_true(chat_write(&w->c, &all, &mask,
                           (struct chat_message[]){ question, { CHAT_ASSISTANT, "", 0, .piece = piece, .pieces = 3 } },
                           2, NULL, false));
    int end = all.n;
    while (all.p[end - 1] != w->c.end) end--;
    for (int i = 0; i < end - 1; i++) if (mask.p[i]) ids_put(out, all.p[i]);
    chat_mask_free(&mask);
    ids_free(&all);
}

struct tokens { struct ids ids; struct chat_mask mask; };

static void tokens_add(struct tokens *x, int id, bool own)
{
    ids_put(&x->ids, id);
    if (x->mask.n == x->mask.cap)
        x->mask.p = xrealloc(x->mask.p, (size_t)(x->mask.cap = x->mask.cap ? 2 * x->mask.cap : 64));
    x->mask.p[x->mask.n++] = own;
}

static void tokens_free(struct tokens *x)
{
    ids_free(&x->ids);
    chat_mask_free(&x->mask);
}

/* The rollout: the policy's tokens one by one, results where the engine finds a call in them. (That the engine does so,
 * script by script, real_rollouts looks at.) */
static void roll_out(struct tokens *x, const struct world *w, const struct script *s)
{
    struct ids own = { 0 }, back = { 0 };
    struct str tail = { 0 };
    struct found_call f;
    struct err e;
    int part = 0;
    *x = (struct tokens){ 0 };
    assert_true(prompt_write(&x->ids, &question, 1, "none", &w->f, &e));
    x->mask.p = xcalloc((size_t)(x->mask.cap = x->mask.n = x->ids.n), 1);
    for (int i = 0; i <= s->results; i++) {
        own.n = back.n = 0;
        own_ids(&own, w, &s->says[i]);
        for (int k = 0; k < own.n; k++) {
            int bytes;
            const char *text = tokenizer_bytes(w->t, own.p[k], &bytes);
            tokens_add(x, own.p[k], true);
            str_put(&tail, text, (size_t)bytes);
            if (call_form_turns(&w->f) || !tools_find_call(&f, tail.p, tail.n, (size_t)bytes)) continue;
            CHECK(k == own.n - 1 && i < s->results, "%s: a call inside \"%s\"", worlds[w - world].tokenizer,
                  s->says[i].p);
            tools_result_ids(w->t, &back, s->back[i].p, s->back[i].n, -1, INT_MAX);
            part++;
        }
        str_clear(&tail);
        if (i == s->results || call_form_turns(&w->f)) tokens_add(x, w->c.end, true);
        if (i < s->results && call_form_turns(&w->f)) {
            turn_result_ids(&w->f, &back, &s->back[i], 1, -1, INT_MAX);
            part++;
        }
        for (int k = 0; k < back.n; k++) tokens_add(x, back.p[k], false);
    }
    assert_int_equal(part, s->results);
    ids_free(&own);
    ids_free(&back);
    str_free(&tail);
}

/* The ways in which a file may write it: results in the text as rollouts show them, in bare tags, behind line breaks;
 * as messages of the tool. */
enum way { AS_SHOWN, BARE, BEHIND_BREAKS, MESSAGES, WAYS };

static int messages_of(struct messages *m, const struct script *s, enum way way, bool turns)
{
    static const char *const before[] = { RESULT_BEFORE, "<result>\n", "\n\n<result>\n" };
    struct str text = { 0 };
    messages_add(m, ROLE_USER, "q?");
    for (int i = 0; i <= s->results; i++) {
        if (i && (way == MESSAGES || turns)) {
            messages_add(m, ROLE_ASSISTANT, text.p);
            messages_add(m, ROLE_TOOL, s->back[i - 1].p);
            str_clear(&text);
        } else if (i) str_printf(&text, "%s%s\n</result>", before[way], s->back[i - 1].p);
        str_puts(&text, s->says[i].p);
    }
    messages_add(m, ROLE_ASSISTANT, text.p);
    str_free(&text);
    return m->n;
}

static void converse(struct tokens *x, const struct world *w, const struct script *s, enum way way)
{
    struct messages said = { 0 };
    struct rollout_messages y;
    messages_of(&said, s, way, call_form_turns(&w->f));
    struct chat_message *m = chat_messages(&said);
    *x = (struct tokens){ 0 };
    rollout_messages_make(&y, m, said.n, &w->f, false);
    assert_true(chat_write(&w->c, &x->ids, &x->mask, y.m, y.n, call_form_turns(&w->f) ? &w->f.tools : NULL, false));
    while (x->ids.p[x->ids.n - 1] != w->c.end) x->ids.n--;             /* the line break behind the last end */
    rollout_messages_free(&y);
    free(m);
    messages_free(&said);
}

static bool whole_differs(const struct world *w, const struct script *s, const struct tokens *want)
{
    struct messages said = { 0 };
    struct tokens x = { 0 };
    messages_of(&said, s, AS_SHOWN, false);
    struct chat_message *m = chat_messages(&said);
    struct chat_piece whole = { .text = m[1].text, .n = m[1].n, .own = true };
    m[1].piece = &whole;
    m[1].pieces = 1;
    assert_true(chat_write(&w->c, &x.ids, NULL, m, 2, NULL, false));
    while (x.ids.p[x.ids.n - 1] != w->c.end) x.ids.n--;
    bool differs = x.ids.n != want->ids.n || memcmp(x.ids.p, want->ids.p, (size_t)x.ids.n * sizeof *x.ids.p);
    tokens_free(&x);
    free(m);
    messages_free(&said);
    return differs;
}

static void is_same(const struct tokens *want, const struct tokens *got, size_t w, uint32_t number, int way)
{
    struct str a = { 0 }, b = { 0 };
    bool same = got->ids.n == want->ids.n && !memcmp(got->ids.p, want->ids.p, (size_t)got->ids.n * sizeof(int)) &&
                !memcmp(got->mask.p, want->mask.p, (size_t)got->ids.n);
    if (!same) {
        tokenizer_decode(world[w].t, &a, want->ids.p, want->ids.n, true);
        tokenizer_decode(world[w].t, &b, got->ids.p, got->ids.n, true);
    }
    CHECK(same, "%s %s, script %u, way %d: %d ids, %d in the rollout\n%s\n---\n%s", worlds[w].tokenizer,
          worlds[w].format ? worlds[w].format : "", number, way, got->ids.n, want->ids.n, b.p, a.p);
    str_free(&a);
    str_free(&b);
}

static void conversations(void **state)
{
    (void)state;
    uint32_t scripts = on_shim() ? 40 : slow_build() ? 100 : 1000;
    for (size_t w = 0; w < WORLDS; w++) {
        int differ = 0;
        for (uint32_t k = 0; k < scripts; k++) {
            struct script s;
            struct tokens want, got;
            script_make(&s, k, &world[w]);
            roll_out(&want, &world[w], &s);
            for (int way = 0; way < (call_form_turns(&world[w].f) ? 1 : WAYS); way++) {
                converse(&got, &world[w], &s, (enum way)way);
                is_same(&want, &got, w, k, way);
                tokens_free(&got);
            }
            differ += !call_form_turns(&world[w].f) && whole_differs(&world[w], &s, &want);
            tokens_free(&want);
            script_free(&s);
        }
        /* encoded in one piece, they would not be the same; the embedded policy's tags are tokens of their own */
        if (w && !call_form_turns(&world[w].f))
            CHECK(differ > (int)scripts / 20, "%s: only %d of %u texts have other tokens in one piece",
                  worlds[w].tokenizer, differ, scripts);
    }
}

/* ---- the same with real rollouts ---- */

struct recital { const struct ids *script; const struct script *say; };
enum { RECITED = 24 };

static void recite(void *ctx, const struct sequence *seq, int *id)
{
    const struct recital *x = (const struct recital *)ctx + seq->prompt;
    int k = 0;
    for (int i = seq->prompt_len; i < seq->n; i++) k += seq->m[i];
    *id = x->script->p[k < x->script->n ? k : x->script->n - 1];
}

/* Returns the script's result for this call. */
static void answer(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                   struct str *out)
{
    const struct recital *x = (const struct recital *)ctx + who->prompt;
    (void)tool, (void)query, (void)n;
    const struct str *back = &x->say->back[who->call - 1];
    str_put(out, back->p, back->n);
}

/* Sampling from 152,000 ids takes a millisecond. */
static int recited(const struct world *w) { return tokenizer_vocab(w->t) > 60000 ? 5 : RECITED; }

static void run_all(struct sequence *seq, struct world *w, struct recital *x)
{
    int n = recited(w);
    struct model_config c = { .arch = "LlamaForCausalLM",
                              .vocab = tokenizer_vocab(w->t),
                              .dim = 8,
                              .layers = 1,
                              .heads = 1,
                              .kv_heads = 1,
                              .head_dim = 8,
                              .ff = 8,
                              .max_len = 4096,
                              .tied = true,
                              .rms_eps = 1e-5,
                              .rope_theta = 10000,
                              .bos = -1,
                              .pad = -1,
                              .eos = { w->c.end },
                              .n_eos = 1 };
    struct rollout_config rule = { .temperature = 1,
                                   .top_p = 1,
                                   .seed = 5,
                                   .max_len = 3000,
                                   .max_response = 2500,
                                   .call_limit = 9,
                                   .max_rows = 128,
                                   .max_seqs = RECITED,
                                   .tool_threads = 2,
                                   .tool_timeout_s = 60,
                                   .form = &w->f,
                                   .force = recite,
                                   .force_ctx = x };
    struct toolbox box = { .run = answer, .ctx = x };
    struct arena arena;
    struct kv kv;
    struct model m;
    struct err e;
    struct sequence *list[RECITED];
    model_make(&m, &c);
    model_init(&m, 3);
    arena_make(&arena, "recite", 150u << 20);
    kv_make(&kv, &m, n * 190, &arena);
    struct rollout *r = rollout_make(&m, w->t, &kv, &box, &rule, &arena);
    for (int i = 0; i < n; i++) {
        struct ids prompt = { 0 };
        assert_true(prompt_write(&prompt, &question, 1, "none", &w->f, &e));
        sequence_begin(&seq[i], prompt.p, prompt.n);
        seq[i].prompt = (uint32_t)i;
        list[i] = &seq[i];
        ids_free(&prompt);
    }
    rollout_run(r, list, n, false, NULL, NULL, NULL);
    rollout_free(r);
    kv_destroy(&kv);
    arena_free(&arena);
    model_free(&m);
}

static void real_rollouts(void **state)
{
    (void)state;
    if (slow_build()) skip();
    for (size_t w = 0; w < WORLDS; w++) {
        int n = recited(&world[w]);
        struct script s[RECITED];
        struct ids own[RECITED] = { { 0 } };
        struct recital x[RECITED];
        struct sequence seq[RECITED] = { { 0 } };
        for (uint32_t k = 0; k < (uint32_t)n; k++) {
            script_make(&s[k], k, &world[w]);
            for (int i = 0; i <= s[k].results; i++) {
                own_ids(&own[k], &world[w], &s[k].says[i]);
                if (i == s[k].results || call_form_turns(&world[w].f)) ids_put(&own[k], world[w].c.end);
            }
            x[k] = (struct recital){ &own[k], &s[k] };
        }
        run_all(seq, &world[w], x);
        for (uint32_t k = 0; k < (uint32_t)n; k++) {
            struct tokens got,
                rolled = { .ids = { seq[k].ids, seq[k].n, seq[k].n }, .mask = { seq[k].m, seq[k].n, seq[k].n } };
            assert_int_equal(seq[k].finish, FINISH_END);
            converse(&got, &world[w], &s[k], AS_SHOWN);
            is_same(&rolled, &got, w, k, WAYS);
            tokens_free(&got);
            sequence_free(&seq[k], NULL);
            script_free(&s[k]);
            ids_free(&own[k]);
        }
    }
}

/* Targets: all of the policy's text; tokens of results only with sft.mask_results=false. */
static void targets_are_masked(void **state)
{
    (void)state;
    static const struct { const char *text, *want, *all; enum call_format calls; } cases[] = {
        { "a" S "<result>r</result>b", "a" S "^b", "a" S " <result>\nr\n</result>b", CALLS_TAGS },
        { "x <result>46", "x <result>46", "x <result>46", CALLS_TAGS },
        { "x<result>46</result>y", "x^y", "x<result>46</result>y", CALLS_TAGS },
        { "<result>46</result>", "^", "<result>46</result>", CALLS_TAGS },
        { "a" S "<result>r</result>b", "a" S "<result>r</result>b", "a" S "<result>r</result>b", CALLS_HERMES },
        { "x<result>46</result>y", "x<result>46</result>y", "x<result>46</result>y", CALLS_HERMES },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int learn = 0; learn < 2; learn++) {
            const struct world *w = &world[cases[i].calls == CALLS_TAGS ? 2 : 6];
            struct chat_message m[] = { question, { CHAT_ASSISTANT, cases[i].text, .n = strlen(cases[i].text) } };
            struct rollout_messages x;
            struct ids ids = { 0 };
            struct chat_mask mask = { 0 };
            struct str got = { 0 };
            rollout_messages_make(&x, m, 2, &w->f, learn);
            assert_true(chat_write(&w->c, &ids, &mask, x.m, x.n, NULL, false));
            int from = 0, to = ids.n;
            while (!mask.p[from] && ids.p[from] != tokenizer_id(w->t, "<|im_end|>")) from++;
            for (from = 0; from < ids.n; from++) {
                static const char head[] = "assistant\n";
                struct str before = { 0 };
                tokenizer_decode(w->t, &before, ids.p, from, true);
                bool there = before.n >= sizeof head - 1 &&
                             !memcmp(before.p + before.n - (sizeof head - 1), head, sizeof head - 1);
                str_free(&before);
                if (there) break;
            }
            while (ids.p[to - 1] != w->c.end) to--;
            assert_true(mask.p[to - 1]);
            str_clear(&got);
            for (int k = from; k < to - 1; k++) {
                if (mask.p[k]) tokenizer_decode(w->t, &got, &ids.p[k], 1, true);
                else if (!got.n || got.p[got.n - 1] != '^') str_putc(&got, '^');
            }
            CHECK(!strcmp(got.p, learn ? cases[i].all : cases[i].want), "%s, learn %d: %s", cases[i].text, learn,
                  got.p);
            rollout_messages_free(&x);
            ids_free(&ids);
            chat_mask_free(&mask);
            str_free(&got);
        }
}

/* Messages that become one turn. want: the text behind the prompt, with ^ around the parts that are no targets. */
static void messages_are_joined(void **state)
{
    (void)state;
#define GIVEN(x) "<|im_start|>user\n<tool_response>\n" x "\n</tool_response><|im_end|>\n"
    static const struct { const char *name; struct chat_message m[5]; const char *want; bool turns; } cases[] = {
        { "one result", { { CHAT_ASSISTANT, "a" S "\n", .n = 20 }, { CHAT_TOOL, "r", .n = 1 }, { CHAT_ASSISTANT, "b",
          .n = 1 } },
          "|a" S "| <result>\nr\n</result>|b<|im_end|>|\n", false },
        { "two in a row", { { CHAT_ASSISTANT, S, .n = 18 }, { CHAT_TOOL, "r", .n = 1 }, { CHAT_ASSISTANT, P, .n = 18 },
          { CHAT_TOOL,
          "2", .n = 1 }, { CHAT_ASSISTANT, "b", .n = 1 } },
          "|" S "| <result>\nr\n</result>|" P "| <result>\n2\n</result>|b<|im_end|>|\n", false },
        { "with one in the text", { { CHAT_ASSISTANT, S "<result>x</result>" P, .n = 54 }, { CHAT_TOOL, "2", .n = 1 },
          { CHAT_ASSISTANT, "b", .n = 1 } },
          "|" S "| <result>\nx\n</result>|" P "| <result>\n2\n</result>|b<|im_end|>|\n", false },
        { "quiet before it", { { CHAT_ASSISTANT, S, 18, .quiet = true }, { CHAT_TOOL, "r", .n = 1 }, { CHAT_ASSISTANT,
          "b",
          .n = 1 } }, S " <result>\nr\n</result>|b<|im_end|>|\n", false },
        { "quiet behind it", { { CHAT_ASSISTANT, S, .n = 18 }, { CHAT_TOOL, "r", .n = 1 }, { CHAT_ASSISTANT, "b", 1,
          .quiet = true } }, "|" S "| <result>\nr\n</result>b<|im_end|>\n", false },
        { "a user behind it", { { CHAT_ASSISTANT, S, .n = 18 }, { CHAT_TOOL, "r", .n = 1 }, { CHAT_USER, "u",
          .n = 1 } },
          "|" S "| <result>\nr\n</result>|<|im_end|>|\n<|im_start|>user\nu<|im_end|>\n", false },
        { "tags in a result", { { CHAT_ASSISTANT, S, .n = 18 }, { CHAT_TOOL, "<result></result></result>", .n = 26 },
          { CHAT_ASSISTANT, "b", .n = 1 } },
          "|" S "| <result>\n<result></result></result>\n</result>|b<|im_end|>|\n", false },
        /* not a turn that a rollout produces */
        { "the last", { { CHAT_ASSISTANT, S, .n = 18 }, { CHAT_TOOL, "r", .n = 1 } }, "|" S "<|im_end|>|\n" GIVEN("r"),
          false },
        { "two results", { { CHAT_ASSISTANT, S, .n = 18 }, { CHAT_TOOL, "r", .n = 1 }, { CHAT_TOOL, "t", .n = 1 },
          { CHAT_ASSISTANT,
          "b", .n = 1 } },
          "|" S "<|im_end|>|\n<|im_start|>user\n<tool_response>\nr\n</tool_response>\n<tool_response>\nt\n"
          "</tool_response><|im_end|>\n<|im_start|>assistant\n|b<|im_end|>|\n",
          false },
        { "words behind the call", { { CHAT_ASSISTANT, S " so", .n = 21 }, { CHAT_TOOL, "r", .n = 1 }, { CHAT_ASSISTANT,
          "b",
          .n = 1 } },
          "|" S " so<|im_end|>|\n" GIVEN("r") "<|im_start|>assistant\n|b<|im_end|>|\n", false },
        { "calls in turns", { { CHAT_ASSISTANT, S, .n = 18 }, { CHAT_TOOL, "r", .n = 1 }, { CHAT_ASSISTANT, "b",
          .n = 1 } },
          "|" S "<|im_end|>|\n" GIVEN("r") "<|im_start|>assistant\n|b<|im_end|>|\n", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct world *w = &world[cases[i].turns ? 6 : 2];
        struct chat_message m[6] = { question };
        struct rollout_messages x;
        struct ids ids = { 0 };
        struct chat_mask mask = { 0 };
        struct str got = { 0 };
        int n = 1;
        while (n < 6 && cases[i].m[n - 1].text) { m[n] = cases[i].m[n - 1]; n++; }
        rollout_messages_make(&x, m, n, &w->f, false);
        assert_true(chat_write(&w->c, &ids, &mask, x.m, x.n, NULL, false));
        for (int k = 0; k < ids.n; k++) {
            if (k && mask.p[k] != mask.p[k - 1]) str_putc(&got, '|');
            tokenizer_decode(w->t, &got, &ids.p[k], 1, true);
        }
        size_t len = strlen(cases[i].want);
        CHECK(got.n >= len && !strcmp(got.p + got.n - len, cases[i].want), "%s:\n%s\n---\n%s", cases[i].name, got.p,
              cases[i].want);
        rollout_messages_free(&x);
        ids_free(&ids);
        chat_mask_free(&mask);
        str_free(&got);
    }
}

static struct tokenizer *open_tokenizer(const char *name)
{
    struct err e;
    struct str path = { 0 };
    if (!strcmp(name, "policy")) return tokenizer_read("policy/tokenizer.json", &e);
    str_printf(&path, "tests/golden/tokenizer/%s.json", name);
    json_t *root = json_load_file(path.p, JSON_ALLOW_NUL, NULL);
    char *text = json_dumps(json_object_get(root, "tokenizer"), 0);
    struct tokenizer *t = tokenizer_parse(name, text, strlen(text), &e);
    free(text);
    json_decref(root);
    str_free(&path);
    return t;
}

static int make(void **state)
{
    (void)state;
    struct err e;
    dev_set_threads(1);
    for (size_t w = 0; w < WORLDS; w++) {
        world[w].t = open_tokenizer(worlds[w].tokenizer);
        assert_non_null(world[w].t);
        if (worlds[w].format) assert_true(chat_open(&world[w].c, world[w].t, NULL, worlds[w].format, &e));
        /* DeepSeek's own format is not known here: its tokens in a frame of text */
        else
            world[w].c = (struct chat){ .t = world[w].t,
                                        .v = { .family = CHAT_CHATML },
                                        .end = 0,
                                        .open = 0,
                                        .pad = -1,
                                        .bos = -1,
                                        .close = -1,
                                        .user = -1,
                                        .assistant = -1 };
        assert_true(call_form_open(&world[w].f, worlds[w].calls, &world[w].c, &e));
    }
    return 0;
}

static int drop(void **state)
{
    (void)state;
    for (size_t w = 0; w < WORLDS; w++) {
        call_form_close(&world[w].f);
        tokenizer_free(world[w].t);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(texts_are_cut),          cmocka_unit_test(many_tags),
                                        cmocka_unit_test(conversations), cmocka_unit_test(real_rollouts),
                                        cmocka_unit_test(targets_are_masked), cmocka_unit_test(messages_are_joined) };
    return cmocka_run_group_tests_name("said", tests, make, drop);
}
