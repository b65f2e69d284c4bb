/* sft_checkpoint.c: checkpoints of a fine-tuning. Each is written under a temporary name and renamed, so that a folder
 * with its final name was complete; its manifest shows whether it still is. */
#include "engine/run/sft_checkpoint.h"
#include "base/clock.h"
#include "base/dir.h"
#include "base/file.h"
#include "base/json.h"
#include "base/manifest.h"
#include "base/stop.h"
#include "engine/run/eval_answers.h"
#include "engine/run/checkpoint.h"
#include "engine/run/checkpoint_optim.h"
#include "engine/session/model_export.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATE_MAX = 1 << 20 };

uint64_t sft_conversations_hash(const struct sft_conversations *t)
{
    struct hash h;
    hash_begin(&h);
    for (int i = 0; i < t->n; i++) {
        const struct sft_example *d = &t->example[i];
        hash_add(&h, &d->ids.n, sizeof d->ids.n);
        hash_add(&h, d->ids.p, (size_t)d->ids.n * sizeof *d->ids.p);
        hash_add(&h, d->m, (size_t)d->ids.n);
    }
    return hash_end(&h);
}

/* Whether a key decides the numbers. Keys of data and lengths act through the conversations, which have a hash. */
static bool decides(const char *key)
{
    static const char *const begins[] = { "sft.", "actor.optim.", "trainer.seed", "data.shuffle", "data.seed", NULL };
    if (!strcmp(key, "sft.save") || !strcmp(key, "sft.steps")) return false;
    for (const char *const *p = begins; *p; p++)
        if (!strncmp(key, *p, strlen(*p))) return true;
    return false;
}

static json_t *identity(const struct session *s, const struct sft_rule *r, uint64_t data)
{
    json_t *j = config_json(s->c), *value;
    const char *key;
    char hash[20];
    void *next;
    json_object_foreach_safe(j, next, key, value) if (!decides(key)) json_object_del(j, key);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)data);
    json_object_set_new(j, "sft.steps", json_integer(r->steps));
    json_object_set_new(j, "the conversations (data.train_files, lengths, formats)", json_string(hash));
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)weights_hash(&s->m));
    json_object_set_new(j, "model.path (its weights)", json_string(hash));
    json_object_set_new(j, "numbers", json_string(ELEM_NAME));
    return j;
}

/* Compares with an identity that was written; the message names what differs. */
static bool same(const struct sft_checkpoints *k, const json_t *was, const char *path, struct err *e)
{
    const char *key;
    json_t *is;
    json_object_foreach(k->identity, key, is) {
        const json_t *old = json_object_get(was, key);
        if (json_equal(old, is)) continue;
        char *a = old ? json_dumps(old, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : xstrdup("nothing"),
             *b = json_dumps(is, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        fail(e,
             "%s: was made with %s=%.80s, now it is %.80s: give the old value to continue, trainer.resume=off to start "
             "anew (the old files are renamed), or another sft.save",
             path, key, a, b);
        free(a);
        free(b);
        return false;
    }
    return true;
}

static json_t *read_json(const char *path, struct err *e)
{
    struct str text = { 0 };
    json_t *j = file_read(path, STATE_MAX, &text, e) ? json_from(path, text.p, text.n, e) : NULL;
    str_free(&text);
    return j;
}

static bool whole_number(const json_t *o, const char *key, json_int_t most, json_int_t *to)
{
    const json_t *v = json_object_get(o, key);
    *to = json_integer_value(v);
    return json_is_integer(v) && *to >= 0 && *to <= most;
}

/* Reads one checkpoint. *damaged: it is not whole, and nothing of it was used. */
static bool take(struct sft_checkpoints *k, struct sft_rule *r, int step, bool *damaged, struct err *e)
{
    struct str folder = { 0 }, path = { 0 };
    json_int_t at = 0, updates = 0, in_row = 0, tokens = 0;
    str_printf(&folder, "%s/global_step_%d", k->state.p, step);
    str_printf(&path, "%s/state.json", folder.p);
    *damaged = !ckpt_whole(folder.p, true, e);
    json_t *j = *damaged ? NULL : read_json(path.p, e);
    bool ok = j && same(k, json_object_get(j, "run"), path.p, e);
    if (ok)
        ok = (whole_number(j, "step", INT_MAX, &at) && at == step && whole_number(j, "updates", INT64_MAX, &updates) &&
              whole_number(j, "skipped_in_row", INT_MAX, &in_row) && whole_number(j, "tokens", INT64_MAX, &tokens)) ||
             fail(e, "%s: not the state of a fine-tuning", path.p);
    struct trainer t = { .s = k->s, .c = k->s->c };
    ok = ok && ckpt_load_weights(&t, &(struct ckpt_state){ .step = step, .ranks = 1 }, folder.p, e);
    if (ok) {
        k->s->learner.steps = (int64_t)updates;
        k->s->learner.skipped_in_row = (int)in_row;
        r->begin = k->saved = step;
        r->tokens_before = (int64_t)tokens;
        r->wall_before = json_number_value(json_object_get(j, "wall_s"));
    }
    json_decref(j);
    str_free(&folder);
    str_free(&path);
    return ok;
}

/* Renames dir/name to the first free dir/name.old-N. */
static bool rename_old(const char *dir, const char *name, struct err *e)
{
    struct str path = { 0 }, stem = { 0 };
    bool ok = true;
    str_printf(&path, "%s/%s", dir, name);
    str_printf(&stem, "%s.old-", name);
    if (file_exists(path.p)) {
        char *to = dir_unused(dir, stem.p);
        ok = rename(path.p, to) == 0 || fail(e, "%s: cannot be renamed: %s", path.p, strerror(errno));
        if (ok) fprintf(stderr, "%s of an earlier run is %s now\n", path.p, to);
        free(to);
    }
    str_free(&path);
    str_free(&stem);
    return ok;
}

static void remove_temporary(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d)); ) {
        size_t n = strlen(x->d_name);
        if (n < 4 || strcmp(x->d_name + n - 4, ".tmp")) continue;
        struct str path = { 0 };
        str_printf(&path, "%s/%s", dir, x->d_name);
        dir_remove(path.p);
        str_free(&path);
    }
    if (d) closedir(d);
}

