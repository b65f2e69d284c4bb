/* ckpt.c: checkpoints: a folder that appears whole, under its final name, or not at all. The seed and the step are the whole state of the random
 * numbers and of the data; of files, a hash says that they still hold what they did. */
#define _GNU_SOURCE      /* nftw */
#include "engine/run.h"
#include "base/file.h"
#include "base/json.h"
#include "model/safetensors.h"
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st; (void)type; (void)at;
    return remove(path);
}

static void remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

/* Optimizer state: names, where they are, and as what: wide numbers or bf16. */
enum { VECTORS = 3 };
struct vector { const char *name; void *x; bool bf16; };
static int vectors(const struct trainer *t, struct vector v[VECTORS])
{
    int n = 0;
    const struct learner *l = &t->s->learner;
    v[n++] = (struct vector){ "exp_avg", l->adam1, l->bf16_moments };
    v[n++] = (struct vector){ "exp_avg_sq", l->adam2, l->bf16_moments };
    if (l->master) v[n++] = (struct vector){ "master_weights", l->master, false };
    return n;
}

union word { float f; uint32_t u; };
static float float_of(uint16_t b) { return (union word){ .u = (uint32_t)b << 16 }.f; }
static uint16_t bf16_of(float x) { return (uint16_t)((union word){ .f = x }.u >> 16); }

/* n numbers from the device, and to it, by way of host[n]. bf16 stands in the upper halves of floats, which loses nothing. */
static void fetch(wide *host, const struct vector *v, int64_t n)
{
    if (!v->bf16) { dev_get(host, v->x, (size_t)n * sizeof *host); return; }
    uint16_t *u = xmalloc((size_t)n * sizeof *u);
    dev_get(u, v->x, (size_t)n * sizeof *u);
    for (int64_t i = 0; i < n; i++) host[i] = (wide)float_of(u[i]);
    free(u);
}
static void store(const struct vector *v, const wide *host, int64_t n)
{
    if (!v->bf16) { dev_put(v->x, host, (size_t)n * sizeof *host); return; }
    uint16_t *u = xmalloc((size_t)n * sizeof *u);
    for (int64_t i = 0; i < n; i++) u[i] = bf16_of((float)host[i]);
    dev_put(v->x, u, (size_t)n * sizeof *u);
    free(u);
}

static bool save_vectors(const struct trainer *t, const char *path, struct err *e)
{
    int64_t n = t->s->m.count;
    struct vector v[VECTORS];
    int vs = vectors(t, v);
    struct st_writer *w = st_create(path, e);
    if (!w) return false;
    bool f64 = sizeof(wide) == 8;
    for (int i = 0; i < vs; i++) st_declare(w, v[i].name, v[i].bf16 ? ST_BF16 : f64 ? ST_F64 : ST_F32, 1, &n);
    wide *host = xmalloc((size_t)n * sizeof *host);
    for (int i = 0; i < vs; i++) {
        fetch(host, &v[i], n);
        if (f64) st_put_f64(w, (double *)host, n); else st_put_f32(w, (float *)host, n);
    }
    free(host);
    return st_finish(w, e);
}

static bool load_vectors(struct trainer *t, const char *path, struct err *e)
{
    int64_t n = t->s->m.count;
    struct vector v[VECTORS];
    int vs = vectors(t, v);
    struct st_file *f = st_open(path, e);
    if (!f) return false;
    bool ok = true, f64 = sizeof(wide) == 8;
    wide *host = xmalloc((size_t)n * sizeof *host);
    for (int i = 0; ok && i < vs; i++) {
        const struct st_tensor *x = st_find(f, v[i].name);
        ok = x && x->count == n && (f64 ? st_get_f64(x, 0, n, (double *)host) : st_get_f32(x, 0, n, (float *)host));
        if (ok) store(&v[i], host, n);
        else fail(e, "%s: tensor %s is missing, no floating point numbers, or of another size than the model", path, v[i].name);
    }
    free(host);
    st_close(f);
    return ok;
}

