/* mini.h: a whole session on a random policy of 32 dimensions with the shipped tokenizer, for the tests of training
 * steps. What it says is partly a script, so that calls, ends and tokens that rollouts share turn up as often as a test
 * wants. */
#pragma once
#include "base/file.h"
#include "base/philox.h"
#include "engine/train/branch_rollouts.h"
#include "engine/train/group_advantages.h"
#include "engine/train/train_step.h"
#include "engine/session/model_export.h"
#include "model/forward.h"
#include "model/head.h"
#include "tests/check.h"
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* shared: the first so many response tokens of all rollouts of a prompt are the same; calls, ends: chances in 1000 of
 * opening a call, of the end. */
struct script { int shared, calls, ends, open, close, digit, end; };

struct mini {
    char folder[64];
    struct config c;
    struct session s;
    struct trainer t;
    struct script script;
};

static inline int mini_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st; (void)type; (void)at;
    return remove(path);
}

static inline void mini_clean(const char *folder) { nftw(folder, mini_remove, 16, FTW_DEPTH | FTW_PHYS); }

static inline void mini_policy(const char *folder, uint64_t seed)
{
    struct err e;
    struct model m;
    struct tokenizer *tok = tokenizer_read("policy/tokenizer.json", &e);
    if (!tok) die("%s (tests run in the repository root)", e.text);
    struct model_config c = { .arch = "LlamaForCausalLM",
                              .vocab = tokenizer_vocab(tok),
                              .dim = 32,
                              .layers = 2,
                              .heads = 4,
                              .kv_heads = 2,
                              .head_dim = 8,
                              .ff = 48,
                              .max_len = 512,
                              .tied = true,
                              .rms_eps = 1e-5,
                              .rope_theta = 10000,
                              .bos = -1,
                              .pad = 0,
                              .n_eos = 1 };
    c.eos[0] = tokenizer_id(tok, "<|end|>");
    model_make(&m, &c);
    model_init(&m, seed);
    /* louder than a fresh model: a distribution with something to choose */
    op_scale(m.w + m.embed, 12, (int64_t)c.vocab * c.dim);
    gemm_weights_changed();
    if (!policy_save(&m, tok, folder, &e)) die("%s", e.text);
    model_free(&m);
    tokenizer_free(tok);
}

/* set: key, value, ..., NULL; "algorithm.preset" sets the preset's keys where it stands. */
static inline void mini_set(struct config *c, const char *const *set)
{
    struct err e;
    for (; set && *set; set += 2)
        if (!(strcmp(set[0], "algorithm.preset") ? config_set(c, set[0], set[1], "test", &e)
                                                 : config_preset(c, set[1], &e)))
            die("%s", e.text);
}

/* first is set before second; a small batch before both. */
static inline void mini_open(struct mini *x, const char *const *first, const char *const *second, uint64_t seed)
{
    static const char *const preset[] = { "trainer.threads",
                                          "1",
                                          "rollout.max_num_seqs",
                                          "24",
                                          "rollout.max_num_batched_tokens",
                                          "64",
                                          "actor.ppo_max_token_len_per_gpu",
                                          "512",
                                          NULL };
    struct err e;
    *x = (struct mini){ .folder = "/tmp/appo-mini-XXXXXX" };
    if (!mkdtemp(x->folder)) die("%s cannot be made", x->folder);
    mini_policy(x->folder, seed);
    config_init(&x->c);
    mini_set(&x->c, preset);
    mini_set(&x->c, first);
    mini_set(&x->c, second);
    mini_set(&x->c, (const char *const[]){ "model.path", x->folder, NULL });
    if (!config_check(&x->c, NULL, &e) || !session_open(&x->s, &x->c, true, &e)) die("%s", e.text);
    trainer_make(&x->t, &x->s);
    struct ids one = { 0 };
    ENSURE(tokenizer_encode(x->s.tok, &one, "7", 1, false) && one.n == 1);
    x->script = (struct script){ .calls = 20,
                                 .ends = 20,
                                 .open = tokenizer_id(x->s.tok, "<python>"),
                                 .close = tokenizer_id(x->s.tok, "</python>"),
                                 .digit = one.p[0],
                                 .end = x->s.m.c.eos[0] };
    ids_free(&one);
}

static inline void mini_close(struct mini *x)
{
    trainer_free(&x->t);
    session_close(&x->s);
    config_free(&x->c);
    mini_clean(x->folder);
}

static inline void mini_force(void *ctx, const struct sequence *seq, int *id)
{
    const struct script *x = ctx;
    int at = seq->n - seq->prompt_len, last = seq->ids[seq->n - 1];
    uint32_t common = philox4x32(41, (uint32_t)at, 0, seq->prompt, 0).v[0],
             own = philox4x32(42, (uint32_t)at, seq->rollout, seq->prompt, 0).v[0] % 1000;
    if (at < x->shared) *id = 100 + (int)(common % 200);
    else if (last == x->open) *id = x->digit;
    else if (last == x->digit) *id = x->close;
    else if (own < (uint32_t)x->calls) *id = x->open;
    else if (own < (uint32_t)(x->calls + x->ends)) *id = x->end;
}

