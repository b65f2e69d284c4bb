/* data_files.c: lists, folders and patterns to files. Ambiguous folders are rejected: files of two kinds may hold the
 * same records twice, and the test split of a folder is not for training. */
#define _GNU_SOURCE     /* strcasestr */
#include "data/data_files.h"
#include "base/text.h"
#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILES_MAX = 100000 };
enum kind { OTHER, LINES, ARRAY, PARQUET };

static bool is_folder(const char *path) { struct stat st; return stat(path, &st) == 0 && S_ISDIR(st.st_mode); }
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool ends(const char *s, size_t n, const char *tail)
{
    size_t k = strlen(tail);
    return n > k && !strncasecmp(s + n - k, tail, k);
}

/* By its name, because folders also hold READMEs, licences and descriptions. */
static enum kind kind_of(const char *name)
{
    size_t n = strlen(name);
    static const char *const about[] = { "dataset_info.json", "dataset_infos.json", "dataset_dict.json",
                                         "state.json",        "config.json",        "metadata.json" };
    if (*name == '.' || *name == '_') return OTHER;
    for (size_t k = 0; k < sizeof about / sizeof *about; k++) if (!strcmp(name, about[k])) return OTHER;
    if (ends(name, n, ".gz")) n -= 3;
    else if (ends(name, n, ".zst")) n -= 4;
    if (ends(name, n, ".parquet")) return PARQUET;
    if (ends(name, n, ".jsonl") || ends(name, n, ".ndjson")) return LINES;
    return ends(name, n, ".json") ? ARRAY : OTHER;
}

