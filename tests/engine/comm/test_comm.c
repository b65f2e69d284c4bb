/* test_comm.c: one rank, and the parts of engine/comm that need no other rank: the queue of work, the ring of
 * operations, the rank at fault, frames, the order of a sum. */
#include "tests/check.h"
#include "base/str.h"
#include "engine/comm/watch_in.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- one rank ---- */

static void one_rank(void **state)
{
    (void)state;
    struct err e = { "kept" };
    double x[2] = { 1.5, NAN };
    int64_t n = 7;
    assert_true(comm_open(&(struct comm_options){ .timeout_s = 1 }, &e));
    assert_int_equal(comm_rank(), 0);
    assert_int_equal(comm_ranks(), 1);
    assert_int_equal(comm_local_rank(), 0);
    assert_int_equal(comm_local_ranks(), 1);
    assert_true(comm_first() && *comm_host(0));
    comm_sum(x, 2);
    comm_sum_counts(&n, 1);
    assert_true(x[0] == 1.5 && isnan(x[1]) && n == 7);
    assert_true(comm_min(2) == 2 && comm_max(-2) == -2);
    assert_true(comm_any(true) && !comm_any(false) && comm_all(true) && !comm_all(false));
    assert_true(comm_agree(true, &e) && !comm_agree(false, &e));
    assert_string_equal(e.text, "kept");
    struct comm_parts parts;
    comm_gather(&parts, "abc", 3);
    assert_int_equal(parts.begin[0], 0);
    assert_int_equal(parts.begin[1], 3);
    assert_memory_equal(parts.p, "abc", 3);
    comm_parts_free(&parts);
    comm_gather(&parts, NULL, 0);
    assert_int_equal(parts.begin[1], 0);
    comm_parts_free(&parts);
    comm_barrier();
    comm_bcast(x, sizeof x, 0);
    comm_close();
    assert_int_equal(comm_ranks(), 1);
}

static void one_rank_device(void **state)
{
    (void)state;
    const acc_t was[4] = { 1, 2, 3, 4 };
    acc_t got[4], *x = dev_alloc(sizeof was), *y = dev_alloc(sizeof was);
    dev_put(x, was, sizeof was);
    dev_put(y, was, sizeof was);
    comm_dev_sum(x, 4);
    comm_dev_reduce_scatter(x, (int64_t[]){ 0, 4 });
    comm_dev_gather(x, (size_t[]){ 0, sizeof was });
    comm_dev_bcast(x, sizeof was, 0);
    comm_wait(comm_mark());
    dev_get(got, x, sizeof was);
    assert_memory_equal(got, was, sizeof was);
    /* of in, the last two; to the first two of out */
    comm_dev_exchange(y, (size_t[]){ 0, 2 * sizeof *x }, x, (size_t[]){ 2 * sizeof *x, 4 * sizeof *x });
    comm_wait(comm_mark());
    dev_get(got, y, sizeof was);
    assert_true(got[0] == 3 && got[1] == 4 && got[2] == 3 && got[3] == 4);
    dev_free(x);
    dev_free(y);
}

/* Which variables say that there are several processes. */
static void launchers(void **state)
{
    (void)state;
    static const struct { const char *name, *value; int ranks; } cases[] = {
        { "OMPI_COMM_WORLD_SIZE", "4", 4 }, { "PMI_SIZE", "3", 3 }, { "MV2_COMM_WORLD_SIZE", "5", 5 },
        { "SLURM_STEP_NUM_TASKS", "64", 64 }, { "SLURM_NTASKS", "8", 1 }, { "PMI_SIZE", "", 1 },
        { "PMI_SIZE", "-2", 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv(cases[i].name, cases[i].value, 1);
        CHECK(comm_launched() == cases[i].ranks, "%s=%s", cases[i].name, cases[i].value);
        unsetenv(cases[i].name);
    }
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);              /* a shell by srun, and mpirun in it */
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    setenv("SLURM_PROCID", "5", 1);
    assert_int_equal(comm_launched(), 2);
    assert_int_equal(comm_launched_rank(), 0);           /* not the other launcher's */
    setenv("OMPI_COMM_WORLD_RANK", "1", 1);
    assert_int_equal(comm_launched_rank(), 1);
    unsetenv("OMPI_COMM_WORLD_RANK");
    unsetenv("SLURM_PROCID");
    unsetenv("SLURM_STEP_NUM_TASKS");
    unsetenv("OMPI_COMM_WORLD_SIZE");
    assert_int_equal(comm_launched(), 1);
}

/* ---- work ---- */