/* The configuration as far as it decides the numbers: folders, counts of steps and threads may change between stop and resume. */
static json_t *decisive(const struct config *c)
{
    static const char *const free_keys[] = {
        "trainer.total_training_steps", "trainer.test_freq", "trainer.save_freq", "trainer.default_local_dir", "trainer.rollout_data_dir", "trainer.resume",
        "trainer.threads", "trainer.report", "trainer.logger", "trainer.project_name", "trainer.experiment_name", "tools.threads", "data.val_per_family",
        "trainer.val_before_train", "trainer.total_epochs", "data.train_files", "data.val_files", "rollout.max_num_seqs", "rollout.max_num_batched_tokens", "model.path", "model.recompute", "model.check",
    };
    json_t *j = config_json(c);
    for (size_t i = 0; i < sizeof free_keys / sizeof *free_keys; i++) json_object_del(j, free_keys[i]);
    return j;
}

/* Where in its data a run is; null for the embedded tasks. */
static json_t *data_json(const struct trainer *t)
{
    const struct questions *q = &t->s->train;
    if (!q->rows.n) return json_null();
    uint64_t position = (uint64_t)t->step * (uint64_t)t->c->data.train_batch_size, n = (uint64_t)q->rows.n;
    char hash[32];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)q->hash);
    return json_pack("{s:I,s:I,s:I,s:i,s:s}", "position", (json_int_t)position, "epoch", (json_int_t)(position / n), "in_epoch", (json_int_t)(position % n),
                     "rows", q->rows.n, "hash", hash);
}

/* Going on with other questions, or with as many others, would be a run that no start could give. */
static bool same_data(const struct trainer *t, const json_t *was, const char *path, struct err *e)
{
    json_t *is = data_json(t), *a = json_object_get(was, "hash"), *b = json_object_get(is, "hash");
    bool ok = (!a && !b) || json_equal(a, b);
    json_decref(is);
    return ok || fail(e, "%s: data.train_files hold other questions, prompts or answers than when this was written: give the old files to go on, trainer.resume=off to "
                         "start anew, or another trainer.experiment_name", path);
}

static bool save_state(const struct trainer *t, const struct run_report *r, const char *path, struct err *e)
{
    json_t *o = json_object();
    json_object_set_new(o, "step", json_integer(t->step));
    json_object_set_new(o, "updates", json_integer(t->s->learner.steps));
    json_object_set_new(o, "skipped", json_integer(t->skipped));
    json_object_set_new(o, "skipped_in_row", json_integer(t->s->learner.skipped_in_row));
    json_object_set_new(o, "tokens_generated", json_integer(t->tokens_generated));
    json_object_set_new(o, "tokens_trained", json_integer(t->tokens_trained));
    json_object_set_new(o, "probs_diff_max", json_real(t->probs_diff_max));
    json_object_set_new(o, "wall_s", json_real(r->wall_s));
    json_object_set_new(o, "before", r->has_before ? eval_json(&r->before) : json_null());
    json_object_set_new(o, "data", data_json(t));
    json_object_set_new(o, "config", decisive(t->c));
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    bool ok = file_write(path, text, strlen(text), e);
    free(text);
    json_decref(o);
    return ok;
}

static bool save_into(const struct trainer *t, const struct run_report *r, const char *tmp, struct err *e)
{
    struct str p = { 0 };
    str_printf(&p, "%s/actor/huggingface", tmp);
    bool ok = session_save(t->s, p.p, e);
    str_clear(&p);
    str_printf(&p, "%s/actor/optimizer.safetensors", tmp);
    ok = ok && save_vectors(t, p.p, e);
    /* the first weights are those of model.path, which may be gone by then */
    const struct { const char *name; real *w; } more[] = { { "reference", t->w_ref }, { "previous", t->w_prev } };
    for (int i = 0; ok && i < 2; i++) {
        if (!more[i].w) continue;
        struct model m = t->s->m;
        m.w = more[i].w;
        str_clear(&p);
        str_printf(&p, "%s/%s", tmp, more[i].name);
        ok = model_save(&m, p.p, e);
    }
    str_clear(&p);
    str_printf(&p, "%s/state.json", tmp);
    ok = ok && save_state(t, r, p.p, e);
    str_free(&p);
    return ok;
}

