/* run.c: the loop around the steps. A stop signal ends an evaluation or the initial rollouts at once, because they can
 * be made again, and lets anything later of a step finish. All ranks run it; rank 0 alone owns the folder, the clock
 * and the console. What a file, a clock or a signal decides is agreed on (comm_agree, comm_any, tell) before it is
 * acted on, so that no rank waits for one that has returned. */
#include "engine/run/run.h"
#include "base/clock.h"
#include "base/dir.h"
#include "base/file.h"
#include "base/gz.h"
#include "base/memory.h"
#include "engine/comm/comm.h"
#include "engine/run/checkpoint_write.h"
#include "engine/run/ranks_start.h"
#include "engine/run/resume.h"
#include "engine/run/run_record.h"
#include "engine/report/progress.h"
#include "base/arith.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct run {
    struct trainer t;
    struct run_report *r;
    struct run_folder *p;
    struct metrics_log log;
    struct metrics m;               /* of the present step, or of the one whose evaluation is pending */
    struct ckpt_extra extra;
    struct progress bar;
    FILE *out;                      /* plain lines; may be NULL */
    bool first;                     /* rank 0, which alone writes */
    bool pending;
    int saved;                      /* the step of the newest complete checkpoint, -1: none */
    int taken;                      /* likewise, or of the one that is being written */
    bool aside;                     /* checkpoints are written while the next steps run */
    bool writing;                   /* such a one is: */
    struct ckpt_job job;
    struct ckpt_extra of_job;
    double started;                 /* seconds(), as the next ones */
    double before;                  /* wall seconds of the run before it was resumed */
    double saved_at;
    double step_began;
    double shown_at;                /* when progress was last shown */
};

static size_t checkpoint_bytes(const struct run *x)
{
    size_t copies = 3 + (x->t.s->learner.master != NULL) + (x->t.w_ref != NULL) + (x->t.w_prev != NULL);
    return (size_t)x->t.s->m.count * sizeof(acc_t) * copies;
}

/* Disk space of the rollouts to come: a token of a dump takes 45 to 80 bytes, compressed 4 to 15. */
static size_t dump_bytes(const struct run *x)
{
    const struct config *c = x->t.c;
    if (!x->p->dumps.n) return 0;
    int prompts = c->trainer.rollout_data_prompts < 0 ? c->data.train_batch_size
                                                      : MIN(c->trainer.rollout_data_prompts, c->data.train_batch_size);
    size_t rollouts = (size_t)(x->t.s->steps - x->t.step > 0 ? x->t.s->steps - x->t.step : 0) * (size_t)prompts *
                  (size_t)c->rollout.n * (size_t)trainer_updates(c);
    size_t batches = (size_t)(c->data.train_batch_size / c->actor.ppo_mini_batch_size);
    return rollouts / batches * (size_t)c->rollout.max_len * (c->trainer.rollout_data_gzip ? 15 : 80);
}

/* Whether there is room for a checkpoint beside the newest one, and for the rollouts to come. */
static bool room(const struct run *x, struct err *e)
{
    struct stat a, b;
    size_t ckpt = checkpoint_bytes(x), dumps = dump_bytes(x);
    bool apart = dumps && stat(x->p->dir.p, &a) == 0 && stat(x->p->dumps.p, &b) == 0 && a.st_dev != b.st_dev;
    return dir_room(x->p->dir.p, ckpt + (apart ? 0 : dumps), e) && (!apart || dir_room(x->p->dumps.p, dumps, e));
}

/* Rank 0's answer to a question that each rank might answer otherwise. */
static bool tell(bool x)
{
    comm_bcast(&x, sizeof x, 0);
    return x;
}

/* Progress within a step that takes long: after 1 s on a terminal, after 20 s elsewhere. */
static void step_progress(void *ctx, const char *what, int done, int total)
{
    struct run *x = ctx;
    char text[60];
    double t = seconds();
    if (t - x->step_began < (x->bar.tty ? 1 : 20) || t - x->shown_at < 0.2) return;
    x->shown_at = t;
    snprintf(text, sizeof text, "next: %s %d of %d", what, done, total);
    progress_step(&x->bar, x->t.step, text, (double)NAN, (double)NAN);
}

static void eval_progress(void *ctx, int done, int total)
{
    progress_step(ctx, done, "evaluation", (double)NAN, (double)NAN);
    (void)total;
}

