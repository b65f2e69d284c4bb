/* search_cache.h: recorded search results, so that real prompts can search without a network: {query: "Page 1:
 * ...\nPage 2: ..."} as one JSON object, plain or gzip. A query without a record gets SEARCH_NO_RECORD or, if so
 * configured, the result of the nearest recorded query. */
#pragma once
#include "base/err.h"
#include "base/str.h"

#define SEARCH_NO_RECORD "no recorded result for this query"

struct search_cache;
enum search_found { SEARCH_RECORDED, SEARCH_NEAREST, SEARCH_MISSED, SEARCH_EMPTY };

/* nearest: a query without a record gets the nearest one's result. NULL: not such a file (at most 1 GiB unpacked), or
 * nearest is set and this SQLite has no FTS5. */
struct search_cache *search_cache_open(const char *path, bool nearest, struct err *e);
void search_cache_close(struct search_cache *c);            /* NULL is allowed */

/* Appends the result of the recorded query that equals query[n] (white space around it ignored): at most max_pages of
 * its pages, each cut after max_chars characters. If there is none: SEARCH_NO_RECORD; or, with nearest, the result of
 * the record that ranks first for the query's words by FTS5's BM25. A word in a recorded query counts four times a word
 * in a result; ties go by the order of the file. If the query's words match more than 10,000 entries, the most common
 * words are left out; if its rarest word alone does, the first 10,000 entries are ranked. A query without a word gets
 * "error: empty query". The result depends on the arguments alone. Several threads may search at once, and none waits
 * for another's query. */
enum search_found search_cache_find(struct search_cache *c, struct str *out, const char *query, size_t n, int max_pages,
                                    int max_chars);
