/* report.c: tables of at most 100 columns. */
#include "eval/simulate/report.h"
#include <string.h>

double sim_throughput(const struct sim_result *r) { return (r->generated + r->results) / r->step; }

double sim_efficiency(const struct sim_report *p, int i)
{
    int first = i;
    while (first > 0 && p->r[first - 1].rule == p->r[i].rule) first--;
    return sim_throughput(&p->r[i]) / p->r[i].ranks / (sim_throughput(&p->r[first]) / p->r[first].ranks);
}

/* 12.3k, 4.56M: four signs or five */
static const char *short_number(char out[16], double x)
{
    static const char unit[] = " kMGTPE";
    int u = 0;
    while (x >= 999.5 && unit[u + 1]) x /= 1000, u++;
    snprintf(out, 16, x < 9.995 ? "%.2f%c" : x < 99.95 ? "%.1f%c" : "%.0f%c", x, unit[u]);
    if (u == 0) out[strlen(out) - 1] = 0;
    return out;
}

static void head(FILE *f, const struct sim_report *p)
{
    const struct workload *w = p->w;
    fprintf(f, "simulated: %s; times %s\n", p->model, p->source);
    fprintf(f, "%d prompts%s in mini-batches of %d, %d rollouts each", w->prompts,
            p->weak ? " for the first number of ranks (they grow with it)" : "", w->mini_batch, w->all);
    if (w->branches)
        fprintf(f, ",\n%d of them branches%s", w->all - w->initial,
                w->at_step ? ", made once a step" : w->every > 1 ? "" : ", made for every mini-batch");
    if (w->branches && w->every > 1) fprintf(f, ", made for every mini-batch of %d", w->every);
    fprintf(f, ";\nprompts of %.4g tokens, responses of %.4g (sigma %.3g, %.2g of its square common to a prompt),",
            w->prompt_mean, w->response_mean, w->response_sigma, w->alike);
    fprintf(f, "\nat most %d; ", w->max_response);
    if (w->calls > 0)
        fprintf(f, "%.3g calls a rollout of %.3g s and %.4g tokens; ", w->calls, w->call_s, w->call_tokens);
    fprintf(f, "means of %d steps\n", p->steps);
}

static void shares(FILE *f, const struct sim_report *p)
{
    const struct sim_rule *rule = NULL;
    for (int i = 0; i < p->n; i++) {
        const struct sim_result *r = &p->r[i];
        char speed[16];
        if (r->rule != rule) {
            rule = r->rule;
            fprintf(f, "\nrule %s: %s\n", rule->name, rule->what);
            fprintf(f, " ranks  step s tokens/s effic.  idle | share of all ranks' time, %%                | tail s:\n"
                       "                                     |   gen score branch update reduce  host tools|   gen "
                       "branch\n");
        }
        fprintf(f, "%6d %7.4g %8s %5.1f%% %4.1f%% |", r->ranks, r->step, short_number(speed, sim_throughput(r)),
                100 * sim_efficiency(p, i), 100 * r->idle);
        for (int k = 0; k < SIM_PHASES; k++)
            fprintf(f, "%*.1f", k == SIM_BRANCH || k == SIM_UPDATE || k == SIM_REDUCE ? 7 : 6,
                    100 * r->busy[k] / (r->step * r->ranks));
        fprintf(f, " %5.1f|%6.3g %6.3g\n", 100 * r->tools, r->tail, r->branch_tail);
    }
}

static void phases(FILE *f, const struct sim_report *p)
{
    fprintf(f, "\nseconds of a step from a phase's begin to its end on the last rank, and bytes\n"
               "                |    gen  score branch update reduce   host | HBM a rank:     | sent a rank by\n"
               " rule     ranks |                                           | weights    K/V  | gradients others\n");
    for (int i = 0; i < p->n; i++) {
        const struct sim_result *r = &p->r[i];
        char b[4][16];
        fprintf(f, " %-8s %5d |", r->rule->name, r->ranks);
        for (int k = 0; k < SIM_PHASES; k++)
            fprintf(f, r->wall[k] < 1e-3 && r->wall[k] > 0 ? " %6.0e" : " %6.3g", r->wall[k]);
        fprintf(f, " | %7s %7s | %7s %7s\n", short_number(b[0], r->weight_reads / r->ranks),
                short_number(b[1], r->context_reads / r->ranks), short_number(b[2], r->reduced),
                short_number(b[3], r->gathered));
    }
}

static void constants(FILE *f, const struct sim_report *p)
{
    fprintf(f, "\nconstants of the cost model (cost.NAME=NUMBER sets one):\n");
    for (const struct cost_constant *c = cost_constants; c->name; c++)
        fprintf(f, "  %-16s %10.4g %-4s %s\n", c->name, *(const double *)((const char *)p->m + c->at), c->unit,
                c->what);
}

void sim_table(FILE *f, const struct sim_report *p)
{
    head(f, p);
    shares(f, p);
    phases(f, p);
    constants(f, p);
}

static json_t *result(const struct sim_report *p, int i)
{
    const struct sim_result *r = &p->r[i];
    json_t *o = json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "rule", r->rule->name,
                          "ranks", r->ranks, "step_s", r->step, "tokens_per_s", sim_throughput(r), "efficiency",
                          sim_efficiency(p, i), "idle", r->idle, "tools", r->tools, "tail_s", r->tail, "branch_tail_s",
                          r->branch_tail, "generated", r->generated, "tool_tokens", r->results, "trained", r->trained);
    json_t *wall = json_object(), *share = json_object(), *bytes;
    for (int k = 0; k < SIM_PHASES; k++) {
        json_object_set_new(wall, sim_phase_name[k], json_real(r->wall[k]));
        json_object_set_new(share, sim_phase_name[k], json_real(r->busy[k] / (r->step * r->ranks)));
    }
    bytes = json_pack("{s:f, s:f, s:f, s:f}", "weights_read", r->weight_reads / r->ranks, "keys_values_read",
                      r->context_reads / r->ranks, "gradients", r->reduced, "others", r->gathered);
    json_object_set_new(o, "phase_s", wall);
    json_object_set_new(o, "share", share);
    json_object_set_new(o, "bytes_a_rank", bytes);
    return o;
}

/* Both come from paths. */
static json_t *name(const char *text)
{
    json_t *s = json_string(text);
    return s ? s : json_string("not UTF-8");
}

json_t *sim_json(const struct sim_report *p)
{
    const struct workload *w = p->w;
    json_t *o = json_pack("{s:o, s:o, s:s, s:i}", "model", name(p->model), "times", name(p->source), "scale",
                          p->weak ? "weak" : "strong", "steps", p->steps);
    json_t *steps = json_pack("{s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "prompts",
                              w->prompts, "mini_batch", w->mini_batch, "rollouts", w->all, "initial",
                              workload_initial(w), "prompt", w->prompt_mean, "response", w->response_mean, "sigma",
                              w->response_sigma, "alike", w->alike, "calls", w->calls, "call_s", w->call_s,
                              "call_tokens", w->call_tokens, "fresh", w->fresh, "distinct", w->distinct, "live",
                              w->live, "seed", (json_int_t)w->seed);
    json_t *cost = json_object(), *results = json_array();
    for (const struct cost_constant *c = cost_constants; c->name; c++)
        json_object_set_new(cost, c->name, json_real(*(const double *)((const char *)p->m + c->at)));
    for (int i = 0; i < p->n; i++) json_array_append_new(results, result(p, i));
    json_object_set_new(o, "workload", steps);
    json_object_set_new(o, "cost", cost);
    json_object_set_new(o, "results", results);
    return o;
}
