/* test_exchange.c: groups as one rank sends them are the groups that another one holds afterwards, field by field; a
 * message that is cut or damaged is rejected and harms nothing. */
#include "engine/train/exchange.h"
#include "base/philox.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { GROUPS = 3, INITIAL = 3, VOCAB = 500, MOST = 64 };
static const struct exchange_limits most = { VOCAB, MOST };
static unsigned state_ = 1;

static unsigned any(unsigned below) { return (state_ = state_ * 1664525u + 1013904223u) / 256 % below; }
static acc_t number(void) { return (acc_t)any(1000000) / 1000 - 500; }

static acc_t *vector(int n)
{
    acc_t *x = xcalloc((size_t)n + 1, sizeof *x);
    for (int i = 0; i < n; i++) x[i] = number();
    return x;
}

static acc_t *copy(const acc_t *from, int n)
{
    acc_t *x = xcalloc((size_t)n + 1, sizeof *x);
    memcpy(x, from, (size_t)n * sizeof *x);
    return x;
}

/* The prompts of a step as every rank opens them. */
static void groups_open(struct group *g)
{
    for (int i = 0; i < GROUPS; i++) {
        g[i] = (struct group){ .number = (uint32_t)(7 + i), .owner = -1, .initial = INITIAL,
                               .next_rollout = INITIAL };
        int prompt[3] = { i, 2 * i + 1, 5 };
        for (int j = 0; j < INITIAL; j++) {
            struct sequence *q = &group_add(&g[i])->seq;
            sequence_begin(q, prompt, 3);
            q->step = 4;
            q->prompt = g[i].number;
            q->rollout = (uint32_t)j;
            q->scope = 90 + i;
        }
    }
}

static void trajectory_free(struct trajectory *r)
{
    acc_t *all[] = { r->logp, r->entropy, r->logp_omega, r->logp_ref, r->logp_old, r->omega, r->bs, r->adv };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    sequence_free(&r->seq, NULL);
    free(r);
}

static void groups_free(struct group *g)
{
    for (int i = 0; i < GROUPS; i++) {
        for (int j = 0; j < g[i].n; j++) trajectory_free(g[i].traj[j]);
        free(g[i].traj);
    }
}

static void respond(struct trajectory *r, int len)
{
    struct sequence *q = &r->seq;
    for (int i = 0; i < len; i++) {
        bool own = any(5) > 0;
        sequence_put(q, (int)any(VOCAB), own, number(), number());
    }
    q->calls = q->calls_cap = len ? (int)any(3) : 0;
    q->call = xcalloc(4, sizeof *q->call);
    for (int k = 0; k < q->calls; k++) {
        int begin = (int)any((unsigned)len), end = begin + (int)any((unsigned)(len - begin));
        q->call[k] = (struct call){ (int)any(TOOL_KINDS), begin, end, end < len ? end : len - 1, any(2),
                                    (enum call_status)any(CALL_STATUSES), number(), number() };
        if (!q->call[k].over_limit) q->calls_by[q->call[k].tool]++;
    }
    q->finish = (enum finish)any(3);
    q->unread = any(2);
    q->calls_spent = (int)any(9);
    q->reward = (double)number();
    r->well_formed = any(2);
    r->correct = any(2);
}

/* Vectors: all, some of them equal to others, some absent. */
static void score(struct trajectory *r, int kind)
{
    int n = trajectory_len(r);
    const acc_t *logp = r->seq.logp + 3, *entropy = r->seq.entropy + 3;
    r->logp = kind & 1 ? copy(logp, n) : vector(n);
    r->entropy = kind & 2 ? copy(entropy, n) : vector(n);
    r->logp_omega = kind & 4 ? copy(r->logp, n) : vector(n);
    r->logp_ref = kind & 8 ? NULL : vector(n);
    r->logp_old = kind & 16 ? NULL : vector(n);
    r->omega = kind & 32 ? vector(n) : NULL;
    r->bs = kind & 32 ? vector(n) : NULL;
}

