/* test_naive.c: a small rollout and two whole training steps against the loops of tests/naive_model.h in double, which
 * know nothing of pages, batches, shared prefixes or backends: the linked backend is checked against the same
 * numbers. It may be off by no more than twice what the loops are off by that round every tensor. */
#include "base/philox.h"
#include "engine/learner/learner.h"
#include "tests/engine/rollout/tiny.h"
#include "tests/check.h"
#include "tests/naive_model.h"

enum {
    PROMPTS = 2,
    EACH = 2,
    ROOTS = PROMPTS * EACH,
    ALL = ROOTS + PROMPTS,
    LONGEST = 64,
    MOST = ALL * LONGEST,
    SEED = 5
};
/* Stored as float, the loops' exp is exact and ours is not. */
static const double TIMES = sizeof(elem_t) == 2 ? 2 : 4, TEMPERATURE = 0.8;

static struct model model;
static struct tokenizer *tok;

static double *weights_now(void)
{
    acc_t *host = xmalloc((size_t)model.count * sizeof *host);
    double *w = naive_zeros(model.count);
    model_get(host, model.w, model.count);
    for (int64_t i = 0; i < model.count; i++) w[i] = (double)host[i];
    free(host);
    return w;
}

/* Errors of one kind of number: ours and the loops' sums of squares. */
struct tally { double square[2], size; int64_t n; };
static void weigh(struct tally *t, double got, double naive, double want)
{
    t->square[0] += (got - want) * (got - want);
    t->square[1] += (naive - want) * (naive - want);
    t->size += want * want;
    t->n++;
}
static double verdict(const struct tally *t, const char *what)
{
    const double times = sqrt(t->square[0] / t->square[1]);
    CHECK(t->size > 0, "%s: nothing to compare", what);
    CHECK(times <= TIMES, "%s: off by %.2e rms, the loops by %.2e", what, sqrt(t->square[0] / (double)t->n),
          sqrt(t->square[1] / (double)t->n));
    return times;
}

static void no_result(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                      struct str *out)
{
    (void)ctx, (void)who, (void)tool, (void)query, (void)n;
    str_puts(out, "none");
}

/* Two prompts of 5 and 18 tokens (a page and a bit), two rollouts of each, and a fork of each first one in the middle
 * of what it said. */
static void sample(struct sequence seq[ALL])
{
    struct arena a;
    struct kv kv;
    struct toolbox box = { .run = no_result };
    struct rollout_config c = { .temperature = TEMPERATURE,
                                .top_p = 1,
                                .seed = SEED,
                                .max_len = LONGEST,
                                .max_response = 22,
                                .call_limit = 2,
                                .max_tool_tokens = 8,
                                .max_rows = 32,
                                .max_seqs = 8,
                                .tool_threads = 1,
                                .tool_timeout_s = 20 };
    struct sequence *list[ALL];
    arena_make(&a, "rollout", 2u << 20);
    kv_make(&kv, &model, 64, &a);
    struct rollout *r = rollout_make(&model, tok, &kv, &box, &c, &a);
    for (int i = 0; i < ROOTS; i++) {
        struct rng g = rng_make(9, (uint32_t)(i / EACH), 0);
        int ids[18], n = i < EACH ? 5 : 18;
        for (int k = 0; k < n; k++) ids[k] = (int)rng_below(&g, 256);
        sequence_begin(list[i] = &seq[i], ids, n);
        seq[i].prompt = (uint32_t)(i / EACH), seq[i].rollout = (uint32_t)(i % EACH);
    }
    rollout_run(r, list, ROOTS, true, NULL, NULL, NULL);
    for (int i = 0; i < PROMPTS; i++) {
        const struct sequence *from = &seq[i * EACH];
        int at = from->prompt_len + 7;
        while (!from->m[at]) at--;
        sequence_fork(&seq[ROOTS + i], from, at, &kv);
        seq[ROOTS + i].rollout = 50;
        list[i] = &seq[ROOTS + i];
    }
    rollout_run(r, list, PROMPTS, false, NULL, NULL, NULL);
    for (int i = 0; i < ALL; i++) kv_drop(&kv, &seq[i].kv);
    rollout_free(r);
    kv_destroy(&kv);
    arena_free(&a);
}