/* False: a signal to any rank ended it. */
static bool run_eval(struct session *s, struct eval_result *r, int step)
{
    struct progress p;
    bool first = comm_first();
    comm_doing("evaluating");
    void (*show)(void *, int, int) = first ? eval_progress : NULL;
    comm_doing("evaluating");
    progress_start(&p, stderr, 0, eval_answers(s));
    p.unit = "answers";
    p.tty = p.tty && first;
    if (show) show(&p, 0, p.total);
    struct eval_options how = { s->c->trainer.validation_data_dir, step, show, &p };
    struct err why;
    bool kept = evaluate_to(s, r, &how, &why);
    if (!kept && first)
        fprintf(stderr, "warning: the answers of the evaluation of step %d are not kept: %s\n", step, why.text);
    if (!kept && !r->answers) evaluate(s, r, show, &p);
    progress_clear(&p);
    r->halted = comm_any(r->halted);
    return !r->halted;
}

static const char *const console[] = {
    "critic/acc/mean", "critic/rewards/mean", "actor/pg_loss", "actor/grad_norm", "actor/entropy",
    "response_length/mean", "appo/reward_gap", "appo/entropy_fallback_frac", "training/rollout_probs_diff_max",
    "val-core/all/acc/mean@1", "timing_s/step", "perf/throughput", NULL,
};

/* ---- checkpoints ---- */

/* Of the checkpoint of `step` that is complete now: removes older ones. With max_actor_ckpt_to_keep all but that many
 * newest ones; without it, of those written because of the time or a signal all but the newest two. */
static void remove_old(const struct run *x, int at, const struct ckpt_extra *extra)
{
    int n, keep = x->t.c->trainer.max_actor_ckpt_to_keep, rolling = extra->rolling, *step = ckpt_list(x->p->dir.p, &n);
    for (int i = 0; i < n; i++) {
        struct ckpt_state s = { 0 };
        struct str folder = { 0 };
        if (step[i] >= at || step[i] == extra->best.step) continue;
        str_printf(&folder, "%s/global_step_%d", x->p->dir.p, step[i]);
        bool passing = keep <= 0 && ckpt_read(&s, folder.p, step[i], NULL) && s.rolling;
        if (keep > 0 ? i >= keep : passing && ++rolling > 2) ckpt_remove(x->p->dir.p, step[i]);
        ckpt_state_free(&s);
        str_free(&folder);
    }
    free(step);
}

/* Completes the message of a checkpoint that could not be written. */
static bool not_saved(const struct run *x, int step, struct err *e)
{
    struct err what = *e;
    const char *dir = x->p->dir.p;
    bool diverged = strstr(what.text, "a NaN or an infinity") || strstr(what.text, "is below 0");
    if (diverged && x->saved >= 0)
        return fail(e,
                    "step %d is not saved: %.250s: the weights have diverged. The newest checkpoint is "
                    "%.100s/global_step_%d: start another trainer.experiment_name from "
                    "model.path=.../global_step_%d/actor/huggingface with a lower actor.optim.lr",
                    step, what.text, dir, x->saved, x->saved);
    if (diverged)
        return fail(e,
                    "step %d is not saved: %.300s: the weights have diverged before the first checkpoint; start anew "
                    "with a lower actor.optim.lr",
                    step, what.text);
    if (x->saved < 0) return fail(e, "step %d is not saved: %.400s", step, what.text);
    return fail(e,
                "step %d is not saved: %.350s. Make room, and the same command continues from %.120s/global_step_%d; "
                "trainer.max_actor_ckpt_to_keep bounds how many stay",
                step, what.text, dir, x->saved);
}

static void note_saved(struct run *x, int step)
{
    x->saved = step;
    err_hint("The newest checkpoint is %s/global_step_%d", x->p->dir.p, x->saved);
}

/* Rank 0's part before and after the checkpoint. */
static bool before_saving(struct run *x, bool rolling, struct err *e)
{
    if (!x->first) return true;
    x->extra.rolling = rolling;
    x->extra.pending = x->pending ? &x->m : NULL;
    x->extra.mark = (struct metrics_mark){ (int64_t)x->log.hash.n, hash_end(&x->log.hash) };
    return metrics_sync(&x->log, e) &&
           (dir_room(x->p->dir.p, checkpoint_bytes(x), e) || not_saved(x, x->t.step, e));
}

