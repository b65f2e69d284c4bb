/* test_vec_avx512.c: test_vec.c once more with vectors of 64 bytes, where the processor has them. */
#include "kernels/cpu/lanes.h"
#include "tests/check.h"
#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
#define main test_vec_main
#include "tests/kernels/test_vec.c"
#undef main
#pragma GCC pop_options
#else
static int test_vec_main(void) { return 0; }
#endif

static void this_processor_has_none(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(this_processor_has_none) };
    return lanes_avx512() ? test_vec_main() : cmocka_run_group_tests(tests, NULL, NULL);
}
