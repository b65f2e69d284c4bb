/* run.c: the loop around the steps. */
#include "engine/run.h"
#include "base/clock.h"
#include "base/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

volatile sig_atomic_t run_stop;

struct place { struct str dir, dumps; };

/* Folders are made, and proven writable with room for a checkpoint (weights, two moments, at most two more copies) and for the dumps (30 bytes a token),
 * before any work. */
static bool open_place(struct place *p, const struct session *s, struct err *e)
{
    const struct config *c = s->c;
    size_t rollouts = (size_t)s->steps * (size_t)c->data.train_batch_size * (size_t)c->rollout.n;
    size_t room = (size_t)s->m.count * sizeof(wide) * 5 + rollouts * (size_t)c->rollout.max_len * 30;
    *p = (struct place){ 0 };
    str_printf(&p->dir, "%s/%s/%s", c->trainer.default_local_dir, c->trainer.project_name, c->trainer.experiment_name);
    if (!dir_make(p->dir.p, e) || !dir_room(p->dir.p, room, e)) return false;
    if (*c->trainer.rollout_data_dir) str_puts(&p->dumps, c->trainer.rollout_data_dir);
    else str_printf(&p->dumps, "%s/rollouts", p->dir.p);
    return dir_make(p->dumps.p, e);
}

static void close_place(struct place *p)
{
    str_free(&p->dir);
    str_free(&p->dumps);
}

static void eval_progress(void *ctx, int done, int total) { progress_step(ctx, done, "evaluation", (double)NAN, (double)NAN); (void)total; }

static void run_eval(struct session *s, struct eval_result *r)
{
    struct progress p;
    progress_start(&p, stderr, 0, eval_questions(s) * s->c->rollout.val_kwargs_n);
    p.f = p.tty ? p.f : NULL;                            /* a few seconds: worth a bar, not lines in a log */
    evaluate(s, r, p.f ? eval_progress : NULL, &p);
    if (p.f) progress_clear(&p);
}

static const char *const console[] = {
    "critic/acc/mean", "critic/rewards/mean", "actor/pg_loss", "actor/grad_norm", "actor/entropy", "response_length/mean", "appo/reward_gap",
    "appo/entropy_fallback_frac", "training/rollout_probs_diff_max", "val-core/all/acc/mean@1", "timing_s/step", "perf/throughput", NULL,
};

static bool dumped_step(struct trainer *t, struct metrics *m, const char *folder, struct err *e)
{
    struct str path = { 0 };
    struct out o;
    str_printf(&path, "%s/%d.jsonl", folder, t->step + 1);
    bool ok = out_open(&o, path.p, e);
    str_free(&path);
    if (!ok) return false;
    ok = trainer_step(t, m, o.f, e);
    struct err late;
    if (!out_commit(&o, ok ? e : &late)) ok = false;
    return ok;
}

/* Resumes only what was interrupted: a run that reached its last step is begun anew. */
static bool resume(struct trainer *t, struct run_report *r, const char *dir, bool *found, struct err *e)
{
    const char *how = t->c->trainer.resume;
    *found = false;
    if (!strcmp(how, "off")) return true;
    if (strcmp(how, "auto")) return ckpt_load(t, r, how, found, e) && (*found || fail(e, "trainer.resume=%s: no checkpoint in this folder", how));
    if (ckpt_newest(dir) >= t->s->steps) return true;
    return ckpt_load(t, r, dir, found, e);
}

static bool steps(struct trainer *t, struct run_report *r, const struct place *p, struct metrics_log *log, FILE *say, double started, struct err *e)
{
    const struct config *c = t->c;
    struct metrics m = { 0 };
    struct progress bar;
    bool ok = true;
    double before = r->wall_s;
    int saved = t->step;
    bool tests = eval_questions(t->s) > 0;
    progress_start(&bar, stderr, t->step, t->s->steps);
    while (ok && t->step < t->s->steps && !run_stop) {
        metrics_clear(&m);
        ok = dumped_step(t, &m, p->dumps.p, e);
        r->wall_s = before + seconds() - started;
        bool last = t->step == t->s->steps;
        if (ok && tests && c->trainer.test_freq > 0 && t->step % c->trainer.test_freq == 0 && !last) {
            run_eval(t->s, &r->after);
            eval_metrics(&r->after, &m);
        }
        if (ok && tests && last) {
            run_eval(t->s, &r->after);
            r->has_after = true;
            eval_metrics(&r->after, &m);
        }
        struct err late;
        if (!metrics_write(log, t->step, &m, ok ? e : &late)) ok = false;
        if (bar.tty) progress_clear(&bar);
        if (say) metrics_console(say, t->step, &m, console);
        if (bar.tty) progress_step(&bar, t->step, "step", metrics_get(&m, "critic/rewards/mean"), metrics_get(&m, "perf/throughput"));
        bool save = c->trainer.save_freq > 0 && t->step % c->trainer.save_freq == 0;
        if (ok && (save || last)) {
            ok = ckpt_save(t, r, p->dir.p, e);
            saved = t->step;
        }
    }
    if (ok && t->step > saved) ok = ckpt_save(t, r, p->dir.p, e);       /* stopped, at whichever moment the signal came */
    if (bar.tty) progress_clear(&bar);
    metrics_free(&m);
    return ok;
}

