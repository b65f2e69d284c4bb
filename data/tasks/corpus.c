/* corpus.c: pages in an in-memory SQLite database. The table page is authoritative; title_index is an external-content
 * FTS5 index over its titles, updated by hand, because FTS5 deletes a row only if given the row's old text. */
#include "data/tasks/corpus.h"
#include "base/utf8.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES = 64 };
enum { ADD_PAGE, INDEX_PAGE, UNINDEX_SCOPE, DROP_SCOPE, SEARCH, BEGIN, COMMIT, STATEMENTS };
static const char *const sql[STATEMENTS] = {
    [ADD_PAGE] = "INSERT INTO page(scope, title, body) VALUES(?, ?, ?)",
    [INDEX_PAGE] = "INSERT INTO title_index(rowid, title) VALUES(?, ?)",
    [UNINDEX_SCOPE] = "INSERT INTO title_index(title_index, rowid, title) SELECT 'delete', id, title FROM page WHERE "
    "scope = ?",
    [DROP_SCOPE] = "DELETE FROM page WHERE scope = ?",
    [SEARCH] = "SELECT p.title, p.body FROM title_index t CROSS JOIN page p ON p.id = t.rowid WHERE t.title MATCH ? "
    "AND p.scope = ? ORDER BY p.id LIMIT ?",
    [BEGIN] = "BEGIN", [COMMIT] = "COMMIT",
};

struct corpus {
    sqlite3 *db;
    sqlite3_stmt *st[STATEMENTS];
    pthread_mutex_t lock;
};

struct corpus *corpus_open(struct err *e)
{
    static const char schema[] =
        "CREATE TABLE page(id INTEGER PRIMARY KEY AUTOINCREMENT, scope INTEGER NOT NULL, title TEXT NOT NULL, body "
        "TEXT NOT NULL);"
        "CREATE INDEX page_scope ON page(scope);"
        "CREATE VIRTUAL TABLE title_index USING fts5(title, content='page', content_rowid='id', tokenize='unicode61');";
    struct corpus *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    bool ok = sqlite3_open_v2(":memory:", &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                              NULL) == SQLITE_OK &&
              sqlite3_exec(c->db, schema, NULL, NULL, NULL) == SQLITE_OK;
    for (int k = 0; ok && k < STATEMENTS; k++)
        ok = sqlite3_prepare_v3(c->db, sql[k], -1, SQLITE_PREPARE_PERSISTENT, &c->st[k], NULL) == SQLITE_OK;
    if (ok) return c;
    fail(e, "the search tool needs an SQLite built with FTS5 (SQLITE_ENABLE_FTS5): %s",
         c->db ? sqlite3_errmsg(c->db) : "out of memory");
    corpus_close(c);
    return NULL;
}

void corpus_close(struct corpus *c)
{
    if (!c) return;
    for (int k = 0; k < STATEMENTS; k++) sqlite3_finalize(c->st[k]);
    sqlite3_close(c->db);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Runs a statement that returns no rows. The database is private and in memory: a failure is a broken invariant. */
static void step(struct corpus *c, int which)
{
    if (sqlite3_step(c->st[which]) != SQLITE_DONE) die("corpus: %s: %s", sql[which], sqlite3_errmsg(c->db));
    sqlite3_reset(c->st[which]);
    sqlite3_clear_bindings(c->st[which]);
}

void corpus_add(struct corpus *c, int64_t scope, const char *title, const char *text)
{
    pthread_mutex_lock(&c->lock);
    step(c, BEGIN);
    sqlite3_bind_int64(c->st[ADD_PAGE], 1, scope);
    sqlite3_bind_text(c->st[ADD_PAGE], 2, title, -1, SQLITE_STATIC);
    sqlite3_bind_text(c->st[ADD_PAGE], 3, text, -1, SQLITE_STATIC);
    step(c, ADD_PAGE);
    sqlite3_bind_int64(c->st[INDEX_PAGE], 1, sqlite3_last_insert_rowid(c->db));
    sqlite3_bind_text(c->st[INDEX_PAGE], 2, title, -1, SQLITE_STATIC);
    step(c, INDEX_PAGE);
    step(c, COMMIT);
    pthread_mutex_unlock(&c->lock);
}

void corpus_drop(struct corpus *c, int64_t scope)
{
    pthread_mutex_lock(&c->lock);
    step(c, BEGIN);
    for (int k = UNINDEX_SCOPE; k <= DROP_SCOPE; k++) {
        sqlite3_bind_int64(c->st[k], 1, scope);
        step(c, k);
    }
    step(c, COMMIT);
    pthread_mutex_unlock(&c->lock);
}

static bool in_word(char ch)
{
    unsigned char u = (unsigned char)ch;
    return u >= 128 || (u >= '0' && u <= '9') || (u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z');
}

size_t corpus_word(const char *query, size_t n, size_t *at)
{
    while (*at < n && !in_word(query[*at])) ++*at;
    size_t end = *at;
    while (end < n && in_word(query[end])) end++;
    return end - *at;
}

void corpus_put_page(struct str *out, int number, const char *title, const char *text, int max_chars)
{
    size_t n = 0;
    for (int chars = 0; text[n]; n++) {
        if (!utf8_continues(text[n]) && chars++ == max_chars) break;
    }
    str_printf(out, "%sPage %d: %s: ", number > 1 ? "\n" : "", number, title);
    str_put(out, text, n);
}

bool corpus_expression(struct str *out, const char *query, size_t n)
{
    size_t at = 0, len;
    int words = 0;
    for (; words < CORPUS_QUERY_WORDS && (len = corpus_word(query, n, &at)) > 0; at += len) {
        if (len > WORD_BYTES) continue;
        str_puts(out, words++ ? " OR \"" : "\"");
        str_put(out, query + at, len);
        str_putc(out, '"');
    }
    return words > 0;
}

void corpus_search(struct corpus *c, struct str *out, int64_t scope, const char *query, size_t n, int max_pages,
                   int max_chars)
{
    struct str match = { 0 };
    if (!corpus_expression(&match, query, n)) {
        str_puts(out, "error: empty query");
        str_free(&match);
        return;
    }
    pthread_mutex_lock(&c->lock);
    sqlite3_stmt *st = c->st[SEARCH];
    sqlite3_bind_text64(st, 1, match.p, match.n, SQLITE_STATIC, SQLITE_UTF8);
    sqlite3_bind_int64(st, 2, scope);
    sqlite3_bind_int(st, 3, max_pages);
    int found = 0, code;
    while ((code = sqlite3_step(st)) == SQLITE_ROW)
        corpus_put_page(out, ++found, (const char *)sqlite3_column_text(st, 0),
                        (const char *)sqlite3_column_text(st, 1), max_chars);
    if (code != SQLITE_DONE) die("corpus: searching for %s: %s", match.p, sqlite3_errmsg(c->db));
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    pthread_mutex_unlock(&c->lock);
    if (!found) str_puts(out, "no page");
    str_free(&match);
}
