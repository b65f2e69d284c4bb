/* eval_answers.c: one line an answer, appended and flushed in the order in which they end; sorted when all are
 * there. */
#include "engine/run/eval_answers.h"
#include "base/dir.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "engine/comm/comm.h"
#include "engine/train/rollout_dump.h"
#include "base/number.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 22, FILE_MOST = 1 << 30 };

uint64_t weights_hash(const struct model *m)
{
    size_t bytes = (size_t)m->count * sizeof(elem_t);
    char *part = xmalloc(CHUNK);
    struct hash h;
    hash_begin(&h);
    model_ready(m);
    for (size_t at = 0; at < bytes; at += CHUNK) {
        size_t n = bytes - at < CHUNK ? bytes - at : CHUNK;
        dev_get(part, (const char *)m->w + at, n);
        hash_add(&h, part, n);
    }
    free(part);
    return hash_end(&h);
}

/* Whether a key decides an evaluation's numbers. */
static bool decides(const char *key)
{
    static const char *const begins[] = { "data.", "rollout.", "tools.", "reward.", "model.", "trainer.seed", NULL };
    for (const char *const *p = begins; *p; p++)
        if (!strncmp(key, *p, strlen(*p))) return config_decides(key);
    return false;
}

/* The text of {step}.of: weights, prompts, searches and settings of the evaluation. */
static bool identity(struct str *out, const struct answers *x, struct err *e)
{
    const struct config *c = x->s->c;
    uint64_t cache = 0;
    int64_t n;
    if (*c->tools.search_cache && !hash_file(c->tools.search_cache, -1, &cache, &n, e)) return false;
    json_t *j = config_json(c), *value;
    const char *key;
    void *next;
    json_object_foreach_safe(j, next, key, value) if (!decides(key)) json_object_del(j, key);
    char *text = json_dumps(j, JSON_SORT_KEYS | JSON_REAL_PRECISION(17) | JSON_INDENT(1));
    str_printf(out, "weights %016llx, %d questions %016llx, searches %016llx\n%s\n",
               (unsigned long long)weights_hash(&x->s->m), x->prompts, (unsigned long long)x->s->val.hash,
               (unsigned long long)cache, text);
    free(text);
    json_decref(j);
    return true;
}

/* Reads one line that was written before; false: not a line of this file. */
static bool take(struct answers *x, const char *line, size_t n, int64_t at)
{
    int prompt = -1, sample = -1, acc = 0, format = 0, greedy = 0, calls = 0, length = 0;
    double score = 0;
    json_t *j = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
    bool ok =
        j && !json_unpack(j, "{s:i,s:i,s:b,s:b,s:b,s:i,s:i,s:F}", "question", &prompt, "sample", &sample, "greedy",
                          &greedy, "acc", &acc, "format", &format, "calls", &calls, "length", &length, "score", &score);
    json_decref(j);
    int k = greedy ? x->samples : sample;
    if (!ok || prompt < 0 || prompt >= x->prompts || k < 0 || k > x->samples || (k == x->samples) != greedy ||
        n > INT_MAX)
        return false;
    struct answer *a = answers_at(x, prompt, k);
    x->known += !a->have;
    *a = (struct answer){ .have = true,
                          .correct = acc,
                          .well_formed = format,
                          .calls = calls,
                          .length = length,
                          .reward = score,
                          .at = at,
                          .bytes = (int)n };
    return true;
}

/* Reads the lines of the file; *end: bytes of complete lines of this kind. */
static bool take_all(struct answers *x, int64_t *end, struct err *e)
{
    struct str text = { 0 };
    bool ok = file_read(x->path, FILE_MOST, &text, e);
    *end = 0;
    for (size_t at = 0; ok && at < text.n; ) {
        const char *nl = memchr(text.p + at, '\n', text.n - at);
        if (!nl || !take(x, text.p + at, (size_t)(nl + 1 - (text.p + at)), (int64_t)at)) break;
        at = (size_t)(nl + 1 - text.p);
        *end = (int64_t)at;
    }
    str_free(&text);
    return ok;
}

static bool same_text(const char *path, const struct str *want)
{
    struct str text = { 0 };
    bool same = file_exists(path) && file_read(path, FILE_MOST, &text, NULL) && text.n == want->n &&
                !memcmp(text.p, want->p, want->n);
    str_free(&text);
    return same;
}

