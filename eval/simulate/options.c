/* options.c: reads them. */
#include "eval/simulate/options.h"
#include "base/number.h"
#include <limits.h>
#include <string.h>

/* Where a value goes. */
enum target { TO_WORKLOAD, TO_COST, TO_COST_INT, TO_STEPS };

#define W(f) TO_WORKLOAD, offsetof(struct workload, f)
#define C(f) TO_COST_INT, offsetof(struct cost_model, f)
static const struct value {
    const char *name;
    enum target target;
    size_t at;
    double lo, hi;
    bool whole;
    const char *what;
} values[] = {
    { "steps", TO_STEPS, 0, 1, 1000, true, "steps to take means of (4)" },
    { "prompt", W(prompt_mean), 1, 1e7, false, "mean tokens of a prompt" },
    { "prompt_sigma", W(prompt_sigma), 0, 3, false, "sigma of their logarithm" },
    { "response", W(response_mean), 1, 1e7, false, "mean tokens of a response, log-normal" },
    { "sigma", W(response_sigma), 0, 3, false, "sigma of their logarithm" },
    { "alike", W(alike), 0, 1, false, "share of its square that a prompt's rollouts have in common" },
    { "calls", W(calls), 0, SEGMENTS - 1, false, "mean tool calls of a rollout" },
    { "call_s", W(call_s), 0, 1e5, false, "mean seconds of a call, exponential" },
    { "call_tokens", W(call_tokens), 0, 1e6, false, "tokens of a result" },
    { "fresh", W(fresh), 0.01, 0.99, false, "mean share of a response that a branch samples anew" },
    { "distinct", W(distinct), 0.001, 1, false, "share of response tokens that are no prefix shared with another" },
    { "live", W(live), 0, 1, false, "share of prompts with an advantage" },
    { "node", C(node), 1, 65536, true, "ranks of a node (8)" },
    { "cores", C(cores), 0, 65536, true, "cores that all ranks share; 0: each has its own" },
    { "threads", C(threads), 1, 65536, true, "threads of a rank, with cores" },
};
enum { VALUES = sizeof values / sizeof *values };
_Static_assert((int)VALUES <= (int)SIM_VALUES, "sim_options.value holds them");

static double *constant(struct cost_model *m, int i) { return (double *)((char *)m + cost_constants[i].at); }

void sim_options_init(struct sim_options *o)
{
    *o = (struct sim_options){ .rules = 1 };
    o->rule[0] = sim_rule("steal");
    for (int n = 8; n <= 1024; n *= 2) o->ranks[o->counts++] = n;
    for (int i = 0; i < SIM_VALUES; i++) o->value[i] = (double)NAN;
    for (int i = 0; cost_constants[i].name; i++) *constant(&o->cost, i) = (double)NAN;
}

static bool number(const char *text, double *x)
{
    char *end;
    *x = strtod(text, &end);
    return *text && (*text == '-' || *text == '.' || (*text >= '0' && *text <= '9')) && !*end && isfinite(*x);
}

static bool take_ranks(struct sim_options *o, const char *text, struct err *e)
{
    o->counts = 0;
    for (const char *p = text; ; p++) {
        char *end;
        long n = strtol(p, &end, 10);
        if (end == p || (*end && *end != ',') || n < 1 || n > SIM_RANKS_MAX)
            return fail(e, "ranks=%.60s: numbers from 1 to %d are needed, commas between", text, SIM_RANKS_MAX);
        if (o->counts && n <= o->ranks[o->counts - 1])
            return fail(e, "ranks=%.60s: each number must be larger than the one before", text);
        if (o->counts == SIM_COUNTS) return fail(e, "ranks=%.60s: at most %d numbers", text, SIM_COUNTS);
        o->ranks[o->counts++] = (int)n;
        if (!*(p = end)) return true;
    }
}

static bool take_rules(struct sim_options *o, const char *text, struct err *e)
{
    char name[32], all[160] = "";
    o->rules = 0;
    for (const struct sim_rule *r = sim_rules; r->name; r++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", *all ? ", " : "", r->name);
    for (const char *p = text; ; p++) {
        size_t n = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : 0), p);
        if (!strcmp(text, "all"))
            for (const struct sim_rule *r = sim_rules; r->name; r++) o->rule[o->rules++] = r;
        else if (!sim_rule(name) || o->rules == SIM_RULES)
            return fail(e, "rules=%.60s: %s of %s are needed, commas between, or all", text,
                        o->rules == SIM_RULES ? "fewer" : "some", all);
        else o->rule[o->rules++] = sim_rule(name);
        if (!*(p += n)) return true;
    }
}

