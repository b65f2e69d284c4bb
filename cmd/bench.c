/* bench.c: `appo bench`: measurements. The tests run them once, at tiny sizes. */
#include "cmd/cmd.h"
#include "base/file.h"
#include "eval/bench/bench.h"
#include "eval/bench/bench_model.h"
#include "eval/bench/bench_policy.h"
#include "eval/bench/bench_table.h"
#include "kernels/bench/bench.h"
#include <string.h>

static const char usage[] =
    "usage: appo bench [NAME ...] [--json FILE] [--sizes gpu|cpu|tiny] [--model NAME] [--limit SIZE]\n"
    "       appo bench list | --shapes FILE | --table FILE ...\n"
    "NAME: an operation (list prints them), kernels (all of them; the default), train, decode, models (both), policy "
    "(the embedded policy's steps against their\n"
    "own products), openblas (the C backend's product against OpenBLAS and a plain loop), cpu (the last two). --shapes "
    "writes what would be measured, for\n"
    "programs that measure the same; --table prints results of both kinds of program side by side.";

static const char *const others[] = { "kernels", "train", "decode", "models", "policy", "openblas", "cpu" };
enum { NAMES = 64 };

struct request {
    struct bench b;
    const char *name[NAMES], *json, *shapes, *model;
    int names;
    char **table;
    int tables;
};

static int bad(const char *what, const char *why)
{
    fprintf(stderr, "appo: %s: %s\n%s\n", what, why, usage);
    return 2;
}

static bool known(const char *name)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) if (!strcmp(name, others[i])) return true;
    return bench_kernel(NULL, name);
}

/* 0: continue; else the exit status, or -1 for 0. */
static int parse(struct request *r, int argc, char **argv)
{
    int64_t bytes;
    for (int i = 0; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            puts(usage);
            return -1;
        }
        if (!strcmp(a, "--table")) {
            r->table = argv + i + 1;
            r->tables = argc - i - 1;
            return r->tables ? 0 : bad(a, "which files?");
        }
        if (*a != '-') {
            if (!strcmp(a, "list")) {
                bench_list(stdout);
                return -1;
            }
            if (!known(a)) return bad(a, "no benchmark of that name; appo bench list prints the operations");
            if (r->names == NAMES) return bad(a, "too many names");
            r->name[r->names++] = a;
            continue;
        }
        if (!v) return bad(a, "not understood, or a value is missing");
        i++;
        if (!strcmp(a, "--json")) r->json = v;
        else if (!strcmp(a, "--shapes")) r->shapes = v;
        else if (!strcmp(a, "--model")) r->model = v;
        else if (!strcmp(a, "--limit")) {
            if (!parse_bytes(v, &bytes)) return bad(v, "a size is needed, as in --limit 40GiB");
            r->b.limit = (size_t)bytes;
        } else if (!strcmp(a, "--sizes")) {
            r->b.sizes = !strcmp(v, "gpu")    ? BENCH_GPU
                         : !strcmp(v, "cpu")  ? BENCH_CPU
                         : !strcmp(v, "tiny") ? BENCH_TINY
                                              : 0;
            if (!r->b.sizes) return bad(v, "sizes are gpu, cpu or tiny");
        } else return bad(a, "not understood");
    }
    if (r->model && !bench_train(NULL, r->model))
        return bad(r->model, "no such model; they are those of docs/performance.md");
    return 0;
}

static bool is(const char *name, const char *a, const char *b) { return !strcmp(name, a) || !strcmp(name, b); }

static void run(struct request *r, const char *name)
{
    struct bench *b = &r->b;
    if (!strcmp(name, "kernels")) bench_kernels(b);
    if (is(name, "train", "models")) bench_train(b, r->model);
    if (is(name, "decode", "models")) bench_decode(b, r->model);
    if (is(name, "openblas", "cpu")) bench_openblas(b->text, b->json);
    if (is(name, "policy", "cpu")) bench_policy(b->text, b->json);
    bench_kernel(b, name);
}

/* Whether a name's rows are shares of measured rates. */
static bool needs_rates(const struct request *r)
{
    for (int i = 0; i < r->names; i++)
        if (!is(r->name[i], "openblas", "policy") && strcmp(r->name[i], "cpu")) return true;
    return false;
}

int cmd_bench(int argc, char **argv)
{
    struct request r = { .b = { .text = stdout, .argc = argc, .argv = argv } };
    struct out o = { 0 };
    struct err e;
    const int status = parse(&r, argc, argv);
    if (status) return status < 0 ? 0 : status;
    if (r.tables) return bench_table(stdout, r.table, r.tables, &e) ? 0 : cmd_fail(&e);
    const char *path = r.shapes ? r.shapes : r.json;
    if (path && !out_open(&o, path, &e)) return cmd_fail(&e);
    if (r.shapes) {
        bench_shapes(&r.b, o.f);
        return out_commit(&o, &e) ? 0 : cmd_fail(&e);
    }
    if (!r.names) r.name[r.names++] = "kernels";
    r.b.json = o.f;
    printf("%s, %s, %d threads\n", dev_name(), ELEM_NAME, dev_threads());
    if (needs_rates(&r)) bench_open(&r.b);
    for (int i = 0; i < r.names; i++) run(&r, r.name[i]);
    bench_close(&r.b);
    printf("peak memory %.0f MiB\n", peak_mib());
    return !path || out_commit(&o, &e) ? 0 : cmd_fail(&e);
}
