/* plan_simulate.c: `appo plan --simulate`: steps of many ranks by a cost model (eval/simulate). */
#include "cmd/cmd.h"
#include "base/file.h"
#include "engine/session/session.h"
#include "eval/simulate/calibrate.h"
#include "eval/simulate/options.h"
#include "eval/simulate/svg.h"
#include "model/load.h"
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: appo plan --simulate [gpu=h200] [--calibrate FILE,...] [ranks=8,64] [rules=NAME] "
                            "[--json FILE] [--svg FILE] [key=value ...]: training steps of many ranks by a cost model";

struct paths { const char *calibrate, *json, *svg; };

/* The last two parts of a path, for titles. */
static const char *short_path(const char *path)
{
    int n = 0;
    const char *p = path + strlen(path);
    while (p > path && (p[-1] != '/' || ++n < 2)) p--;
    return p;
}

/* The constants, by count or by a fit, and the statistics of the steps. */
static bool cost_and_workload(struct cost_model *m, struct workload *w, const struct config *c,
                              const struct sim_options *o, const struct cost_shape *shape, const struct paths *at,
                              struct str *source, struct err *e)
{
    struct calibration k;
    if (!o->card && !at->calibrate)
        return fail(e, "what a pass takes is not known: give gpu=h100, h200 or a100, whose stated rates are counted "
                       "with, or --calibrate FILE, measured by a run (metrics.jsonl) or by appo bench cpu --json");
    if (o->card) cost_by_count(m, shape, o->card);
    else cost_of_host(m, shape);
    m->zero = c->actor.zero;
    workload_of(w, c);
    if (o->card) str_printf(source, "by count from stated rates of %s", o->card->full);
    if (!sim_options_apply(o, w, m, e)) return false;
    if (!at->calibrate) return true;
    if (!calibrate(&k, at->calibrate, c, m, e)) return false;
    *m = k.m;
    if (k.has_run) *w = k.w;
    str_printf(source, "%sfitted to %s", source->n ? ", " : "", short_path(at->calibrate));
    printf("%d times fitted; off by, root mean square: sampling %.1f %%, scoring %.1f %%, training %.1f %%\n",
           k.equations, 100 * k.error[CALIBRATED_SAMPLING], 100 * k.error[CALIBRATED_SCORING],
           100 * k.error[CALIBRATED_TRAINING]);
    return sim_options_apply(o, w, m, e);
}

static bool write_file(const char *path, const struct sim_report *p, bool svg, struct err *e)
{
    struct out f;
    if (!out_open(&f, path, e)) return false;
    if (svg) sim_svg(f.f, p);
    else {
        json_t *o = sim_json(p);
        json_dumpf(o, f.f, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
        fputc('\n', f.f);
        json_decref(o);
    }
    return out_commit(&f, e);
}

static bool run(const struct config *c, const struct sim_options *o, const struct paths *at, struct err *e)
{
    const char *path = *c->model.path ? c->model.path : session_embedded_policy();
    struct model_config model;
    struct cost_shape shape;
    struct cost_model m;
    struct workload w, scaled;
    struct str source = { 0 };
    struct sim_result *r = xcalloc((size_t)(o->counts * o->rules), sizeof *r);
    int n = 0;
    bool ok = model_load_config(&model, path, e);
    if (ok) cost_shape_of(&shape, &model, o->card ? 2 : (int)sizeof(elem_t), c->model.recompute);
    ok = ok && cost_and_workload(&m, &w, c, o, &shape, at, &source, e);
    for (int i = 0; ok && i < o->rules; i++)
        for (int k = 0; ok && k < o->counts; k++) {
            ok = sim_scaled(&scaled, o, &w, o->ranks[k], e);
            if (ok) simulate(&r[n++], &scaled, &m, o->rule[i], o->ranks[k], sim_steps(o), &shape);
        }
    struct sim_report p = { .w = &w, .m = &m, .shape = &shape, .model = short_path(path), .source = source.p,
                            .weak = o->weak, .steps = sim_steps(o), .r = r, .n = n };
    if (ok) sim_table(stdout, &p);
    if (ok && at->json) ok = write_file(at->json, &p, false, e);
    if (ok && at->svg) ok = write_file(at->svg, &p, true, e);
    str_free(&source);
    free(r);
    return ok;
}

int plan_simulate(int argc, char **argv)
{
    struct config c;
    struct err e;
    struct sim_options o;
    struct paths at = { 0 };
    int status, kept = 0;
    sim_options_init(&o);
    cmd_option(&argc, argv, "--calibrate", &at.calibrate);
    cmd_option(&argc, argv, "--json", &at.json);
    cmd_option(&argc, argv, "--svg", &at.svg);
    for (int i = 0; i < argc; i++) {
        if (sim_option(&o, argv[i], &e)) continue;
        if (*e.text) {
            fprintf(stderr, "appo: %s. %s\n", e.text, usage);
            return 2;
        }
        argv[kept++] = argv[i];
    }
    if (cmd_config(&c, kept, argv, usage, 0, &status)) status = run(&c, &o, &at, &e) ? 0 : cmd_fail(&e);
    config_free(&c);
    return status;
}
