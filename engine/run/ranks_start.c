/* ranks_start.c: cores, and facts that are compared: each rank sends its own as text, and all compare them with those
 * of rank 0. */
#define _GNU_SOURCE
#include "engine/run/ranks_start.h"
#include "base/arith.h"
#include "base/str.h"
#include "engine/comm/comm.h"
#include "engine/config/config_in.h"
#include "engine/run/eval_answers.h"
#include "engine/run/run_record.h"
#include "engine/run/version.h"
#include "engine/session/fit_config.h"
#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- cores ---- */

void ranks_cores(int n, int local, int locals, int *from, int *to)
{
    *from = n < locals ? 0 : (int)((int64_t)n * local / locals);
    *to = n < locals ? n : (int)((int64_t)n * (local + 1) / locals);
}

struct core { int package, id, cpu; };

static int topology(int cpu, const char *name)
{
    char path[128];
    int x = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/%s", cpu, name);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%d", &x) != 1) x = 0;
    if (f) fclose(f);
    return x;
}

/* The threads of a core stay together, and so do the cores of a package. */
static int in_order(const void *a, const void *b)
{
    const struct core *x = a, *y = b;
    if (x->package != y->package) return x->package < y->package ? -1 : 1;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

static int cores_of(const cpu_set_t *set, struct core *core)
{
    int n = 0;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, set))
            core[n++] = (struct core){ topology(i, "physical_package_id"), topology(i, "core_id"), i };
    qsort(core, (size_t)n, sizeof *core, in_order);
    return n;
}

/* Whether all ranks of this host may run on the same cores, so that nobody has bound them. *all: those of any. */
static bool unbound(const cpu_set_t *mine, cpu_set_t *all)
{
    struct comm_parts sets;
    bool same = true;
    CPU_ZERO(all);
    comm_gather(&sets, mine, sizeof *mine);
    for (int r = 0; r < comm_ranks(); r++) {
        cpu_set_t his;
        if (strcmp(comm_host(r), comm_host(comm_rank()))) continue;
        memcpy(&his, sets.p + sets.begin[r], sizeof his);
        same = same && CPU_EQUAL(&his, mine);
        CPU_OR(all, all, &his);
    }
    comm_parts_free(&sets);
    return same;
}

static bool given(const char *name) { return getenv(name) && *getenv(name); }

void ranks_place(const struct config *c, FILE *f)
{
    cpu_set_t mine, all;
    struct core core[CPU_SETSIZE];
    int from, to, online = (int)sysconf(_SC_NPROCESSORS_ONLN), locals = comm_local_ranks();
    if (comm_ranks() == 1) return;
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine)) CPU_ZERO(&mine);
    bool free_to = unbound(&mine, &all) && CPU_COUNT(&mine) > 0;
    if (!free_to) {
        if (f && comm_first() && CPU_COUNT(&all) < online)
            fprintf(f, "the launcher has bound %d ranks of %s to %d of its %d cores; with mpirun --bind-to none the "
                       "program divides all of them\n", locals, comm_host(0), CPU_COUNT(&all), online);
        return;
    }
    int n = cores_of(&mine, core);
    ranks_cores(n, comm_local_rank(), locals, &from, &to);
    if (c->trainer.threads == 0 && !given("OMP_NUM_THREADS")) dev_set_threads(n < locals ? 1 : to - from);
    if (locals == 1 || n < locals || to - from < 2 || given("OMP_PROC_BIND") || given("GOMP_CPU_AFFINITY")) return;
    CPU_ZERO(&mine);
    for (int i = from; i < to; i++) CPU_SET(core[i].cpu, &mine);
    sched_setaffinity(0, sizeof mine, &mine);
}

/* ---- facts ---- */

/* The name and the value of the i-th fact of a rank; false: it has fewer. */
static bool fact_at(const struct comm_parts *all, int rank, int i, const char **name, const char **value)
{
    const char *p = all->p + all->begin[rank], *end = all->p + all->begin[rank + 1];
    for (int k = 0; p < end; k++) {
        *name = p;
        *value = p + strlen(p) + 1;
        if (k == i) return true;
        p = *value + strlen(*value) + 1;
    }
    return false;
}

static bool same_as_first(const struct comm_parts *all, int r, const struct rank_fact *f, int n, struct err *e)
{
    const char *name = "", *value = "", *first_name = "", *first = "";
    for (int i = 0; i < n; i++) {
        bool here = fact_at(all, r, i, &name, &value), there = fact_at(all, 0, i, &first_name, &first);
        if (here && there && !strcmp(name, first_name) && !strcmp(value, first)) continue;
        const char *fix = f[i].fix;
        return fail(e, "rank %d on %s differs from rank 0 on %s: %s is %.100s there and %.100s here%s%.160s", r,
                    comm_host(r), comm_host(0), there ? first_name : f[i].name,
                    !here || strcmp(name, f[i].name) ? "not known" : *value ? value : "empty",
                    !there ? "not known" : *first ? first : "empty", fix ? "; " : "", fix ? fix : "");
    }
    return true;
}

bool ranks_same(const struct rank_fact *f, int n, struct err *e)
{
    struct comm_parts all;
    struct str mine = { 0 };
    bool ok = true;
    if (comm_ranks() == 1) return true;
    for (int i = 0; i < n; i++) {
        str_put(&mine, f[i].name, strlen(f[i].name) + 1);
        str_put(&mine, f[i].value, strlen(f[i].value) + 1);
    }
    comm_gather(&all, mine.p, mine.n);
    /* all compare with rank 0's, so that all give the same answer */
    for (int r = 1; ok && r < comm_ranks(); r++) ok = same_as_first(&all, r, f, n, e);
    comm_parts_free(&all);
    str_free(&mine);
    return ok;
}

