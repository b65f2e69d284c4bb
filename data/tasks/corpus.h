/* corpus.h: the local search tool. Pages of title and text in an in-memory SQLite database; FTS5 matches the words of a
 * query against titles only, because common words of the texts would return junk. A scope holds the pages of one
 * task: a search sees only the pages of its own scope. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <stdint.h>

struct corpus;
enum { CORPUS_QUERY_WORDS = 64 };        /* of a query; further words are ignored */

/* NULL when this SQLite has no FTS5. All functions may be called from several threads at once (a mutex inside). */
struct corpus *corpus_open(struct err *e);
void corpus_close(struct corpus *c);                                                        /* NULL is allowed */

void corpus_add(struct corpus *c, int64_t scope, const char *title, const char *text);
/* removes the scope's pages */
void corpus_drop(struct corpus *c, int64_t scope);

/* Appends "Page 1: title: text\nPage 2: ..." for the first max_pages pages of the scope, in the order they were added,
 * whose title holds a word of the query; each text is cut after max_chars characters (UTF-8 code points). "no page" if
 * there is none, "error: empty query" if the query has no word. The query may be any n bytes: letters, digits and bytes
 * >= 128 form words, all other bytes separate them; only the first 64 words of at most 64 bytes count. */
void corpus_search(struct corpus *c, struct str *out, int64_t scope, const char *query, size_t n, int max_pages,
                   int max_chars);

/* Its parts, for code that finds pages by itself and must produce the same text. */
/* one line; a newline first if number > 1 */
void corpus_put_page(struct str *out, int number, const char *title, const char *text, int max_chars);
/* moves *at to the next word at or after *at; its length, 0: no more */
size_t corpus_word(const char *query, size_t n, size_t *at);
/* Appends the query as an FTS5 expression that matches any of its words, each in quotes, so that no word acts as an
 * operator. False: the query has no word. */
bool corpus_expression(struct str *out, const char *query, size_t n);
