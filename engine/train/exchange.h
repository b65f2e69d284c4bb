/* exchange.h: gives every rank the trajectories that the others made: tokens, numbers, calls and links of branches.
 * Pages of keys and values stay with the rank that ran the prompt (group.owner). */
#pragma once
#include "base/str.h"
#include "engine/train/group.h"

/* Afterwards every rank holds all trajectories of g[0 .. n), whose owners are known to all. A trajectory's tokens
 * travel once, its vectors with each exchange. Called by all ranks with the same prompts. Returns the seconds for which
 * this rank waited for the last one. One rank: does nothing. */
double exchange_groups(struct group *g, int n, const struct session *s);

/* The two halves. What a message may hold: */
struct exchange_limits {
    int vocab;
    int max_len;
};
/* Appends the groups that this rank owns. */
void exchange_write(struct str *out, struct group *g, int n, int rank);
/* Puts the groups that rank `from` sent into g. False: the bytes are not such a message, or contradict g; g can then
 * only be freed. */
bool exchange_read(struct group *g, int n, const char *p, size_t bytes, int from, const struct exchange_limits *most,
                   struct err *e);
