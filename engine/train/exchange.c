/* exchange.c: trajectories as bytes, by records of fixed size, each followed by its arrays. All ranks run the same
 * program, so numbers travel as they lie in memory. A vector with the bits of another one of its trajectory, as most
 * have while the weights are those of the sampler, travels as that one's number. */
#include "engine/train/exchange.h"
#include "base/clock.h"
#include "engine/comm/comm.h"
#include <stdlib.h>
#include <string.h>

struct group_record {
    int32_t number, initial, n;
    uint32_t next_rollout;
};

/* The vectors of a trajectory: first the sampler's two, which come with the tokens. */
enum { SAMPLED = 2, VECTORS = SAMPLED + 7 };
/* How a vector travels: not at all (it is NULL), its numbers, or SAME + k: as vector k. */
enum { ABSENT, HERE, SAME };

struct traj_record {
    double score, reward;
    uint32_t step, prompt, rollout;
    int32_t prompt_len, n, calls, calls_spent, parent, branch_pos, born;
    int32_t orig, idx, rank, round;
    uint8_t finish, unread, branch, strict, fallback, well_formed, correct;
    uint8_t tokens;                     /* 1: ids, m, logp, entropy and calls follow; 0: the others have them */
    uint8_t vector[VECTORS - SAMPLED];
    uint8_t zero;
};

struct call_record {
    double begun, ended;
    int32_t tool, begin, end, close, status, over_limit;
};

static acc_t **vector_of(struct trajectory *r, int k)
{
    acc_t **const all[VECTORS - SAMPLED] = { &r->logp, &r->entropy, &r->logp_omega, &r->logp_ref, &r->logp_old,
                                             &r->omega, &r->bs };
    return all[k - SAMPLED];
}

/* [response] the numbers of vector k; NULL: absent. */
static const acc_t *numbers(struct trajectory *r, int k)
{
    if (k < SAMPLED) return (k ? r->seq.entropy : r->seq.logp) + r->seq.prompt_len;
    return *vector_of(r, k);
}

/* ---- writing ---- */

static void put(struct str *out, const void *p, size_t bytes) { str_put(out, p, bytes); }

static struct traj_record record_of(const struct trajectory *r)
{
    const struct sequence *q = &r->seq;
    return (struct traj_record){
        .score = r->score, .reward = q->reward, .step = q->step, .prompt = q->prompt,
        .rollout = q->rollout, .prompt_len = q->prompt_len, .n = q->n, .calls = q->calls,
        .calls_spent = q->calls_spent, .parent = q->parent, .branch_pos = q->branch_pos, .born = q->born,
        .orig = r->orig, .idx = r->idx, .rank = r->rank, .round = r->round, .finish = (uint8_t)q->finish,
        .unread = q->unread, .branch = r->branch, .strict = r->strict, .fallback = r->fallback,
        .well_formed = r->well_formed, .correct = r->correct, .tokens = !r->shared,
    };
}

static void put_tokens(struct str *out, const struct sequence *q)
{
    size_t n = (size_t)sequence_response(q), from = (size_t)q->prompt_len;
    put(out, q->ids + from, n * sizeof *q->ids);
    put(out, q->m + from, n);
    put(out, q->logp + from, n * sizeof *q->logp);
    put(out, q->entropy + from, n * sizeof *q->entropy);
    for (int k = 0; k < q->calls; k++) {
        const struct call *c = &q->call[k];
        struct call_record x = { c->begun, c->ended, c->tool, c->begin, c->end, c->close, (int32_t)c->status,
                                 c->over_limit };
        put(out, &x, sizeof x);
    }
}

static uint8_t form_of(struct trajectory *r, int k)
{
    const acc_t *x = numbers(r, k);
    size_t bytes = (size_t)trajectory_len(r) * sizeof *x;
    if (!x) return ABSENT;
    for (int i = 0; i < k; i++) if (numbers(r, i) && !memcmp(x, numbers(r, i), bytes)) return (uint8_t)(SAME + i);
    return HERE;
}

static void put_trajectory(struct str *out, struct trajectory *r)
{
    struct traj_record x;
    memset(&x, 0, sizeof x);
    x = record_of(r);
    for (int k = SAMPLED; k < VECTORS; k++) x.vector[k - SAMPLED] = form_of(r, k);
    put(out, &x, sizeof x);
    if (!r->shared) put_tokens(out, &r->seq);
    for (int k = SAMPLED; k < VECTORS; k++)
        if (x.vector[k - SAMPLED] == HERE) put(out, numbers(r, k), (size_t)trajectory_len(r) * sizeof(acc_t));
    r->shared = true;
}

