/* sft.c: `appo sft`: supervised fine-tuning on conversations from files, or on demonstrations of the embedded tasks. */
#include "cmd/cmd.h"
#include "base/dir.h"
#include "base/file.h"
#include "base/stop.h"
#include "engine/session/fit_config.h"
#include "engine/session/memory_estimate.h"
#include "engine/session/session.h"
#include "engine/run/sft_checkpoint.h"
#include "engine/prompts/sft_conversations.h"
#include "engine/session/model_export.h"
#include "base/arith.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: appo sft sft.save=DIR [model.path=DIR] [data.train_files=FILE,...] [--json] "
                            "[--report FILE] [key=value ...]: supervised fine-tuning on conversations "
                            "(rows with \"messages\", JSON lines or Parquet; loss on the assistant's messages), "
                            "without files on demonstrations of the embedded tasks;\n"
                            "  --json, --report FILE: steps, loss and tokens as JSON on stdout, in FILE; after an "
                            "interruption the same command continues";

static struct sft_rule rule_of(const struct config *c)
{
    return (struct sft_rule){
        .steps = c->sft.steps,
        .batch = c->sft.batch_size,
        .warmup = c->sft.warmup_steps,
        .lr = c->sft.lr,
        .floor = c->sft.min_lr_ratio,
        .decay = c->sft.weight_decay,
        .beta1 = c->actor.optim_beta1,
        .beta2 = c->sft.beta2,
        .max_norm = c->sft.grad_clip,
        .seed = (uint64_t)c->trainer.seed,
        .guess_high = c->sft.guess_high,
        .guess_low = c->sft.guess_low,
        .early = c->sft.early,
        .slip = c->sft.slip,
    };
}

struct job {
    struct session s;
    struct sft_rule r;
    struct sft_checkpoints keep;
    struct sft_progress show;
    struct sft_conversations conversations;
    struct staging out;
    struct err e;
    bool failed;
    struct sft_report last;                     /* of the last step */
};

/* --json, --report. */
static bool print_result(const struct job *j, bool json, struct err *e)
{
    const struct config *c = j->s.c;
    const struct sft_report *r = &j->last;
    if (!json && !*c->trainer.report) return true;
    json_t *o = json_pack("{s:i,s:i,s:b,s:f,s:f,s:I,s:f,s:s,s:o}", "step", r->step, "steps", j->r.steps, "stopped",
                          j->keep.stopped, "loss", r->loss, "grad_norm", r->norm, "tokens", (json_int_t)r->tokens,
                          "wall_s", r->wall_s, "model", c->sft.save, "config", config_json(c));
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    bool ok = text ? !*c->trainer.report || file_write(c->trainer.report, text, strlen(text), e)
                   : fail(e, "the loss is not finite: lower sft.lr");
    if (text && json) fputs(text, stdout);
    free(text);
    json_decref(o);
    return ok;
}

static bool after(void *ctx, const struct sft_report *r)
{
    struct job *j = ctx;
    sft_progress(&j->show, r);
    if (r->part < r->whole) return true;
    j->last = *r;
    if (r->step < r->steps && !run_stop) stop_during("finishing step %d and writing a checkpoint", r->step + 1);
    if (!sft_checkpoints_step(&j->keep, r, &j->e)) j->failed = true;
    return !j->failed && !j->keep.stopped;
}

static bool open_files(struct job *j)
{
    const struct config *c = j->s.c;
    struct sft_conversations *t = &j->conversations;
    if (!sft_conversations_open(t, c, &j->s.form, MIN(c->actor.ppo_max_token_len_per_gpu, j->s.m.c.max_len), &j->e))
        return false;
    if (!config_given(c, "sft.steps")) {
        int64_t epochs = c->trainer.total_epochs ? c->trainer.total_epochs : 1,
                steps = ceil_div(epochs * t->n, j->r.batch);
        j->r.steps = (int)MIN(steps, INT_MAX);
    }
    fprintf(stderr, "%d conversations, %lld tokens, %lld of them with loss; %d steps of %d are %.3g epochs\n", t->n,
            (long long)t->tokens, (long long)t->targets, j->r.steps, j->r.batch,
            (double)j->r.steps * j->r.batch / t->n);
    return true;
}