static const char *environment(const char *name) { return getenv(name) ? getenv(name) : ""; }

bool ranks_asked(const struct config *c, struct err *e)
{
    const int each = c->trainer.n_gpus_per_node, hosts = c->trainer.nnodes, n = comm_ranks();
    const int64_t want = (int64_t)MAX(each, 1) * MAX(hosts, 1);
    if ((!each && hosts <= 1) || want == n) return true;
    return fail(e,
                "trainer.n_gpus_per_node=%d and trainer.nnodes=%d ask for %lld ranks, and %d %s started: ./run.sh "
                "train NPROC=%lld (docs/ranks.md), or trainer.n_gpus_per_node=0 trainer.nnodes=0 for any number",
                each, hosts, (long long)want, n, n == 1 ? "was" : "were", (long long)want);
}

/* Keys that a host may have a value of its own for. */
static bool of_the_host(const char *key) { return !strcmp(key, "trainer.threads") || !strcmp(key, "tools.threads"); }

bool ranks_same_start(const struct config *c, struct err *e)
{
    static const char *const variables[] = { "APPO_NUMERICS", "APPO_ATTN", "APPO_GEMM" };
    enum { VARIABLES = sizeof variables / sizeof *variables, OWN = 3 };
    json_t *config = config_json(c), *v;
    const char *key;
    int n = 0;
    if (comm_ranks() == 1) return json_decref(config), true;
    struct rank_fact *f = xcalloc(OWN + VARIABLES + json_object_size(config), sizeof *f);
    f[n++] = (struct rank_fact){ "the commit of the program", appo_version, "start one build on all hosts" };
    f[n++] = (struct rank_fact){ "the device", dev_name(), "ranks of one run need devices of one kind" };
    f[n++] = (struct rank_fact){ "the type of stored numbers", ELEM_NAME, "start one build on all hosts" };
    for (int i = 0; i < VARIABLES; i++)
        f[n++] = (struct rank_fact){ variables[i], environment(variables[i]), "mpirun -x NAME hands a variable on" };
    json_object_foreach(config, key, v)
        if (!of_the_host(key)) f[n++] = (struct rank_fact){ key, json_dumps(v, JSON_ENCODE_ANY), NULL };
    bool ok = ranks_same(f, n, e);
    for (int i = OWN + VARIABLES; i < n; i++) free((char *)(uintptr_t)f[i].value);
    free(f);
    json_decref(config);
    return ok;
}

bool ranks_same_weights(const struct session *s, struct err *e)
{
    char count[32], sum[32];
    if (comm_ranks() == 1) return true;
    snprintf(count, sizeof count, "%lld", (long long)s->m.count);
    snprintf(sum, sizeof sum, "%016llx", (unsigned long long)weights_hash(&s->m));
    return ranks_same((const struct rank_fact[]){
        { "the number of weights in model.path", count, s->path },
        { "the checksum of the weights in model.path", sum, s->path },
    }, 2, e);
}

bool ranks_same_inputs(const struct session *s, struct err *e)
{
    enum { INPUTS = 4, TEXT = 20 };
    struct ckpt_extra x = { 0 };
    char text[INPUTS][TEXT];
    if (comm_ranks() == 1) return true;
    if (!comm_agree(run_record_hashes(&x, s, e), e)) return false;
    const uint64_t sum[INPUTS] = { s->train.rows.n ? s->train.hash : 0, s->val.rows.n ? s->val.hash : 0, x.tokenizer,
                                   x.cache };
    for (int i = 0; i < INPUTS; i++) snprintf(text[i], TEXT, "%016llx", (unsigned long long)sum[i]);
    return ranks_same((const struct rank_fact[]){
        { "the checksum of data.train_files", text[0], s->c->data.train_files },
        { "the checksum of data.val_files", text[1], s->c->data.val_files },
        { "the checksum of the tokenizer in model.path", text[2], s->path },
        { "the checksum of tools.search_cache", text[3], s->c->tools.search_cache },
    }, INPUTS, e);
}

/* ---- memory ---- */

/* What fit_config_to_memory may have moved, and where the more careful value lies. */
static const struct { const char *key; bool up; } moved[] = {
    { "rollout.max_num_seqs", false }, { "rollout.max_total_tokens", false },
    { "actor.ppo_max_token_len_per_gpu", false }, { "model.recompute", true }, { "actor.zero", true },
    { "actor.offload", true }, { "ref.offload", true },
};

/* Takes the most careful value of all ranks. rollout.max_total_tokens=0 is no bound. */
static void take_careful(struct config *c, const char *name, bool up)
{
    const struct key *k = config_find(name);
    if (!k) return;
    char *field = (char *)c + k->at;
    double x = k->type == KEY_INT64 ? (double)*(int64_t *)(void *)field
             : k->type == KEY_BOOL  ? *(bool *)field : *(int *)(void *)field;
    double all = up ? comm_max(x) : comm_min(x > 0 ? x : (double)INFINITY);
    if (isinf(all)) return;
    if (k->type == KEY_INT64) *(int64_t *)(void *)field = (int64_t)all;
    else if (k->type == KEY_BOOL) *(bool *)field = all > 0;
    else *(int *)(void *)field = (int)all;
}

bool ranks_fit(struct config *c, enum memory_purpose what, FILE *report, struct err *e)
{
    fit_config_to_memory(c, what, comm_first() ? report : NULL);
    if (comm_ranks() == 1) return true;
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) take_careful(c, moved[i].key, moved[i].up);
    if (!*c->model.path || memory_fits_share(c, c->model.path, what, memory_part(), e)) return comm_agree(true, e);
    if (comm_local_ranks() > 1 && memory_part() < 1)
        fail_in(e, "%d ranks share the memory of this host", comm_local_ranks());
    return comm_agree(false, e);
}