void exchange_write(struct str *out, struct group *g, int n, int rank)
{
    for (int i = 0; i < n; i++) {
        if (g[i].owner != rank) continue;
        struct group_record x = { (int32_t)g[i].number, g[i].initial, g[i].n, g[i].next_rollout };
        put(out, &x, sizeof x);
        for (int j = 0; j < g[i].n; j++) put_trajectory(out, g[i].traj[j]);
    }
}

/* ---- reading ---- */

struct reader {
    const char *p;
    size_t left;
    const struct exchange_limits *most;
    struct err *e;
};

static bool take(struct reader *x, void *to, size_t bytes)
{
    if (bytes > x->left) return fail(x->e, "the message ends within a record");
    memcpy(to, x->p, bytes);
    x->p += bytes;
    x->left -= bytes;
    return true;
}

static bool valid(const struct reader *x, const struct traj_record *y, const struct group *g, int at)
{
    const struct sequence *first = &g->traj[0]->seq;
    bool ok = y->prompt_len == first->prompt_len && y->n >= y->prompt_len && y->n <= x->most->max_len &&
              y->prompt == g->number && y->step == first->step;
    ok = ok && y->born >= y->prompt_len && y->born <= y->n && y->branch_pos >= 0 && y->branch_pos <= y->n &&
         y->calls >= 0 && y->calls <= y->n && y->calls_spent >= 0 && y->finish <= FINISH_LENGTH;
    ok = ok && y->orig >= -1 && y->orig < at && y->parent == y->orig && y->rank >= 0 && y->round >= 0 &&
         y->branch == (at >= g->initial) && (y->branch || y->orig == -1);
    if (ok && y->orig >= 0) ok = y->idx >= 0 && y->idx <= y->n && y->born <= g->traj[y->orig]->seq.n;
    for (int k = 0; ok && k < VECTORS - SAMPLED; k++)
        ok = y->vector[k] < SAME + SAMPLED + k &&
             (y->vector[k] < SAME + SAMPLED || y->vector[y->vector[k] - SAME - SAMPLED] != ABSENT);
    return ok && y->unread <= 1 && y->strict <= 1 && y->fallback <= 1 && y->well_formed <= 1 && y->correct <= 1 &&
           y->tokens <= 1 && !y->zero;
}

static bool take_calls(struct reader *x, struct sequence *q, int calls)
{
    q->call = xcalloc((size_t)calls + 1, sizeof *q->call);
    q->calls_cap = calls;
    memset(q->calls_by, 0, sizeof q->calls_by);
    for (q->calls = 0; q->calls < calls; q->calls++) {
        struct call_record y;
        if (!take(x, &y, sizeof y)) return false;
        int len = sequence_response(q);
        if (y.tool < 0 || y.tool >= TOOL_KINDS || y.status < 0 || y.status >= CALL_STATUSES || y.begin < 0 ||
            y.begin > y.end || y.end > len || y.close < 0 || y.close >= len || (y.over_limit & ~1))
            return fail(x->e, "call %d of a trajectory is not valid", q->calls);
        q->call[q->calls] = (struct call){ y.tool, y.begin, y.end, y.close, y.over_limit, (enum call_status)y.status,
                                           y.begun, y.ended };
        if (!y.over_limit) q->calls_by[y.tool]++;
    }
    return true;
}

/* Tokens of the response, behind the prompt that this rank opened. */
static bool take_tokens(struct reader *x, struct sequence *q, const struct sequence *prompt, int n, int calls)
{
    int len = n - prompt->n;
    size_t bytes = (size_t)len;
    sequence_begin(q, prompt->ids, prompt->n);
    q->scope = prompt->scope;
    if (bytes * (sizeof *q->ids + 1 + 2 * sizeof(acc_t)) > x->left)
        return fail(x->e, "the message ends within %d tokens", len);
    for (int i = 0; i < len; i++) sequence_put(q, 0, true, 0, 0);
    bool ok = take(x, q->ids + prompt->n, bytes * sizeof *q->ids) && take(x, q->m + prompt->n, bytes) &&
              take(x, q->logp + prompt->n, bytes * sizeof(acc_t)) &&
              take(x, q->entropy + prompt->n, bytes * sizeof(acc_t));
    for (int i = prompt->n; ok && i < n; i++)
        if (q->ids[i] < 0 || q->ids[i] >= x->most->vocab || q->m[i] > 1)
            return fail(x->e, "token %d of a trajectory is not valid", i);
    return ok && take_calls(x, q, calls);
}

