/* debug.c: `appo debug` and `appo train`. debug is train on the embedded tasks that resumes only its own interrupted
 * run. */
#include "cmd/cmd.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/stop.h"
#include "engine/comm/comm.h"
#include "engine/session/fit_config.h"
#include "engine/run/cold_start.h"
#include "engine/run/ranks_start.h"
#include "engine/run/run.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tries to write the report's folder before any work. */
static bool report_ready(const char *path, struct err *e)
{
    struct out o;
    if (!*path) return true;
    if (!out_open(&o, path, e)) return false;
    out_drop(&o);
    return true;
}

static bool write_report(const char *path, const struct run_report *r, const struct config *c, struct err *e)
{
    if (!*path) return true;
    json_t *j = run_report_json(r, c);
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    bool ok = file_write(path, text, strlen(text), e);
    free(text);
    json_decref(j);
    return ok;
}

/* Rank 0 makes the policy of --from-scratch alone. That may take longer than comm.timeout, so it gives the others a
 * sign of life every second, and they wait for the last one. */
struct making {
    struct sft_progress show;
    double last;
};

static bool busy(bool is)
{
    comm_bcast(&is, sizeof is, 0);
    return is;
}

static bool made_a_step(void *ctx, const struct sft_report *r)
{
    struct making *x = ctx;
    if (seconds() - x->last >= 1) {
        busy(true);
        x->last = seconds();
    }
    return sft_progress(&x->show, r);
}

static bool make_policy(const char *dir, const struct cold_start_rule *rule, struct err *e)
{
    struct making x = { .show = { .what = "cold start" }, .last = seconds() };
    bool ok = true;
    comm_doing("making the policy of --from-scratch");
    if (comm_first()) ok = cold_start_run(dir, rule, made_a_step, &x, e);
    while (busy(false)) {}
    return ok;
}

/* --from-scratch: makes the policy first, in the run's own folder, which then is model.path. A call of all ranks. */
static bool from_scratch(struct config *c, struct err *e)
{
    struct str dir = { 0 };
    str_printf(&dir, "%s/%s/%s/coldstart", c->trainer.default_local_dir, c->trainer.project_name,
               c->trainer.experiment_name);
    struct cold_start_rule rule = cold_start_default(c);
    if (c->trainer.threads > 0) dev_set_threads(c->trainer.threads);
    bool ok = make_policy(dir.p, &rule, e) && config_set(c, "model.path", dir.p, "--from-scratch", e);
    str_free(&dir);
    return ok;
}

/* What rank 0 makes or takes before anything is loaded. */
static bool begin(struct run_folder *place, struct config *c, bool scratch, struct err *e)
{
    bool ok = !comm_first() || (report_ready(c->trainer.report, e) && run_folder_open(place, c, e));
    if (!comm_first()) run_folder_names(place, c);
    return comm_agree(ok, e) && (!scratch || comm_agree(from_scratch(c, e), e));
}

/* Takes the lock first: a second run in the same folder is rejected before anything is loaded or written. */
static int run(struct config *c, bool scratch, bool table)
{
    struct session s = { 0 };
    struct run_folder place = { 0 };
    struct run_report r = { 0 };
    struct err e;
    int status = 1;
    if (!comm_open(&(struct comm_options){ .timeout_s = c->comm.timeout }, &e)) return cmd_fail(&e);
    ranks_place(c, stderr);
    bool ok = comm_agree(ranks_asked(c, &e), &e) && ranks_same_start(c, &e);
    fit_config_to_device(c);
    fit_config_to_model(c, comm_first() ? "actor.optim.lr" : NULL, stderr);
    ok = ok && ranks_fit(c, MEMORY_TRAIN, stderr, &e) && begin(&place, c, scratch, &e);
    if (!comm_first()) stop_quiet();
    stop_catch();                                        /* before it there is nothing to save */
    stop_during("ending before the first step, as soon as the model is loaded");
    comm_doing("loading the model");
    ok = ok && comm_agree(session_open(&s, c, true, &e), &e) && ranks_same_weights(&s, &e);
    if (ok && table && comm_first()) session_print_memory(&s, stdout);
    fflush(stdout);
    ok = ok && run_training_in(&s, &place, &r, comm_first() ? stdout : NULL, &e);
    if (r.steps > 0 && comm_first()) {
        if (r.has_after) eval_table(r.has_before ? &r.before : &r.after, r.has_before ? &r.after : NULL, stdout);
        printf("%d steps in %.1f s: %lld tokens generated, %lld trained; largest difference between a sampled and a "
               "trained probability: %g; peak memory %.0f MiB\n",
               r.steps, r.wall_s, (long long)r.tokens_generated, (long long)r.tokens_trained, r.probs_diff_max,
               peak_mib());
    }
    if (ok && r.steps > 0 && !r.done && !r.stopped && comm_first())
        printf("in %s: metrics.jsonl%s, and the model as global_step_%d/actor/huggingface\n", place.dir.p,
               place.dumps.n ? ", rollouts" : "", r.steps);
    struct err late;
    if (comm_first() && r.steps > 0 && !(r.done && file_exists(c->trainer.report)) &&
        !write_report(c->trainer.report, &r, c, ok ? &e : &late))
        ok = false;
    status = !ok ? cmd_fail(&e) : r.stopped ? 130 : 0;
    session_close(&s);
    run_folder_close(&place);
    comm_close();
    return status;
}

/* debug resumes only an interrupted run of the very same command, and else begins anew; the old files are moved
 * aside. */
static bool set_resume(struct config *c, bool debug)
{
    struct err e;
    return !debug || config_given(c, "trainer.resume") || config_set(c, "trainer.resume", "interrupted", "debug", &e);
}

static int train(int argc, char **argv, bool debug, const char *usage)
{
    struct config c;
    int status;
    bool scratch = cmd_option(&argc, argv, "--from-scratch", NULL), table = cmd_option(&argc, argv, "--memory", NULL);
    if (cmd_config(&c, argc, argv, usage, 0, &status) && set_resume(&c, debug)) status = run(&c, scratch, table);
    config_free(&c);
    return status;
}

int cmd_debug(int argc, char **argv)
{
    return train(argc, argv, true,
                 "usage: appo debug [--seed N] [--steps N] [--report FILE] [--from-scratch] [--memory] [key=value "
                 "...]: evaluates the embedded policy, trains it with "
                 "APPO on the embedded tasks, evaluates again");
}

int cmd_train(int argc, char **argv)
{
    return train(argc, argv, false,
                 "usage: appo train [--config FILE] [key=value ...]: trains the policy of model.path on "
                 "data.train_files, or without files on the "
                 "embedded tasks");
}