static void own_first_then_the_longest(void **state)
{
    (void)state;
    struct work w = { 0 };
    const int item[] = { 10, 11, 12, 20, 30, 31, 32, 33 }, begin[] = { 0, 3, 4, 8 };
    work_deal(&w, item, begin, 3);
    static const struct { int rank, item; } want[] = {
        { 1, 20 },              /* its own */
        { 1, 33 },              /* rank 2 has most: its last one */
        { 0, 10 }, { 1, 32 },   /* 2 against 3: rank 2 again */
        { 1, 12 },              /* 2 against 2: the first of them, rank 0 */
        { 2, 30 }, { 0, 11 }, { 0, 31 }, { 0, -1 }, { 1, -1 }, { 2, -1 }, { 3, -1 }, { -1, -1 },
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const int got = work_take(&w, want[i].rank);
        CHECK(got == want[i].item, "take %zu by rank %d: got %d, want %d", i, want[i].rank, got, want[i].item);
    }
    work_deal(&w, item, (int[]){ 0, 0 }, 1);             /* again, with nothing in it */
    assert_int_equal(work_take(&w, 0), -1);
    work_free(&w);
    assert_int_equal(work_take(&w, 0), -1);
}

static void work_of_one_rank(void **state)
{
    (void)state;
    int item[] = { 5, 3, 9 };
    comm_work_begin(item, (int[]){ 0, 3 });
    memset(item, 0, sizeof item);
    assert_int_equal(comm_work_next(), 5);
    assert_int_equal(comm_work_next(), 3);
    comm_work_begin((int[]){ 1 }, (int[]){ 0, 1 });
    assert_int_equal(comm_work_next(), 1);
    assert_int_equal(comm_work_next(), -1);
}

/* ---- the ring ---- */

static void ring(void **state)
{
    (void)state;
    struct ring_at at;
    struct ring_op op[RING_SHOWN];
    int64_t n = 0;
    ring_doing("sampling");
    for (int i = 0; i < 100; i++) {
        n = ring_number();
        ring_begin(n, i % 2 ? COMM_SUM : COMM_BARRIER, i);
        ring_where(&at);
        assert_true(at.inside && at.number == n && at.bytes == i);
        ring_end(n);
    }
    ring_where(&at);
    assert_true(!at.inside && at.number == n && at.kind == COMM_SUM);
    assert_string_equal(at.doing, "sampling");
    assert_int_equal(ring_last(op), RING_SHOWN);
    for (int i = 0; i < RING_SHOWN; i++)
        CHECK(op[i].number == n - RING_SHOWN + 1 + i && op[i].ended && op[i].took >= 0, "operation %d of the ring", i);
    /* two at a time: the older one is where the rank is, also when the other ends first */
    const int64_t a = ring_number(), b = ring_number();
    ring_begin(a, COMM_SUM, 1);
    ring_begin(b, COMM_GATHER, 2);
    ring_end(b);
    ring_where(&at);
    assert_true(at.inside && at.number == a);
    ring_end(a);
    ring_where(&at);
    assert_true(!at.inside && at.number == b);
    char text[96];
    ring_say(text, sizeof text, 121, COMM_SUM, 44040192);
    assert_string_equal(text, "operation 121 (sum of 42.0 MiB)");
    ring_say(text, sizeof text, 3, COMM_BARRIER, 0);
    assert_string_equal(text, "operation 3 (barrier)");
}

/* ---- who is at fault ---- */

static struct rank_seen at_work(int64_t number, bool inside, const char *doing)
{
    struct rank_seen s = { .host = "node7", .message = "",
                           .at = { .number = number, .kind = COMM_SUM, .bytes = 1 << 20, .inside = inside } };
    snprintf(s.at.doing, sizeof s.at.doing, "%s", doing);
    return s;
}

static void says(const struct rank_seen *seen, int want, const char *words, const char *name)
{
    char text[1200];
    const int got = diagnose(seen, 4, 300, text, sizeof text);
    CHECK(got == want, "%s: rank %d, not %d: %s", name, got, want, text);
    CHECK(strstr(text, words), "%s: '%s' does not say '%s'", name, text, words);
}

static void four(struct rank_seen *s)
{
    for (int r = 0; r < 4; r++) s[r] = at_work(121, true, "training");
}

static void late_or_silent(void **state)
{
    (void)state;
    struct rank_seen s[4];
    four(s);
    says(s, -1, "", "all well");
    s[2] = at_work(118, false, "sampling");
    for (int r = 0; r < 4; r++) s[r].waited = r == 2 ? 0 : 299;
    says(s, -1, "", "in time");
    s[1].waited = 301;
    says(s, 2, "rank 2 on node7 is late: behind operation 118 (sum of 1.0 MiB), sampling", "late");
    says(s, 2, "the others are in operation 121 (sum of 1.0 MiB)", "late, the others");
    s[3] = at_work(118, false, "grading");
    says(s, 2, "so is rank 3 on node7 (grading)", "two late");
    /* the stopped one went silent shortly after the others began to wait */
    s[3].silent = 298;
    says(s, 3, "rank 3 on node7 has been silent for 298 s: stopped, or its host is gone", "silent");
    four(s);
    s[1].silent = 299;
    says(s, -1, "", "silent while nobody waits");
    s[1].silent = 300;
    says(s, 1, "has been silent for 300 s", "silent for the timeout");
    s[0].silent = 350;
    says(s, 0, "so is rank 1 on node7", "two silent");
    four(s);
    for (int r = 0; r < 4; r++) s[r].waited = 400;
    says(s, 0, "all ranks are in operation 121", "nobody is behind");
    s[3].at.kind = COMM_BARRIER;
    says(s, 3, "rank 3 on node7 is in operation 121 (barrier of 1.0 MiB), rank 0", "another operation");
}

