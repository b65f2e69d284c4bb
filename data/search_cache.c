/* search_cache.c: the recorded queries and results in an in-memory SQLite database with a full-text index. */
#include "data/search_cache.h"
#include "base/file.h"
#include "base/json.h"
#include "data/corpus.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

enum { SAME, NEAREST, STATEMENTS };
static const char *const sql[STATEMENTS] = {
    [SAME] = "SELECT result FROM entry WHERE query = ?",
    [NEAREST] = "SELECT result FROM entry WHERE id = (SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, 4.0, 1.0), rowid LIMIT 1)",
};

struct search_cache { sqlite3 *db; sqlite3_stmt *st[STATEMENTS]; pthread_mutex_t lock; };

/* Narrows [*s, *s + *n) to what is not white space at its ends. */
static void strip(const char **s, size_t *n)
{
    static const char blank[] = " \t\r\n\v\f";
    while (*n && memchr(blank, **s, sizeof blank - 1)) { ++*s; --*n; }
    while (*n && memchr(blank, (*s)[*n - 1], sizeof blank - 1)) --*n;
}

static bool fill(struct search_cache *c, const char *path, const json_t *all, struct err *e)
{
    static const char insert[] = "INSERT OR IGNORE INTO entry(query, result) VALUES(?, ?)";
    sqlite3_stmt *st = NULL;
    const char *query;
    json_t *result;
    bool ok = sqlite3_prepare_v2(c->db, insert, -1, &st, NULL) == SQLITE_OK && sqlite3_exec(c->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK;
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
    ok = ok && sqlite3_exec(c->db, "INSERT INTO words(rowid, query, result) SELECT id, query, result FROM entry; COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    for (int k = 0; ok && k < STATEMENTS; k++) ok = sqlite3_prepare_v3(c->db, sql[k], -1, SQLITE_PREPARE_PERSISTENT, &c->st[k], NULL) == SQLITE_OK;
    return ok || fail(e, "%s: %s", path, sqlite3_errmsg(c->db));
}

static json_t *read_object(const char *path, struct err *e)
{
    struct str text = { 0 };
    json_t *all = file_read(path, (size_t)1 << 30, &text, e) ? json_from(path, text.p, text.n, e) : NULL;
    str_free(&text);
    if (!all || (json_is_object(all) && json_object_size(all))) return all;
    fail(e, "%s: one JSON object {query: result, ...} is needed", path);
    json_decref(all);
    return NULL;
}

struct search_cache *search_cache_open(const char *path, struct err *e)
{
    static const char schema[] = "CREATE TABLE entry(id INTEGER PRIMARY KEY, query TEXT UNIQUE NOT NULL, result TEXT NOT NULL);"
                                 "CREATE VIRTUAL TABLE words USING fts5(query, result, content='entry', content_rowid='id', tokenize='unicode61');";
    json_t *all = read_object(path, e);
    if (!all) return NULL;
    struct search_cache *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    bool ok = sqlite3_open_v2(":memory:", &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
              sqlite3_exec(c->db, schema, NULL, NULL, NULL) == SQLITE_OK;
    if (!ok) fail(e, "tools.search_cache needs an SQLite built with FTS5 (SQLITE_ENABLE_FTS5): %s", c->db ? sqlite3_errmsg(c->db) : "out of memory");
    ok = ok && fill(c, path, all, e);
    json_decref(all);
    if (ok) return c;
    search_cache_close(c);
    return NULL;
}

void search_cache_close(struct search_cache *c)
{
    if (!c) return;
    for (int k = 0; k < STATEMENTS; k++) sqlite3_finalize(c->st[k]);
    sqlite3_close(c->db);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Appends result up to page max_pages, each page cut after max_chars characters of UTF-8. A page begins with "Page N: " at the start of a line. */
static void put_pages(struct str *out, const char *p, int max_pages, int max_chars)
{
    for (int page = 1; *p && page <= max_pages; page++) {
        char next[32];
        snprintf(next, sizeof next, "\nPage %d: ", page + 1);
        const char *end = strstr(p, next);
        size_t n = end ? (size_t)(end - p) : strlen(p), head = strncmp(p, "Page ", 5) ? 0 : strcspn(p, ":") + 2, keep = 0;
        for (int chars = 0; keep < n; keep++)
            if (((unsigned char)p[keep] & 0xC0) != 0x80 && keep >= head && chars++ == max_chars) break;
        if (page > 1) str_putc(out, '\n');
        str_put(out, p, keep);
        if (!end) break;
        p = end + 1;
    }
}

/* The one result of a statement for this text; false: none. */
static bool answer(struct search_cache *c, int which, const char *text, size_t n, struct str *out, int max_pages, int max_chars)
{
    sqlite3_stmt *st = c->st[which];
    sqlite3_bind_text64(st, 1, text, n, SQLITE_STATIC, SQLITE_UTF8);
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW) put_pages(out, (const char *)sqlite3_column_text(st, 0), max_pages, max_chars);
    else if (code != SQLITE_DONE) die("search_cache: %s: %s", sql[which], sqlite3_errmsg(c->db));
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return code == SQLITE_ROW;
}

void search_cache_find(struct search_cache *c, struct str *out, const char *query, size_t n, int max_pages, int max_chars)
{
    struct str words = { 0 };
    if (!corpus_expression(&words, query, n)) {
        str_puts(out, "error: empty query");
    } else {
        strip(&query, &n);
        pthread_mutex_lock(&c->lock);
        if (!answer(c, SAME, query, n, out, max_pages, max_chars) && !answer(c, NEAREST, words.p, words.n, out, max_pages, max_chars)) str_puts(out, "no page");
        pthread_mutex_unlock(&c->lock);
    }
    str_free(&words);
}
