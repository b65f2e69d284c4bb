/* test_flat_group.c: at which spread of its rewards a group is flat (advantage 0): a standard deviation below 1e-8. The
 * rewards are those around 0 that float holds; what is written here is a half of a group's difference. */
#include "kernels/ops_rl.h"
#include "tests/check.h"

static void near_the_threshold(void **state)
{
    (void)state;
    static const struct { double std; bool flat; } cases[] = {
        { 0, true },       { 1e-12, true },  { 5e-9, true },   { 9.9e-9, true },
        { 1.01e-8, false }, { 2e-8, false }, { 1e-6, false }, { 9e-5, false }, { 1e-3, false },
    };
    static const int64_t begin[] = { 0, 1, 2, 3, 4 };
    static const uint8_t m[] = { 1, 1, 1, 1 }, kind[] = { 0, 0, 1, 1 };
    static const int uid[] = { 0, 0, 0, 0 };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int by_std = 0; by_std < 2; by_std++)
            for (int branch = 0; branch < 2; branch++) {
                acc_t reward[4] = { 0, 0, 0, 0 }, adv[4], base[4];
                reward[2 * branch + 1] = (acc_t)(2 * cases[k].std);     /* the other group is flat */
                op_advantage_dual(adv, base, &(struct dual_in){
                    .reward = reward, .m = m, .begin = begin, .rows = 4, .uid = uid, .kind = kind, .records = 0
                }, &(struct advantage_rule){ DUAL_OFF, by_std, true });
                double half = cases[k].flat ? 0 : cases[k].std, want = by_std ? half / (half + 1e-6) : half;
                for (int i = 0; i < 4; i++) {
                    double own = i / 2 != branch ? 0 : i % 2 ? want : -want;
                    CHECK_NEAR(adv[i], own, 1e-6 * want, "std %g, by std %d, group %d, row %d", cases[k].std, by_std,
                               branch, i);
                    CHECK_NEAR(base[i], own, 1e-6 * want, "std %g, by std %d, group %d, base of row %d", cases[k].std,
                               by_std, branch, i);
                }
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(near_the_threshold) };
    return cmocka_run_group_tests_name("flat group", tests, NULL, NULL);
}