/* All sequences side by side. at[e]: row of the first token of sequence e. */
struct rows { int64_t n; int at[ALL], ids[MOST], tgt[MOST], pos[MOST], end[MOST]; };
static void lay_out(struct rows *s, const struct sequence *seq)
{
    *s = (struct rows){ 0 };
    for (int e = 0; e < ALL; e++) {
        s->at[e] = (int)s->n;
        for (int i = 0; i < seq[e].n; i++, s->n++) {
            s->ids[s->n] = seq[e].ids[i], s->tgt[s->n] = i + 1 < seq[e].n ? seq[e].ids[i + 1] : 0, s->pos[s->n] = i;
            s->end[s->n] = s->at[e] + seq[e].n;
        }
    }
}
static struct naive_net forward(const struct numbers *z, const struct rows *s, const double *w)
{
    struct naive_net net = {
        .z = z, .m = &model, .w = w, .n = s->n, .ids = s->ids, .pos = s->pos, .end = s->end, .inv_temp = 1 / TEMPERATURE
    };
    naive_forward(&net);
    return net;
}
static double logp_of(const struct naive_net *net, int64_t row, int id, double *ent)
{
    const struct naive_row r = naive_stats(net->z, net->logits + row * model.c.vocab, net->inv_temp, model.c.vocab);
    *ent = r.ent;
    return net->z->sum(net->logits[row * model.c.vocab + id] * net->inv_temp) - r.lse;
}

/* The draw by its own Philox word: the id's stretch of the cumulative sum in double holds it, give or take what the
 * logits' rounding moves the stretches by. */
static void check_draw(const struct naive_net *exact, const struct naive_net *naive, int64_t row,
                       const struct sequence *seq, int i)
{
    const int vocab = tokenizer_vocab(tok);                     /* ids beyond have no text and are never sampled */
    const double u = ((double)philox4x32(SEED, (uint32_t)i, seq->rollout, seq->prompt, seq->step).v[0] + 0.5) * 0x1p-32;
    const double *x = exact->logits + row * model.c.vocab, *y = naive->logits + row * model.c.vocab,
                 it = exact->inv_temp;
    const double lse = naive_stats(&exact_numbers, x, it, vocab).lse,
                 naive_lse = naive_stats(&exact_numbers, y, it, vocab).lse;
    double below = 0, naive_below = 0, moved = 0;
    for (int j = 0; j < vocab; j++) {
        below += exp(x[j] * it - lse), naive_below += exp(y[j] * it - naive_lse);
        moved = fmax(moved, fabs(below - naive_below));
    }
    below = 0;
    for (int j = 0; j < seq->ids[i]; j++) below += exp(x[j] * it - lse);
    const double above = below + exp(x[seq->ids[i]] * it - lse), slack = 2 * moved + 0x1p-17;
    CHECK(slack < 0.02, "rollout %u, token %d: stretches that move by %.3f say nothing", seq->rollout, i, slack);
    CHECK(below - slack <= u && u <= above + slack,
          "rollout %u of prompt %u, token %d: id %d holds %.7f to %.7f, u is %.7f", seq->rollout, seq->prompt, i,
          seq->ids[i], below, above, u);
}

