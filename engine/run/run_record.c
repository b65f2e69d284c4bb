/* run_record.c: run.json keeps the list of all starts across resumes. */
#include "engine/run/run_record.h"
#include "engine/run/version.h"
#include "base/file.h"
#include "base/json.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_MAX = 16 << 20 };

/* A hash of every id's bytes and of the ids that end a text. */
static uint64_t vocabulary_hash(const struct session *s)
{
    struct hash h;
    hash_begin(&h);
    for (int id = 0; id < tokenizer_vocab(s->tok); id++) {
        int n = 0;
        const char *bytes = tokenizer_bytes(s->tok, id, &n);
        if (!bytes) n = -1;
        hash_add(&h, &n, sizeof n);
        if (n > 0) hash_add(&h, bytes, (size_t)n);
    }
    hash_add(&h, s->m.c.eos, (size_t)s->m.c.n_eos * sizeof *s->m.c.eos);
    return hash_end(&h);
}

bool run_record_hashes(struct ckpt_extra *x, const struct session *s, struct err *e)
{
    const char *cache = s->c->tools.search_cache;
    int64_t n;
    x->tokenizer = vocabulary_hash(s);
    return !*cache || hash_file(cache, -1, &x->cache, &n, e);
}

static json_t *start_json(int step)
{
    char when[40], host[65] = "";
    time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S%z", localtime_r(&now, &tm));
    if (gethostname(host, sizeof host - 1)) strcpy(host, "?");
    json_t *name = json_string(host);
    return json_pack("{s:s,s:o,s:i,s:s,s:i}", "time", when, "host", name ? name : json_string("?"), "pid",
                     (int)getpid(), "version", appo_version, "after_step", step < 0 ? 0 : step);
}

/* The starts that the present file lists; empty without a file. */
static json_t *starts_of(const char *path)
{
    struct str text = { 0 };
    json_t *old = file_read(path, RECORD_MAX, &text, NULL) ? json_from(path, text.p, text.n, NULL) : NULL,
           *list = json_object_get(old, "starts");
    list = json_is_array(list) ? json_incref(list) : json_array();
    json_decref(old);
    str_free(&text);
    return list;
}

bool run_record_write(const char *dir, const struct session *s, int step, struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/run.json", dir);
    json_t *o = json_object(), *starts = step < 0 ? json_array() : starts_of(path.p), *model = json_string(s->path);
    json_array_append_new(starts, start_json(step));
    json_object_set_new(o, "version", json_string(appo_version));
    json_object_set_new(o, "numbers", json_string(ELEM_NAME));
    json_object_set_new(o, "device", json_string(dev_name()));
    json_object_set_new(o, "model",
                        json_pack("{s:o,s:s,s:I}", "path", model ? model : json_string("(not UTF-8)"), "arch",
                                  s->m.c.arch, "parameters", (json_int_t)s->m.count));
    json_object_set_new(o, "questions", json_pack("{s:i,s:i}", "train", s->train.rows.n, "val", s->val.rows.n));
    json_object_set_new(o, "steps", json_integer(s->steps));
    json_object_set_new(o, "starts", starts);
    json_object_set_new(o, "config", config_json(s->c));
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    bool ok = file_write(path.p, text, strlen(text), e);
    free(text);
    json_decref(o);
    str_free(&path);
    return ok;
}
