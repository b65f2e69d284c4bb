/* test_sample_edges.c: sampling where the set of ids is decided by equality: a mass that is exactly top_p, logits that
 * are equal although one is -0. The weights are whole numbers, so that no rounding hides the edge. */
#include "kernels/ops.h"
#include "tests/check.h"
#include <stdlib.h>

enum { VOCAB = 5, DRAWS = 200 };

static void *on_device(const void *host, size_t bytes)
{
    void *d = dev_alloc(bytes);
    dev_put(d, host, bytes);
    return d;
}

/* Which ids come up in DRAWS draws of one row, as a set of bits. */
static unsigned sampled(const double *x, double top_p, int top_k)
{
    elem_t row[DRAWS * VOCAB];
    struct sample_key key[DRAWS];
    int id[DRAWS];
    unsigned set = 0;
    struct sample_rule rule = { 1, top_p, top_k, 7, NULL };
    for (int i = 0; i < DRAWS; i++) {
        key[i] = (struct sample_key){ 0, 0, 0, (uint32_t)i };
        for (int j = 0; j < VOCAB; j++) row[i * VOCAB + j] = elem_from(x[j]);
    }
    elem_t *d_x = on_device(row, sizeof row);
    struct sample_key *d_key = on_device(key, sizeof key);
    int *d_id = dev_alloc(sizeof id);
    op_sample((struct sample_args){
        .id = d_id, .x = d_x, .rule = &rule, .key = d_key, .n = DRAWS, .vocab = VOCAB, .ld = VOCAB });
    dev_get(id, d_id, sizeof id);
    for (int i = 0; i < DRAWS; i++) set |= 1u << id[i];
    dev_free(d_x);
    dev_free(d_key);
    dev_free(d_id);
    return set;
}

static void edges(void **state)
{
    (void)state;
    const double low = -1000, none = -0.0;
    static const struct { const char *name; double top_p; int top_k; unsigned want; } cases[] = {
        { "half of two", 0.5, 0, 1 }, { "a little more than half of two", 0.51, 0, 3 }, { "all but none", 0, 0, 1 },
        { "the best", 1, 1, 1 }, { "the best two", 1, 2, 3 },
    };
    const double equal[VOCAB] = { 0, 0, low, low, low }, signs[VOCAB] = { none, 0, low, low, low };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        unsigned a = sampled(equal, cases[k].top_p, cases[k].top_k), b = sampled(signs, cases[k].top_p, cases[k].top_k);
        CHECK(a == cases[k].want, "%s: ids %x, should be %x", cases[k].name, a, cases[k].want);
        CHECK(b == cases[k].want, "%s, the first is -0: ids %x, should be %x", cases[k].name, b, cases[k].want);
    }
    const double four[VOCAB] = { low, 1, 1, 1, 1 };
    CHECK(sampled(four, 0.75, 0) == 0xe, "three quarters of four: ids %x", sampled(four, 0.75, 0));
    CHECK(sampled(four, 0.5, 2) == 2, "half of the best two of four: ids %x", sampled(four, 0.5, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(edges) };
    return cmocka_run_group_tests_name("sample edges", tests, NULL, NULL);
}
