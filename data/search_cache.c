/* search_cache.c: the recorded queries and results in an SQLite database in memory, with a full-text index for the
 * nearest query. It is built once and serialized into one image; each searching thread reads the image through its own
 * read-only connection, so no thread waits for another. */
#include "data/search_cache.h"
#include "data/foreign_files.h"
#include "base/file.h"
#include "base/json.h"
#include "data/tasks/corpus.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "base/text.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

/* A query of common words would rank a large part of the cache: 0.6 s for 300,000 entries. So the common words are left
 * out, and at most this many entries are ranked. */
enum { CANDIDATES = 10000, MEMO_MAX = 1 << 17 };

enum { SAME, COUNT, NEAREST, BY_ID, STATEMENTS };
static const char *const sql[STATEMENTS] = {
    [SAME] = "SELECT result FROM entry WHERE query = ?",
    [COUNT] = "SELECT count(*) FROM words WHERE words MATCH ?",
    [NEAREST] = ("SELECT id FROM (SELECT rowid AS id, bm25(words, 4.0, 1.0) AS far FROM words WHERE words MATCH ? "
                 "ORDER BY rowid LIMIT ?) ORDER BY far, id LIMIT 1"),
    [BY_ID] = "SELECT result FROM entry WHERE id = ?",
};

/* A memoized number: for a word in quotes, its number of entries; for an expression, the nearest entry (0: none). */
struct memo { char *text; int64_t value; };

struct connection { struct connection *next; sqlite3 *db; sqlite3_stmt *st[STATEMENTS]; };

struct search_cache {
    unsigned char *image;           /* the database, shared by all connections, never written */
    sqlite3_int64 bytes;
    bool nearest;
    pthread_mutex_t lock;           /* guards the list of idle connections and the memo; never held during a query */
    struct connection *idle;
    struct memo *memo;              /* [MEMO_MAX * 2], open addressing; when half full, nothing is added */
    int memos;
};

/* Strips white space at both ends of [*s, *s + *n). */
static void strip(const char **s, size_t *n)
{
    static const char blank[] = " \t\r\n\v\f";
    while (*n && memchr(blank, **s, sizeof blank - 1)) { ++*s; --*n; }
    while (*n && memchr(blank, (*s)[*n - 1], sizeof blank - 1)) --*n;
}

static bool fill(sqlite3 *db, const char *path, const json_t *all, struct err *e)
{
    static const char insert[] = "INSERT OR IGNORE INTO entry(query, result) VALUES(?, ?)";
    sqlite3_stmt *st = NULL;
    const char *query;
    json_t *result;
    bool ok = sqlite3_prepare_v2(db, insert, -1, &st, NULL) == SQLITE_OK &&
              sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK;
    json_object_foreach((json_t *)all, query, result) {
        const char *text = query;
        size_t n = strlen(query);
        if (!json_is_string(result)) {
            sqlite3_finalize(st);
            return fail(e, "%s: the result of \"%.60s\" is not a string", path, query);
        }
        strip(&text, &n);
        sqlite3_bind_text64(st, 1, text, n, SQLITE_STATIC, SQLITE_UTF8);
        sqlite3_bind_text64(st, 2, json_string_value(result), json_string_length(result), SQLITE_STATIC, SQLITE_UTF8);
        ok = ok && sqlite3_step(st) == SQLITE_DONE && sqlite3_reset(st) == SQLITE_OK;
    }
    sqlite3_finalize(st);
    return (ok && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK) ||
           fail(e, "%s: %s", path, sqlite3_errmsg(db));
}