static void sampled_numbers(void **state)
{
    (void)state;
    if (sizeof(acc_t) == 8) skip();                              /* the reference is no better */
    static struct rows s;
    static struct sequence seq[ALL];
    struct tally t[2] = { 0 };
    double *w = weights_now();
    memset(seq, 0, sizeof seq);
    sample(seq);
    lay_out(&s, seq);
    struct naive_net exact = forward(&exact_numbers, &s, w), naive = forward(&naive_numbers, &s, w);
    for (int e = 0; e < ALL; e++)
        for (int i = seq[e].prompt_len; i < seq[e].n; i++) {
            double ent[2], logp[2];
            const int64_t row = s.at[e] + i - 1;
            if (!seq[e].m[i]) continue;
            logp[0] = logp_of(&exact, row, seq[e].ids[i], &ent[0]);
            logp[1] = logp_of(&naive, row, seq[e].ids[i], &ent[1]);
            weigh(&t[0], (double)seq[e].logp[i], logp[1], logp[0]);
            weigh(&t[1], (double)seq[e].entropy[i], ent[1], ent[0]);
            if (e < ROOTS || i >= seq[e].born) check_draw(&exact, &naive, row, &seq[e], i);
        }
    CHECK(t[0].n >= 100, "only %lld tokens were sampled", (long long)t[0].n);
    double logp = verdict(&t[0], "logp"), entropy = verdict(&t[1], "entropy");
    print_message("%lld sampled tokens: logp off by %.2f of the loops' rms, entropy %.2f\n", (long long)t[0].n, logp,
                  entropy);
    naive_net_free(&exact), naive_net_free(&naive);
    for (int e = 0; e < ALL; e++) sequence_free(&seq[e], NULL);
    free(w);
}

/* What a loss would hand back, random, one of each for every generated token; flat as the learner takes it, rows as the
 * loops do. */
struct coefficients { acc_t g[MOST], ge[MOST]; double row_g[MOST], row_ge[MOST]; };
static void draw_coefficients(struct coefficients *c, const struct rows *s, const struct sequence *seq, uint32_t step)
{
    struct rng r = rng_make(31, step, 0);
    for (int64_t i = 0; i < s->n; i++) {
        c->g[i] = (acc_t)((2 * rng_uniform(&r) - 1) / 50);
        c->ge[i] = (acc_t)((2 * rng_uniform(&r) - 1) / 200);
    }
    memset(c->row_g, 0, sizeof c->row_g), memset(c->row_ge, 0, sizeof c->row_ge);
    for (int e = 0; e < ALL; e++)
        for (int i = 1; i < seq[e].n; i++) {
            const int at = s->at[e] + i;
            if (seq[e].m[i]) c->row_g[at - 1] = (double)c->g[at], c->row_ge[at - 1] = (double)c->ge[at];
        }
}

/* AdamW with clipping, in double: w, m and v go on from step to step. */
static void step_in_double(double *w, double *m, double *v, const double *g, const struct optim_rule *o, int64_t t)
{
    double sq = 0;
    for (int64_t i = 0; i < model.count; i++) sq += g[i] * g[i];
    const double scale = sqrt(sq) > o->max_norm ? o->max_norm / (sqrt(sq) + 1e-6) : 1;
    for (int k = 0; k < model.params; k++)
        for (int64_t i = model.param[k].at; i < model.param[k].at + param_count(&model.param[k]); i++) {
            m[i] = o->beta1 * m[i] + (1 - o->beta1) * g[i] * scale;
            v[i] = o->beta2 * v[i] + (1 - o->beta2) * g[i] * g[i] * scale * scale;
            const double up = m[i] / (1 - pow(o->beta1, (double)t)),
                         down = sqrt(v[i] / (1 - pow(o->beta2, (double)t))) + o->eps;
            w[i] -= o->lr * ((model.param[k].decay ? o->decay * w[i] : 0) + up / down);
        }
}

/* One kind of numbers on its way through the steps: [0] exact, [1] naive. The passes start from the weights that the
 * learner has. */
struct walk { const struct numbers *z; double *g, *w, *m, *v; };
static void walk_step(struct walk *k, const struct rows *s, const struct coefficients *c, const double *weights,
                      const struct optim_rule *o, int64_t t)
{
    struct naive_net net = forward(k->z, s, weights);
    memset(k->g, 0, (size_t)model.count * sizeof *k->g);
    naive_backward(&net, s->tgt, c->row_g, c->row_ge, k->g);
    naive_net_free(&net);
    step_in_double(k->w, k->m, k->v, k->g, o, t);
}