static bool finished_before(struct sft_checkpoints *k)
{
    struct str path = { 0 };
    str_printf(&path, "%s/sft_run.json", k->dir.p);
    json_t *j = file_exists(path.p) ? read_json(path.p, NULL) : NULL;
    bool ok = j && same(k, j, path.p, NULL);
    json_decref(j);
    path.n = k->dir.n;
    str_puts(&path, "/config.json");
    ok = ok && file_exists(path.p);
    str_free(&path);
    return ok;
}

static bool resume(struct sft_checkpoints *k, struct sft_rule *r, struct err *e)
{
    int n, *step = ckpt_list(k->state.p, &n);
    bool ok = n == 0, damaged = true;
    for (int i = 0; i < n && damaged; i++) {
        ok = take(k, r, step[i], &damaged, e);
        if (damaged) fprintf(stderr, "%s\n", e->text);
    }
    if (n && !ok && damaged) {
        struct err what = *e;
        fail(e, "%s: none of its checkpoints is whole (%.300s): trainer.resume=off starts anew", k->state.p, what.text);
    }
    free(step);
    return ok;
}

bool sft_checkpoints_open(struct sft_checkpoints *k, struct session *s, struct sft_rule *r, uint64_t data,
                          struct err *e)
{
    struct str metrics = { 0 };
    bool off = !strcmp(s->c->trainer.resume, "off");
    *k = (struct sft_checkpoints){ .s = s, .identity = identity(s, r, data) };
    str_puts(&k->dir, s->c->sft.save);
    str_printf(&k->state, "%s/sft", s->c->sft.save);
    str_printf(&metrics, "%s/metrics.jsonl", s->c->sft.save);
    bool ok = true;
    if (off) ok = rename_old(k->dir.p, "sft", e);
    remove_temporary(k->state.p);
    int n;
    free(ckpt_list(k->state.p, &n));
    k->done = ok && !off && !n && finished_before(k);
    ok = ok && (k->done || resume(k, r, e));
    if (ok && !k->done) {
        if (!r->begin) ok = rename_old(k->dir.p, "metrics.jsonl", e);
        ok = ok && metrics_open(&k->log, metrics.p, r->begin ? r->begin : -1, NULL, e);
        k->began = ok;
    }
    k->saved_at = k->step_at = seconds();
    str_free(&metrics);
    return ok;
}