static bool after_saving(struct run *x, int step, const struct ckpt_extra *extra, struct err *e)
{
    if (!x->first) return true;
    if (extra->best.step == step && !ckpt_put_step(x->p->dir.p, "best_checkpointed_iteration.txt", step, e))
        return false;
    remove_old(x, step, extra);
    return true;
}

/* Puts the checkpoint whose files this rank has written (or not: ok, e) in its place. */
static bool complete(struct run *x, bool ok, struct err *e)
{
    int step = x->job.step;
    ok = ckpt_commit(&x->job, ok, e);
    ckpt_job_free(&x->job);
    x->writing = false;
    if (!ok) return not_saved(x, step, e);
    note_saved(x, step);
    return comm_agree(after_saving(x, step, &x->of_job, e), e);
}

/* If a checkpoint is being written and every rank has ended it, or after waiting for that: completes it. */
static bool finish_writing(struct run *x, bool wait, struct err *e)
{
    if (!x->writing || (!wait && !comm_all(ckpt_written(&x->job)))) return true;
    return complete(x, ckpt_wait(&x->job, e), e);
}

static bool save(struct run *x, bool rolling, struct err *e)
{
    if (!finish_writing(x, true, e)) return false;
    stop_during("writing the checkpoint of step %d", x->t.step);
    comm_doing("writing a checkpoint");
    if (!comm_agree(before_saving(x, rolling, e), e)) return false;
    x->of_job = x->extra;
    bool ok = ckpt_begin(&x->job, &x->t, x->r, &x->extra, x->p->dir.p, e);
    if (!ok) {
        ckpt_job_free(&x->job);
        return not_saved(x, x->t.step, e);
    }
    x->taken = x->t.step;
    x->saved_at = seconds();
    if (!x->aside) return complete(x, ckpt_write(&x->job, e), e);
    ckpt_write_aside(&x->job);
    x->writing = true;
    return true;
}

/* ---- a step ---- */

/* The metric that trainer.best_metric names; NULL: no best checkpoint is kept, or m has no evaluation. */
static const struct metric *best_metric(const struct run *x)
{
    const char *name = x->t.c->trainer.best_metric, *all = "val-core/all/acc/mean@";
    bool any = !strcmp(name, "auto");
    if (!*name || !strcmp(name, "none")) return NULL;
    for (int i = 0; i < x->m.n; i++)
        if (any ? !strncmp(x->m.v[i].name, all, strlen(all)) : !strcmp(x->m.v[i].name, name)) return &x->m.v[i];
    return NULL;
}

static bool improved(struct run *x)
{
    const struct metric *is = best_metric(x);
    if (!is || x->t.c->trainer.test_freq <= 0 || !isfinite(is->value) ||
        (x->extra.best.step >= 0 && is->value <= x->extra.best.value))
        return false;
    x->extra.best = (struct best){ x->t.step, is->value };
    return true;
}

/* Evaluation, metrics and checkpoint of the step that was made. If a signal ends the evaluation, the checkpoint marks
 * it as pending. */
static bool end_step(struct run *x, struct err *e)
{
    struct trainer *t = &x->t;
    const struct config *c = t->c;
    bool last = t->step == t->s->steps,
         due = eval_prompts(t->s) > 0 && (last || (c->trainer.test_freq > 0 && t->step % c->trainer.test_freq == 0));
    if (due) {
        stop_during("the evaluation after step %d is given up, a checkpoint is written; the same command makes it "
                    "again",
                    t->step);
        x->pending = !run_eval(t->s, &x->r->after, t->step);
        if (x->pending) return save(x, true, e);
        x->r->has_after = last;
        eval_metrics(&x->r->after, &x->m);
    }
    bool best = due && tell(improved(x));                /* each rank has a timing_s of its own */
    if (!comm_agree(!x->first || metrics_write(&x->log, t->step, &x->m, e), e)) return false;
    if (x->bar.tty) progress_clear(&x->bar);
    if (x->out) metrics_console(x->out, t->step, &x->m, console);
    if (x->bar.tty)
        progress_step(&x->bar, t->step, "step", metrics_get(&x->m, "critic/rewards/mean"),
                      metrics_get(&x->m, "perf/throughput"));
    bool kept = last || best || (c->trainer.save_freq > 0 && t->step % c->trainer.save_freq == 0);
    bool old = tell(c->trainer.save_minutes > 0 && seconds() - x->saved_at >= 60 * c->trainer.save_minutes);
    return !(kept || old) || save(x, !kept, e);
}

