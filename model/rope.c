/* rope.c: rotary scaling. The formulas are those of transformers' modeling_rope_utils.py, evaluated in double. */
#include "model/rope.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const
    kinds[] = { [ROPE_PLAIN] = "default", [ROPE_LINEAR] = "linear", [ROPE_LLAMA3] = "llama3", [ROPE_YARN] = "yarn" };
enum { LINEAR = 1 << ROPE_LINEAR, LLAMA3 = 1 << ROPE_LLAMA3, YARN = 1 << ROPE_YARN };

/* Llama 3.1: waves shorter than original / high are kept, waves longer than original / low are stretched by
 * factor. */
static double llama3(const struct rope *r, double f)
{
    double wave = 2 * M_PI / f;
    if (wave < r->original / r->high) return f;
    if (wave > r->original / r->low) return f / r->factor;
    double smooth = (r->original / wave - r->low) / (r->high - r->low);
    return (1 - smooth) * f / r->factor + smooth * f;
}

/* The index, not necessarily whole, of the pair that rotates `turns` times over the original length. */
static double pair_of(const struct rope *r, double turns, double theta, int head_dim)
{
    return head_dim * log(r->original / (turns * 2 * M_PI)) / (2 * log(theta));
}

/* YaRN: pairs before begin keep their frequency, pairs after end are divided by factor, with a linear ramp between. */
static void yarn(double *freq, const struct rope *r, double theta, int head_dim)
{
    double begin = pair_of(r, r->high, theta, head_dim), end = pair_of(r, r->low, theta, head_dim);
    if (!r->exact) { begin = floor(begin); end = ceil(end); }
    begin = fmax(begin, 0);
    end = fmin(end, head_dim - 1);
    if (!(end > begin) && !(end < begin)) end += 0.001;
    for (int j = 0; j < head_dim / 2; j++) {
        double ramp = fmin(fmax((j - begin) / (end - begin), 0), 1);
        freq[j] = freq[j] / r->factor * ramp + freq[j] * (1 - ramp);
    }
}

void rope_freq(double *freq, const struct rope *r, double theta, int head_dim)
{
    for (int j = 0; j < head_dim / 2; j++) freq[j] = pow(theta, -2.0 * j / head_dim);
    if (r->kind == ROPE_LINEAR) for (int j = 0; j < head_dim / 2; j++) freq[j] /= r->factor;
    if (r->kind == ROPE_LLAMA3) for (int j = 0; j < head_dim / 2; j++) freq[j] = llama3(r, freq[j]);
    if (r->kind == ROPE_YARN) yarn(freq, r, theta, head_dim);
}

double rope_logit_scale(const struct rope *r) { return r->kind == ROPE_YARN ? r->attention * r->attention : 1; }

