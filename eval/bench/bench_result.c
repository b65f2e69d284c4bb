/* bench_result.c: one measurement as a line of text and as a JSON object with place, date and command. run.sh passes
 * what the program cannot find out: APPO_COMMIT, APPO_COMMAND, APPO_DRIVER. */
#include "eval/bench/bench_result.h"
#include "base/str.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct { const char *key; size_t at; } ints[] = {
    { "vocab", offsetof(struct bench_dims, vocab) }, { "dim", offsetof(struct bench_dims, dim) },
    { "heads", offsetof(struct bench_dims, heads) }, { "kv", offsetof(struct bench_dims, kv) },
    { "hd", offsetof(struct bench_dims, hd) }, { "ff", offsetof(struct bench_dims, ff) },
    { "m", offsetof(struct bench_dims, m) }, { "k", offsetof(struct bench_dims, k) },
    { "ctx", offsetof(struct bench_dims, ctx) },
};

json_t *bench_shape(const struct bench_dims *d)
{
    json_t *o = json_object();
    if (d->model) json_object_set_new(o, "model", json_string(d->model));
    if (d->kind) json_object_set_new(o, "kind", json_string(d->kind));
    if (d->n) json_object_set_new(o, "n", json_integer(d->n));
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        const int v = *(const int *)((const char *)d + ints[i].at);
        if (v) json_object_set_new(o, ints[i].key, json_integer(v));
    }
    return o;
}

void bench_shape_text(const json_t *shape, struct str *s)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)shape, key, v) {
        if (json_is_string(v)) str_printf(s, "%s%s", s->n ? " " : "", json_string_value(v));
        else str_printf(s, "%s%s=%lld", s->n ? " " : "", key, (long long)json_integer_value(v));
    }
}

void bench_case(FILE *f, const char *name, const struct bench_dims *d, json_t *more)
{
    json_t *result = json_pack("{s:s, s:o, s:s}", "name", name, "shape", bench_shape(d), "real", ELEM_NAME);
    json_object_update(result, more);
    json_decref(more);
    json_dumpf(result, f, JSON_COMPACT | JSON_REAL_PRECISION(12));
    fputc('\n', f);
    json_decref(result);
}

static const char *known(const char *variable)
{
    const char *s = getenv(variable);
    return s && *s ? s : "unknown";
}

/* For the CPU and the shim, the processor's name. */
static const char *device(void)
{
    static char name[160];
    if (strcmp(dev_name(), "cpu") && strcmp(dev_name(), "simt")) return dev_name();
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    snprintf(name, sizeof name, "unknown processor");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
            snprintf(name, sizeof name, "%.120s", strchr(line, ':') + 2);
            name[strcspn(name, "\n")] = 0;
            break;
        }
    if (f) fclose(f);
    const size_t n = strlen(name);
    snprintf(name + n, sizeof name - n, ", %d threads", dev_threads());
    return name;
}

static json_t *command(const struct bench *b)
{
    struct str s = { 0 };
    const char *given = getenv("APPO_COMMAND");
    if (given && *given) str_puts(&s, given);
    else str_puts(&s, "appo bench");
    for (int i = 0; i < b->argc && !(given && *given); i++) str_printf(&s, " %s", b->argv[i]);
    json_t *j = json_stringn(s.p, s.n);
    str_free(&s);
    return j ? j : json_string("not UTF-8");
}

static void origin(const struct bench *b, json_t *result)
{
    const bool host = !strcmp(dev_name(), "cpu") || !strcmp(dev_name(), "simt");
    const char *numerics = getenv("APPO_NUMERICS");
    char date[32];
    const time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    json_object_set_new(result, "commit", json_string(known("APPO_COMMIT")));
    json_object_set_new(result, "command", command(b));
    json_object_set_new(result, "device", json_string(device()));
    json_object_set_new(result, "driver", json_string(host ? "none" : known("APPO_DRIVER")));
    json_object_set_new(result, "date", json_string(date));
    json_object_set_new(result, "seed", json_integer(1));
    json_object_set_new(result, "backend", json_string(host ? dev_name() : "cuda"));
    json_object_set_new(result, "real", json_string(ELEM_NAME));
    if (attn_choose(ATTN_NO_CHOICE) != ATTN_NO_CHOICE)
        json_object_set_new(result, "attn", json_string(attn_choose(ATTN_NO_CHOICE) == ATTN_WGMMA ? "wgmma" : "mma"));
    json_object_set_new(result, "numerics",
                        json_string(numerics && *numerics        ? numerics
                                    : !strcmp(ELEM_NAME, "bf16") ? "fast"
                                                                 : "exact"));
}

void bench_report(struct bench *b, const struct bench_result *r)
{
    struct str text = { 0 };
    json_t *shape = bench_shape(r->d);
    bench_shape_text(shape, &text);
    fprintf(b->text, "%-16s %-46s %12.2f us %10.*f %-8s %5.1f %% of %s\n", r->name, text.p, r->us, r->rate < 10 ? 4 : 1,
            r->rate, r->unit, 100 * r->share, r->of);
    fflush(b->text);
    str_free(&text);
    if (!b->json) {
        json_decref(shape);
        json_decref(r->extra);
        return;
    }
    json_t *result = json_pack("{s:s, s:o, s:f, s:f, s:s, s:f, s:s, s:i}", "name", r->name, "shape", shape, "us", r->us,
                            "rate", r->rate, "unit", r->unit, "percent", 100 * r->share, "of", r->of, "runs", r->runs);
    if (r->extra) json_object_update(result, r->extra);
    json_decref(r->extra);
    origin(b, result);
    json_dumpf(result, b->json, JSON_COMPACT | JSON_REAL_PRECISION(6));
    fputc('\n', b->json);
    json_decref(result);
}