/* The file that the step's rollouts go to. */
struct dump {
    struct out o;
    FILE *f;                        /* o.f, or what packs into it; NULL: none is written */
    bool packed;
};

static bool open_dump(const struct run *x, struct dump *d, struct err *e)
{
    struct str path = { 0 };
    *d = (struct dump){ .packed = x->t.c->trainer.rollout_data_gzip };
    if (!x->p->dumps.n) return true;
    str_printf(&path, "%s/%d.jsonl%s", x->p->dumps.p, x->t.step + 1, d->packed ? ".gz" : "");
    bool ok = out_open(&d->o, path.p, e);
    str_free(&path);
    if (ok) d->f = d->packed ? gz_writer(d->o.f) : d->o.f;
    return ok;
}

/* keep false: the step was not made. */
static bool close_dump(struct dump *d, bool keep, struct err *e)
{
    if (!d->f) return true;
    bool ok = !d->packed || fclose(d->f) == 0 || ferror(d->o.f);
    if (!ok) fail(e, "%s: could not be packed", d->o.path);
    if (ok && keep) return out_commit(&d->o, e);
    out_drop(&d->o);
    return ok;
}

/* A step, with the lock held before and after it. */
static bool locked_step(struct run *x, struct err *e)
{
    struct dump d = { 0 };
    struct err late;
    if (!comm_agree(!x->first || (lock_held(&x->p->lock, e) && open_dump(x, &d, e)), e)) return false;
    bool ok = trainer_step(&x->t, &x->m, d.f, e);
    if (!close_dump(&d, ok && !x->t.halted, ok ? e : &late)) ok = false;
    ok = ok && (!x->first || lock_held(&x->p->lock, e));
    return comm_agree(ok, e);
}

static bool steps(struct run *x, struct err *e)
{
    struct trainer *t = &x->t;
    bool ok = true;
    progress_start(&x->bar, stderr, t->step, t->s->steps);
    x->bar.tty = x->bar.tty && x->first;
    if (x->bar.tty && !x->pending && t->step < t->s->steps)
        progress_step(&x->bar, t->step, "step", (double)NAN, (double)NAN);
    t->progress = x->first ? step_progress : NULL;
    t->progress_ctx = x;
    if (x->pending) ok = end_step(x, e);
    while (ok && t->step < t->s->steps && !comm_any(run_stop)) {
        metrics_clear(&x->m);
        x->step_began = seconds();
        ok = finish_writing(x, false, e) && locked_step(x, e);
        x->r->wall_s = x->before + seconds() - x->started;
        if (ok && !t->halted) ok = end_step(x, e);
    }
    /* stopped by a signal */
    if (ok && t->step > x->taken && t->step > 0) ok = save(x, true, e);
    struct err late;
    if (!finish_writing(x, true, ok ? e : &late)) ok = false;
    if (x->bar.tty) progress_clear(&x->bar);
    return ok;
}

static void fill_report(const struct run *x)
{
    struct run_report *r = x->r;
    r->steps = x->t.step;
    r->stopped = x->t.step < x->t.s->steps || x->pending;
    r->tokens_generated = x->t.tokens_generated;
    r->tokens_trained = x->t.tokens_trained;
    r->probs_diff_max = x->t.probs_diff_max;
    r->skipped = x->t.skipped;
}

/* ---- the beginning ---- */

/* Rejects a mistyped metric before the first step. */
static bool check_best_metric(const struct run *x, struct err *e)
{
    const char *name = x->t.c->trainer.best_metric;
    struct str names = { 0 };
    if (!*name || !strcmp(name, "none") || !strcmp(name, "auto") || best_metric(x)) return true;
    for (int i = x->m.n - 1; i >= 0 && names.n < 400; i--)
        str_printf(&names, "%s%s", names.n ? ", " : "", x->m.v[i].name);
    fail(e, "trainer.best_metric=%.80s: no evaluation gives it; there are %.450s", name, names.p ? names.p : "none");
    str_free(&names);
    return false;
}

/* Metrics of step 0: the evaluation before training. */
static bool first_evaluation(struct run *x, struct err *e)
{
    stop_during("the evaluation before the first step is given up; nothing is kept of it");
    metrics_clear(&x->m);
    if (!run_eval(x->t.s, &x->r->before, 0)) return true;
    x->r->has_before = true;
    eval_metrics(&x->r->before, &x->m);
    if (x->out) metrics_console(x->out, 0, &x->m, console);
    return comm_agree(check_best_metric(x, e) && (!x->first || metrics_write(&x->log, 0, &x->m, e)), e);
}