static void fill_report(const struct trainer *t, struct run_report *r)
{
    r->steps = t->step;
    r->stopped = t->step < t->s->steps;
    r->tokens_generated = t->tokens_generated;
    r->tokens_trained = t->tokens_trained;
    r->probs_diff_max = t->probs_diff_max;
    r->skipped = t->skipped;
}

/* Metrics of step 0: the evaluation before training. */
static bool first_evaluation(struct trainer *t, struct run_report *r, struct metrics_log *log, FILE *say, struct err *e)
{
    struct metrics m = { 0 };
    run_eval(t->s, &r->before);
    r->has_before = true;
    eval_metrics(&r->before, &m);
    if (say) metrics_console(say, 0, &m, console);
    bool ok = metrics_write(log, 0, &m, e);
    metrics_free(&m);
    return ok;
}

static void say_data(const struct session *s, FILE *say)
{
    double epochs = (double)s->steps * s->c->data.train_batch_size / s->train.rows.n;
    fprintf(say, "%d training questions, %d for evaluation%s; %d steps of %d are %.3g epochs\n", s->train.rows.n, s->val.rows.n,
            s->val.rows.n ? "" : " (data.val_files is empty)", s->steps, s->c->data.train_batch_size, epochs);
}

bool run_training(struct session *s, struct run_report *r, FILE *say, struct err *e)
{
    struct place p = { 0 };
    struct trainer t;
    struct metrics_log log = { 0 };
    struct str path = { 0 };
    bool found, ok = session_questions(s, true, e) && open_place(&p, s, e);
    double started = seconds();
    *r = (struct run_report){ 0 };
    trainer_make(&t, s);
    ok = ok && resume(&t, r, p.dir.p, &found, e);
    if (ok) {
        str_printf(&path, "%s/metrics.jsonl", p.dir.p);
        bool board = strstr(s->c->trainer.logger, "tensorboard") != NULL;
        ok = metrics_open(&log, path.p, found ? t.step : -1, board ? p.dir.p : NULL, e);
    }
    if (ok && say && s->train.rows.n) say_data(s, say);
    if (ok && found && say) fprintf(say, "resumed after step %d from %s\n", t.step, p.dir.p);
    if (ok && !found && s->c->trainer.val_before_train && eval_questions(s)) ok = first_evaluation(&t, r, &log, say, e);
    ok = ok && steps(&t, r, &p, &log, say, started, e);
    if (log.f) ok = metrics_close(&log, ok ? e : NULL) && ok;
    fill_report(&t, r);
    if (ok && r->stopped && say && t.step == 0) fprintf(say, "stopped before the first step: there is nothing to go on from.\n");
    else if (ok && r->stopped && say)
        fprintf(say, "stopped after step %d; the checkpoint is in %s/global_step_%d. The same command goes on from there.\n", t.step, p.dir.p, t.step);
    trainer_free(&t);
    str_free(&path);
    close_place(&p);
    return ok;
}

json_t *run_report_json(const struct run_report *r, const struct config *c)
{
    json_t *o = json_object();
    json_object_set_new(o, "before", r->has_before ? eval_json(&r->before) : json_null());
    json_object_set_new(o, "after", r->has_after ? eval_json(&r->after) : json_null());
    json_object_set_new(o, "steps", json_integer(r->steps));
    json_object_set_new(o, "wall_s", json_real(r->wall_s));
    json_object_set_new(o, "tokens_generated", json_integer(r->tokens_generated));
    json_object_set_new(o, "tokens_trained", json_integer(r->tokens_trained));
    json_object_set_new(o, "rollout_probs_diff_max", json_real(r->probs_diff_max));
    json_object_set_new(o, "skipped_steps", json_integer(r->skipped));
    json_object_set_new(o, "config", config_json(c));
    return o;
}