static void add(struct data_files *f, const char *path)
{
    if (f->n == f->cap) f->path = xrealloc(f->path, (size_t)(f->cap = f->cap ? 2 * f->cap : 8) * sizeof *f->path);
    f->path[f->n++] = xstrdup(path);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Does the name contain the word of a split? */
static bool has_word(const char *name, const char *const *words)
{
    for (; *words; words++) {
        size_t n = strlen(*words);
        for (const char *p = name; (p = strcasestr(p, *words)); p++) {
            bool begins = p == name || strchr("-_. ", p[-1]), over = !p[n] || strchr("-_. 0123456789", p[n]);
            if (begins && over) return true;
        }
    }
    return false;
}

static bool one_split(const struct data_files *f, int from, const char *dir, struct err *e)
{
    static const char *const train[] = { "train", "training", NULL };
    static const char *const held[] = { "test", "testing", "val", "valid", "validation", "dev", "eval", NULL };
    const char *a = NULL, *b = NULL;
    for (int k = from; k < f->n; k++) {
        const char *name = base_name(f->path[k]);
        if (has_word(name, train)) a = name;
        else if (has_word(name, held)) b = name;
    }
    return !a || !b ||
           fail(e,
                "%s: stands for both %.100s and %.100s: name the files, or patterns such as "
                "train-*.parquet",
                dir, a, b);
}

/* "train-00000-of-00003.parquet": *of is 3. */
static bool is_shard(const char *name, int *of)
{
    int at, end = 0;
    for (const char *p = name; (p = strchr(p, '-')); p++)
        if (sscanf(p, "-%5d-of-%5d%n", &at, of, &end) == 2 && end) return *of > 0;
    return false;
}

static void note(struct data_files *f, int from, const char *item)
{
    int n = f->n - from, of = 0, most = 0, shards = 0;
    for (int k = from; k < f->n; k++) {
        if (!is_shard(base_name(f->path[k]), &of)) continue;
        shards++;
        if (of > most) most = of;
    }
    str_printf(&f->note, "%s: %d file%s: %s", item, n, n == 1 ? "" : "s", base_name(f->path[from]));
    for (int k = from + 1; k < f->n && k < from + 3 && n <= 4; k++) str_printf(&f->note, ", %s", base_name(f->path[k]));
    if (n > 4) str_printf(&f->note, ", %s, ...", base_name(f->path[from + 1]));
    if (n > 3) str_printf(&f->note, n == 4 ? ", %s" : " %s", base_name(f->path[f->n - 1]));
    if (shards && shards < most) str_printf(&f->note, " (%d of %d shards)", shards, most);
    str_putc(&f->note, '\n');
}

static bool one_kind(const char *dir, const int *count, int arrow, const char *below, struct err *e)
{
    const char *slash = dir[strlen(dir) - 1] == '/' ? "" : "/";
    int kinds = !!count[LINES] + !!count[ARRAY] + !!count[PARQUET];
    if (kinds == 1) return true;
    if (kinds)
        return fail(
            e,
            "%s: holds files of several kinds (%d .jsonl, %d .json, %d .parquet), which may hold the same records: "
            "name a "
            "pattern such as %s%s*.%s",
            dir, count[LINES], count[ARRAY], count[PARQUET], dir, slash, count[PARQUET] ? "parquet" : "jsonl");
    if (arrow)
        return fail(e, "%s: holds Arrow files, which are not read: write the set with to_parquet() or to_json()", dir);
    return fail(e, "%s: is a folder without .parquet, .jsonl or .json files%s", dir, below);
}

static bool folder(struct data_files *f, const char *dir, struct err *e)
{
    DIR *d = opendir(dir);
    struct dirent *one;
    struct str path = { 0 }, below = { 0 };
    int from = f->n, count[PARQUET + 1] = { 0 }, arrow = 0;
    if (!d) return fail(e, "%s: %s", dir, strerror(errno));
    while ((one = readdir(d)) && f->n < FILES_MAX) {
        str_clear(&path);
        str_printf(&path, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", one->d_name);
        bool down = is_folder(path.p);
        if (down && *one->d_name != '.' && below.n < 200)
            str_printf(&below, "%s%s", below.n ? ", " : "; it has folders: ", one->d_name);
        arrow += ends(one->d_name, strlen(one->d_name), ".arrow");
        enum kind kind = down ? OTHER : kind_of(one->d_name);
        if (kind == OTHER) continue;
        count[kind]++;
        add(f, path.p);
    }
    closedir(d);
    str_free(&path);
    bool ok = one_kind(dir, count, arrow, below.n ? below.p : "", e);
    str_free(&below);
    if (!ok) return false;
    qsort(f->path + from, (size_t)(f->n - from), sizeof *f->path, by_name);
    if (!one_split(f, from, dir, e)) return false;
    note(f, from, dir);
    return true;
}

static bool pattern(struct data_files *f, const char *item, struct err *e)
{
    glob_t g;
    int from = f->n, code = glob(item, GLOB_NOSORT, NULL, &g);
    if (code == GLOB_NOSPACE) die("glob: out of memory");
    for (size_t k = 0; !code && k < g.gl_pathc && f->n < FILES_MAX; k++)
        if (!is_folder(g.gl_pathv[k])) add(f, g.gl_pathv[k]);
    if (!code) globfree(&g);
    if (f->n == from) return fail(e, "%s: no file matches this pattern", item);
    qsort(f->path + from, (size_t)(f->n - from), sizeof *f->path, by_name);
    if (!one_split(f, from, item, e)) return false;
    note(f, from, item);
    return true;
}

static bool item(struct data_files *f, const char *name, struct err *e)
{
    if (is_folder(name)) return folder(f, name, e);
    if (!file_exists(name) && strpbrk(name, "*?[")) return pattern(f, name, e);
    if (f->n == FILES_MAX) return fail(e, "%s: more than %d files", name, FILES_MAX);
    add(f, name);
    return true;
}

static void trim(const char **p, size_t *n)
{
    while (*n && is_space(**p)) { ++*p; --*n; }
    while (*n && is_space((*p)[*n - 1])) --*n;
}

bool data_files_find(struct data_files *f, const char *list, struct err *e)
{
    size_t n = strlen(list);
    struct str name = { 0 };
    bool ok = true;
    trim(&list, &n);
    bool bracket = n >= 2 && list[0] == '[' && list[n - 1] == ']';
    if (bracket) { list++; n -= 2; }
    for (size_t at = 0; ok && at < n; at++) {
        const char *p = list + at, *comma = memchr(p, ',', n - at);
        size_t k = comma ? (size_t)(comma - p) : n - at;
        at += k;
        trim(&p, &k);
        if (k >= 2 && (*p == '\'' || *p == '"') && p[k - 1] == *p) { p++; k -= 2; }
        str_clear(&name);
        str_put(&name, p, k);
        if (k) ok = item(f, name.p, e);
    }
    str_free(&name);
    return ok;
}

void data_files_free(struct data_files *f)
{
    for (int k = 0; k < f->n; k++) free(f->path[k]);
    free(f->path);
    str_free(&f->note);
    *f = (struct data_files){ 0 };
}
