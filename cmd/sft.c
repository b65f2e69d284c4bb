/* sft.c: `appo sft`: supervised fine-tuning on conversations from files, or on demonstrations of the embedded tasks. */
#include "cmd/cmd.h"
#include "base/file.h"
#include "engine/fits.h"
#include "engine/session.h"
#include "engine/talks.h"
#include <limits.h>
#include <stdlib.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))

static const char usage[] = "usage: appo sft sft.save=DIR [model.path=DIR] [data.train_files=FILE,...] [key=value ...]: supervised fine-tuning on conversations "
                            "(rows with \"messages\", JSON lines or Parquet; loss on what the assistant says), without files on demonstrations of the embedded tasks";

static struct sft_rule rule_of(const struct config *c)
{
    return (struct sft_rule){
        .steps = c->sft.steps, .batch = c->sft.batch_size, .warmup = c->sft.warmup_steps, .lr = c->sft.lr, .floor = c->sft.min_lr_ratio, .decay = c->sft.weight_decay,
        .beta1 = c->actor.optim_beta1, .beta2 = c->sft.beta2, .max_norm = c->sft.grad_clip, .seed = (uint64_t)c->trainer.seed,
        .guess_high = c->sft.guess_high, .guess_low = c->sft.guess_low, .early = c->sft.early, .slip = c->sft.slip,
    };
}

static bool on_files(struct session *s, struct sft_rule *r, struct sft_show *show, struct err *e)
{
    const struct config *c = s->c;
    struct talks t;
    bool ok = talks_open(&t, c, &s->form, MIN(c->actor.ppo_max_token_len_per_gpu, s->m.c.max_len), e);
    if (ok && !config_given(c, "sft.steps")) {
        int64_t epochs = c->trainer.total_epochs ? c->trainer.total_epochs : 1, steps = (epochs * t.n + r->batch - 1) / r->batch;
        r->steps = (int)MIN(steps, INT_MAX);
    }
    if (ok) {
        fprintf(stderr, "%d conversations, %lld tokens, %lld of them with loss; %d steps of %d are %.3g epochs\n", t.n, (long long)t.tokens, (long long)t.targets, r->steps,
                r->batch, (double)r->steps * r->batch / t.n);
        ok = sft_talks(&s->learner, &t, c, r, sft_show, show, e);
    }
    talks_free(&t);
    return ok;
}

static int run(const struct config *c)
{
    struct session s = { 0 };
    struct err e;
    struct sft_show show = { .what = "sft" };
    struct sft_rule r = rule_of(c);
    struct stage out = { 0 };
    bool ok = (*c->sft.save || fail(&e, "sft.save: give the folder the trained model goes to, sft.save=DIR")) && stage_open(&out, c->sft.save, &e) &&
              need_fits(c, *c->model.path ? c->model.path : session_embedded_policy(), NEED_SFT, &e) && session_load(&s, c, NULL, &e) && dir_room(c->sft.save, (size_t)s.m.count * sizeof(wide), &e);
    if (ok) session_trains(&s);
    if (ok) ok = *c->data.train_files ? on_files(&s, &r, &show, &e) : sft_run(&s.learner, &s.chat, &r, sft_show, &show, &e);
    ok = ok && session_save(&s, out.tmp, &e) && stage_commit(&out, "config.json", &e);
    stage_drop(&out);
    session_close(&s);
    return ok ? 0 : cmd_fail(&e);
}

int cmd_sft(int argc, char **argv)
{
    struct config c;
    int status;
    if (cmd_config(&c, argc, argv, usage, 0, &status)) {
        config_for_model(&c, "sft.lr", stderr);
        status = run(&c);
    }
    config_free(&c);
    return status;
}
