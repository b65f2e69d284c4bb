/* test_calc.c: the calculator against Python's answers, its limits one by one, and hostile text. */
#include "data/tasks/calc.h"
#include "base/philox.h"
#include "tests/check.h"
#include <string.h>

static void check_run(const char *src, size_t n, const struct calc_limits *lim, const char *want)
{
    struct str got = { 0 };
    calc_run(&got, src, n, lim);
    CHECK(!strcmp(got.p, want), "calc(\"%.60s\") printed \"%.120s\", wanted \"%.120s\"", src, got.p, want);
    str_free(&got);
}

/* every answer is CPython 3's, if Python has one */
static const struct { const char *src, *want; } cases[] = {
    { "(59-49)*6", "60" }, { "47*29%13", "11" }, { "9**14%10", "1" }, { "gcd(48,36)", "12" }, { "(31+4)//7", "5" },
    { "32*8//2", "128" }, { "11+(8-1)*(29-11)", "137" }, { "(1*6+4)*6+3", "63" }, { " 1 + 2 ", "3" }, { "-2**2", "-4" },
    { "2**-1", "0.5" }, { "2**3**2", "512" }, { "-7//2", "-4" }, { "7//-2", "-4" }, { "-7%3", "2" }, { "7%-3", "-2" },
    { "-7//2*2+-7%2", "-7" }, { "2**-1*3", "1.5" }, { "2*-3", "-6" }, { "--5", "5" }, { "+-+5", "-5" },
    { "1/2", "0.5" }, { "4/2", "2.0" }, { "1/3", "0.3333333333333333" }, { "0.1+0.2", "0.30000000000000004" },
    { "1e16", "1e+16" }, { "1e15", "1000000000000000.0" }, { "1.5e-5", "1.5e-05" }, { "0.0001", "0.0001" },
    { "1e22*10", "1e+23" }, { "-0.0", "-0.0" }, { "5e-324", "5e-324" },
    { "1.7976931348623157e308", "1.7976931348623157e+308" }, { ".5", "0.5" }, { "5.", "5.0" }, { "-7.5//2", "-4.0" },
    { "-7.5%2", "0.5" }, { "7.5%-2", "-0.5" }, { "6.0%-3", "-0.0" }, { "1e300//1e-5", "1e+305" },
    { "-7e-6//-2", "0.0" }, { "0.0//-3", "-0.0" }, { "2.0**0.5", "1.4142135623730951" },
    { "50033500612844596438/38964", "1284095591131418.8" }, { "9007199254740993/1", "9007199254740992.0" },
    { "9007199254740995/1", "9007199254740996.0" }, { "-50033500612844596438/38964", "-1284095591131418.8" },
    { "1/9007199254740993", "1.1102230246251564e-16" }, { "0/-5", "-0.0" }, { "10**36/3", "3.333333333333333e+35" },
    { "9999999999999999999999999999999999999/9999999999999999999999999999999999998", "1.0" },
    { "18014398509481985/2", "9007199254740992.0" }, { "18014398509481987/2", "9007199254740994.0" },
    { "9007199254740993*1.0", "9007199254740992.0" }, { "9007199254740993+0.5", "9007199254740992.0" },
    { "9007199254740993//2.0", "4503599627370496.0" }, { "12345678901234567890123%1000.5", "879.0" },
    { "9007199254740993-9007199254740992.0", "0.0" },
    { "max(9007199254740993,9007199254740992.0)", "9007199254740993" },
    { "min(9007199254740993,9007199254740992.0)", "9007199254740992.0" },
    { "max(-9007199254740993,-9007199254740992.5)", "-9007199254740992.0" }, { "min(3,3.5,2.9)", "2.9" },
    { "max(-3,-3.5)", "-3" }, { "min(10**36,1e300,-1e300)", "-1e+300" }, { "2**-24*1", "5.960464477539063e-08" },
    { "2.0**-44", "5.684341886080802e-14" }, { "123456789012345680.0", "1.2345678901234568e+17" }, { "100.0", "100.0" },
    { "0.001", "0.001" }, { "12345.678", "12345.678" }, { "-0.00012", "-0.00012" }, { "8**(1/3)", "2.0" },
    { "0**0", "1" }, { "(-2)**3", "-8" }, { "2**100", "1267650600228229401496703205376" },
    { "9999999999999999999999999999999999999+0", "9999999999999999999999999999999999999" },
    { "-9999999999999999999999999999999999999//7",
    "-1428571428571428571428571428571428572" }, { "10**36//3", "333333333333333333333333333333333333" }, { "round(2.5)",
    "2" }, { "round(3.5)", "4" },
    { "round(-2.5)", "-2" }, { "round(2.675,2)", "2.67" }, { "round(7)", "7" }, { "round(7,1)", "7" },
    { "round(1.0,3)", "1.0" }, { "int(-3.9)", "-3" }, { "float(3)", "3.0" }, { "abs(-3)", "3" }, { "abs(-2.5)", "2.5" },
    { "min(3,1,2)", "1" }, { "max(3,1.5,2)", "3" }, { "max(1,1.0)", "1" }, { "min(1.0,1)", "1.0" }, { "gcd(0,0)", "0" },
    { "gcd(-12,18)", "6" }, { "gcd(12,18,27)", "3" }, { "lcm(4,6)", "12" }, { "lcm(0,6)", "0" },
    { "sqrt(2)", "1.4142135623730951" }, { "pow(2,10)", "1024" }, { "pow(3,200,7)", "2" }, { "pow(2,3,-5)", "-2" },
    { "pow(2,-1)", "0.5" }, { "a=3\na*a", "9" }, { "a=3;b=4;a*b", "12" }, { "a=3\na+=4\na//=2\na", "3" },
    { "a=3", "(no output)" }, { "", "(no output)" }, { " \n;\n ", "(no output)" }, { "1;2;3", "3" },
    { "1\na=2", "(no output)" }, { "print(1)", "1" }, { "print(1,2.0,-3)", "1 2.0 -3" },
    { "print(1)\nprint(2)\n3", "1\n2\n3" }, { "print(print(1))", "1\nNone" }, { "# nothing", "(no output)" },
    { "1+1 # two", "2" }, { "(1+\n1)", "2" }, { "max(1, # one\n 2)", "2" }, { "x1_=5\nx1_", "5" },
    { "a=2\r\na\r\n", "2" }, { "max = 3\nmax", "3" }, { "1/0", "error: zero division" },
    { "1//0", "error: zero division" }, { "1%0", "error: zero division" }, { "1.0%0", "error: zero division" },
    { "0**-1", "error: zero division" }, { "pow(2,3,0)", "error: zero division" },
    { "print(7)\n1/0", "7\nerror: zero division" }, { "9**9**9**9", "error: too large" },
    { "10**37", "error: too large" }, { "10**36*10", "error: too large" }, { "10**36*10**36", "error: too large" },
    { "99999999999999999999999999999999999999", "error: too large" }, { "1e400", "error: too large" },
    { "1e308*10", "error: too large" }, { "int(1e300)", "error: too large" },
    { "lcm(10**20,10**20+1)", "error: too large" }, { "2.0**99999", "error: too large" },
    { "1**10000", "error: too large" }, { "(-8)**0.5", "error: bad value" }, { "sqrt(-1)", "error: bad value" },
    { "gcd(1.5,2)", "error: bad value" }, { "abs(1,2)", "error: bad value" }, { "min(1)", "error: bad value" },
    { "gcd()", "error: bad value" }, { "-print(1)", "1\nerror: bad value" }, { "round(1,-1)", "error: bad value" },
    { "a", "error: unknown name" }, { "a+=1", "error: unknown name" }, { "foo(1)", "error: unknown name" },
    { "print", "error: unknown name" }, { "import os", "error: unknown name" },
    { "__import__('os')", "error: unknown name" }, { "open('/etc/passwd')", "error: unknown name" },
    { "1+", "error: syntax" }, { "*1", "error: syntax" }, { "(1", "error: syntax" }, { "1)", "error: syntax" },
    { "()", "error: syntax" }, { "(1,2)", "error: syntax" }, { "1,2", "error: syntax" }, { "max(1,)", "error: syntax" },
    { "max(,1)", "error: syntax" }, { "1 2", "error: syntax" }, { "2(3)", "error: syntax" },
    { "1..2", "error: syntax" }, { ".", "error: syntax" }, { "007", "error: syntax" }, { "00", "0" },
    { "1e", "error: syntax" }, { "3x", "error: syntax" }, { "a==3", "error: unknown name" }, { "a=", "error: syntax" },
    { "1=2", "error: syntax" }, { "a=1=2", "error: syntax" }, { "(1;2)", "error: syntax" },
    { "'text'", "error: syntax" }, { "[1]", "error: syntax" }, { "1***2", "error: syntax" },
    { "1///2", "error: syntax" }, { "\xc3\xa9", "error: syntax" }, { "1\xe2\x88\x92""2", "error: syntax" },
    { "\xff\xfe", "error: syntax" }, { "max(1,2\n", "error: syntax" },
};