static bool set_aside(const char *dir, const char *path, const char *name, struct err *e)
{
    struct str stem = { 0 };
    str_printf(&stem, "%s.old-", name);
    char *to = dir_unused(dir, stem.p);
    bool ok = rename(path, to) == 0 || fail(e, "%s: cannot be renamed: %s", path, strerror(errno));
    if (ok) fprintf(stderr, "%s is of other weights, prompts or settings; it is now %s\n", path, to);
    free(to);
    str_free(&stem);
    return ok;
}

static bool open_file(struct answers *x, const char *dir, struct err *e)
{
    struct str of = { 0 }, want = { 0 }, name = { 0 };
    int64_t end = 0;
    str_printf(&of, "%s/%d.of", dir, x->step);
    str_printf(&name, "%d.jsonl", x->step);
    bool ok = identity(&want, x, e), there = file_exists(x->path), same = ok && there && same_text(of.p, &want);
    if (ok && there && !same) ok = set_aside(dir, x->path, name.p, e);
    if (ok && same) ok = take_all(x, &end, e);
    ok = ok && (same || file_write(of.p, want.p, want.n, e));
    if (ok) {
        x->f = fopen(x->path, "a");
        ok = (x->f && ftruncate(fileno(x->f), end) == 0 && fseeko(x->f, end, SEEK_SET) == 0) ||
             fail(e, "%s: %s", x->path, strerror(errno));
    }
    str_free(&of);
    str_free(&want);
    str_free(&name);
    return ok;
}

bool answers_open(struct answers *x, const struct session *s, const char *dir, int step, int prompts, int samples,
                  struct err *e)
{
    *x = (struct answers){ .s = s, .prompts = prompts, .samples = samples, .step = step };
    x->a = xcalloc((size_t)prompts * (size_t)(samples + 1), sizeof *x->a);
    if (!*dir) return true;
    struct str path = { 0 };
    str_printf(&path, "%s/%d.jsonl", dir, step);
    x->path = path.p;
    return dir_make(dir, e) && lock_take(&x->lock, dir, "another trainer.validation_data_dir", e) &&
           open_file(x, dir, e);
}

static void put_text(struct str *o, const char *name, const char *text, size_t n)
{
    str_printf(o, "%s\"%s\":", o->n > 1 ? "," : "", name);
    dump_string(o, text, n);
}

static void put_line(struct str *o, const struct answers *x, const struct group *g, const struct trajectory *r,
                     int prompt, int k)
{
    static const char *const finish[] = { "none", "end", "length" };
    const struct env_prompt *t = &g->prompt;
    const char *gts = t->from_data ? t->from_data->ground_truth : t->task.answer;
    struct str text = { 0 };
    char score[32];
    trajectory_text(r, x->s, &text);
    str_clear(o);
    str_putc(o, '{');
    put_text(o, "input", env_prompt_text(t), strlen(env_prompt_text(t)));
    put_text(o, "output", text.p, text.n);
    put_text(o, "gts", gts ? gts : "", gts ? strlen(gts) : 0);
    str_printf(o, ",\"score\":%s,\"step\":%d,\"acc\":%s,\"format\":%s", number_text(score, r->seq.reward), x->step,
               r->correct ? "true" : "false", r->well_formed ? "true" : "false");
    put_text(o, "data_source", env_prompt_source(t), strlen(env_prompt_source(t)));
    str_printf(o, ",\"question\":%d,\"sample\":%d,\"greedy\":%s,\"calls\":%d,\"length\":%d", prompt,
               k == x->samples ? 0 : k, k == x->samples ? "true" : "false", r->seq.calls, trajectory_len(r));
    put_text(o, "finish", finish[r->seq.finish], strlen(finish[r->seq.finish]));
    str_puts(o, "}\n");
    str_free(&text);
}

static struct answer answer_of(const struct trajectory *r)
{
    return (struct answer){ .have = true,
                            .correct = r->correct,
                            .well_formed = r->well_formed,
                            .calls = r->seq.calls,
                            .length = trajectory_len(r),
                            .reward = r->seq.reward };
}

static void append(struct answers *x, struct answer *a, const char *line, size_t n)
{
    a->at = ftello(x->f);
    a->bytes = (int)n;
    if (fwrite(line, 1, n, x->f) != n || fflush(x->f)) x->failed = true;
}