static void learner_pass(struct learner *l, const struct sequence *seq, const struct rows *s,
                         const struct coefficients *c)
{
    struct seq_view view[ALL];
    struct pack p;
    for (int k = 0, e; k < ALL; k++) {
        /* a prompt's rollouts and their fork side by side */
        e = k % 3 < EACH ? k / 3 * EACH + k % 3 : ROOTS + k / 3;
        view[k] =
            (struct seq_view){ .ids = seq[e].ids, .m = seq[e].m, .n = seq[e].n, .group = k / 3, .flat = s->at[e] };
    }
    pack_make(&p, view, ALL);
    CHECK(p.n < s->n - ALL - 10, "%lld rows for %lld tokens: nothing is shared", (long long)p.n, (long long)s->n);
    learner_zero(l);
    learner_grad(l, &p, 1 / TEMPERATURE, c->g, c->ge, NULL, NULL);
    pack_free(&p);
}

static void training_steps(void **state)
{
    (void)state;
    if (sizeof(acc_t) == 8) skip();
    static struct rows s;
    static struct sequence seq[ALL];
    static struct coefficients c;
    /* eps of the size of the gradient: with a small one the first step is lr sign(g), whose errors are those of
     * signs */
    const struct optim_rule o = { 0.02, 0.9, 0.95, 0.002, 0.1, 0.3, false };
    struct learner l;
    struct walk walk[2];
    struct tally t[2] = { 0 };
    acc_t *got = xmalloc((size_t)model.count * sizeof *got);
    memset(seq, 0, sizeof seq);
    sample(seq);
    lay_out(&s, seq);
    learner_make(&l, &model, (struct learner_rule){ .max_rows = s.n });
    for (int k = 0; k < 2; k++)
        walk[k] = (struct walk){ k ? &naive_numbers : &exact_numbers, naive_zeros(model.count), weights_now(),
                                 naive_zeros(model.count), naive_zeros(model.count) };
    for (uint32_t step = 1; step <= 2; step++) {
        double norm, *weights = weights_now();
        draw_coefficients(&c, &s, seq, step);
        learner_pass(&l, seq, &s, &c);
        for (int k = 0; k < 2; k++) walk_step(&walk[k], &s, &c, weights, &o, step);
        dev_get(got, l.g, (size_t)model.count * sizeof *got);
        for (int64_t i = 0; i < model.count; i++) weigh(&t[0], (double)got[i], walk[1].g[i], walk[0].g[i]);
        CHECK(learner_step(&l, &o, &norm) && norm > o.max_norm, "the gradient's norm is %g: clipping is not tested",
              norm);
        if (l.master) dev_get(got, l.master, (size_t)model.count * sizeof *got);
        else model_get(got, model.w, model.count);
        for (int64_t i = 0; i < model.count; i++) weigh(&t[1], (double)got[i], walk[1].w[i], walk[0].w[i]);
        free(weights);
    }
    double gradient = verdict(&t[0], "gradient"), moved = verdict(&t[1], "weights after the step");
    print_message("gradient of a tree of %d rollouts off by %.2f of the loops' rms, weights after two steps %.2f\n",
                  ALL, gradient, moved);
    for (int k = 0; k < 2; k++) free(walk[k].g), free(walk[k].w), free(walk[k].m), free(walk[k].v);
    for (int e = 0; e < ALL; e++) sequence_free(&seq[e], NULL);
    learner_free(&l);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sampled_numbers), cmocka_unit_test(training_steps) };
    tok = tiny_tokenizer(true);
    tiny_model(&model, 3);
    int failed = cmocka_run_group_tests_name("rollout and training steps beside plain loops", tests, NULL, NULL);
    model_free(&model);
    tokenizer_free(tok);
    return failed;
}
