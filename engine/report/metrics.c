/* metrics.c: metrics.jsonl and the console line. A resumed run continues the file as if it had never stopped, so the
 * lines after its checkpoint are dropped. */
#include "engine/report/metrics.h"
#include "base/file.h"
#include "base/number.h"
#include "engine/report/tensorboard.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { LOG_MAX = 1 << 30 };

void metrics_put(struct metrics *m, const char *name, double value)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->v[i].name, name)) { m->v[i].value = value; return; }
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 64;
        m->v = xrealloc(m->v, (size_t)m->cap * sizeof *m->v);
    }
    m->v[m->n++] = (struct metric){ xstrdup(name), value };
}

double metrics_get(const struct metrics *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->v[i].name, name)) return m->v[i].value;
    return (double)NAN;
}

void metrics_clear(struct metrics *m)
{
    for (int i = 0; i < m->n; i++) free(m->v[i].name);
    m->n = 0;
}

void metrics_free(struct metrics *m)
{
    metrics_clear(m);
    free(m->v);
    *m = (struct metrics){ 0 };
}

bool metrics_is_timing(const char *name)
{
    return !strncmp(name, "timing_", 7) || !strncmp(name, "perf/", 5) || !strncmp(name, "ranks/", 6);
}

/* Escaped, because a name may contain the name of a data set; bytes that are not UTF-8 become '?'. */
static void put_name(struct str *s, const char *name)
{
    json_t *j = json_string(name);
    if (!j) {
        char *plain = xstrdup(name);
        for (char *p = plain; *p; p++)
            if ((unsigned char)*p >= 128) *p = '?';
        j = json_string(plain);
        free(plain);
    }
    char *text = json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT);
    str_puts(s, text);
    free(text);
    json_decref(j);
}

bool metrics_write(struct metrics_log *l, int64_t step, const struct metrics *m, struct err *e)
{
    struct str s = { 0 };
    char text[32];
    str_printf(&s, "{\"step\":%lld,\"data\":{", (long long)step);
    for (int i = 0; i < m->n; i++) {
        if (i) str_putc(&s, ',');
        put_name(&s, m->v[i].name);
        str_putc(&s, ':');
        str_puts(&s, isfinite(m->v[i].value) ? number_text(text, m->v[i].value) : "null");
    }
    str_puts(&s, "}}\n");
    bool ok = fwrite(s.p, 1, s.n, l->f) == s.n && !fflush(l->f);
    if (!ok) fail(e, "%s: %s; make room and resume from the last checkpoint", l->path, strerror(errno));
    hash_add(&l->hash, s.p, s.n);
    str_free(&s);
    return ok && (!l->board || tensorboard_write(l->board, step, m, e));
}

/* The step of one line; false: not a metrics line. */
static bool line_step(const char *line, size_t n, int64_t *step)
{
    json_t *j = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL), *s = json_object_get(j, "step");
    bool ok = json_is_integer(s) && json_is_object(json_object_get(j, "data"));
    if (ok) *step = json_integer_value(s);
    json_decref(j);
    return ok;
}

/* Keeps the lines up to a step. */
static bool cut_after(struct metrics_log *l, const char *path, int64_t after, struct err *e)
{
    struct str old = { 0 }, kept = { 0 };
    bool ok = file_read(path, LOG_MAX, &old, e);
    int number = 1;
    for (char *p = old.p; ok && p < old.p + old.n; number++) {
        char *end = memchr(p, '\n', (size_t)(old.p + old.n - p));
        int64_t step;
        if (!end) break;                                    /* the line that was being written when the run died */
        if (!line_step(p, (size_t)(end - p), &step))
            ok = fail(e, "%s:%d: not a line of metrics; move the file away or give trainer.resume=off", path, number);
        else {
            l->seen = step;
            if (step <= after) {
                str_put(&kept, p, (size_t)(end + 1 - p));
                l->kept = step;
            }
        }
        p = end + 1;
    }
    if (ok && kept.n != old.n) ok = file_write(path, kept.p ? kept.p : "", kept.n, e);
    if (ok) hash_add(&l->hash, kept.p, kept.n);
    str_free(&old);
    str_free(&kept);
    return ok;
}

bool metrics_check(const char *path, int64_t bytes, uint64_t hash, struct err *e)
{
    uint64_t is;
    int64_t n;
    if (!hash_file(path, bytes, &is, &n, e)) return false;
    if (n < bytes)
        return fail(e, "%s: cut short: has %lld bytes, up to the checkpoint %lld were written", path, (long long)n,
                    (long long)bytes);
    return is == hash || fail(e, "%s: damaged: of its first %lld bytes the checksum is %016llx, %016llx was written",
                              path, (long long)bytes, (unsigned long long)is, (unsigned long long)hash);
}

bool metrics_open(struct metrics_log *l, const char *path, int64_t after, const char *board_dir, struct err *e)
{
    *l = (struct metrics_log){ .kept = -1, .seen = -1 };
    hash_begin(&l->hash);
    /* O_NOFOLLOW: a link could lead to another user's file */
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | (after < 0 ? O_TRUNC : 0), 0666);
    if (fd < 0) return fail(e, errno == ELOOP ? "%s: is a link; move it away: %s" : "%s: %s", path, strerror(errno));
    close(fd);
    if (after >= 0 && !cut_after(l, path, after, e)) return false;
    FILE *f = fopen(path, "a");
    if (!f) return fail(e, "%s: %s", path, strerror(errno));
    struct tensorboard *board = board_dir ? tensorboard_open(board_dir, after, e) : NULL;
    if (board_dir && !board) {
        fclose(f);
        return false;
    }
    l->f = f;
    l->path = xstrdup(path);
    l->board = board;
    return true;
}

bool metrics_sync(struct metrics_log *l, struct err *e)
{
    return fsync(fileno(l->f)) == 0 || errno == EINVAL ||
           fail(e, "%s: could not be brought to the disk: %s", l->path, strerror(errno));
}

bool metrics_close(struct metrics_log *l, struct err *e)
{
    bool ok = true;
    if (l->f && fclose(l->f)) ok = fail(e, "%s: %s", l->path, strerror(errno));
    if (!tensorboard_close(l->board, ok ? e : NULL)) ok = false;
    free(l->path);
    *l = (struct metrics_log){ 0 };
    return ok;
}

static void console_put(FILE *f, const struct metric *m)
{
    double x = m->value;
    if (x == floor(x) && fabs(x) < 1e15) fprintf(f, " - %s:%.0f", m->name, x);
    else fprintf(f, " - %s:%.4g", m->name, x);
}

void metrics_console(FILE *f, int64_t step, const struct metrics *m, const char *const *keys)
{
    fprintf(f, "step:%lld", (long long)step);
    if (!keys)
        for (int i = 0; i < m->n; i++) console_put(f, &m->v[i]);
    for (; keys && *keys; keys++)
        for (int i = 0; i < m->n; i++)
            if (!strcmp(m->v[i].name, *keys)) console_put(f, &m->v[i]);
    fputc('\n', f);
    fflush(f);
}
