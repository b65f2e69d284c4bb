/* checkpoint_state.c: writes, reads and compares state.json. A key that the state of an
 * older version lacks is not compared. */
#include "engine/run/checkpoint_state.h"
#include "base/file.h"
#include "base/json.h"
#include "engine/comm/comm.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_MAX = 16 << 20 };

/* The keys of the configuration that decide the numbers: folders, counts of steps and threads may change between stop
 * and resume. */
static json_t *decisive(const struct config *c)
{
    json_t *j = config_json(c), *value;
    const char *key;
    void *next;
    json_object_foreach_safe(j, next, key, value) if (!config_decides(key)) json_object_del(j, key);
    return j;
}

static json_t *hash_json(uint64_t h)
{
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)h);
    return json_string(text);
}

/* JSON has no NaN: jansson would omit the key, and the state could not be read again. */
static json_t *real_json(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static bool read_hash(const json_t *j, uint64_t *h)
{
    const char *text = json_string_value(j);
    char *end;
    if (!text || strlen(text) != 16 || text[strspn(text, "0123456789abcdef")]) return false;
    *h = strtoull(text, &end, 16);
    return true;
}

/* The run's position in its data; null for the embedded tasks. */
static json_t *data_json(const struct trainer *t)
{
    const struct prompt_set *q = &t->s->train;
    if (!q->rows.n) return json_null();
    uint64_t position = (uint64_t)t->step * (uint64_t)t->c->data.train_batch_size, n = (uint64_t)q->rows.n;
    return json_pack("{s:I,s:I,s:I,s:i,s:o}", "position", (json_int_t)position, "epoch", (json_int_t)(position / n),
                     "in_epoch", (json_int_t)(position % n), "rows", q->rows.n, "hash", hash_json(q->hash));
}

static json_t *val_json(const struct trainer *t)
{
    const struct prompt_set *q = &t->s->val;
    return q->rows.n ? json_pack("{s:i,s:o}", "rows", q->rows.n, "hash", hash_json(q->hash)) : json_null();
}

/* As pairs, in their order: the step's line must be the same as if the run had not been stopped. */
static json_t *metrics_json(const struct metrics *m)
{
    if (!m) return json_null();
    json_t *a = json_array();
    for (int i = 0; i < m->n; i++)
        json_array_append_new(a, json_pack("[s,o]", m->v[i].name, real_json(m->v[i].value)));
    return a;
}

static bool metrics_read(struct metrics *m, const json_t *a)
{
    metrics_clear(m);
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *name = json_array_get(json_array_get(a, i), 0), *value = json_array_get(json_array_get(a, i), 1);
        if (!json_is_string(name) || !(json_is_number(value) || json_is_null(value))) return false;
        metrics_put(m, json_string_value(name), json_is_number(value) ? json_number_value(value) : (double)NAN);
    }
    return json_is_array(a);
}

void ckpt_state_text(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x, struct str *text)
{
    json_t *o = json_object();
    json_object_set_new(o, "step", json_integer(t->step));
    json_object_set_new(o, "steps", json_integer(t->s->steps));
    json_object_set_new(o, "warmup", json_integer(t->warmup));
    json_object_set_new(o, "updates", json_integer(t->s->learner.steps));
    json_object_set_new(o, "skipped", json_integer(t->skipped));
    json_object_set_new(o, "skipped_in_row", json_integer(t->s->learner.skipped_in_row));
    json_object_set_new(o, "tokens_generated", json_integer(t->tokens_generated));
    json_object_set_new(o, "tokens_trained", json_integer(t->tokens_trained));
    json_object_set_new(o, "probs_diff_max", real_json(t->probs_diff_max));
    json_object_set_new(o, "wall_s", real_json(r->wall_s));
    json_object_set_new(o, "rolling", json_boolean(x->rolling));
    json_object_set_new(o, "before", r->has_before ? eval_json(&r->before) : json_null());
    json_object_set_new(o, "after", r->has_after ? eval_json(&r->after) : json_null());
    json_object_set_new(o, "best",
                        x->best.step < 0 ? json_null()
                                         : json_pack("{s:i,s:f,s:s}", "step", x->best.step, "value", x->best.value,
                                                     "metric", t->c->trainer.best_metric));
    json_object_set_new(o, "metrics",
                        json_pack("{s:I,s:o}", "bytes", (json_int_t)x->mark.bytes, "hash", hash_json(x->mark.hash)));
    json_object_set_new(o, "pending", metrics_json(x->pending));
    json_object_set_new(o, "data", data_json(t));
    json_object_set_new(o, "val", val_json(t));
    json_object_set_new(o, "search_cache", x->cache ? hash_json(x->cache) : json_null());
    json_object_set_new(o, "tokenizer", hash_json(x->tokenizer));
    json_object_set_new(o, "numbers", json_string(ELEM_NAME));
    json_object_set_new(o, "config", decisive(t->c));
    if (comm_ranks() > 1) json_object_set_new(o, "ranks", json_integer(comm_ranks()));
    char *dump = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    str_puts(text, dump);
    free(dump);
    json_decref(o);
}

