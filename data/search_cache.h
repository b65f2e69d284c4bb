/* search_cache.h: recorded search results, so that real questions can search without a network: {query: "Page 1:
 * ...\nPage 2: ..."} as one JSON object, plain or gzip'd. A query that is not among them is told so or, where that was
 * asked for, gets the result of the recorded query nearest to it. */
#pragma once
#include "base/err.h"
#include "base/str.h"

#define SEARCH_NO_RECORD "no recorded result for this query"

struct search_cache;
enum search_found { SEARCH_RECORDED, SEARCH_NEAREST, SEARCH_MISSED, SEARCH_EMPTY };

/* nearest: what is not recorded gets the nearest. NULL: not such a file (at most 1 GiB unpacked), or nearest and this
 * SQLite has no FTS5. */
struct search_cache *search_cache_open(const char *path, bool nearest, struct err *e);
void search_cache_close(struct search_cache *c);            /* NULL is allowed */

/* Appends the result of the recorded query that equals query[n] (white space around it aside): at most max_pages of its
 * pages, each cut after max_chars characters. Where there is none, SEARCH_NO_RECORD; or, with nearest, the result of
 * the one that ranks first for the query's words by FTS5's BM25, a word in a recorded query counting four times one in
 * a result, ties by the order of the file. Of a query whose words stand in more than 10,000 entries the commonest are
 * left out; where its rarest alone does, the first 10,000 are ranked. "error: empty query" where it has no word. What
 * is found depends on the arguments alone, not on who asks when; several threads may, and none waits for another's
 * query. */
enum search_found search_cache_find(struct search_cache *c, struct str *out, const char *query, size_t n, int max_pages,
                                    int max_chars);