static void print_data(const struct session *s, FILE *out)
{
    double epochs = (double)s->steps * s->c->data.train_batch_size / s->train.rows.n;
    fprintf(out, "%d training prompts, %d for evaluation%s; %d steps of %d are %.3g epochs\n", s->train.rows.n,
            s->val.rows.n, s->val.rows.n ? "" : " (data.val_files is empty)", s->steps, s->c->data.train_batch_size,
            epochs);
}

static void print_moved(const struct str *where)
{
    if (where->n) fprintf(stderr, "the files of an earlier run are now in %s\n", where->p);
}

/* A process that was killed behind a checkpoint has left the step of an older one in the files that name one. */
static bool correct_steps(const struct run *x, struct err *e)
{
    const struct { const char *name; int step; } files[] = {
        { "latest_checkpointed_iteration.txt", x->t.step },
        { "best_checkpointed_iteration.txt", x->extra.best.step },
    };
    const char *dir = x->p->dir.p;
    for (int i = 0; i < 2; i++)
        if (files[i].step >= 0 && ckpt_get_step(dir, files[i].name) != files[i].step &&
            !ckpt_put_step(dir, files[i].name, files[i].step, e))
            return false;
    return true;
}

/* Opens the metrics of a resumed run: those up to the checkpoint, which must be as they were when it was written. */
static bool resume_metrics(struct run *x, const char *path, const char *board, struct str *where, struct err *e)
{
    int64_t last = x->t.step - x->pending;
    const struct metrics_mark *mark = &x->extra.mark;
    bool verify = x->t.c->trainer.verify;
    if (verify && mark->bytes >= 0 && !metrics_check(path, mark->bytes, mark->hash, e))
        return fail_in(e,
                       "the metrics are not those of the checkpoint of step %d (trainer.verify=off continues "
                       "anyway, trainer.resume=off starts anew)",
                       x->t.step);
    /* the newest checkpoint is moved first and the metrics are cut last: a process killed on the way leaves a run that
     * can be resumed */
    if (!run_folder_clear_after(x->p, x->t.step, where, e) || !metrics_open(&x->log, path, last, board, e))
        return false;
    if (last > 0 && x->log.kept != last && (verify || x->log.kept > last))
        return fail(e,
                    "%s: its last line is of step %lld, the checkpoint of step %d: lines are missing "
                    "(trainer.verify=off continues anyway, trainer.resume=off starts anew)",
                    path, (long long)x->log.kept, x->t.step);
    if (last > 0 && x->log.kept != last)
        fprintf(stderr, "warning: %s: its last line is of step %lld, the checkpoint of step %d\n", path,
                (long long)x->log.kept, x->t.step);
    return run_folder_clear_dumps(x->p, x->t.step, (x->log.seen > last ? x->log.seen : last) + 1, where, e) &&
           correct_steps(x, e);
}

static bool begin(struct run *x, const struct run_origin *from, struct err *e)
{
    struct str path = { 0 }, where = { 0 };
    const char *dir = x->p->dir.p, *board = strstr(x->t.c->trainer.logger, "tensorboard") ? dir : NULL;
    bool here = from->how == RUN_RESUMED && !from->elsewhere, ok;
    str_printf(&path, "%s/metrics.jsonl", dir);
    if (here) ok = resume_metrics(x, path.p, board, &where, e);
    else ok = run_folder_clear(x->p, &where, e) && metrics_open(&x->log, path.p, -1, board, e);
    print_moved(&where);
    ok = ok && (!x->p->dumps.n || dir_make(x->p->dumps.p, e)) &&
         run_record_write(x->p->dir.p, x->t.s, here ? x->t.step : -1, e);
    str_free(&path);
    str_free(&where);
    return ok;
}

static void print_done(const struct run *x, const struct run_origin *from)
{
    if (!x->out) return;
    fprintf(x->out,
            "nothing is left to do: %s is the checkpoint of step %d of %d. To continue, raise "
            "trainer.total_training_steps%s; to start anew give trainer.resume=off, "
            "which moves these files into a folder beside them, or another trainer.experiment_name.\n",
            from->folder.p, x->t.step, x->t.s->steps,
            strcmp(x->t.c->trainer.resume, "interrupted") ? "" : " and give trainer.resume=auto");
}