static void ended_alone(void **state)
{
    (void)state;
    struct rank_seen s[4];
    four(s);
    s[1] = at_work(120, false, "ending");
    s[1].closed = true;
    s[1].closed_at = 120;
    s[1].message = "no file x";
    says(s, 1, "rank 1 on node7 ended: no file x", "with a message");
    s[1].message = "";
    says(s, 1, "rank 1 on node7 ended, but rank 0 on node7 waits for it in operation 121", "without one");
    s[1].closed_at = 121;
    says(s, -1, "", "behind the last operation");
    for (int r = 0; r < 4; r++) if (r != 1) s[r] = at_work(122, true, "ending"), s[r].at.kind = COMM_CLOSE;
    says(s, -1, "", "the others close");
    s[1].message = "no file x";
    s[1].closed_s = 9;
    says(s, -1, "", "the others have 10 s");
    s[1].closed_s = 11;
    says(s, 1, "no file x", "the others go on");
}

/* ---- frames ---- */

static void frames(void **state)
{
    (void)state;
    int fd[2];
    struct inbox in = { 0 };
    char body[FRAME_MAX], big[FRAME_MAX];
    size_t n;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    memset(big, 'x', sizeof big);
    assert_true(frame_send(fd[0], FRAME_ASK, "12345678", 8, false));
    assert_true(frame_send(fd[0], FRAME_BEAT, NULL, 0, true));
    assert_true(frame_send(fd[0], FRAME_ENDED, big, sizeof big, true));
    assert_true(inbox_fill(&in, fd[1]));
    assert_int_equal(inbox_next(&in, body, &n), FRAME_ASK);
    assert_true(n == 8 && !memcmp(body, "12345678", 8));
    assert_int_equal(inbox_next(&in, body, &n), FRAME_BEAT);
    assert_int_equal(n, 0);
    assert_true(inbox_fill(&in, fd[1]));
    assert_int_equal(inbox_next(&in, body, &n), FRAME_ENDED);
    assert_true(n == FRAME_MAX && !memcmp(body, big, n));
    assert_int_equal(inbox_next(&in, body, &n), 0);
    /* half a frame, then the other half */
    const uint32_t half[3] = { FRAME_GIVE, 4, 77 };
    assert_int_equal(write(fd[0], half, 10), 10);
    assert_true(inbox_fill(&in, fd[1]));
    assert_int_equal(inbox_next(&in, body, &n), 0);
    assert_int_equal(write(fd[0], (const char *)half + 10, 2), 2);
    assert_true(inbox_fill(&in, fd[1]));
    assert_int_equal(inbox_next(&in, body, &n), FRAME_GIVE);
    assert_memory_equal(body, &half[2], 4);
    /* unknown: another protocol; a length that is too large */
    static const char *const strange[] = { "GET / HTTP/1.1\r\n\r\n", "\x6f\x70\x70\x61\xff\xff\xff\xff",
                                           "\x6f\x70\x70\x61\x01\x10\0\0" };
    for (int i = 0; i < 3; i++) {
        in.n = 0;
        assert_int_equal(write(fd[0], strange[i], 8), 8);
        assert_true(inbox_fill(&in, fd[1]));
        CHECK(inbox_next(&in, body, &n) == -1, "stranger %d", i);
    }
    close(fd[0]);
    assert_false(inbox_fill(&in, fd[1]));
    assert_false(frame_send(fd[1], FRAME_BEAT, NULL, 0, true));
    close(fd[1]);
}

/* ---- the order of a sum ---- */

static void sum_order(void **state)
{
    (void)state;
    enum { N = 2500, RANKS = 5 };
    static acc_t y[RANKS][N], x[N];
    const acc_t *from[RANKS];
    for (int r = 0; r < RANKS; r++) {
        from[r] = y[r];
        for (int i = 0; i < N; i++) y[r][i] = (acc_t)ldexp(1 + (i * 7 + r * 13) % 31 / 31.0, (i + 5 * r) % 40 - 20);
    }
    sum_in_order(x, from, RANKS, N);
    for (int i = 0; i < N; i++) {
        volatile acc_t s = y[0][i];
        for (int r = 1; r < RANKS; r++) s += y[r][i];
        CHECK(x[i] == s, "element %d", i);
    }
    sum_in_order(y[2], from, RANKS, N);                  /* into one of them, as the owner of a piece does */
    assert_memory_equal(y[2], x, sizeof x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank), cmocka_unit_test(one_rank_device), cmocka_unit_test(launchers),
        cmocka_unit_test(own_first_then_the_longest), cmocka_unit_test(work_of_one_rank), cmocka_unit_test(ring),
        cmocka_unit_test(late_or_silent), cmocka_unit_test(ended_alone), cmocka_unit_test(frames),
        cmocka_unit_test(sum_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
