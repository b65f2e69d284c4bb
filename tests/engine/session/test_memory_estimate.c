/* test_memory_estimate.c: a run that is too large is rejected before anything is read, with what it takes and what is
 * there; what it is said to take is what it takes. */
#include "engine/session/memory_estimate.h"
#include "engine/session/session.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void set(struct config *c, const char *key, const char *value)
{
    struct err e;
    CHECK(config_set(c, key, value, "test", &e), "%s", e.text);
}

static void open_config(struct config *c)
{
    config_init(c);
    set(c, "model.path", "policy");
}

static void too_large_is_rejected(void **state)
{
    (void)state;
    struct config c;
    struct err e = { "" };
    struct session s;
    open_config(&c);
    CHECK(session_fits(&c, "policy", true, &e), "%s", e.text);
    set(&c, "rollout.max_num_seqs", "65536");
    set(&c, "data.train_batch_size", "65536");
    CHECK(session_fits(&c, "policy", true, &e) || strstr(e.text, "actor.ppo_mini_batch_size=13 or"),
          "only those of a mini-batch wait to be branched: %s", e.text);
    /* 915 GiB of keys and values of the rollouts that wait to be branched */
    set(&c, "branch.when", "step");
    set(&c, "rollout.initial_rollouts", "60");
    CHECK(!session_fits(&c, "policy", true, &e), "it fits");
    static const char *const words[] = { "policy: this run takes ",
                                         " GiB (weights 0.0",
                                         "optimizer 0.0",
                                         "keys and values ",
                                         " GiB free",
                                         " Lower actor.ppo_max",
                                         "rollout.max_num_seqs=65536, data.train_batch_size=65536",
                                         "appo plan memory=" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        CHECK(strstr(e.text, words[i]), "no '%s' in: %s", words[i], e.text);
    CHECK(!session_open(&s, &c, true, &e) && strstr(e.text, "this run takes"), "%s", e.text);
    assert_true(s.tok == NULL && s.m.w == NULL);            /* nothing was read */
    session_close(&s);
    config_free(&c);
}

static void what_others_say(void **state)
{
    (void)state;
    struct config c;
    struct err e = { "" };
    open_config(&c);
    CHECK(session_fits(&c, "policy/none", true, &e), "%s", e.text);
    config_free(&c);
}

/* Float weights have no copy to go without; an evaluation needs none. */
static void no_master_copy(void **state)
{
    (void)state;
    struct config c;
    struct err e = { "" };
    bool narrow = sizeof(elem_t) < sizeof(acc_t);
    open_config(&c);
    set(&c, "actor.optim.master", "none");
    CHECK(session_fits(&c, "policy", true, &e) == narrow, "%s", e.text);
    CHECK(narrow || strstr(e.text, "actor.optim.master=none is for weights stored as bf16"), "%s", e.text);
    CHECK(session_fits(&c, "policy", false, &e), "%s", e.text);
    config_free(&c);
}

/* Opened in a child that has this much memory: OPENS, REJECTED, or 70 where the memory runs out on the way. The shim
 * only; it reads what it shall be when it is first used, so that must not happen here. */
enum { OPENS = 10, REJECTED, NOT_THE_SHIM };
static int opens_with(size_t bytes)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0, "fork");
    if (!child) {
        char text[64];
        struct config c;
        struct session s;
        struct err e;
        if (!freopen("/dev/null", "w", stderr)) _exit(3);
        snprintf(text, sizeof text, "memory=%zu", bytes);
        setenv("APPO_SIMT_GPU", text, 1);
        if (strcmp(dev_name(), "simt")) _exit(NOT_THE_SHIM);
        open_config(&c);
        set(&c, "rollout.max_num_seqs", "8");
        set(&c, "actor.ppo_max_token_len_per_gpu", "512");
        _exit(session_open(&s, &c, true, &e) ? OPENS : REJECTED);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status), "waitpid");
    return WEXITSTATUS(status);
}

/* Whatever the memory, a run either is rejected at the start or opens: it never runs out half-way. Attention plans and
 * rounding are a few MiB. */
static void never_half_way(void **state)
{
    (void)state;
    size_t low = 1 << 20, high = (size_t)1 << 30;
    if (opens_with(low) == NOT_THE_SHIM) skip();
    assert_int_equal(opens_with(low), REJECTED);
    assert_int_equal(opens_with(high), OPENS);
    while (high - low > 1 << 20) {
        size_t mid = low + (high - low) / 2;
        int got = opens_with(mid);
        CHECK(got == OPENS || got == REJECTED, "with %zu bytes: status %d", mid, got);
        if (got == OPENS) high = mid;
        else low = mid;
    }
    printf("opens with %zu bytes, is rejected with %zu\n", high, low);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(never_half_way), cmocka_unit_test(too_large_is_rejected),
                                        cmocka_unit_test(what_others_say),
                                        cmocka_unit_test(no_master_copy) };
    return cmocka_run_group_tests_name("fits", tests, NULL, NULL);
}