/* ---- comparing ---- */

static const char fix[] = "give the old value to continue, trainer.resume=off to start anew (the old files are moved "
                           "aside), or another trainer.experiment_name";

/* Compares the configuration; the message names the first key that differs. A key that the state lacks is younger than
 * the state; its default is what the program did before. */
static bool same_config(const struct trainer *t, const json_t *was, const char *path, struct err *e)
{
    struct config c;
    config_init(&c);
    json_t *is = decisive(t->c), *defaults = config_json(&c);
    const char *key;
    json_t *value;
    bool ok = true;
    json_object_foreach(is, key, value) {
        json_t *old = json_object_get(was, key);
        if (!old) old = json_object_get(defaults, key);         /* the run is older than the key */
        if (json_equal(old, value)) continue;
        char *a = old ? json_dumps(old, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : xstrdup("nothing"),
             *b = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        ok = fail(e, "%s: was made with %s=%.100s, now it is %.100s: %s", path, key, a, b, fix);
        free(a);
        free(b);
        break;
    }
    json_decref(is);
    json_decref(defaults);
    config_free(&c);
    return ok;
}

/* Compares data, searches, tokenizer and number type: resuming with others would give a run that no single start could
 * give. A state of an older version lacks most of these. */
static bool same_things(const struct trainer *t, const struct ckpt_extra *x, const json_t *was, const char *path,
                        struct err *e)
{
    json_t *data = data_json(t), *val = val_json(t);
    const struct { const char *key, *what; json_t *old, *is; bool always; } things[] = {
        { "data", "data.train_files hold other prompts or answers", json_object_get(json_object_get(was,
          "data"), "hash"), json_incref(json_object_get(data, "hash")), true },
        { "val", "data.val_files hold other prompts or answers", json_object_get(json_object_get(was, "val"),
          "hash"), json_incref(json_object_get(val, "hash")), false },
        { "search_cache", "tools.search_cache holds other searches", json_object_get(was, "search_cache"),
          x->cache ? hash_json(x->cache) : json_null(), false },
        { "tokenizer", "model.path has another tokenizer", json_object_get(was, "tokenizer"), hash_json(x->tokenizer),
          false },
        { "numbers", "this program stores numbers in another type (" ELEM_NAME ")", json_object_get(was, "numbers"),
          json_string(ELEM_NAME), false },
    };
    bool ok = true;
    for (size_t i = 0; i < sizeof things / sizeof *things; i++) {
        bool none = !things[i].old || json_is_null(things[i].old), now = things[i].is && !json_is_null(things[i].is);
        if (ok && (things[i].always || json_object_get(was, things[i].key)) &&
            (none ? now : !json_equal(things[i].old, things[i].is)))
            ok = fail(e,
                      "%s: %s than when this was written: give the old files to continue, trainer.resume=off to start "
                      "anew (the old files are moved aside), or another "
                      "trainer.experiment_name",
                      path, things[i].what);
        json_decref(things[i].is);
    }
    json_decref(data);
    json_decref(val);
    return ok;
}

bool ckpt_matches(const struct trainer *t, const struct ckpt_extra *x, const struct ckpt_state *s, const char *folder,
                  struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/state.json", folder);
    bool ok = same_config(t, json_object_get(s->json, "config"), path.p, e) && same_things(t, x, s->json, path.p, e);
    str_free(&path);
    return ok;
}

/* ---- reading ---- */

/* The counts of a state. Each is checked against a bound, because jansson would truncate to an int. */
struct counts { json_int_t step, updates, skipped, in_row, generated, trained; };
static bool read_counts(struct counts *n, const json_t *o, const char *path, struct err *e)
{
    const struct { const char *key; json_int_t *to, most; } keys[] = {
        { "step", &n->step, INT_MAX }, { "updates", &n->updates, INT64_MAX }, { "skipped", &n->skipped, INT_MAX },
        { "skipped_in_row", &n->in_row, INT_MAX }, { "tokens_generated", &n->generated, INT64_MAX },
        { "tokens_trained", &n->trained, INT64_MAX },
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(o, keys[i].key);
        *keys[i].to = json_integer_value(v);
        if (!json_is_integer(v) || *keys[i].to < 0 || *keys[i].to > keys[i].most)
            return fail(e, "%s: not the state of a run: %s must be a whole number, not below 0", path, keys[i].key);
    }
    return true;
}

/* Members that a state of an older version lacks. */
static bool read_rest(struct ckpt_state *s, const char *path, struct err *e)
{
    const json_t *steps = json_object_get(s->json, "steps"), *mark = json_object_get(s->json, "metrics"),
                 *best = json_object_get(s->json, "best");
    s->steps = json_is_integer(steps) && json_integer_value(steps) >= 0 && json_integer_value(steps) <= INT_MAX
                   ? (int)json_integer_value(steps)
                   : 0;
    s->rolling = json_is_true(json_object_get(s->json, "rolling"));
    const json_t *ranks = json_object_get(s->json, "ranks");
    s->ranks = !ranks ? 1 : json_is_integer(ranks) && json_integer_value(ranks) <= INT_MAX
                                ? (int)json_integer_value(ranks)
                                : 0;
    if (s->ranks < 1) return fail(e, "%s: not the state of a run: ranks must be a whole number above 0", path);
    s->mark = (struct metrics_mark){ -1, 0 };
    s->best = (struct best){ -1, 0 };
    if (mark && json_is_integer(json_object_get(mark, "bytes"))) {
        s->mark.bytes = (int64_t)json_integer_value(json_object_get(mark, "bytes"));
        if (s->mark.bytes < 0 || !read_hash(json_object_get(mark, "hash"), &s->mark.hash))
            return fail(e, "%s: not the state of a run: metrics", path);
    }
    const json_t *at = json_object_get(best, "step"), *value = json_object_get(best, "value");
    if (json_is_integer(at) && json_is_number(value) && json_integer_value(at) >= 0 &&
        json_integer_value(at) <= INT_MAX)
        s->best = (struct best){ (int)json_integer_value(at), json_number_value(value) };
    return true;
}

bool ckpt_read(struct ckpt_state *s, const char *folder, int step, struct err *e)
{
    struct str path = { 0 }, text = { 0 };
    struct counts n;
    const json_t *diff, *wall, *before, *config;
    *s = (struct ckpt_state){ 0 };
    str_printf(&path, "%s/state.json", folder);
    s->json = file_read(path.p, STATE_MAX, &text, e) ? json_from(path.p, text.p, text.n, e) : NULL;
    if (s->json) s->tag = hash_of(text.p, text.n);
    bool ok = s->json != NULL;
    if (ok && (json_unpack(s->json, "{s:o,s:o,s:o,s:o}", "probs_diff_max", &diff, "wall_s", &wall, "before", &before,
                           "config", &config) != 0 ||
               !json_is_object(config) || !(json_is_object(before) || json_is_null(before)) ||
               !(json_is_number(diff) || json_is_null(diff)) || !(json_is_number(wall) || json_is_null(wall)) ||
               json_number_value(wall) < 0))
        ok = fail(e, "%s: not the state of a run: a key is missing or of the wrong type", path.p);
    ok = ok && read_counts(&n, s->json, path.p, e) && read_rest(s, path.p, e);
    if (ok) s->step = (int)n.step;
    if (ok && step >= 0 && s->step != step)
        ok = fail(e, "%s: is the state after step %d, not %d", path.p, s->step, step);
    str_free(&path);
    str_free(&text);
    return ok;
}

void ckpt_state_free(struct ckpt_state *s)
{
    json_decref(s->json);
    *s = (struct ckpt_state){ 0 };
}

bool ckpt_evaluations(struct run_report *r, const struct ckpt_state *s)
{
    const json_t *before = json_object_get(s->json, "before"), *after = json_object_get(s->json, "after");
    r->has_before = json_is_object(before);
    r->has_after = json_is_object(after);
    r->wall_s = json_number_value(json_object_get(s->json, "wall_s"));
    return (!r->has_before || eval_parse(&r->before, before)) && (!r->has_after || eval_parse(&r->after, after));
}

/* A warm-up given as a share of all steps keeps its length if the number of steps has changed. */
static void keep_warmup(struct trainer *t, const json_t *state)
{
    const json_t *was = json_object_get(state, "warmup");
    json_int_t n = json_integer_value(was);
    if (t->c->actor.optim_lr_warmup_steps >= 0 || !json_is_integer(was) || n < 0 || n > INT_MAX || n == t->warmup)
        return;
    fprintf(notes(),
            "warning: actor.optim.lr_warmup_steps_ratio: the run began with a warm-up of %lld steps and keeps it; %d "
            "would be the share of the present number of steps\n",
            (long long)n, t->warmup);
    t->warmup = (int)n;
}

bool ckpt_restore_counts(struct trainer *t, const struct ckpt_state *s, const char *path, struct err *e)
{
    struct counts n;
    if (!read_counts(&n, s->json, path, e)) return false;
    t->step = (int)n.step;
    t->skipped = (int)n.skipped;
    t->s->learner.steps = n.updates;
    t->s->learner.skipped_in_row = (int)n.in_row;
    t->tokens_generated = n.generated;
    t->tokens_trained = n.trained;
    t->probs_diff_max = json_number_value(json_object_get(s->json, "probs_diff_max"));
    keep_warmup(t, s->json);
    return true;
}

bool ckpt_pending(struct metrics *m, const struct ckpt_state *s, bool *pending)
{
    const json_t *rest = json_object_get(s->json, "pending");
    *pending = json_is_array(rest);
    return !*pending || metrics_read(m, rest);
}
