/* test_defaults.c: the default of every key and what every preset makes of it, against the recorded
 * tests/engine/config/defaults.txt. Where a change is meant, APPO_RECORD=1 in the environment of this program writes
 * the file again, and its diff belongs into the commit. */
#include "base/file.h"
#include "engine/config/config_in.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

static const char path[] = "tests/engine/config/defaults.txt";

static void put_key(struct str *out, const char *what, const struct config *c, const struct key *k)
{
    char text[64];
    const char *value = config_text(c, k, text);
    str_printf(out, "%s%s%s: %s\n", what, *what ? " " : "", k->name, k->type == KEY_STRING && !*value ? "\"\"" : value);
}

/* The keys of c that are not as in base. */
static void put_changed(struct str *out, const char *what, const struct config *c, const struct config *base)
{
    char text[64], old[64];
    for (int i = 0; i < config_nkeys; i++) {
        const struct key *k = &config_keys[i];
        if (strcmp(config_text(c, k, text), config_text(base, k, old))) put_key(out, what, c, k);
    }
}

static void put_all(struct str *out)
{
    static const char *const preset[] = { "paper", "official", "official_8b", "official_14b" };
    static const char *const given[][2] = {
        { "algorithm.adv_estimator", "grpo" },           { "algorithm.adv_estimator", "reinforce_plus_plus" },
        { "actor.policy_loss.loss_mode", "gspo" },       { "actor.policy_loss.loss_mode", "cispo" },
        { "actor.policy_loss.loss_mode", "gppo" },       { "actor.policy_loss.loss_mode", "aepo" },
    };
    struct config base, c;
    struct err e;
    config_init(&base);
    for (int i = 0; i < config_nkeys; i++) put_key(out, "", &base, &config_keys[i]);
    config_init(&c);
    CHECK(config_default_column(&c, &e), "%s", e.text);
    put_changed(out, "with model.path:", &c, &base);
    config_free(&c);
    for (int i = 0; i < 4; i++) {
        char what[64];
        config_init(&c);
        CHECK(config_preset(&c, preset[i], &e), "%s", e.text);
        snprintf(what, sizeof what, "preset %s:", preset[i]);
        put_changed(out, what, &c, &base);
        config_free(&c);
    }
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        char what[64];
        config_init(&c);
        CHECK(config_set(&c, given[i][0], given[i][1], "test", &e) && config_derive(&c, NULL, &e), "%s", e.text);
        snprintf(what, sizeof what, "%s=%s:", given[i][0], given[i][1]);
        put_changed(out, what, &c, &base);
        config_free(&c);
    }
    config_free(&base);
}

static size_t line_of(const char *p) { return strcspn(p, "\n"); }

static void defaults(void **state)
{
    (void)state;
    struct str now = { 0 }, was = { 0 };
    struct err e;
    put_all(&now);
    if (getenv("APPO_RECORD")) {
        CHECK(file_write(path, now.p, now.n, &e), "%s", e.text);
        printf("recorded %s\n", path);
    }
    CHECK(file_read(path, 1 << 20, &was, &e), "%s", e.text);
    const char *a = was.p, *b = now.p;
    for (int line = 1; *a || *b; line++) {
        size_t n = line_of(a), m = line_of(b);
        CHECK(n == m && !memcmp(a, b, n), "%s:%d: recorded \"%.*s\", is \"%.*s\" (APPO_RECORD=1 records it)", path,
              line, (int)n, a, (int)m, b);
        a += n + (a[n] == '\n');
        b += m + (b[m] == '\n');
    }
    str_free(&now);
    str_free(&was);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(defaults) };
    return cmocka_run_group_tests_name("defaults", tests, NULL, NULL);
}
