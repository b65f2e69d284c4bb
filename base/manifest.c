/* manifest.c: sizes are compared before contents are read, so that a file that was cut short is found at once. */
#define _GNU_SOURCE      /* strsep */
#include "base/manifest.h"
#include "base/file.h"
#include "base/hash.h"
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LIST_MAX = 8 << 20, NAMES_MAX = 65536, DEEP_MAX = 8 };
static const char head[] = "manifest 1\n";

struct manifest_file { char *name; uint64_t hash; int64_t size; };
struct manifest_list { struct manifest_file *v; int n; };

static void list_free(struct manifest_list *l)
{
    for (int i = 0; i < l->n; i++) free(l->v[i].name);
    free(l->v);
    *l = (struct manifest_list){ 0 };
}

static void list_add(struct manifest_list *l, const char *name, uint64_t hash, int64_t size)
{
    if (!(l->n & (l->n - 1))) l->v = xrealloc(l->v, (size_t)(l->n ? 2 * l->n : 1) * sizeof *l->v);
    l->v[l->n++] = (struct manifest_file){ xstrdup(name), hash, size };
}

/* Adds all plain files below dir/at, under their names relative to dir. */
static bool walk(struct manifest_list *l, const char *dir, const char *at, int deep, struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/%s", dir, at);
    DIR *d = opendir(path.p);
    bool ok = (d && deep < DEEP_MAX) || fail(e, "%s: %s", path.p, d ? "folders in folders, too deep" : strerror(errno));
    for (struct dirent *x; ok && (x = readdir(d)); ) {
        struct str name = { 0 };
        struct stat st;
        if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, "..") || (!*at && !strcmp(x->d_name, "manifest"))) continue;
        str_printf(&name, "%s%s%s", at, *at ? "/" : "", x->d_name);
        str_clear(&path);
        str_printf(&path, "%s/%s", dir, name.p);
        ok = (lstat(path.p, &st) == 0 && !strchr(name.p, '\n')) || fail(e, "%s: cannot be listed", path.p);
        if (ok && S_ISDIR(st.st_mode)) ok = walk(l, dir, name.p, deep + 1, e);
        else if (ok && S_ISREG(st.st_mode)) list_add(l, name.p, 0, (int64_t)st.st_size);
        ok = ok && (l->n < NAMES_MAX || fail(e, "%s: too many files", dir));
        str_free(&name);
    }
    if (d) closedir(d);
    str_free(&path);
    return ok;
}

/* Hashes the files of the list. */
static bool add_lines(const struct manifest_list *l, const char *dir, struct str *lines, struct err *e)
{
    struct str path = { 0 };
    bool ok = true;
    for (int i = 0; ok && i < l->n; i++) {
        struct manifest_file *x = &l->v[i];
        str_clear(&path);
        str_printf(&path, "%s/%s", dir, x->name);
        ok = hash_file(path.p, -1, &x->hash, &x->size, e);
        str_printf(lines, "%016llx %lld %s\n", (unsigned long long)x->hash, (long long)x->size, x->name);
    }
    str_free(&path);
    return ok;
}

bool manifest_add(const char *dir, const char *name, struct str *lines, struct err *e)
{
    struct manifest_list l = { 0 };
    struct str path = { 0 };
    struct stat st;
    str_printf(&path, "%s/%s", dir, name);
    bool ok = lstat(path.p, &st) == 0 || fail(e, "%s: %s", path.p, strerror(errno));
    if (ok && S_ISREG(st.st_mode)) list_add(&l, name, 0, 0);
    else ok = ok && walk(&l, dir, name, 0, e);
    ok = ok && add_lines(&l, dir, lines, e);
    list_free(&l);
    str_free(&path);
    return ok;
}

static int by_line_name(const void *a, const void *b)
{
    /* hash, size and name are separated by the first two spaces */
    const char *x = strchr(*(char *const *)a + 17, ' '), *y = strchr(*(char *const *)b + 17, ' ');
    return strcmp(x, y);
}

bool manifest_put(const char *dir, const char *lines, struct err *e)
{
    struct str text = { 0 }, path = { 0 };
    char *copy = xstrdup(lines), **line = NULL, *rest = copy;
    int n = 0;
    for (char *one; (one = strsep(&rest, "\n")) && *one; ) {
        if (!(n & (n - 1))) line = xrealloc(line, (size_t)(n ? 2 * n : 1) * sizeof *line);
        line[n++] = one;
    }
    if (n) qsort(line, (size_t)n, sizeof *line, by_line_name);
    str_puts(&text, head);
    for (int i = 0; i < n; i++) str_printf(&text, "%s\n", line[i]);
    str_printf(&text, "%016llx\n", (unsigned long long)hash_of(text.p, text.n));
    str_printf(&path, "%s/manifest", dir);
    bool ok = file_write(path.p, text.p, text.n, e);
    free(line);
    free(copy);
    str_free(&text);
    str_free(&path);
    return ok;
}

bool manifest_write(const char *dir, struct err *e)
{
    struct manifest_list l = { 0 };
    struct str lines = { 0 };
    bool ok = walk(&l, dir, "", 0, e) && add_lines(&l, dir, &lines, e) && manifest_put(dir, lines.n ? lines.p : "", e);
    list_free(&l);
    str_free(&lines);
    return ok;
}