/* Prompt 1: only its branches differ; prompt 2: nothing does. */
static inline double mini_reward(const struct trajectory *r)
{
    static const double value[] = { -0.5, 0, 1, 1.1 };
    if (r->seq.prompt == 2 || (r->seq.prompt == 1 && !r->branch)) return 1;
    return value[philox4x32(43, r->seq.rollout, r->seq.prompt, r->seq.step, 0).v[0] % 4];
}

/* The initial rollouts of n prompts, scored at random: graded, all that a random policy writes would be malformed. */
static inline void mini_sample(struct mini *x, struct group *g, int n, uint32_t step)
{
    bool appo = x->c.algorithm.adv_estimator == ALGO_APPO;
    int each = appo ? x->c.rollout.initial_rollouts : x->c.rollout.n, k = 0;
    struct sequence **seq = xcalloc((size_t)(n * each), sizeof *seq);
    struct rollout_config r = session_sampling(&x->s);
    r.force = mini_force;
    r.force_ctx = &x->script;
    rollout_set(x->s.ro, &r);
    for (int p = 0; p < n; p++) {
        group_begin_task(&g[p], &x->s, p % FAMILIES, SPLIT_TRAIN, 1, (uint64_t)p, step, (uint32_t)p, each);
        for (int j = 0; j < each; j++) seq[k++] = &g[p].traj[j]->seq;
    }
    rollout_run(x->s.ro, seq, k, appo, NULL, NULL, NULL);
    for (int p = 0; p < n; p++)
        for (int j = 0; j < each; j++) g[p].traj[j]->seq.reward = mini_reward(g[p].traj[j]);
    if (!appo) group_advantages(g, n, &x->c);
    free(seq);
}

static inline void mini_branch(struct mini *x, struct group *g, int n, bool stale, struct step_sums *z)
{
    for (int p = 0; p < n; p++) group_drop_branches(&g[p], &x->s);
    branch_rollouts(&x->t, g, n, stale, z);
    for (int p = 0; p < n; p++)
        for (int j = g[p].initial; j < g[p].n; j++) g[p].traj[j]->seq.reward = mini_reward(g[p].traj[j]);
}

static inline void mini_drop_pages(struct mini *x, struct group *g, int n)
{
    for (int p = 0; p < n; p++)
        for (int j = 0; j < g[p].n; j++) kv_drop(&x->s.kv, &g[p].traj[j]->seq.kv);
}

static inline void mini_end(struct mini *x, struct group *g, int n)
{
    for (int p = 0; p < n; p++) group_end(&g[p], &x->s);
    kv_check_all(&x->s.kv);
    assert_int_equal(x->s.kv.free, x->s.kv.pages);
}

/* What the training forward pass of this one rollout alone gives under w (NULL: the present weights), by response
 * position. */
static inline void mini_fresh(const struct mini *x, const struct sequence *seq, const elem_t *w, int top_k, acc_t *logp,
                              acc_t *ent)
{
    struct arena a;
    struct acts acts;
    struct model m = x->s.m;
    int n = seq->n, *pos = xcalloc((size_t)n, sizeof *pos), *end = xcalloc((size_t)n, sizeof *end);
    double inv_temp = 1 / x->c.rollout.temperature;
    if (w) m.w = (elem_t *)w;
    arena_make(&a, "fresh", 16u << 20);
    acts_make(&acts, &m, n, false, true, &a);
    elem_t *logits = arena_get(&a, (size_t)(n * vocab_ld(&m)) * sizeof *logits, "logits"),
           *hid = arena_get(&a, (size_t)(n * m.c.dim) * sizeof *hid, "x");
    acc_t *lp = xcalloc((size_t)n, sizeof *lp), *en = xcalloc((size_t)n, sizeof *en),
          *lse = xcalloc((size_t)n, sizeof *lse);
    for (int i = 0; i < n; i++) { pos[i] = i; end[i] = n; }
    struct attn_plan *plan = attn_plan_make(end, n);
    model_forward(&m, &acts, &(struct batch){ .n = n, .ids = seq->ids, .pos = pos, .plan = plan }, NULL);
    head_forward(&m, logits, hid, acts.hidden, NULL, n);
    op_row_stats((struct row_stats_args){
        .lse = lse, .logp = lp, .ent = en, .x = logits, .inv_temp = inv_temp, .tgt = seq->ids + 1, .n = n - 1,
        .vocab = m.c.vocab, .ld = vocab_ld(&m) });
    acc_t *least = xcalloc((size_t)n, sizeof *least);
    if (top_k) op_top_k_entropy((struct top_k_entropy_args){
        .ent = en, .least = least, .lse = lse, .x = logits, .inv_temp = inv_temp, .k = top_k, .n = n - 1,
        .vocab = m.c.vocab, .ld = vocab_ld(&m) });
    for (int i = 0; top_k && i < n - 1; i++)             /* and the token that is there, where it is not among them */
        if (lp[i] < least[i]) en[i] = (acc_t)((double)en[i] - exp((double)lp[i]) * (double)lp[i]);
    free(least);
    for (int i = seq->prompt_len; i < n; i++) {
        logp[i - seq->prompt_len] = seq->m[i] ? lp[i - 1] : 0;
        if (ent) ent[i - seq->prompt_len] = seq->m[i] ? en[i - 1] : 0;
    }
    attn_plan_free(plan);
    acts_free(&acts);
    arena_free(&a);
    free(pos); free(end); free(lp); free(en); free(lse);
}
