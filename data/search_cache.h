/* search_cache.h: recorded search results, so that real questions can search without a network: {query: "Page 1: ...\nPage 2: ..."} as one JSON object,
 * plain or gzip'd. A query that is not among them gets the result of the recorded query nearest to it. */
#pragma once
#include "base/err.h"
#include "base/str.h"

struct search_cache;

/* False: not such a file (at most 1 GiB unpacked), or this SQLite has no FTS5. */
struct search_cache *search_cache_open(const char *path, struct err *e);
void search_cache_close(struct search_cache *c);            /* NULL is allowed */

/* Appends the result of the recorded query that equals query[n] (white space around it aside), else of the one that ranks first for its words by FTS5's
 * BM25, a word in a recorded query counting four times one in a result, ties by the order of the file: at most max_pages of its pages, each cut after
 * max_chars characters. "no page" where no word is found, "error: empty query" where there is none. Several threads may call at once. */
void search_cache_find(struct search_cache *c, struct str *out, const char *query, size_t n, int max_pages, int max_chars);