/* Before any work: tries the folder, takes the lock, checks the room for a checkpoint and for the model. */
static bool open_all(struct job *j, const struct config *c)
{
    struct err *e = &j->e;
    const char *model = *c->model.path ? c->model.path : session_embedded_policy();
    if (!*c->sft.save) return fail(e, "sft.save: give the folder of the trained model, sft.save=DIR");
    if (!staging_open(&j->out, c->sft.save, e) || !memory_fits(c, model, MEMORY_SFT, e) ||
        !session_load(&j->s, c, NULL, e))
        return false;
    if (!dir_room(c->sft.save, (size_t)j->s.m.count * sizeof(acc_t) * 4, e)) return false;
    session_open_learner(&j->s);
    return !*c->data.train_files || open_files(j);
}

static bool train(struct job *j)
{
    const struct config *c = j->s.c;
    struct session *s = &j->s;
    bool ok = sft_checkpoints_open(&j->keep, s, &j->r,
                                   *c->data.train_files ? sft_conversations_hash(&j->conversations) : 0, &j->e);
    if (ok && j->keep.done)
        fprintf(stderr,
                "%s is the model of this very fine-tuning: nothing is left to do (trainer.resume=off makes it anew)\n",
                c->sft.save);
    if (!ok || j->keep.done) return ok;
    if (j->r.begin) fprintf(stderr, "continues after step %d of %d\n", j->r.begin, j->r.steps);
    stop_catch();
    stop_during("finishing step %d and writing a checkpoint", j->r.begin + 1);
    ok = *c->data.train_files ? sft_run_conversations(&s->learner, &j->conversations, c, &j->r, after, j, &j->e)
                              : sft_run_tasks(&s->learner, &s->chat, &j->r, after, j, &j->e);
    return ok && !j->failed;
}

static int run(const struct config *c, bool json)
{
    struct job *j = xcalloc(1, sizeof *j);
    j->show.what = "sft";
    j->r = rule_of(c);
    bool ok = open_all(j, c), opened = ok;
    ok = ok && train(j);
    bool stopped = ok && j->keep.stopped, finished = ok && !stopped && !j->keep.done;
    if (finished)
        ok = finished = session_save(&j->s, j->out.tmp, &j->e) && sft_checkpoints_finish(&j->keep, j->out.tmp, &j->e) &&
                        staging_commit(&j->out, "config.json", &j->e);
    if (finished) fprintf(stderr, "loss %.4f at step %d; the model is in %s\n", j->last.loss, j->r.steps, c->sft.save);
    if (ok && (finished || stopped)) ok = print_result(j, json, &j->e);
    if (stopped)
        fprintf(stderr, "stopped after step %d of %d; the same command continues from there\n", j->keep.saved,
                j->r.steps);
    struct err late;
    if (opened && !sft_checkpoints_close(&j->keep, finished, ok ? &j->e : &late)) ok = false;
    staging_drop(&j->out);
    sft_conversations_free(&j->conversations);
    session_close(&j->s);
    int status = !ok ? cmd_fail(&j->e) : stopped ? 130 : 0;
    free(j);
    return status;
}

int cmd_sft(int argc, char **argv)
{
    struct config c;
    int status;
    bool json = cmd_option(&argc, argv, "--json", NULL);
    if (cmd_config(&c, argc, argv, usage, 0, &status)) {
        fit_config_to_model(&c, "sft.lr", stderr);
        fit_config_to_memory(&c, MEMORY_SFT, stderr);
        status = run(&c, json);
    }
    config_free(&c);
    return status;
}