static bool take_constant(struct sim_options *o, const char *name, const char *text, struct err *e)
{
    for (int i = 0; cost_constants[i].name; i++) {
        size_t n = strlen(cost_constants[i].name);
        if (strncmp(name, cost_constants[i].name, n) || name[n] != '=') continue;
        double x;
        if (!number(text, &x) || x < 0 || (strstr(cost_constants[i].unit, "/s") && x <= 0))
            return fail(e, "cost.%.60s: a number of %s is needed", name, cost_constants[i].unit);
        *constant(&o->cost, i) = x;
        return true;
    }
    return fail(e, "cost.%.60s: no such constant; the table of --simulate names all", name);
}

bool sim_option(struct sim_options *o, const char *arg, struct err *e)
{
    const char *text = strchr(arg, '=');
    *e->text = 0;
    if (!text++) return false;
    if (!strncmp(arg, "ranks=", 6)) return take_ranks(o, text, e);
    if (!strncmp(arg, "rules=", 6)) return take_rules(o, text, e);
    if (!strncmp(arg, "cost.", 5)) return take_constant(o, arg + 5, text, e);
    if (!strncmp(arg, "gpu=", 4)) {
        o->card = cost_card(text);
        return o->card || fail(e, "gpu=%.60s: stated rates are listed for h100, h200 and a100; for another card give "
                                  "one of them and its rates as cost.NAME=NUMBER, or --calibrate FILE", text);
    }
    if (!strncmp(arg, "scale=", 6)) {
        o->weak = !strcmp(text, "weak");
        return o->weak || !strcmp(text, "strong") || fail(e, "scale=%.60s: weak or strong is needed", text);
    }
    for (int i = 0; i < VALUES; i++) {
        const struct value *v = &values[i];
        size_t n = strlen(v->name);
        if (strncmp(arg, v->name, n) || arg[n] != '=') continue;
        double x;
        if (!number(text, &x) || x < v->lo || x > v->hi || (v->whole && x != floor(x)))
            return fail(e, "%.60s: a%s number from %g to %g is needed", arg, v->whole ? " whole" : "", v->lo, v->hi);
        o->value[i] = x;
        return true;
    }
    return false;
}

void sim_options_help(FILE *f)
{
    fprintf(f, "  ranks=N,...       numbers of ranks (8,16,...,1024)\n"
               "  rules=NAME,...    how prompts are dealt (steal), or all:\n");
    for (const struct sim_rule *r = sim_rules; r->name; r++) fprintf(f, "    %-9s %s\n", r->name, r->what);
    fprintf(f, "  gpu=h100|h200|a100  the card whose stated rates are counted with\n"
               "  scale=strong|weak the batch is fixed, or grows with the ranks from the first\n");
    for (int i = 0; i < VALUES; i++) fprintf(f, "  %-17s %s\n", values[i].name, values[i].what);
    fprintf(f, "  cost.NAME=NUMBER  a constant of the cost model; the output names all\n");
}

int sim_steps(const struct sim_options *o) { return isnan(o->value[0]) ? 4 : (int)o->value[0]; }

bool sim_options_apply(const struct sim_options *o, struct workload *w, struct cost_model *m, struct err *e)
{
    for (int i = 0; i < VALUES; i++) {
        double x = o->value[i];
        if (isnan(x)) continue;
        if (values[i].target == TO_WORKLOAD) *(double *)((char *)w + values[i].at) = x;
        if (values[i].target == TO_COST_INT) *(int *)((char *)m + values[i].at) = (int)x;
    }
    for (int i = 0; cost_constants[i].name; i++) {
        double x = *constant((struct cost_model *)&o->cost, i);
        if (!isnan(x)) *constant(m, i) = x;
    }
    if (w->response_mean > w->max_response)
        return fail(e, "response=%g is more than data.max_response_length=%d, where every rollout would end",
                    w->response_mean, w->max_response);
    if (w->prompt_mean > w->max_prompt)
        return fail(e, "prompt=%g is more than data.max_prompt_length=%d", w->prompt_mean, w->max_prompt);
    return true;
}

bool sim_scaled(struct workload *scaled, const struct sim_options *o, const struct workload *w, int ranks,
                struct err *e)
{
    *scaled = *w;
    double times = o->weak ? (double)ranks / o->ranks[0] : 1, prompts = w->prompts * times,
           mini = w->mini_batch * times;
    if (mini != floor(mini) || mini < 1)
        return fail(e, "scale=weak: actor.ppo_mini_batch_size=%d for %d ranks is %g for %d ranks: take numbers of "
                       "ranks that are multiples of the first", w->mini_batch, o->ranks[0], mini, ranks);
    if (prompts * w->all > 1 << 24)
        return fail(e, "%g prompts of %d rollouts in a step of %d ranks are more than can be simulated (%d)", prompts,
                    w->all, ranks, 1 << 24);
    scaled->prompts = (int)prompts;
    scaled->mini_batch = (int)mini;
    return true;
}