/* Removes checkpoints that a killed process was writing when it ended: gigabytes that nothing else would ever look at. */
static void sweep(const char *dir)
{
    struct str path = { 0 };
    DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d)); ) {
        int step, n = 0;
        long pid;
        if (sscanf(x->d_name, "global_step_%d.%ld.tmp%n", &step, &pid, &n) != 2 || !n || x->d_name[n] || pid <= 0) continue;
        if (kill((pid_t)pid, 0) == 0 || errno != ESRCH) continue;
        str_clear(&path);
        str_printf(&path, "%s/%s", dir, x->d_name);
        remove_tree(path.p);
    }
    if (d) closedir(d);
    str_free(&path);
}

bool ckpt_save(const struct trainer *t, const struct run_report *r, const char *dir, struct err *e)
{
    struct str path = { 0 }, tmp = { 0 };
    str_printf(&path, "%s/global_step_%d", dir, t->step);
    str_printf(&tmp, "%s.%ld.tmp", path.p, (long)getpid());
    bool ok = save_into(t, r, tmp.p, e);
    if (ok) {
        remove_tree(path.p);
        ok = rename(tmp.p, path.p) == 0 || fail(e, "%s: the checkpoint could not be moved into place: %s", path.p, strerror(errno));
    }
    if (!ok) remove_tree(tmp.p);
    sweep(dir);
    if (ok) {
        char number[32];
        snprintf(number, sizeof number, "%d", t->step);
        str_clear(&path);
        str_printf(&path, "%s/latest_checkpointed_iteration.txt", dir);
        ok = file_write(path.p, number, strlen(number), e);
    }
    str_free(&path);
    str_free(&tmp);
    return ok;
}