void answers_put(struct answers *x, const struct group *g, const struct trajectory *r, int prompt, int k)
{
    struct answer *a = answers_at(x, prompt, k);
    *a = answer_of(r);
    if (!x->f) return;
    struct str line = { 0 };
    put_line(&line, x, g, r, prompt, k);
    append(x, a, line.p, line.n);
    str_free(&line);
}

/* An answer between ranks; its line follows. */
struct answer_record {
    double reward;
    int32_t prompt, k, correct, well_formed, calls, length, bytes, zero;
};

void answers_send(struct answers *x, const struct group *g, const struct trajectory *r, int prompt, int k,
                  struct str *out)
{
    struct answer a = answer_of(r);
    struct str line = { 0 };
    answers_put(x, g, r, prompt, k);
    if (x->lines) put_line(&line, x, g, r, prompt, k);
    struct answer_record y = { a.reward, prompt, k, a.correct, a.well_formed, a.calls, a.length, (int32_t)line.n, 0 };
    str_put(out, (const char *)&y, sizeof y);
    if (line.n) str_put(out, line.p, line.n);
    str_free(&line);
}

bool answers_take(struct answers *x, const char *p, size_t n, struct err *e)
{
    for (size_t at = 0; at < n;) {
        struct answer_record y;
        if (n - at < sizeof y) return fail(e, "the message ends within a record");
        memcpy(&y, p + at, sizeof y);
        at += sizeof y;
        if (y.prompt < 0 || y.prompt >= x->prompts || y.k < 0 || y.k > x->samples || y.bytes < 0 ||
            (size_t)y.bytes > n - at || (y.correct & ~1) || (y.well_formed & ~1) || y.calls < 0 || y.length < 0)
            return fail(e, "an answer to prompt %d is not valid", y.prompt);
        struct answer *a = answers_at(x, y.prompt, y.k);
        if (a->have) return fail(e, "an answer to prompt %d comes twice", y.prompt);
        *a = (struct answer){ .have = true, .correct = y.correct, .well_formed = y.well_formed, .calls = y.calls,
                              .length = y.length, .reward = y.reward };
        if (x->f) append(x, a, p + at, (size_t)y.bytes);
        at += (size_t)y.bytes;
    }
    return true;
}

void answers_share(struct answers *x)
{
    x->lines = x->f != NULL;
    comm_bcast(&x->known, sizeof x->known, 0);
    comm_bcast(&x->lines, sizeof x->lines, 0);
    comm_bcast(x->a, (size_t)x->prompts * (size_t)(x->samples + 1) * sizeof *x->a, 0);
}

/* Replaces the file by one with its lines in the order of prompts. */
static bool put_in_order(const struct answers *x, struct err *e)
{
    struct out o;
    FILE *in = fopen(x->path, "r");
    if (!in) return fail(e, "%s: %s", x->path, strerror(errno));
    bool ok = out_open(&o, x->path, e);
    char *line = NULL;
    int64_t all = (int64_t)x->prompts * (x->samples + 1);
    for (int64_t i = 0; ok && i < all; i++) {
        line = xrealloc(line, (size_t)x->a[i].bytes + 1);
        ok = (fseeko(in, x->a[i].at, SEEK_SET) == 0 &&
              fread(line, 1, (size_t)x->a[i].bytes, in) == (size_t)x->a[i].bytes) ||
             fail(e, "%s: cannot be read again", x->path);
        if (ok) fwrite(line, 1, (size_t)x->a[i].bytes, o.f);
        else out_drop(&o);
    }
    ok = ok && out_commit(&o, e);
    free(line);
    fclose(in);
    return ok;
}

bool answers_close(struct answers *x, struct err *e)
{
    bool ok = !x->failed || fail(e, "%s: could not be written: %s", x->path, strerror(errno ? errno : ENOSPC)),
         all = x->f != NULL;
    if (x->f && fclose(x->f)) ok = fail(e, "%s: could not be written: %s", x->path, strerror(errno));
    for (int64_t i = 0; all && i < (int64_t)x->prompts * (x->samples + 1); i++) all = x->a[i].have;
    if (ok && all) ok = put_in_order(x, e);
    lock_drop(&x->lock);
    free(x->path);
    free(x->a);
    *x = (struct answers){ 0 };
    return ok;
}