static void as_python(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_run(cases[i].src, strlen(cases[i].src), &calc_default, cases[i].want);
}

static void bytes_and_lengths(void **state)
{
    (void)state;
    check_run("1\0+1", 4, &calc_default, "error: syntax");
    check_run("12", 1, &calc_default, "1");                                 /* n decides, not a 0 byte */
    check_run("1+2", 2, &calc_default, "error: syntax");
    struct str out = { 0 };
    str_puts(&out, "before ");
    calc_run(&out, "6*7", 3, &calc_default);
    assert_string_equal(out.p, "before 42");                                /* appends */
    str_free(&out);
}

/* n times a, the middle, n times z */
static void check_nested(int n, const char *a, const char *middle, const char *z, const struct calc_limits *lim,
                         const char *want)
{
    struct str s = { 0 };
    for (int k = 0; k < n; k++) str_puts(&s, a);
    str_puts(&s, middle);
    for (int k = 0; k < n; k++) str_puts(&s, z);
    check_run(s.p, s.n, lim, want);
    str_free(&s);
}

static void limits(void **state)
{
    (void)state;
    struct calc_limits wide = calc_default;
    wide.input = 1 << 20;
    /* then the size of the stacks is the limit */
    wide.depth = 1 << 20;
    const struct { int n; const char *a, *middle, *z, *want; } nests[] = {
        { 200, "(", "7", ")", "7" }, { 201, "(", "7", ")", "error: too deep" },
        { 10000, "(", "7", ")", "error: too deep" }, { 10000, "(", "", "", "error: too deep" },
        { 10000, "", "1", ")", "error: syntax" }, { 200, "-", "7", "", "7" },
        { 10000, "-", "7", "", "error: too deep" }, { 10000, "abs(", "7", ")", "error: too deep" },
        { 10000, "2**", "1", "", "error: too deep" }, { 10000, "1+", "1", "", "10001" },
        { 10000, "max(1,", "1", ")", "error: too deep" }, { 200, "", "max(0", ",1", "error: syntax" },
        { 10000, "1+(", "1", "", "error: too deep" },
    };
    for (size_t i = 0; i < sizeof nests / sizeof *nests; i++)
        check_nested(nests[i].n, nests[i].a, nests[i].middle, nests[i].z, &wide, nests[i].want);
    /* more values than the stack has places */
    check_nested(300, "", "max(0", ",1", &wide, "error: too long");
    check_nested(5000, "1", "", "", &calc_default, "error: too long");
    check_nested(100, "1;", "2", "", &calc_default, "2");
    check_nested(200, "1;", "2", "", &calc_default, "error: too long");       /* 201 statements */
    check_nested(63, "9", "", "", &calc_default, "error: too large");
    check_nested(64, "9", "", "", &calc_default, "error: too large");
    check_nested(1000, "a", "=1", "", &calc_default, "error: unknown name");       /* longer than any name */
    check_nested(3, "print(1);", "", "", &calc_default, "1\n1\n1");
    /* 60 lines of 38 bytes: more than 2000 */
    check_nested(60, "print(10**36);", "", "", &calc_default, "error: too long");
    struct str names = { 0 };
    for (int k = 0; k < 65; k++) str_printf(&names, "v%d=1;", k);
    check_run(names.p, names.n, &calc_default, "error: too long");
    str_free(&names);
    const struct { const char *src, *want; } small[] = {
        { "2**39", "549755813888" }, { "2**40", "error: too long" }, { "9**99", "error: too large" },
        { "2**99%7", "1" }, { "2**100", "error: too large" }, { "1/3", "error: too long" }, { "1/8", "0.125" },
        { "1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+10", "49" },
        { "1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+100", "error: too long" },
    };
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        check_run(small[i].src, strlen(small[i].src), &calc_embedded, small[i].want);
}