static bool write_json(const char *path, const json_t *j, struct err *e)
{
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    bool ok = file_write(path, text, strlen(text), e);
    free(text);
    return ok;
}

static bool write_state(const struct sft_checkpoints *k, const struct sft_report *r, const char *path, struct err *e)
{
    const struct learner *l = &k->s->learner;
    json_t *o =
        json_pack("{s:i,s:I,s:i,s:I,s:f,s:O}", "step", r->step, "updates", (json_int_t)l->steps, "skipped_in_row",
                  l->skipped_in_row, "tokens", (json_int_t)r->tokens, "wall_s", r->wall_s, "run", k->identity);
    bool ok = write_json(path, o, e);
    json_decref(o);
    return ok;
}

static bool save(struct sft_checkpoints *k, const struct sft_report *r, struct err *e)
{
    struct str path = { 0 }, tmp = { 0 }, p = { 0 };
    struct optim_state o;
    str_printf(&path, "%s/global_step_%d", k->state.p, r->step);
    str_printf(&tmp, "%s.%ld.tmp", path.p, (long)getpid());
    str_printf(&p, "%s/actor/huggingface", tmp.p);
    bool ok = metrics_sync(&k->log, e) && dir_make(k->state.p, e) && session_save(k->s, p.p, e);
    optim_of(&o, &k->s->learner, 0, 1, true);
    ok = ok && optim_write(&o, &(struct optim_mark){ .step = r->step, .ranks = 1 }, tmp.p, e);
    optim_free(&o);
    str_clear(&p);
    str_printf(&p, "%s/state.json", tmp.p);
    ok = ok && write_state(k, r, p.p, e) && manifest_write(tmp.p, e);
    if (ok && file_exists(path.p)) ckpt_remove(k->state.p, r->step);       /* it was damaged */
    ok =
        ok && (rename(tmp.p, path.p) == 0 || fail(e, "%s: could not be put in its place: %s", path.p, strerror(errno)));
    if (!ok) dir_remove(tmp.p);
    if (ok) dir_sync(k->state.p);
    int n, *step = ckpt_list(k->state.p, &n);
    for (int i = 0; ok && i < n; i++) if (step[i] != r->step) ckpt_remove(k->state.p, step[i]);
    free(step);
    if (ok) {
        k->saved = r->step;
        k->saved_at = seconds();
    }
    str_free(&path);
    str_free(&tmp);
    str_free(&p);
    return ok;
}

bool sft_checkpoints_step(struct sft_checkpoints *k, const struct sft_report *r, struct err *e)
{
    const struct config *c = k->s->c;
    struct metrics m = { 0 };
    double now = seconds();
    metrics_put(&m, "train/loss", r->loss);
    metrics_put(&m, "train/grad_norm", r->norm);
    metrics_put(&m, "train/lr", r->lr);
    metrics_put(&m, "train/tokens", (double)r->tokens);
    metrics_put(&m, "timing_s/step", now - k->step_at);
    k->step_at = now;
    bool ok = metrics_write(&k->log, r->step, &m, e);
    metrics_free(&m);
    bool last = r->step == r->steps, due = c->trainer.save_freq > 0 && r->step % c->trainer.save_freq == 0;
    due = due || (c->trainer.save_minutes > 0 && now - k->saved_at >= 60 * c->trainer.save_minutes);
    k->stopped = run_stop && !last;
    return ok && (last || !(due || k->stopped) || save(k, r, e));
}

bool sft_checkpoints_finish(struct sft_checkpoints *k, const char *folder, struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/sft_run.json", folder);
    bool ok = write_json(path.p, k->identity, e);
    str_free(&path);
    return ok;
}

bool sft_checkpoints_close(struct sft_checkpoints *k, bool finished, struct err *e)
{
    int n, *step = ckpt_list(k->state.p ? k->state.p : "", &n);
    bool ok = !k->log.f || metrics_close(&k->log, e);
    if (!finished && !k->saved && k->began) {           /* it failed before its first checkpoint */
        struct str path = { 0 };
        str_printf(&path, "%s/metrics.jsonl", k->dir.p);
        remove(path.p);
        str_free(&path);
    }
    for (int i = 0; finished && i < n; i++) ckpt_remove(k->state.p, step[i]);
    if (finished) rmdir(k->state.p);
    free(step);
    json_decref(k->identity);
    str_free(&k->dir);
    str_free(&k->state);
    return ok;
}
