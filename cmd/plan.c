/* plan.c: `appo plan`: where every byte of a run would go, as engine/fits.h counts it, and how far the batch and the length could go. */
#include "cmd/cmd.h"
#include "engine/fits.h"
#include "engine/session.h"
#include <string.h>

static const char usage[] = "usage: appo plan model.path=DIR [memory=80GiB] [key=value ...]: where every byte of a training run would go, without allocating it. Batch and "
                            "length are the run's own keys: actor.ppo_max_token_len_per_gpu, rollout.max_num_seqs, rollout.max_len, model.recompute, ...";

/* The largest value of *key, from 1 to what config_load would take, with which all still fits; 0: none does. c is changed and put back. */
static int largest(struct config *c, int *key, int top, const struct model_config *shape, size_t memory)
{
    int was = *key, low = 0, high = top;
    struct need n;
    while (low < high) {
        *key = low + (high - low + 1) / 2;
        need_make(&n, shape, c, true);
        if (n.all <= memory) low = *key;
        else high = *key - 1;
    }
    *key = was;
    return low;
}

static void line(const char *what, size_t bytes) { printf("%-40s %12.2f MiB\n", what, (double)bytes / 0x1p20); }

static void lines(const struct arena *a)
{
    char what[64];
    line(a->name, a->peak);
    for (int i = 0; i < a->rows; i++) {
        snprintf(what, sizeof what, "  %s", a->row[i].what);
        line(what, a->row[i].bytes);
    }
}

static void advise(struct config *c, const struct model_config *shape, size_t all, size_t memory)
{
    enum { TOP = 1 << 20 };
    if (all <= memory) printf("fits %.2f GiB: %.2f GiB stay free (the driver's own memory is not counted)\n", (double)memory / 0x1p30, (double)(memory - all) / 0x1p30);
    else printf("does NOT fit %.2f GiB: %.2f GiB too much\n", (double)memory / 0x1p30, (double)(all - memory) / 0x1p30);
    int rows = largest(c, &c->actor.ppo_max_token_len_per_gpu, TOP, shape, memory), seqs = largest(c, &c->rollout.max_num_seqs, 1 << 16, shape, memory);
    bool was = c->model.recompute;
    c->model.recompute = true;
    int rows_again = largest(c, &c->actor.ppo_max_token_len_per_gpu, TOP, shape, memory);
    c->model.recompute = was;
    if (rows) printf("all else as it is, at most: actor.ppo_max_token_len_per_gpu=%d%s\n", rows, rows == TOP ? " or more" : "");
    if (!was && rows_again) printf("                            %d with model.recompute=true\n", rows_again);
    if (seqs) printf("                            rollout.max_num_seqs=%d%s\n", seqs, seqs == 1 << 16 ? " or more" : "");
    if (!rows && !rows_again && !seqs) printf("no batch size helps: fewer rollouts kept (data.train_batch_size, rollout.max_len), more memory, or a smaller model\n");
}

static bool plan(struct config *c, size_t memory, struct err *e)
{
    const char *path = *c->model.path ? c->model.path : session_embedded_policy();
    struct model_config shape;
    struct model m;
    struct need n;
    if (!model_load_config(&shape, path, e)) return false;
    if (c->rollout.max_len > shape.max_len)
        return fail(e, "rollout.max_len=%d is more than the model's max_position_embeddings=%d: give a smaller rollout.max_len", c->rollout.max_len, shape.max_len);
    need_make(&n, &shape, c, true);
    if (n.all == SIZE_MAX)
        return fail(e, "data.train_batch_size=%d x rollout.initial_rollouts=%d rollouts of rollout.max_len=%d tokens are more keys and values than a pool can number: "
                       "make one of them smaller", c->data.train_batch_size, c->rollout.initial_rollouts, c->rollout.max_len);
    model_lay_out(&m, &shape);
    printf("%s: %s, %lld parameters, %d layers of %d, vocabulary %d; numbers stored as %s\n", path, shape.arch, (long long)m.count, shape.layers, shape.dim,
           shape.vocab, REAL_NAME);
    printf("batches of %d tokens%s; %d sequences of %d tokens decode at once\n\n", c->actor.ppo_max_token_len_per_gpu, c->model.recompute ? ", recomputed" : "",
           c->rollout.max_num_seqs, c->rollout.max_len);
    line("weights", n.weights);
    if (n.copies) line("copies of the weights", n.copies);
    lines(&n.state);
    lines(&n.work);
    lines(&n.pool);
    if (n.scratch) line("scratch of operations", n.scratch);
    line("all", n.all);
    if (!strcmp(dev_name(), "cpu")) {
        size_t matrices = 0;
        for (int i = 0; i < m.params; i++) matrices += m.param[i].cols ? (size_t)param_count(&m.param[i]) * sizeof(real) : 0;
        line("besides, matrices packed for products", 2 * matrices);
    }
    if (memory) { printf("\n"); advise(c, &shape, n.all, memory); }
    model_free(&m);
    return true;
}

int cmd_plan(int argc, char **argv)
{
    struct config c;
    struct err e;
    int status;
    int64_t memory = 0;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "memory=", 7)) continue;
        if (!parse_bytes(argv[i] + 7, &memory)) {
            fprintf(stderr, "appo: %s: a size is needed, as in memory=80GiB. %s\n", argv[i], usage);
            return 2;
        }
        memmove(argv + i, argv + i + 1, (size_t)(argc - i - 1) * sizeof *argv);
        argc--;
        i--;
    }
    if (cmd_config(&c, argc, argv, usage, 0, &status)) status = plan(&c, (size_t)memory, &e) ? 0 : cmd_fail(&e);
    config_free(&c);
    return status;
}