/* One segment, so that the entries of a word are contiguous. */
static bool index_words(sqlite3 *db, const char *path, struct err *e)
{
    static const char make[] = "CREATE VIRTUAL TABLE words USING fts5(query, result, content='entry', "
                               "content_rowid='id', tokenize='unicode61');";
    static const char put[] = "BEGIN; INSERT INTO words(rowid, query, result) SELECT id, query, result FROM entry; "
                              "COMMIT;"
                              "INSERT INTO words(words) VALUES('optimize');";
    if (sqlite3_exec(db, make, NULL, NULL, NULL) != SQLITE_OK)
        return fail(e, "tools.search_miss=nearest needs an SQLite built with FTS5 (SQLITE_ENABLE_FTS5): %s",
                    sqlite3_errmsg(db));
    return sqlite3_exec(db, put, NULL, NULL, NULL) == SQLITE_OK || fail(e, "%s: %s", path, sqlite3_errmsg(db));
}

static bool build(struct search_cache *c, const char *path, const json_t *all, struct err *e)
{
    static const char schema[] = "CREATE TABLE entry(id INTEGER PRIMARY KEY, query TEXT UNIQUE NOT NULL, result TEXT "
                                 "NOT NULL);";
    sqlite3 *db = NULL;
    bool ok = sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                              NULL) == SQLITE_OK &&
              sqlite3_exec(db, schema, NULL, NULL, NULL) == SQLITE_OK;
    if (!ok) fail(e, "%s: %s", path, db ? sqlite3_errmsg(db) : "out of memory");
    ok = ok && fill(db, path, all, e) && (!c->nearest || index_words(db, path, e));
    if (ok) {
        c->image = sqlite3_serialize(db, "main", &c->bytes, 0);
        ok = c->image || fail(e, "%s: no memory for a database of %lld bytes", path, (long long)c->bytes);
    }
    sqlite3_close(db);
    return ok;
}

static void connection_close(struct connection *r)
{
    for (int k = 0; k < STATEMENTS; k++) sqlite3_finalize(r->st[k]);
    sqlite3_close(r->db);
    free(r);
}

/* Opens a new connection to the image. NULL: the message is in e. */
static struct connection *connection_open(const struct search_cache *c, struct err *e)
{
    struct connection *r = xcalloc(1, sizeof *r);
    bool ok =
        sqlite3_open_v2(":memory:", &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) ==
            SQLITE_OK &&
        sqlite3_deserialize(r->db, "main", c->image, c->bytes, c->bytes, SQLITE_DESERIALIZE_READONLY) == SQLITE_OK;
    for (int k = 0; ok && k < STATEMENTS; k++)
        if (c->nearest || k == SAME)
            ok = sqlite3_prepare_v3(r->db, sql[k], -1, SQLITE_PREPARE_PERSISTENT, &r->st[k], NULL) == SQLITE_OK;
    if (ok) return r;
    fail(e, "the recorded searches cannot be read: %s", r->db ? sqlite3_errmsg(r->db) : "out of memory");
    connection_close(r);
    return NULL;
}

static json_t *read_object(const char *path, struct err *e)
{
    struct str text = { 0 };
    const char *foreign = NULL;
    bool ok = file_read(path, (size_t)1 << 30, &text, e);
    if (ok && text.n && (foreign = foreign_is(text.p, text.n))) ok = fail(e, "%s: %s", path, foreign);
    json_t *all = ok ? json_from(path, text.p, text.n, e) : NULL;
    str_free(&text);
    if (!all || (json_is_object(all) && json_object_size(all))) return all;
    fail(e, "%s: one JSON object {query: result, ...} is needed", path);
    json_decref(all);
    return NULL;
}

struct search_cache *search_cache_open(const char *path, bool nearest, struct err *e)
{
    json_t *all = read_object(path, e);
    if (!all) return NULL;
    struct search_cache *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    c->nearest = nearest;
    bool ok = build(c, path, all, e);
    json_decref(all);
    if (ok && nearest) c->memo = xcalloc(2 * MEMO_MAX, sizeof *c->memo);
    if (ok) c->idle = connection_open(c, e);
    if (c->idle) return c;
    search_cache_close(c);
    return NULL;
}

