/* test_shim.c: the shim finds what it is there for: a missing barrier, barriers and shuffles that do not meet, memory that is not there, shared memory taken
 * for zeroed; its shuffles, votes and atomics give what the hardware's would; what is captured runs when it is played, and what cannot be is refused. */
#include "tests/shim/cases.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void finds(enum case_kind k, int order, const char *words)
{
    int out[256];
    const char *said = case_run(k, order, out);
    CHECK(words ? said && strstr(said, words) : !said, "case %d in order %d: %s", k, order, said ? said : "nothing said");
}

static void right_kernels_are_left_alone(void **state)
{
    (void)state;
    for (int order = 0; order < 6; order++) {
        int out[256];
        const char *said = case_run(CASE_SUM, order, out);
        CHECK(!said, "order %d: %s", order, said);
        for (int i = 0; i < 256; i++) CHECK(out[i] == 255 * 256 / 2, "order %d, thread %d: a sum of %d", order, i, out[i]);
    }
}

static void wrong_kernels_are_found(void **state)
{
    (void)state;
    for (int order = 0; order < 4; order++) {
        finds(CASE_TWO_BARRIERS, order, "threads of one block wait at different barriers in block (0,0,0) of two_barriers_kernel");
        finds(CASE_BARRIER_AFTER_END, order, "a barrier waits for threads that have ended");
        finds(CASE_SHUFFLE_AFTER_END, order, "a warp operation waits for lanes that never come");
        finds(CASE_SHUFFLE_APART, order, "lanes of one warp meet at different places");
        finds(CASE_OUTSIDE_MASK, order, "a shuffle reads a lane outside its mask");
        finds(CASE_NOT_IN_MASK, order, "a lane that its own mask leaves out");
    }
    finds(CASE_NO_BARRIER, 0, NULL);                     /* one order alone cannot tell */
    finds(CASE_NO_BARRIER, 1, NULL);
    finds(CASE_NO_BARRIER, 2, "no_barrier_kernel gives other bits in reverse order");
    finds(CASE_RACE_BETWEEN_BLOCKS, 2, "block_race_kernel gives other bits in reverse order");
    int out[256];
    case_run(CASE_STALE_SHARED, 1, out);
    for (int i = 0; i < 256; i++) CHECK(out[i] == 1, "thread %d finds shared memory that is not filled", i);
}

static void lanes(void **state)
{
    (void)state;
    int o[LANE_ROWS][32];
    case_lanes(o);
    for (int l = 0; l < 32; l++) {
        const int want[LANE_ROWS] = { 100 + (l ^ 5), 100 + (l < 3 ? l : l - 3), 100 + (l + 7 > 31 ? l : l + 7), 131 - l, 0x49249249, 2, 2, 2 * (l ^ 1) + 1,
            100 + (l ^ 1) };
        for (int r = 0; r < LANE_ROWS; r++) CHECK(o[r][l] == want[r], "row %d, lane %d: got %d, want %d", r, l, o[r][l], want[r]);
    }
}

static void atomics(void **state)
{
    (void)state;
    CHECK(case_atomics() == 32000, "counters of 32,000 threads do not agree");
}

/* In a child process f must end in failure, saying these words. */
static void ends(void (*f)(void), const char *words)
{
    char text[65536] = "";
    int to[2], status;
    size_t n = 0;
    fflush(NULL);
    CHECK(pipe(to) == 0, "pipe");
    pid_t child = fork();
    CHECK(child >= 0, "fork");
    if (!child) {
        dup2(to[1], 2);
        f();
        _exit(0);
    }
    close(to[1]);
    for (ssize_t got; n + 1 < sizeof text && (got = read(to[0], text + n, sizeof text - 1 - n)) > 0;) n += (size_t)got;
    close(to[0]);
    CHECK(waitpid(child, &status, 0) == child, "waitpid");
    CHECK(!(WIFEXITED(status) && !WEXITSTATUS(status)) && strstr(text, words), "wanted '%s', it said: %s", words, text);
}

static void memory(void **state)
{
    (void)state;
    ends(case_odd_block, "a block of 33 threads");
#if defined(__SANITIZE_ADDRESS__)
    ends(case_read_beyond, "AddressSanitizer");
    ends(case_shared_beyond, "AddressSanitizer");
#endif
}

static void graphs(void **state)
{
    (void)state;
    const char *wrong = case_replay();
    CHECK(!wrong, "%s", wrong);
    wrong = case_refused();
    CHECK(!wrong, "%s", wrong);
    ends(case_list_allocates, "dev_alloc inside a list of operations that is recorded");
    ends(case_list_puts, "dev_put inside a list");
    ends(case_list_gets, "dev_get inside a list");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(right_kernels_are_left_alone), cmocka_unit_test(wrong_kernels_are_found), cmocka_unit_test(lanes),
                                        cmocka_unit_test(atomics), cmocka_unit_test(memory), cmocka_unit_test(graphs) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