/* For any input it ends, with output of bounded length and without stray bytes. */
static void random_bytes(void **state)
{
    (void)state;
    static const char *const parts[] = { "1",
                                         "23",
                                         "0",
                                         "9.5",
                                         "e5",
                                         "+",
                                         "-",
                                         "*",
                                         "/",
                                         "%",
                                         "(",
                                         ")",
                                         ",",
                                         "gcd(",
                                         "max(",
                                         "print(",
                                         "round(",
                                         "a",
                                         "b=",
                                         "\n",
                                         ";",
                                         " ",
                                         "#",
                                         "int(",
                                         "=",
                                         ".",
                                         "\xc3",
                                         "pow(",
                                         "99999999999999999999",
                                         "**",
                                         "//" };
    struct rng r = rng_make(7, 1, 0);
    int errors = 0, values = 0;
    for (int k = 0; k < 60000; k++) {
        struct str s = { 0 }, out = { 0 };
        for (int n = (int)rng_below(&r, 14); n >= 0; n--)
            str_puts(&s, parts[rng_below(&r, sizeof parts / sizeof *parts)]);
        calc_run(&out, s.p, s.n, &calc_default);
        CHECK(out.n > 0 && out.n <= (size_t)calc_default.output + 24, "\"%s\" printed %zu bytes", s.p, out.n);
        for (size_t i = 0; i < out.n; i++)
            CHECK((out.p[i] >= ' ' && out.p[i] < 127) || out.p[i] == '\n', "\"%s\" printed byte %d", s.p, out.p[i]);
        if (strstr(out.p, "error: ")) errors++; else values++;
        str_free(&s);
        str_free(&out);
    }
    print_message("60000 random programs: %d errors, %d values\n", errors, values);
    assert_true(errors > 1000 && values > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_python), cmocka_unit_test(bytes_and_lengths),
                                        cmocka_unit_test(limits), cmocka_unit_test(random_bytes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