void search_cache_close(struct search_cache *c)
{
    if (!c) return;
    while (c->idle) {
        struct connection *r = c->idle;
        c->idle = r->next;
        connection_close(r);
    }
    for (int i = 0; c->memo && i < 2 * MEMO_MAX; i++) free(c->memo[i].text);
    free(c->memo);
    sqlite3_free(c->image);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Takes an idle connection or opens one: there are as many as threads search at once. */
static struct connection *connection_take(struct search_cache *c)
{
    pthread_mutex_lock(&c->lock);
    struct connection *r = c->idle;
    if (r) c->idle = r->next;
    pthread_mutex_unlock(&c->lock);
    struct err e;
    if (!r && !(r = connection_open(c, &e))) die("search_cache: %s", e.text);
    return r;
}

static void connection_give(struct search_cache *c, struct connection *r)
{
    pthread_mutex_lock(&c->lock);
    r->next = c->idle;
    c->idle = r;
    pthread_mutex_unlock(&c->lock);
}

/* The memo's slot for a text: its own, or a free one. */
static struct memo *memo_at(const struct search_cache *c, const char *text)
{
    uint64_t h = fnv1a(text, strlen(text));
    for (size_t i = (size_t)(h ^ h >> 32);; i++) {
        struct memo *m = &c->memo[i % (2 * MEMO_MAX)];
        if (!m->text || !strcmp(m->text, text)) return m;
    }
}

static bool memo_get(struct search_cache *c, const char *text, int64_t *value)
{
    pthread_mutex_lock(&c->lock);
    const struct memo *m = memo_at(c, text);
    bool found = m->text != NULL;
    if (found) *value = m->value;
    pthread_mutex_unlock(&c->lock);
    return found;
}

static void memo_put(struct search_cache *c, const char *text, int64_t value)
{
    pthread_mutex_lock(&c->lock);
    struct memo *m = memo_at(c, text);
    if (!m->text && c->memos < MEMO_MAX) {
        *m = (struct memo){ xstrdup(text), value };
        c->memos++;
    }
    pthread_mutex_unlock(&c->lock);
}

/* Appends at most max_pages pages, each cut after max_chars characters of UTF-8. A page begins with "Page N: " at the
 * start of a line. */
static void put_pages(struct str *out, const char *p, int max_pages, int max_chars)
{
    for (int page = 1; *p && page <= max_pages; page++) {
        char next[32];
        snprintf(next, sizeof next, "\nPage %d: ", page + 1);
        const char *end = strstr(p, next);
        size_t n = end ? (size_t)(end - p) : strlen(p), head = starts_with(p, "Page ") ? strcspn(p, ":") + 2 : 0,
               keep = 0;
        for (int chars = 0; keep < n; keep++)
            if (!utf8_continues(p[keep]) && keep >= head && chars++ == max_chars) break;
        if (page > 1) str_putc(out, '\n');
        str_put(out, p, keep);
        if (!end) break;
        p = end + 1;
    }
}

static void step_failed(const struct connection *r, int which)
{
    die("search_cache: %s: %s", sql[which], sqlite3_errmsg(r->db));
}

static void connection_reset(struct connection *r, int which)
{
    sqlite3_reset(r->st[which]);
    sqlite3_clear_bindings(r->st[which]);
}

/* Runs a statement and appends the result that it finds; false: none. */
static bool put_result(struct connection *r, int which, struct str *out, int max_pages, int max_chars)
{
    int code = sqlite3_step(r->st[which]);
    if (code == SQLITE_ROW) put_pages(out, (const char *)sqlite3_column_text(r->st[which], 0), max_pages, max_chars);
    else if (code != SQLITE_DONE) step_failed(r, which);
    connection_reset(r, which);
    return code == SQLITE_ROW;
}

/* The number that COUNT or NEAREST finds for an expression; 0: none. It depends on the text alone, so threads that ask
 * at the same time only repeat work. */
static int64_t number_of(struct search_cache *c, struct connection *r, int which, const char *expression)
{
    int64_t value = 0;
    if (memo_get(c, expression, &value)) return value;
    sqlite3_bind_text(r->st[which], 1, expression, -1, SQLITE_STATIC);
    if (which == NEAREST) sqlite3_bind_int(r->st[which], 2, CANDIDATES);
    int code = sqlite3_step(r->st[which]);
    if (code == SQLITE_ROW) value = sqlite3_column_int64(r->st[which], 0);
    else if (code != SQLITE_DONE) step_failed(r, which);
    connection_reset(r, which);
    memo_put(c, expression, value);
    return value;
}

struct query_word { struct str text; int64_t entries; int at; };

static int rarer(const void *a, const void *b)
{
    const struct query_word *x = a, *y = b;
    return x->entries != y->entries ? (x->entries < y->entries ? -1 : 1) : x->at - y->at;
}

static int in_order(const void *a, const void *b)
{
    return ((const struct query_word *)a)->at - ((const struct query_word *)b)->at;
}

/* Writes the expression for the query's rarest words: as many as match at most CANDIDATES entries together, at least
 * one. False: no entry has any of the words. */
static bool rare_words(struct str *out, struct search_cache *c, struct connection *r, const char *query, size_t n)
{
    struct query_word w[CORPUS_QUERY_WORDS];
    int words = 0, kept = 0, from = 0;
    int64_t entries = 0;
    size_t at = 0, len;
    str_clear(out);
    for (; words < CORPUS_QUERY_WORDS && (len = corpus_word(query, n, &at)) > 0; at += len) {
        w[words] = (struct query_word){ .at = words };
        if (!corpus_expression(&w[words].text, query + at, len)) continue;
        w[words].entries = number_of(c, r, COUNT, w[words].text.p);
        words++;
    }
    qsort(w, (size_t)words, sizeof *w, rarer);
    while (from < words && !w[from].entries) from++;
    for (; from + kept < words && (!kept || entries + w[from + kept].entries <= CANDIDATES); kept++)
        entries += w[from + kept].entries;
    qsort(w + from, (size_t)kept, sizeof *w, in_order);
    for (int k = 0; k < kept; k++) str_printf(out, "%s%s", k ? " OR " : "", w[from + k].text.p);
    if (kept == 1) str_putc(out, ' ');                     /* a memo key other than the word's own text */
    for (int k = 0; k < words; k++) str_free(&w[k].text);
    return kept > 0;
}

static bool put_nearest(struct search_cache *c, struct connection *r, const char *query, size_t n, struct str *out,
                        int max_pages, int max_chars)
{
    struct str words = { 0 };
    int64_t id = rare_words(&words, c, r, query, n) ? number_of(c, r, NEAREST, words.p) : 0;
    str_free(&words);
    if (!id) return false;
    sqlite3_bind_int64(r->st[BY_ID], 1, id);
    return put_result(r, BY_ID, out, max_pages, max_chars);
}

enum search_found search_cache_find(struct search_cache *c, struct str *out, const char *query, size_t n, int max_pages,
                                    int max_chars)
{
    size_t at = 0;
    if (!corpus_word(query, n, &at)) {
        str_puts(out, "error: empty query");
        return SEARCH_EMPTY;
    }
    strip(&query, &n);
    enum search_found found = SEARCH_RECORDED;
    struct connection *r = connection_take(c);
    sqlite3_bind_text64(r->st[SAME], 1, query, n, SQLITE_STATIC, SQLITE_UTF8);
    if (!put_result(r, SAME, out, max_pages, max_chars)) {
        found = c->nearest && put_nearest(c, r, query, n, out, max_pages, max_chars) ? SEARCH_NEAREST : SEARCH_MISSED;
        if (found == SEARCH_MISSED) str_puts(out, SEARCH_NO_RECORD);
    }
    connection_give(c, r);
    return found;
}
