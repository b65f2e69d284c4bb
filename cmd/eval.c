/* eval.c: `appo eval`: success on held-out prompts. */
#include "cmd/cmd.h"
#include "base/file.h"
#include "base/stop.h"
#include "engine/comm/comm.h"
#include "engine/run/evaluate.h"
#include "engine/run/ranks_start.h"
#include "engine/report/progress.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: appo eval [data.val_files=FILE,...] [--json] [--report FILE] [key=value ...]: success on held-out "
    "prompts: of files, or of every embedded family\n"
    "  --json                           JSON on stdout in place of the table; --report FILE writes it beside the "
    "table\n"
    "  trainer.validation_data_dir=DIR  every answer as a line of DIR/0.jsonl, as it comes: the same command after an "
    "interruption samples only what is missing\n"
    "  rollout.val_kwargs.n             samples of a prompt, beside one greedy answer";

static void on_progress(void *ctx, int done, int total)
{
    progress_step(ctx, done, "evaluation", (double)NAN, (double)NAN);
    (void)total;
}

static char *report_text(const struct eval_result *r, const struct session *s)
{
    json_t *o = eval_json(r);
    json_object_set_new(o, "questions", json_integer(r->all.greedy_n));
    json_object_set_new(o, "answers", json_integer(r->answers));
    json_object_set_new(o, "answers_known_before", json_integer(r->known));
    json_object_set_new(o, "tokens_generated", json_integer(r->generated));
    json_object_set_new(o, "model", json_string(s->path));
    json_object_set_new(o, "config", config_json(s->c));
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    json_decref(o);
    return text;
}

static bool print_result(const struct eval_result *r, const struct session *s, bool json, struct err *e)
{
    char *text = report_text(r, s);
    const char *file = s->c->trainer.report;
    bool ok = !*file || file_write(file, text, strlen(text), e);
    if (json) puts(text);
    else {
        eval_table(r, NULL, stdout);
        printf("%d prompts, %lld tokens generated in %.1f s, peak memory %.0f MiB\n", r->all.greedy_n,
               (long long)r->generated, r->wall_s, peak_mib());
    }
    free(text);
    return ok;
}

/* Rank 0 alone writes: a report that cannot be written ends the command before any work. */
static bool report_ready(const char *path, struct err *e)
{
    struct out probe;
    if (!*path || !comm_first()) return true;
    if (!out_open(&probe, path, e)) return false;
    out_drop(&probe);
    return true;
}

static bool open_all(struct session *s, const struct config *c, struct err *e)
{
    return report_ready(c->trainer.report, e) && session_open(s, c, false, e) && session_open_prompts(s, false, e);
}

static int run(struct config *c, bool json)
{
    struct session s = { 0 };
    struct eval_result r = { 0 };
    struct progress bar;
    struct err e;
    if (!comm_open(&(struct comm_options){ .timeout_s = c->comm.timeout }, &e)) return cmd_fail(&e);
    bool first = comm_first();
    ranks_place(c, stderr);
    bool ok = ranks_same_start(c, &e) && ranks_fit(c, MEMORY_SAMPLE, stderr, &e) &&
              comm_agree(open_all(&s, c, &e), &e) && ranks_same_weights(&s, &e) && ranks_same_inputs(&s, &e);
    const char *dir = c->trainer.validation_data_dir;
    if (ok) {
        if (!first) stop_quiet();
        stop_catch();
        stop_during(*dir ? "stopping; the answers so far stay in %.120s"
                         : "stopping; the answers so far are lost (trainer.validation_data_dir keeps them)%.0s",
                    dir);
        progress_start(&bar, stderr, 0, eval_answers(&s));
        bar.unit = "answers";
        bar.tty = bar.tty && first;
        if (first) on_progress(&bar, 0, bar.total);
        ok = evaluate_to(&s, &r, &(struct eval_options){ dir, 0, first ? on_progress : NULL, &bar }, &e);
        progress_clear(&bar);
    }
    bool stopped = ok && r.halted;
    if (stopped && *dir && first)
        fprintf(stderr, "stopped: %d of %d answers are in %s; the same command continues with the others\n", r.answers,
                eval_answers(&s), dir);
    else if (ok && !stopped) ok = comm_agree(!first || print_result(&r, &s, json, &e), &e);
    session_close(&s);
    int status = !ok ? cmd_fail(&e) : stopped ? 130 : 0;
    comm_close();
    return status;
}

int cmd_eval(int argc, char **argv)
{
    struct config c;
    int status;
    bool json = cmd_option(&argc, argv, "--json", NULL);
    if (cmd_config(&c, argc, argv, usage, 0, &status)) status = run(&c, json);
    config_free(&c);
    return status;
}