static void print_end(const struct run *x)
{
    if (!x->r->stopped || !x->out) return;
    if (x->t.step == 0) fprintf(x->out, "stopped before the first step: there is nothing to continue from.\n");
    else
        fprintf(x->out,
                "stopped after step %d; the checkpoint is in %s/global_step_%d. The same command continues from "
                "there%s.\n",
                x->t.step, x->p->dir.p, x->t.step, x->pending ? ", with the evaluation that was given up" : "");
}

/* Reads the data and finds where the run begins: the same on all ranks. */
static bool prepare(struct run *x, struct run_origin *from, struct err *e)
{
    struct session *s = x->t.s;
    return comm_agree(session_open_prompts(s, true, e) && run_record_hashes(&x->extra, s, e), e) &&
           ranks_same_inputs(s, e) && run_resume(&x->t, x->r, x->p, from, &x->m, e);
}

/* Whether this rank sees the folder that rank 0 has just written into. */
static bool shared(const struct run *x, struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/run.json", x->p->dir.p);
    bool ok = x->first || ckpt_seen(path.p, e);
    str_free(&path);
    return ok;
}

/* trainer.save_async; auto: on a GPU, if the copies of all ranks of this machine take at most half of what is free. */
static bool writes_aside(struct run *x, struct err *e)
{
    enum save_async how = x->t.c->trainer.save_async;
    size_t needed = ckpt_copy_bytes(&x->t) * (size_t)comm_local_ranks(), left = host_memory("").available;
    bool gpu = strcmp(dev_name(), "cpu") != 0, fits = needed <= left - left / 20;
    x->aside = how == SAVE_ASYNC || comm_all(how == SAVE_AUTO && gpu && needed <= left / 2);
    return comm_agree(how != SAVE_ASYNC || fits ||
                          fail(e, "trainer.save_async=on: the copies of the ranks of this machine take %.2f GiB of "
                                  "host memory, %.2f GiB are available (a twentieth stays for others): give auto or "
                                  "off", (double)needed / 0x1p30, (double)left / 0x1p30), e);
}

/* From the first file that is written to the last. */
static bool make_run(struct run *x, const struct run_origin *from, struct err *e)
{
    const struct session *s = x->t.s;
    x->saved_at = seconds();
    if (!comm_agree(!x->first || (room(x, e) && begin(x, from, e)), e)) return false;
    if (!comm_agree(shared(x, e), e)) return false;
    if (from->how == RUN_RESUMED && !from->elsewhere) note_saved(x, x->taken = x->t.step);
    if (!writes_aside(x, e)) return false;
    if (x->out && s->train.rows.n) print_data(s, x->out);
    if (x->out && from->how == RUN_RESUMED)
        fprintf(x->out, "resumed after step %d from %s\n", x->t.step, from->folder.p);
    if (x->out) fflush(x->out);
    if (from->how == RUN_ANEW && s->c->trainer.val_before_train && eval_prompts(s) && !first_evaluation(x, e))
        return false;
    return steps(x, e);
}

bool run_training_in(struct session *s, struct run_folder *p, struct run_report *r, FILE *out, struct err *e)
{
    struct run x = { .r = r, .p = p, .out = out, .saved = -1, .taken = -1, .first = comm_first(),
                     .extra = { .best = { .step = -1 } } };
    struct run_origin from = { .extra = &x.extra };
    *r = (struct run_report){ 0 };
    trainer_make(&x.t, s);
    x.started = seconds();
    comm_doing("reading data and checkpoint");
    bool ok = prepare(&x, &from, e);
    x.pending = from.pending;
    x.before = r->wall_s;
    r->done = ok && from.how == RUN_DONE;
    if (r->done) {
        print_done(&x, &from);
        ok = comm_agree(!x.first || from.elsewhere || correct_steps(&x, e), e);
    } else if (ok) {
        ok = make_run(&x, &from, e);
        if (x.log.f) ok = metrics_close(&x.log, ok ? e : NULL) && ok;
    }
    fill_report(&x);
    if (r->done) r->stopped = false;
    else if (ok) print_end(&x);
    stop_during(NULL);
    err_hint(NULL);
    metrics_free(&x.m);
    trainer_free(&x.t);
    str_free(&from.folder);
    return ok;
}

bool run_training(struct session *s, struct run_report *r, FILE *out, struct err *e)
{
    struct run_folder p;
    bool ok = run_folder_open(&p, s->c, e) && run_training_in(s, &p, r, out, e);
    run_folder_close(&p);
    return ok;
}