/* Numbers of config.json, with the kinds they belong to. */
struct given { double theta, factor, low, high, beta_slow, beta_fast, original, attention, mscale, mscale_all, part; };
static const struct number { const char *key; size_t at; int kinds; double min, max; bool whole; } numbers[] = {
    { "rope_theta", offsetof(struct given, theta), ~0, 1e-3, 1e15, false },
    { "partial_rotary_factor", offsetof(struct given, part), ~0, 1, 1, false },
    { "factor", offsetof(struct given, factor), LINEAR | LLAMA3 | YARN, 1, 1e6, false },
    { "low_freq_factor", offsetof(struct given, low), LLAMA3, 1e-3, 1e6, false },
    { "high_freq_factor", offsetof(struct given, high), LLAMA3, 1e-3, 1e6, false },
    { "original_max_position_embeddings", offsetof(struct given, original), LLAMA3 | YARN, 1, 1 << 24, true },
    { "beta_slow", offsetof(struct given, beta_slow), YARN, 1e-3, 1e6, false },
    { "beta_fast", offsetof(struct given, beta_fast), YARN, 1e-3, 1e6, false },
    { "attention_factor", offsetof(struct given, attention), YARN, 1e-3, 1e3, false },
    { "mscale", offsetof(struct given, mscale), YARN, 0, 1e3, false },
    { "mscale_all_dim", offsetof(struct given, mscale_all), YARN, 0, 1e3, false },
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static bool read_kind(struct rope *r, json_t *j, const char *name, const char *key, struct err *e)
{
    static const char *const places[] = { "rope_type", "type" };
    int found = -1;
    for (int i = 0; i < 2; i++) {
        json_t *v = json_object_get(j, places[i]);
        if (!v || json_is_null(v)) continue;
        int kind = -1;
        for (int k = 0; k < 4; k++) if (json_is_string(v) && !strcmp(json_string_value(v), kinds[k])) kind = k;
        if (kind < 0)
            return fail(e, "%s: %s.%s: %.40s is not implemented; default, linear, llama3 and yarn are", name, key,
                        places[i], json_is_string(v) ? json_string_value(v) : "a value that is not a string");
        if (found >= 0 && found != kind) return fail(e, "%s: %s: type and rope_type contradict each other", name, key);
        found = kind;
    }
    r->kind = found < 0 ? ROPE_PLAIN : (enum rope_kind)found;
    return true;
}

static bool read_numbers(struct given *g, enum rope_kind kind, json_t *j, const char *name, const char *key,
                         struct err *e)
{
    const char *k;
    json_t *v;
    json_object_foreach(j, k, v) {
        if (!strcmp(k, "rope_type") || !strcmp(k, "type") || json_is_null(v)) continue;
        if (!strcmp(k, "truncate") && kind == ROPE_YARN && json_is_boolean(v)) continue;
        const struct number *x = NULL;
        for (int i = 0; i < NUMBERS; i++)
            if (!strcmp(k, numbers[i].key) && (numbers[i].kinds >> kind & 1)) x = &numbers[i];
        if (!x) return fail(e, "%s: %s.%.60s: not understood with rope_type \"%s\"", name, key, k, kinds[kind]);
        double d = json_number_value(v);
        if (!json_is_number(v) || !(d >= x->min && d <= x->max) || (x->whole && fabs(d - floor(d)) > 0))
            return fail(e, "%s: %s.%s must be a %s from %g to %g", name, key, k, x->whole ? "whole number" : "number",
                        x->min, x->max);
        *(double *)(void *)((char *)g + x->at) = d;
    }
    return true;
}

/* transformers' get_mscale. */
static double mscale(double factor, double by) { return factor <= 1 ? 1 : 0.1 * by * log(factor) + 1; }

bool rope_read(struct rope *r, double *theta, json_t *j, const char *name, const char *key, int max_len, struct err *e)
{
    struct given g = { .original = max_len, .beta_slow = 1, .beta_fast = 32 };
    *r = (struct rope){ 0 };
    if (!read_kind(r, j, name, key, e) || !read_numbers(&g, r->kind, j, name, key, e)) return false;
    if (g.theta > 0) *theta = g.theta;
    if (r->kind == ROPE_PLAIN) return true;
    if (!(g.factor > 0)) return fail(e, "%s: %s: no factor", name, key);
    r->factor = g.factor;
    if (r->kind == ROPE_LINEAR) return true;
    r->original = (int)g.original;
    r->low = r->kind == ROPE_YARN ? g.beta_slow : g.low;
    r->high = r->kind == ROPE_YARN ? g.beta_fast : g.high;
    if (!(r->low > 0) || !(r->high > 0))
        return fail(e, "%s: %s: no %s", name, key, r->low > 0 ? "high_freq_factor" : "low_freq_factor");
    if (!(r->low < r->high))
        return fail(e, "%s: %s: %s must be above %s", name, key,
                    r->kind == ROPE_YARN ? "beta_fast" : "high_freq_factor",
                    r->kind == ROPE_YARN ? "beta_slow" : "low_freq_factor");
    if (r->kind != ROPE_YARN) return true;
    r->exact = json_is_false(json_object_get(j, "truncate"));
    r->attention = g.attention > 0                    ? g.attention
                   : g.mscale > 0 && g.mscale_all > 0 ? mscale(g.factor, g.mscale) / mscale(g.factor, g.mscale_all)
                                                      : mscale(g.factor, 1);
    return true;
}

void json_put_double(struct str *s, double x)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (!(fabs(strtod(text, NULL) - x) > 0)) break;
    }
    str_printf(s, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void put(struct str *s, const char *key, double x)
{
    str_printf(s, ", \"%s\": ", key);
    json_put_double(s, x);
}

void rope_put(struct str *s, const struct rope *r)
{
    if (r->kind == ROPE_PLAIN) { str_puts(s, "null"); return; }
    str_printf(s, "{\"rope_type\": \"%s\"", kinds[r->kind]);
    put(s, "factor", r->factor);
    if (r->kind == ROPE_LLAMA3) { put(s, "low_freq_factor", r->low); put(s, "high_freq_factor", r->high); }
    if (r->kind == ROPE_YARN) {
        put(s, "beta_slow", r->low);
        put(s, "beta_fast", r->high);
        put(s, "attention_factor", r->attention);
    }
    if (r->kind == ROPE_YARN && r->exact) str_puts(s, ", \"truncate\": false");
    if (r->kind != ROPE_LINEAR) str_printf(s, ", \"original_max_position_embeddings\": %d", r->original);
    str_puts(s, "}");
}