static void branch(struct group *g, int round)
{
    int orig = any(4) ? (int)any((unsigned)g->n) : -1;
    struct trajectory *r = group_add(g);
    struct sequence *from = &g->traj[orig < 0 ? 0 : orig]->seq;
    int cut = orig < 0 ? 0 : (int)any((unsigned)sequence_response(from) + 1);
    while (cut && cut < sequence_response(from) && !from->m[3 + cut - 1] && !from->m[3 + cut]) cut--;
    if (orig < 0) {
        sequence_begin(&r->seq, from->ids, 3);
        r->seq.step = from->step;
        r->seq.prompt = from->prompt;
        r->seq.scope = from->scope;
    } else sequence_fork(&r->seq, from, 3 + cut, NULL);
    free(r->seq.call);
    memset(r->seq.calls_by, 0, sizeof r->seq.calls_by);
    respond(r, (int)any(9));
    r->seq.rollout = g->next_rollout++;
    r->seq.parent = r->orig = orig;
    r->idx = orig < 0 ? -1 : cut;
    r->branch = true;
    r->score = (double)number();
    r->rank = (int)any(5);
    r->round = round;
    r->strict = any(2);
    r->fallback = any(2);
}

static void run_all(struct group *g, int owner)
{
    for (int i = 0; i < GROUPS; i++) {
        g[i].owner = owner;
        for (int j = 0; j < INITIAL; j++) {
            respond(g[i].traj[j], (int)any(20) * (i || j));
            score(g[i].traj[j], (int)any(64));
        }
    }
}

static void same_vector(const char *name, const acc_t *a, const acc_t *b, int n)
{
    CHECK(!a == !b, "%s", name);
    if (a) CHECK(!memcmp(a, b, (size_t)n * sizeof *a), "%s", name);
}

static void same_calls(const struct sequence *p, const struct sequence *q)
{
    assert_int_equal(p->calls, q->calls);
    assert_memory_equal(p->calls_by, q->calls_by, sizeof p->calls_by);
    for (int k = 0; k < p->calls; k++) {
        const struct call *c = &p->call[k], *d = &q->call[k];
        assert_true(c->tool == d->tool && c->begin == d->begin && c->end == d->end && c->close == d->close &&
                    c->over_limit == d->over_limit && c->status == d->status && c->begun == d->begun &&
                    c->ended == d->ended);
    }
}

static void same_trajectory(const struct trajectory *a, const struct trajectory *b)
{
    const struct sequence *p = &a->seq, *q = &b->seq;
    int n = trajectory_len(a);
    assert_true(p->step == q->step && p->prompt == q->prompt && p->rollout == q->rollout && p->scope == q->scope);
    assert_true(p->n == q->n && p->prompt_len == q->prompt_len && p->calls_spent == q->calls_spent);
    assert_true(p->finish == q->finish && p->parent == q->parent && p->branch_pos == q->branch_pos &&
                p->born == q->born && p->unread == q->unread && p->reward == q->reward);
    assert_memory_equal(p->ids, q->ids, (size_t)p->n * sizeof *p->ids);
    assert_memory_equal(p->m, q->m, (size_t)p->n);
    assert_memory_equal(p->logp, q->logp, (size_t)p->n * sizeof *p->logp);
    assert_memory_equal(p->entropy, q->entropy, (size_t)p->n * sizeof *p->entropy);
    same_calls(p, q);
    assert_true(a->branch == b->branch && a->orig == b->orig && a->idx == b->idx && a->score == b->score &&
                a->rank == b->rank && a->round == b->round && a->strict == b->strict && a->fallback == b->fallback &&
                a->well_formed == b->well_formed && a->correct == b->correct);
    same_vector("logp", a->logp, b->logp, n);
    same_vector("entropy", a->entropy, b->entropy, n);
    same_vector("logp_omega", a->logp_omega, b->logp_omega, n);
    same_vector("logp_ref", a->logp_ref, b->logp_ref, n);
    same_vector("logp_old", a->logp_old, b->logp_old, n);
    same_vector("omega", a->omega, b->omega, n);
    same_vector("bs", a->bs, b->bs, n);
}

static void same_groups(const struct group *a, const struct group *b)
{
    for (int i = 0; i < GROUPS; i++) {
        assert_int_equal(a[i].n, b[i].n);
        assert_int_equal(a[i].owner, b[i].owner);
        assert_int_equal(a[i].next_rollout, b[i].next_rollout);
        for (int j = 0; j < a[i].n; j++) same_trajectory(a[i].traj[j], b[i].traj[j]);
    }
}

static size_t send(struct group *a, struct group *b)
{
    struct str out = { 0 };
    struct err e;
    exchange_write(&out, a, GROUPS, 2);
    CHECK(exchange_read(b, GROUPS, out.p, out.n, 2, &most, &e), "%s", e.text);
    size_t n = out.n;
    str_free(&out);
    return n;
}