/* What the present configuration has otherwise, for the sentence. */
static bool same_config(const struct trainer *t, const json_t *was, const char *path, struct err *e)
{
    json_t *is = decisive(t->c);
    const char *key;
    json_t *value;
    bool ok = true;
    json_object_foreach(is, key, value) {
        json_t *old = json_object_get(was, key);
        if (json_equal(old, value)) continue;
        char *a = old ? json_dumps(old, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : xstrdup("nothing"), *b = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        ok = fail(e, "%s: was made with %s=%s, now it is %s: give the old value to go on, trainer.resume=off to start anew, or another trainer.experiment_name",
                  path, key, a, b);
        free(a);
        free(b);
        break;
    }
    json_decref(is);
    return ok;
}

/* The counts of a state. Each has a bound: jansson would cut what does not fit an int. */
struct counts { json_int_t step, updates, skipped, in_row, generated, trained; };
static bool read_counts(struct counts *n, const json_t *o, const char *path, struct err *e)
{
    const struct { const char *key; json_int_t *to, most; } keys[] = {
        { "step", &n->step, INT_MAX }, { "updates", &n->updates, INT64_MAX }, { "skipped", &n->skipped, INT_MAX }, { "skipped_in_row", &n->in_row, INT_MAX },
        { "tokens_generated", &n->generated, INT64_MAX }, { "tokens_trained", &n->trained, INT64_MAX },
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(o, keys[i].key);
        *keys[i].to = json_integer_value(v);
        if (!json_is_integer(v) || *keys[i].to < 0 || *keys[i].to > keys[i].most)
            return fail(e, "%s: not the state of a run: %s must be a whole number, not below 0", path, keys[i].key);
    }
    return true;
}

/* step: the number that the folder's name has; -1: whichever the state says. */
static bool load_state(struct trainer *t, struct run_report *r, const char *path, int step, struct err *e)
{
    struct str text = { 0 };
    struct counts n;
    const json_t *before, *config;
    json_t *o = file_read(path, 16 << 20, &text, e) ? json_from(path, text.p, text.n, e) : NULL;
    str_free(&text);
    if (!o) return false;
    bool ok = json_unpack(o, "{s:F,s:F,s:o,s:o}", "probs_diff_max", &t->probs_diff_max, "wall_s", &r->wall_s, "before", &before, "config", &config) == 0 &&
              json_is_object(config) && (json_is_object(before) || json_is_null(before)) && r->wall_s >= 0;
    if (!ok) fail(e, "%s: not the state of a run: a key is missing or of the wrong type", path);
    ok = ok && read_counts(&n, o, path, e);
    if (ok && step >= 0 && n.step != step) ok = fail(e, "%s: is the state after step %lld, not %d", path, (long long)n.step, step);
    ok = ok && same_config(t, config, path, e) && same_data(t, json_object_get(o, "data"), path, e);
    if (ok) {
        t->step = (int)n.step;
        t->skipped = (int)n.skipped;
        t->s->learner.steps = n.updates;
        t->s->learner.skipped_in_row = (int)n.in_row;
        t->tokens_generated = n.generated;
        t->tokens_trained = n.trained;
        r->has_before = json_is_object(before);
        if (r->has_before) ok = eval_parse(&r->before, before) || fail(e, "%s: the evaluation in it cannot be read", path);
    }
    json_decref(o);
    return ok;
}

/* The same table of tensors, and the same meaning of each: heads can be cut otherwise without a change of any size. */
static bool same_shape(const struct model *a, const struct model *b)
{
    bool same = a->count == b->count && a->params == b->params && a->c.heads == b->c.heads && a->c.kv_heads == b->c.kv_heads && a->c.head_dim == b->c.head_dim &&
                !strcmp(a->c.arch, b->c.arch);
    for (int i = 0; same && i < a->params; i++) same = a->param[i].rows == b->param[i].rows && a->param[i].cols == b->param[i].cols;
    return same;
}

static bool load_weights(const struct model *m, real *to, const char *folder, struct err *e)
{
    struct model x;
    if (!model_load(&x, folder, e)) return false;
    bool ok = same_shape(m, &x) || fail(e, "%s: a model of another shape than the one this run began with", folder);
    if (ok) dev_copy(to, x.w, (size_t)m->count * sizeof *to);
    model_free(&x);
    gemm_weights_changed();
    return ok;
}

int ckpt_newest(const char *dir)
{
    struct str path = { 0 }, text = { 0 };
    str_printf(&path, "%s/latest_checkpointed_iteration.txt", dir);
    int step = -1;
    if (file_read(path.p, 64, &text, NULL)) {
        char *end;
        long n = strtol(text.p, &end, 10);
        if (end != text.p && !end[strspn(end, " \r\n")] && n >= 0 && n <= INT_MAX) step = (int)n;
    }
    str_free(&path);
    str_free(&text);
    return step;
}

/* Behind the sentence that says what is wrong with a checkpoint. */
static void cure(struct err *e, const char *dir, bool itself)
{
    struct err what = *e;
    if (itself) fail(e, "%.400s. Give another checkpoint, or trainer.resume=off to start anew", what.text);
    else fail(e, "%.300s. To go on from an older checkpoint write its number into %.100s/latest_checkpointed_iteration.txt; trainer.resume=off starts anew", what.text, dir);
}

bool ckpt_load(struct trainer *t, struct run_report *r, const char *dir, bool *found, struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/state.json", dir);
    bool itself = file_exists(path.p);                  /* dir is a global_step_N, not the folder they lie in */
    str_clear(&path);
    str_printf(&path, "%s/latest_checkpointed_iteration.txt", dir);
    *found = itself || file_exists(path.p);
    int step = itself ? 0 : ckpt_newest(dir);
    bool ok = !*found || step >= 0 || fail(e, "%s: holds no step number; remove it to start anew", path.p);
    if (ok && *found) {
        str_clear(&path);
        if (itself) str_printf(&path, "%s/", dir);
        else str_printf(&path, "%s/global_step_%d/", dir, step);
        size_t base = path.n;
        str_puts(&path, "state.json");
        ok = load_state(t, r, path.p, itself ? -1 : step, e);
        path.n = base; str_puts(&path, "actor/huggingface");
        ok = ok && load_weights(&t->s->m, t->s->m.w, path.p, e);
        path.n = base; str_puts(&path, "actor/optimizer.safetensors");
        ok = ok && load_vectors(t, path.p, e);
        path.n = base; str_puts(&path, "reference");
        if (ok && t->w_ref) ok = load_weights(&t->s->m, t->w_ref, path.p, e);
        path.n = base; str_puts(&path, "previous");
        if (ok && t->w_prev) ok = load_weights(&t->s->m, t->w_prev, path.p, e);
        if (ok) t->s->m.version++;
        else if (!strstr(e->text, "trainer.resume=off"))     /* damaged, not of another run: what can be done is the same whatever is damaged */
            cure(e, dir, itself);
    }
    str_free(&path);
    return ok;
}
