/* sft.c: packs demonstrations and takes one AdamW step on the mean negative log-prob of the expert's tokens. */
#include "engine/run/sft.h"
#include "base/clock.h"
#include "engine/prompts/sft_example.h"
#include <math.h>
#include <stdlib.h>

/* A source of sequences: number i of the run, valid until the next take of the same slot of the batch. */
struct source {
    struct seq_view (*take)(void *ctx, int slot, uint64_t i);
    void *ctx;
};

/* Demonstration number i of the run: its family, task and flaw are functions of (seed, i). */
static void make_example(struct sft_example *d, const struct chat *c, const struct sft_rule *r, uint64_t i)
{
    struct rng g = rng_make(r->seed, 0x64656d6fu, (uint32_t)i);
    int family = (int)rng_below(&g, FAMILIES);
    struct task q;
    struct transcript t;
    task_make(&q, family, SPLIT_TRAIN, r->seed, i);
    expert_write(&t, &q, flaw_sample(family, r->guess_high, r->guess_low, r->early, r->slip, &g), &g);
    sft_example_make(d, c, &q, &t);
    transcript_free(&t);
    task_free(&q);
}

/* The callback and what it gets. */
struct reporter {
    sft_after *after;
    void *ctx;
    struct sft_report report;
    double start;
};

static double batch_loss(struct learner *l, const struct seq_view *s, int n, int64_t tokens, int64_t targets,
                         struct reporter *to)
{
    acc_t *g = xcalloc((size_t)tokens, sizeof *g), *logp = xcalloc((size_t)tokens, sizeof *logp);
    for (int64_t i = 0; i < tokens; i++) g[i] = (acc_t)(-1.0 / (double)targets);
    learner_zero(l);
    for (int done = 0; done < n;) {
        int take = pack_fit(s + done, n - done, l->max_rows);
        struct pack p;
        pack_make(&p, s + done, take);
        if (p.n > l->max_rows)
            die("a demonstration of %lld tokens does not fit actor.ppo_max_token_len_per_gpu=%lld", (long long)p.n,
                (long long)l->max_rows);
        learner_grad(l, &p, 1, g, NULL, logp, NULL);
        pack_free(&p);
        done += take;
        to->report.part = done;
        to->report.wall_s = seconds() - to->start;
        if (to->after && done < n) to->after(to->ctx, &to->report);
    }
    double sum = 0;
    for (int i = 0; i < n; i++)
        for (int d = 1; d < s[i].n; d++)
            if (s[i].m[d]) sum -= (double)logp[s[i].flat + d];
    free(g);
    free(logp);
    return sum / (double)targets;
}

static bool run(struct learner *l, const struct source *from, const struct sft_rule *r, sft_after *after, void *ctx,
                struct err *e)
{
    struct seq_view *s = xcalloc((size_t)r->batch, sizeof *s);
    struct reporter to = { after,
                           ctx,
                           { .step = r->begin, .steps = r->steps, .whole = r->batch, .tokens = r->tokens_before },
                           seconds() - r->wall_before };
    struct sft_report *report = &to.report;
    bool ok = true, go = true;
    for (int step = r->begin; ok && go && step < r->steps; step++) {
        int64_t tokens = 0, targets = 0;
        for (int i = 0; i < r->batch; i++) {
            s[i] = from->take(from->ctx, i, r->first + (uint64_t)step * (uint64_t)r->batch + (uint64_t)i);
            s[i].group = i;
            s[i].flat = tokens;
            tokens += s[i].n;
            for (int d = 1; d < s[i].n; d++) targets += s[i].m[d];
        }
        report->loss = batch_loss(l, s, r->batch, tokens, targets, &to);
        report->lr = lr_at(r->lr, step, r->warmup, r->steps, r->floor);
        struct optim_rule o = { .lr = report->lr,
                                .beta1 = r->beta1,
                                .beta2 = r->beta2,
                                .eps = 1e-8,
                                .decay = r->decay,
                                .max_norm = r->max_norm };
        if (!learner_step(l, &o, &report->norm) && l->skipped_in_row >= 5)
            ok = fail(e, "the gradient was not finite five steps in a row (step %d): lower sft.lr", step + 1);
        report->step = step + 1;
        report->tokens += tokens;
        report->wall_s = seconds() - to.start;
        if (ok && after) go = after(ctx, report);
    }
    free(s);
    return ok;
}

/* Examples of embedded tasks, one a slot of the batch. */
struct tasks {
    const struct chat *c;
    const struct sft_rule *r;
    struct sft_example *example;
};

static struct seq_view take_task(void *ctx, int slot, uint64_t i)
{
    struct tasks *t = ctx;
    struct sft_example *d = &t->example[slot];
    sft_example_free(d);
    make_example(d, t->c, t->r, i);
    return (struct seq_view){ .ids = d->ids.p, .m = d->m, .n = d->ids.n };
}

bool sft_run_tasks(struct learner *l, const struct chat *c, const struct sft_rule *r, sft_after *after, void *ctx,
                   struct err *e)
{
    struct tasks t = { c, r, xcalloc((size_t)r->batch, sizeof *t.example) };
    bool ok = run(l, &(struct source){ take_task, &t }, r, after, ctx, e);
    for (int i = 0; i < r->batch; i++) sft_example_free(&t.example[i]);
    free(t.example);
    return ok;
}

struct files {
    struct sft_conversations *t;
    const struct config *c;
};

static struct seq_view take_conversation(void *ctx, int slot, uint64_t i)
{
    struct files *x = ctx;
    const struct sft_example *d = &x->t->example[record_order_at(&x->t->record_order, x->c, x->t->n, i)];
    (void)slot;
    return (struct seq_view){ .ids = d->ids.p, .m = d->m, .n = d->ids.n };
}

bool sft_run_conversations(struct learner *l, struct sft_conversations *t, const struct config *c,
                           const struct sft_rule *r, sft_after *after, void *ctx, struct err *e)
{
    return run(l, &(struct source){ take_conversation, &(struct files){ t, c } }, r, after, ctx, e);
}