/* The three exchanges of a mini-batch's life: rollouts, scores with branches, scores again. */
static void round_trip(void **state)
{
    (void)state;
    for (int trial = 0; trial < 40; trial++) {
        struct group a[GROUPS], b[GROUPS];
        groups_open(a);
        groups_open(b);
        run_all(a, 2);
        send(a, b);
        same_groups(a, b);
        for (int i = 0; i < GROUPS; i++) {
            for (int k = 0; k < 5; k++) branch(&a[i], 1 + k / 3);
            for (int j = INITIAL; j < a[i].n; j++) score(a[i].traj[j], (int)any(64));
        }
        size_t first = send(a, b);
        same_groups(a, b);
        size_t again = send(a, b);
        same_groups(a, b);
        CHECK(again < first, "tokens travel twice: %zu bytes, then %zu", first, again);
        groups_free(a);
        groups_free(b);
    }
}

/* Other ranks' groups stay out of a message, and in place. */
static void own_groups_alone(void **state)
{
    (void)state;
    struct group a[GROUPS], b[GROUPS];
    struct str out = { 0 };
    struct err e;
    groups_open(a);
    groups_open(b);
    run_all(a, 2);
    a[1].owner = 0;
    exchange_write(&out, a, GROUPS, 2);
    assert_true(exchange_read(b, GROUPS, out.p, out.n, 2, &most, &e));
    assert_int_equal(b[0].owner, 2);
    assert_int_equal(b[1].owner, -1);
    assert_int_equal(b[1].traj[0]->seq.n, 3);
    CHECK(!exchange_read(b, GROUPS, out.p, out.n, 2, &most, &e) && strstr(e.text, "comes twice"), "%s", e.text);
    CHECK(!exchange_read(b, GROUPS, out.p, out.n, 1, &most, &e) && strstr(e.text, "not one of its prompts"), "%s",
          e.text);
    str_free(&out);
    groups_free(a);
    groups_free(b);
}

/* Cut at every byte: rejected. With a damaged byte: rejected or read as other numbers, never out of bounds (run with
 * sanitizers), and what was read can be freed. */
static void hostile_bytes(void **state)
{
    (void)state;
    struct group a[GROUPS], b[GROUPS];
    struct str out = { 0 };
    struct err e;
    int rejected = 0;
    groups_open(a);
    run_all(a, 2);
    for (int i = 0; i < GROUPS; i++) for (int k = 0; k < 3; k++) branch(&a[i], 1);
    exchange_write(&out, a, 1, 2);
    for (size_t n = 1; n < out.n; n++) {
        groups_open(b);
        CHECK(!exchange_read(b, GROUPS, out.p, n, 2, &most, &e), "%zu of %zu bytes", n, out.n);
        groups_free(b);
    }
    for (size_t at = 0; at < out.n; at++) {
        char *bad = xmalloc(out.n), was = out.p[at];
        memcpy(bad, out.p, out.n);
        bad[at] = (char)(was ^ (char)(1 + any(255)));
        groups_open(b);
        rejected += !exchange_read(b, GROUPS, bad, out.n, 2, &most, &e);
        groups_free(b);
        free(bad);
    }
    CHECK(rejected > 100, "%d of %zu damaged messages are rejected", rejected, out.n);
    str_free(&out);
    groups_free(a);
}

/* Tokens beyond the vocabulary, and trajectories longer than the limit. */
static void limits_hold(void **state)
{
    (void)state;
    static const struct exchange_limits few = { VOCAB / 2, MOST }, brief = { VOCAB, 8 };
    struct group a[GROUPS], b[GROUPS];
    struct str out = { 0 };
    struct err e;
    groups_open(a);
    run_all(a, 2);
    exchange_write(&out, a, GROUPS, 2);
    groups_open(b);
    CHECK(!exchange_read(b, GROUPS, out.p, out.n, 2, &few, &e) && strstr(e.text, "token"), "%s", e.text);
    groups_free(b);
    groups_open(b);
    CHECK(!exchange_read(b, GROUPS, out.p, out.n, 2, &brief, &e) && strstr(e.text, "is not valid"), "%s", e.text);
    groups_free(b);
    str_free(&out);
    groups_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(round_trip), cmocka_unit_test(own_groups_alone),
                                        cmocka_unit_test(hostile_bytes), cmocka_unit_test(limits_hold) };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
