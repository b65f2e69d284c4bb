/* diagnosis.c: from what rank 0 has heard of all ranks, the one for which the others wait in vain. */
#include "engine/comm/comm_in.h"
#include "base/arith.h"
#include "base/str.h"

static void put_where(struct str *s, const struct rank_seen *x)
{
    char op[96];
    ring_say(op, sizeof op, x->at.number, (enum comm_kind)x->at.kind, x->at.bytes);
    if (x->at.inside) str_printf(s, "in %s", op);
    else str_printf(s, "behind %s, %s for %.0f s", op, x->at.doing, x->at.doing_s);
}

static bool misses(const struct rank_seen *r, int64_t closed_at)
{
    return !r->closed && r->at.inside && r->at.kind != COMM_CLOSE && r->at.number > closed_at;
}

/* A rank that has ended while another waits in an operation that it never joined. One that ended with a message is at
 * fault too if the others do not end within 10 s: they work for nothing. */
static int ended(const struct rank_seen *seen, int ranks, struct str *s)
{
    for (int c = 0; c < ranks; c++)
        for (int r = 0; seen[c].closed && r < ranks; r++) {
            if (r == c || seen[r].closed) continue;
            if (!misses(&seen[r], seen[c].closed_at) && !(*seen[c].message && seen[c].closed_s > 10)) continue;
            str_printf(s, "rank %d on %s ended", c, seen[c].host);
            if (*seen[c].message) {
                str_printf(s, ": %s", seen[c].message);
                return c;
            }
            str_printf(s, ", but rank %d on %s waits for it ", r, seen[r].host);
            put_where(s, &seen[r]);
            return c;
        }
    return -1;
}

static int silent(const struct rank_seen *seen, int ranks, double limit, struct str *s)
{
    int worst = -1, more = 0;
    for (int r = 0; r < ranks; r++) {
        if (seen[r].silent < limit) continue;
        more++;
        if (worst < 0 || seen[r].silent > seen[worst].silent) worst = r;
    }
    if (worst < 0) return -1;
    str_printf(s, "rank %d on %s has been silent for %.0f s: stopped, or its host is gone; it was ", worst,
               seen[worst].host, seen[worst].silent);
    put_where(s, &seen[worst]);
    for (int r = 0; more > 1 && r < ranks; r++)
        if (r != worst && seen[r].silent >= limit) str_printf(s, "; so is rank %d on %s", r, seen[r].host);
    return worst;
}

static void put_rank(struct str *s, const struct rank_seen *seen, int r)
{
    str_printf(s, "rank %d on %s is ", r, seen[r].host);
    put_where(s, &seen[r]);
}

/* Of ranks that are all inside operations of the same number, the first whose operation is not that of most. */
static int differs(const struct rank_seen *seen, int ranks, int *most)
{
    int same = 0, other = -1;
    for (int r = ranks - 1; r >= 0; r--) {
        same += seen[r].at.kind == seen[0].at.kind;
        if (seen[r].at.kind != seen[0].at.kind) other = r;
    }
    const bool first = 2 * same < ranks;                 /* it is rank 0 */
    *most = first ? other : 0;
    return first ? 0 : other;
}

/* The rank that is behind, when `waits` has waited for the timeout. */
static int late(const struct rank_seen *seen, int ranks, int waits, struct str *s)
{
    int behind = 0, others = 0, most;
    for (int r = 1; r < ranks; r++) if (seen[r].at.number < seen[behind].at.number) behind = r;
    for (int r = ranks - 1; r >= 0; r--)
        if (seen[r].at.number == seen[behind].at.number && !seen[r].at.inside) behind = r;
    if (seen[behind].at.number < seen[waits].at.number || !seen[behind].at.inside) {
        str_printf(s, "rank %d on %s is late: ", behind, seen[behind].host);
        put_where(s, &seen[behind]);
        for (int r = 0; r < ranks; r++) {
            if (r == behind || seen[r].at.number > seen[behind].at.number || seen[r].at.inside) continue;
            if (++others <= 4) str_printf(s, "; so is rank %d on %s (%s)", r, seen[r].host, seen[r].at.doing);
        }
        if (others > 4) str_printf(s, " and %d more", others - 4);
        str_puts(s, "; the others are ");
        put_where(s, &seen[waits]);
        return behind;
    }
    const int odd = differs(seen, ranks, &most);
    if (odd >= 0) {
        str_puts(s, "the ranks do different things: ");
        put_rank(s, seen, odd);
        str_puts(s, ", ");
        put_rank(s, seen, most);
        return odd;
    }
    str_puts(s, "all ranks are ");
    put_where(s, &seen[waits]);
    str_puts(s, " and it does not end: look at the network between them");
    return waits;
}

int diagnose(const struct rank_seen *seen, int ranks, double timeout, char *text, size_t n)
{
    struct str s = { 0 };
    int waits = 0, who = ended(seen, ranks, &s);
    for (int r = 1; r < ranks; r++) if (seen[r].waited > seen[waits].waited) waits = r;
    const bool over = seen[waits].waited >= timeout;
    /* the stopped rank went silent a little later than the others began to wait, or a little earlier */
    if (who < 0) who = silent(seen, ranks, over ? timeout / 2 : timeout, &s);
    if (who < 0 && over) {
        who = late(seen, ranks, waits, &s);
        str_printf(&s, " (%.0f s, comm.timeout=%g)", seen[waits].waited, timeout);
    }
    snprintf(text, n, "%s", who < 0 ? "" : s.p);
    str_free(&s);
    return who;
}