/* Reads 16 hexadecimal digits and the byte after them. */
static bool read_hash(const char **p, const char *end, char after, uint64_t *hash)
{
    *hash = 0;
    if (end - *p < 17 || (*p)[16] != after) return false;
    for (int i = 0; i < 16; i++) {
        const char *digits = "0123456789abcdef", *d = memchr(digits, (*p)[i], 16);
        if (!d) return false;
        *hash = *hash << 4 | (uint64_t)(d - digits);
    }
    *p += 17;
    return true;
}

/* Does the name stay below the folder? No "..", no empty part. */
static bool is_name(const char *s)
{
    if (!*s || *s == '/') return false;
    for (const char *p = s; *p; ) {
        size_t n = strcspn(p, "/");
        if (!n || (n == 1 && *p == '.') || (n == 2 && p[0] == '.' && p[1] == '.')) return false;
        p += n + (p[n] == '/' && p[n + 1]);
    }
    return s[strlen(s) - 1] != '/';
}

static bool read_entry(struct manifest_list *l, const char **p, const char *end)
{
    uint64_t hash;
    int64_t size = 0;
    const char *stop = memchr(*p, '\n', (size_t)(end - *p)), *digits;
    if (!stop || !read_hash(p, end, ' ', &hash)) return false;
    for (digits = *p; *p < stop && **p >= '0' && **p <= '9' && *p - digits < 18; ++*p) size = 10 * size + (**p - '0');
    if (*p == digits || *p == stop || **p != ' ') return false;
    char *name = xcalloc((size_t)(stop - *p), 1);
    memcpy(name, *p + 1, (size_t)(stop - *p - 1));
    bool ok = strlen(name) == (size_t)(stop - *p - 1) && is_name(name) && l->n < NAMES_MAX;
    if (ok) list_add(l, name, hash, size);
    free(name);
    *p = stop + 1;
    return ok;
}

/* Reads the entries and checks the last line, the checksum of the lines before it. */
static bool parse(struct manifest_list *l, const char *text, size_t n)
{
    const char *p = text, *end = text + n, *last;
    uint64_t hash;
    size_t h = sizeof head - 1;
    if (n < h + 17 || memcmp(text, head, h)) return false;
    last = end - 17;
    p += h;
    const char *q = last;
    if (!read_hash(&q, end, '\n', &hash) || hash != hash_of(text, (size_t)(last - text))) return false;
    while (p < last) if (!read_entry(l, &p, last)) return false;
    return true;
}

static bool read_list(struct manifest_list *l, const char *dir, struct err *e)
{
    struct str path = { 0 }, text = { 0 };
    str_printf(&path, "%s/manifest", dir);
    bool ok = file_read(path.p, LIST_MAX, &text, e);
    if (ok && !parse(l, text.p, text.n))
        ok = fail(e, "%s: damaged: its lines are not those that its checksum is of", path.p);
    str_free(&path);
    str_free(&text);
    return ok;
}

static bool check_size(const char *path, const struct manifest_file *x, struct err *e)
{
    struct stat st;
    if (stat(path, &st) != 0) return fail(e, "%s: %s", path, strerror(errno));
    if (S_ISREG(st.st_mode) && (int64_t)st.st_size == x->size) return true;
    return fail(e, "%s: damaged: has %lld bytes, %lld were written", path, (long long)st.st_size, (long long)x->size);
}

static bool check_contents(const char *path, const struct manifest_file *x, struct err *e)
{
    uint64_t hash;
    int64_t size;
    if (!hash_file(path, -1, &hash, &size, e)) return false;
    if (hash == x->hash) return true;
    return fail(e, "%s: damaged: its checksum is %016llx, %016llx was written", path, (unsigned long long)hash,
                (unsigned long long)x->hash);
}

bool manifest_check(const char *dir, bool contents, struct err *e)
{
    struct manifest_list l = { 0 };
    struct str path = { 0 };
    bool ok = read_list(&l, dir, e);
    for (int turn = 0; ok && turn < 1 + contents; turn++)
        for (int i = 0; ok && i < l.n; i++) {
            str_clear(&path);
            str_printf(&path, "%s/%s", dir, l.v[i].name);
            ok = turn ? check_contents(path.p, &l.v[i], e) : check_size(path.p, &l.v[i], e);
        }
    list_free(&l);
    str_free(&path);
    return ok;
}

/* Removes a file's parent folders as long as they are empty. */
static void remove_above(char *path, size_t base)
{
    for (char *slash; (slash = strrchr(path, '/')) && slash > path + base; ) {
        *slash = 0;
        if (rmdir(path) != 0) return;
    }
}

bool manifest_remove(const char *dir)
{
    struct manifest_list l = { 0 };
    struct str path = { 0 };
    bool ok = read_list(&l, dir, NULL);
    for (int i = 0; ok && i < l.n; i++) {
        str_clear(&path);
        str_printf(&path, "%s/%s", dir, l.v[i].name);
        unlink(path.p);
        remove_above(path.p, strlen(dir));
    }
    str_clear(&path);
    str_printf(&path, "%s/manifest", dir);
    if (ok) unlink(path.p);
    list_free(&l);
    str_free(&path);
    return ok && rmdir(dir) == 0;
}