static void set_fields(struct trajectory *r, const struct traj_record *y)
{
    struct sequence *q = &r->seq;
    q->step = y->step;
    q->prompt = y->prompt;
    q->rollout = y->rollout;
    q->prompt_len = y->prompt_len;
    q->calls_spent = y->calls_spent;
    q->parent = y->parent;
    q->branch_pos = y->branch_pos;
    q->born = y->born;
    q->finish = (enum finish)y->finish;
    q->unread = y->unread;
    q->reward = y->reward;
    r->branch = y->branch;
    r->orig = y->orig;
    r->idx = y->idx;
    r->score = y->score;
    r->rank = y->rank;
    r->round = y->round;
    r->strict = y->strict;
    r->fallback = y->fallback;
    r->well_formed = y->well_formed;
    r->correct = y->correct;
    r->shared = true;
}

static bool take_vectors(struct reader *x, struct trajectory *r, const struct traj_record *y)
{
    size_t n = (size_t)trajectory_len(r);
    bool ok = true;
    for (int k = SAMPLED; ok && k < VECTORS; k++) {
        acc_t **to = vector_of(r, k);
        int form = y->vector[k - SAMPLED];
        free(*to);
        *to = NULL;
        if (form == ABSENT) continue;
        *to = xcalloc(n + 1, sizeof **to);
        if (form == HERE) ok = take(x, *to, n * sizeof **to);
        else memcpy(*to, numbers(r, form - SAME), n * sizeof **to);
    }
    return ok;
}

/* Trajectory number `at` of g; prompt: the tokens that this rank opened it with. */
static bool take_trajectory(struct reader *x, struct group *g, int at, const struct sequence *prompt)
{
    struct traj_record y;
    if (!take(x, &y, sizeof y)) return false;
    if (!valid(x, &y, g, at)) return fail(x->e, "trajectory %d of prompt %u is not valid", at, g->number);
    if (!y.tokens) {
        if (at >= g->n || !g->traj[at]->shared || g->traj[at]->seq.n != y.n || g->traj[at]->seq.rollout != y.rollout)
            return fail(x->e, "trajectory %d of prompt %u comes without tokens", at, g->number);
    } else {
        if (at < g->n && g->traj[at]->shared)
            return fail(x->e, "trajectory %d of prompt %u comes twice", at, g->number);
        struct sequence *q = &(at < g->n ? g->traj[at] : group_add(g))->seq;
        sequence_free(q, NULL);
        if (!take_tokens(x, q, prompt, y.n, y.calls)) return false;
    }
    set_fields(g->traj[at], &y);
    return take_vectors(x, g->traj[at], &y);
}

static bool take_group(struct reader *x, struct group *g, int n, int from)
{
    struct group_record y;
    struct group *to = NULL;
    struct sequence prompt = { 0 };
    if (!take(x, &y, sizeof y)) return false;
    for (int i = 0; i < n; i++) if ((int32_t)g[i].number == y.number) to = &g[i];
    if (!to || (to->owner >= 0 && to->owner != from) || y.initial != to->initial || y.n < to->n ||
        y.next_rollout < (uint32_t)y.n)
        return fail(x->e, "prompt %d with %d trajectories is not one of its prompts", y.number, y.n);
    to->owner = from;
    to->next_rollout = y.next_rollout;
    sequence_begin(&prompt, to->traj[0]->seq.ids, to->traj[0]->seq.prompt_len);
    prompt.scope = to->traj[0]->seq.scope;              /* of this process, like the pages of the task's corpus */
    bool ok = true;
    for (int j = 0; ok && j < y.n; j++) ok = take_trajectory(x, to, j, &prompt);
    sequence_free(&prompt, NULL);
    return ok;
}

bool exchange_read(struct group *g, int n, const char *p, size_t bytes, int from, const struct exchange_limits *most,
                   struct err *e)
{
    struct reader x = { p, bytes, most, e };
    while (x.left) if (!take_group(&x, g, n, from)) return false;
    return true;
}

double exchange_groups(struct group *g, int n, const struct session *s)
{
    struct comm_parts all;
    struct str mine = { 0 };
    struct err e;
    struct exchange_limits most = { s->m.c.vocab, s->c->rollout.max_len };
    if (comm_ranks() == 1) return 0;
    exchange_write(&mine, g, n, comm_rank());
    double start = seconds();
    comm_barrier();
    double waited = seconds() - start;
    comm_gather(&all, mine.p, mine.n);
    for (int r = 0; r < comm_ranks(); r++)
        if (r != comm_rank() &&
            !exchange_read(g, n, all.p + all.begin[r], all.begin[r + 1] - all.begin[r], r, &most, &e))
            die("trajectories that rank %d sent: %s", r, e.text);
    for (int i = 0; i < n; i++) if (g[i].owner < 0) die("prompt %u of the step was run by no rank", g[i].number);
    comm_parts_free(&all);
    str_free(&mine);
    return waited;
}
