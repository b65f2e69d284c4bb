/* test_vec_avx512.c: test_vec.c once more with vectors of 64 bytes, where the processor has them. The Makefile compiles
 * the file for AVX-512; what runs on every processor is compiled without. */
#include "kernels/cpu/lanes.h"
#include "tests/check.h"
#if defined(__x86_64__)
#define main test_vec_main
#include "tests/kernels/test_vec.c"
#undef main
static void this_processor_has_none(void **state) __attribute__((target("no-avx512f")));
int main(void) __attribute__((target("no-avx512f")));
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
