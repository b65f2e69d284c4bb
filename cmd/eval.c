/* eval.c: `appo eval`: success on held-out prompts. */
#include "cmd/cmd.h"
#include "base/file.h"
#include "base/stop.h"
#include "engine/session/fit_config.h"
#include "engine/run/evaluate.h"
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

static int run(struct config *c, bool json)
{
    struct session s = { 0 };
    struct eval_result r = { 0 };
    struct progress bar;
    struct out probe;
    struct err e;
    fit_config_to_memory(c, MEMORY_SAMPLE, stderr);
    bool ok = !*c->trainer.report || out_open(&probe, c->trainer.report, &e);
    if (ok && *c->trainer.report) out_drop(&probe);
    ok = ok && session_open(&s, c, false, &e) && session_open_prompts(&s, false, &e);
    const char *dir = c->trainer.validation_data_dir;
    if (ok) {
        stop_catch();
        stop_during(*dir ? "stopping; the answers so far stay in %.120s"
                         : "stopping; the answers so far are lost (trainer.validation_data_dir keeps them)%.0s",
                    dir);
        progress_start(&bar, stderr, 0, eval_answers(&s));
        bar.unit = "answers";
        on_progress(&bar, 0, bar.total);
        ok = evaluate_to(&s, &r, &(struct eval_options){ dir, 0, on_progress, &bar }, &e);
        progress_clear(&bar);
    }
    bool stopped = ok && r.halted;
    if (stopped && *dir)
        fprintf(stderr, "stopped: %d of %d answers are in %s; the same command continues with the others\n", r.answers,
                eval_answers(&s), dir);
    else if (ok && !stopped) ok = print_result(&r, &s, json, &e);
    session_close(&s);
    return !ok ? cmd_fail(&e) : stopped ? 130 : 0;
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
