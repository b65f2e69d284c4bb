/* test_parquet.c: files written by pandas and pyarrow against their rows as JSON, the integer codes against the
 * specification's examples, and files made here that contradict themselves: each must be rejected with a message, and
 * none may make the reader allocate what it claims. */
#include "base/file.h"
#include "base/philox.h"
#include "data/records.h"
#include "tests/data/parquet/parquet_make.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <zlib.h>
#include <zstd.h>

#define COUNT(x) (sizeof (x) / sizeof *(x))

/* ---- whole files */

static const char *const files[] = { "verl_pandas", "verl_v2",  "nested",  "types_delta",
                                     "types_plain", "messages", "question" };

/* Compares the file's rows with its twin of JSON lines; returns their number. */
static int same_rows(const char *a, const char *b, const char *const *columns)
{
    struct err e = { 0 };
    struct records *x = records_open(a, columns, &e), *y = records_open(b, NULL, &e);
    CHECK(x && y, "%s", e.text);
    json_t *p, *q;
    int n = 0, more = 1;
    while (more == 1) {
        more = records_next(x, &p, &e);
        CHECK(more >= 0, "%s", e.text);
        int other = records_next(y, &q, &e);
        CHECK(other == more, "%s has %s rows than %s", a, more ? "more" : "fewer", b);
        if (more && !json_equal(p, q)) {
            char *s = json_dumps(p, JSON_SORT_KEYS), *t = json_dumps(q, JSON_SORT_KEYS);
            print_error("%s, row %d:\ngot  %s\nwant %s\n", a, n, s, t);
            _fail(__FILE__, __LINE__);
        }
        json_decref(p);
        json_decref(q);
        n += more;
    }
    records_close(x);
    records_close(y);
    return n;
}

static void written_by_others(void **state)
{
    (void)state;
    /* its other columns are a TIMESTAMP and bytes that are not text */
    static const char *const question[] = { "question", "answer", NULL };
    static const int rows[] = { 60, 90, 120, 70, 70, 20, 30 };
    for (size_t k = 0; k < COUNT(files); k++) {
        char a[96], b[96];
        snprintf(a, sizeof a, "tests/data/parquet/%s.parquet", files[k]);
        snprintf(b, sizeof b, "tests/data/parquet/%s.jsonl", files[k]);
        assert_int_equal(same_rows(a, b, strcmp(files[k], "question") ? NULL : question), rows[k]);
    }
}

static void released_twins(void **state)
{
    (void)state;
    if (!file_exists("../shared/data/train_10k.parquet")) {
        print_message("skipped: ../shared/data/train_10k.parquet and its twin are not here\n");
        skip();
    }
    assert_int_equal(same_rows("../shared/data/train_10k.parquet", "../shared/data/train_10k.jsonl.gz", NULL), 10000);
    assert_int_equal(same_rows("../shared/data/valid.parquet", "../shared/data/valid.jsonl.gz", NULL), 180);
}

/* Only the members below the given paths. */
static void chosen_columns(void **state)
{
    (void)state;
    static const char *const some[] = { "extra_info.index", "reward_model", "nowhere", NULL };
    struct err e;
    struct records *r = records_open("tests/data/parquet/verl_v2.parquet", some, &e);
    assert_non_null(r);
    json_t *row;
    for (int k = 0; k < 90; k++) {
        assert_int_equal(records_next(r, &row, &e), 1);
        json_t *want = json_pack("{s:{s:i},s:{s:s++,s:s}}", "extra_info", "index", k, "reward_model", "ground_truth",
                                 "", "", "", "style", "rule");
        char answer[16];
        snprintf(answer, sizeof answer, "%d", k + k * k);
        json_object_set_new(json_object_get(want, "reward_model"), "ground_truth", json_string(answer));
        assert_true(json_equal(row, want));
        json_decref(want);
        json_decref(row);
    }
    assert_int_equal(records_next(r, &row, &e), 0);
    records_close(r);
}

/* ---- integer codes */

static void runs(void **state)
{
    (void)state;
    /* Encodings.md: 0 .. 7 packed in 3 bits are 88 C6 FA; then 5 four times; then a run of nothing and 8 packed of
     * which the last byte is cut off */
    static const uint8_t bytes[] = { 0x03, 0x88, 0xC6, 0xFA, 0x08, 0x05, 0x00, 0x07, 0x03, 0x88, 0xC6 };
    struct rle r = rle_make(bytes, sizeof bytes, 3);
    uint32_t x;
    for (uint32_t k = 0; k < 8; k++) assert_true(rle_next(&r, &x) && x == k);
    for (int k = 0; k < 4; k++) assert_true(rle_next(&r, &x) && x == 5);
    for (uint32_t k = 0; k < 5; k++) assert_true(rle_next(&r, &x) && x == k);
    assert_false(rle_next(&r, &x));
    static const struct {
        uint8_t b[8];
        int n, width;
    } bad[] = { { { 0x08 }, 1, 3 },
                { { 0x08, 0x08 }, 2, 3 },
                { { 0x80 }, 1, 3 },
                { { 0 }, 0, 3 },
                { { 0x03 }, 1, 32 },
                { { 0x02, 0xFF, 0xFF, 0xFF }, 4, 32 },
                { { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F }, 8, 1 } };
    for (size_t k = 0; k < COUNT(bad); k++) {
        r = rle_make(bad[k].b, (size_t)bad[k].n, bad[k].width);
        CHECK(!rle_next(&r, &x), "run %zu", k);
    }
    r = rle_make((const uint8_t[]){ 0x04, 0xFF, 0xFF, 0xFF, 0xFF, 0x06 }, 6, 32);
    assert_true(rle_next(&r, &x) && x == UINT32_MAX && rle_next(&r, &x) && !rle_next(&r, &x));
    /* a dictionary of one value: indices of no bits */
    r = rle_make((const uint8_t[]){ 0x06, 0x03 }, 2, 0);
    for (int k = 0; k < 11; k++) assert_true(rle_next(&r, &x) && x == 0);
    assert_false(rle_next(&r, &x));
}

static void differences(void **state)
{
    (void)state;
    /* Encodings.md: 7, 5, 3, 1, 2, 3, 4, 5: smallest difference -2, in 2 bits the others less that: 0 0 0 3 3 3 3 */
    static const uint8_t bytes[] = { 0x80, 0x01, 0x04, 0x08, 0x0E, 0x03, 0x02, 0x00, 0x00, 0x00,
                                     0xC0, 0x3F, 0,    0,    0,    0,    0,    0,    0xEE };
    static const int64_t want[] = { 7, 5, 3, 1, 2, 3, 4, 5 };
    struct delta d;
    int64_t x;
    assert_true(delta_make(&d, bytes, bytes + sizeof bytes));
    for (size_t k = 0; k < COUNT(want); k++) assert_true(delta_next(&d, &x) && x == want[k]);
    assert_false(delta_next(&d, &x));
    /* the next data begin after the whole miniblock */
    assert_int_equal(*d.p, 0xEE);
    assert_true(delta_make(&d, bytes, bytes + 14));
    assert_true(delta_next(&d, &x) && x == 7 && !delta_next(&d, &x));
    static const uint8_t heads[][6] = { { 0, 4, 1, 0 },       { 0x80, 1, 0, 1, 0 },
                                        { 0x80, 1, 3, 1, 0 }, { 0x80, 0x80, 0x80, 1, 4, 1 },
                                        { 0x80, 1, 8, 1, 0 }, { 0x80, 0x80 } };
    for (size_t k = 0; k < COUNT(heads); k++) CHECK(!delta_make(&d, heads[k], heads[k] + 6), "head %zu", k);
}

/* ---- files made here */

/* Reads all; the rows as one line of JSON, or the error. */
static struct str read_all(const struct str *file)
{
    struct err e = { 0 };
    struct str s = { 0 };
    json_t *all = json_array(), *row;
    struct parquet *p = parquet_open("made.parquet", file->p, file->n, NULL, &e);
    int state = p ? 1 : -1;
    while (state == 1 && (state = parquet_next(p, &row, &e)) == 1) json_array_append_new(all, row);
    char *text = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9));
    str_puts(&s, state < 0 ? e.text : text);
    CHECK(state == 0 || !strncmp(e.text, "made.parquet: ", 14), "no file's name: %s", e.text);
    free(text);
    json_decref(all);
    parquet_close(p);
    return s;
}

static void expect(struct make *m, const char *name, const char *says)
{
    struct str file = write_file(m), got = read_all(&file);
    CHECK(strstr(got.p, says), "%s: got \"%s\", want \"%s\"", name, got.p, says);
    str_free(&file);
    str_free(&got);
}

/* levels 1 0 1, then the texts */
static const char good[] = "\2\0\0\0\3\5\1\0\0\0a\2\0\0\0bc";
#define ROWS "[{\"x\":\"a\"},{\"x\":null},{\"x\":\"bc\"}]"

static void one_lie_each(void **state)
{
    (void)state;
    #define AT(field) offsetof(struct make, field)
    static const struct { size_t at; int64_t value; const char *says; } lies[] = {
        { AT(footer), 0, "the footer: ends in the middle" },
        { AT(footer), 1 << 30, "claims a footer of 1073741824 bytes" }, { AT(footer), 3, "footer" },
        { AT(elements), 3, "" }, { AT(elements), 1 << 20, "made.parquet: " },
        { AT(elements), (int64_t)1 << 62, "more items than bytes are left" }, { AT(elements), 1, "" },
        { AT(members), 2, "ends before its last group" }, { AT(members), 0, "belong to no group" },
        { AT(members), (int64_t)1 << 40, "the schema" },
        { AT(element_children), 1 << 20, "claims 1048576 members, more than there are" },
        { AT(element_children), 1, "claims 1 members" },
        { AT(type), 3, "column \"x\" is an INT96, which cannot be read" }, { AT(type), 8, "unknown type, number 8" },
        { AT(type), 7, "values of 0 bytes" }, { AT(converted), 6, "a DATE" }, { AT(converted), 21, "an INTERVAL" },
        { AT(converted), 99, "an unknown converted type" }, { AT(logical), 8, "a TIMESTAMP" },
        { AT(logical), 14, "a UUID" },
        { AT(chunk_type), 1, "is of type 1 here and of type 6 in the schema" },
        { AT(codec), 3, "LZO" }, { AT(codec), 4, "BROTLI; write it again" }, { AT(codec), 5, "LZ4;" },
        { AT(codec), 7, "LZ4_RAW" }, { AT(codec), 8, "number 8" }, { AT(codec), (int64_t)1 << 32, "unknown method" },
        { AT(codec), -1, "unknown method" }, { AT(codec), 1, "SNAPPY are damaged" },
        { AT(codec), 2, "GZIP are damaged" },
        { AT(codec), 6, "ZSTD are damaged" },
        { AT(offset), 0, "at byte 0" }, { AT(offset), -5, "at byte -5" },
        { AT(offset), INT64_MAX, "the footer begins at byte" }, { AT(offset), 5, "bytes at byte 5, the footer" },
        { AT(dictionary_offset), 2, "at byte 2" }, { AT(size), INT64_MAX, "the footer begins" },
        { AT(size), -1, "claims -1 bytes" }, { AT(size), 0, "ends 3 values too early" },
        { AT(size), 5, "its header: ends in the middle" }, { AT(values), 2, "claims 3 values where its column has 2" },
        { AT(values), 4, "ends 1 values too early" }, { AT(values), -1, "claims" },
        { AT(values), INT64_MAX, "values too early" }, { AT(outside), 1, "in another file" },
        { AT(encrypted), 1, "is encrypted" }, { AT(columns), 0, "0 columns, the schema 1" },
        { AT(columns), 2, "2 columns, the schema 1" }, { AT(columns), INT64_MAX, "more items than bytes" },
        { AT(groups), 0, "the footer claims 3 rows, its row groups hold 0" }, { AT(groups), 2, "" },
        { AT(groups), (int64_t)1 << 60, "more items" },
        { AT(group_rows), 2, "more values than the row group has rows" },
        { AT(group_rows), 4, "row group 0: row 3, page at byte 4: has fewer values" },
        { AT(group_rows), -1, "no number of rows" }, { AT(group_rows), INT64_MAX, "fewer values" },
        { AT(rows), 5, "claims 5 rows, its row groups hold 3" }, { AT(page.kind), 9, "unknown kind, number 9" },
        { AT(page.kind), 3, "fewer levels" }, { AT(page.kind), 2, "ends 3 values too early" },
        { AT(page.packed), 1 << 30, "claims 1073741824 bytes where" }, { AT(page.packed), -1, "claims -1 bytes" },
        { AT(page.packed), 3, "holds 3 bytes and claims" },
        { AT(page.unpacked), (int64_t)1 << 40, "at most 268435456 are read" },
        { AT(page.unpacked), -1, "claims to unpack to -1" },
        { AT(page.unpacked), 200 << 20, "holds 17 bytes and claims 209715200" },
        { AT(page.values), (int64_t)1 << 40, "claims 1099511627776 values" },
        { AT(page.values), -1, "claims -1 values" }, { AT(page.values), 4, "4 values where its column has 3" },
        { AT(page.def_encoding), 4, "definition levels in encoding 4" },
        { AT(page.encoding), 2, "refers to a dictionary that is not there" },
        { AT(page.encoding), 3, "encoding, number 3" }, { AT(page.encoding), 4, "encoding 4, which is not read" },
        { AT(page.encoding), 5, "encoding, number 5" }, { AT(page.encoding), 6, "encoding, number 6" },
        { AT(page.encoding), 7, "encoding, number 7" }, { AT(page.encoding), 9, "encoding, number 9" },
        { AT(page.encoding), 1000, "which is not read" }, { AT(page.encoding), -1, "which is not read" },
        { AT(page.crc), 1, "its checksum is wrong" },
    };
    struct make m = honest(good, sizeof good - 1);
    expect(&m, "honest", ROWS);
    for (size_t k = 0; k < COUNT(lies); k++) {
        char name[64];
        m = honest(good, sizeof good - 1);
        memcpy((char *)&m + lies[k].at, &lies[k].value, sizeof lies[k].value);
        snprintf(name, sizeof name, "lie %zu (%lld)", k, (long long)lies[k].value);
        struct str file = write_file(&m), got = read_all(&file);
        CHECK(!strncmp(got.p, "made.parquet: ", 14) && strstr(got.p, lies[k].says), "%s: got \"%s\", want \"%s\"", name,
              got.p, lies[k].says);
        str_free(&file);
        str_free(&got);
    }
    m = honest(good, sizeof good - 1);
    m.page.crc = (int32_t)crc32(0, (const Bytef *)good, sizeof good - 1);
    expect(&m, "checksum", ROWS);
}

/* Pages with a correct header and wrong bytes. */
static void bad_bytes(void **state)
{
    (void)state;
    #define B(text) text, sizeof text - 1
    static const struct { const char *body; size_t n; int encoding, type, converted; const char *says; } cases[] = {
        { B("\2\0\0\0\3\5\1\0\0\0a\2\0\0\0b"), 0, PQ_BYTES, 0, "row 2, page at byte 4: a value longer than the page" },
        { B("\2\0\0\0\3\5\1\0\0\0a\377\377\377\377bc"), 0, PQ_BYTES, 0, "longer than the page" },
        { B("\2\0\0\0\3\5\1\0\0\0\377\2\0\0\0bc"), 0, PQ_BYTES, 0,
          "{\"x\":{\"\\u0001other\":\"a text that is not UTF-8 or holds a zero byte\"}}" },
        { B("\2\0\0\0\3\5\1\0\0\0a\2\0\0\0b\0"), 0, PQ_BYTES, 0, "holds a zero byte" },
        { B("\1\0\0\0\3"), 0, PQ_BYTES, 0, "fewer levels than it claims" },
        { B("\377\377\377\377\3\5"), 0, PQ_BYTES, 0, "definition levels longer" },
        { B("\2\0"), 0, PQ_BYTES, 0, "definition levels longer" },
        { B("\2\0\0\0\6\2\1\0\0\0a"), 0, PQ_BYTES, 0, "fewer levels" },
        { B("\2\0\0\0\3\7"), 8, PQ_INT32, -1, "too few" },
        { B("\2\0\0\0\6\1\1\0\0\0\2\0\0\0"), 0, PQ_INT32, -1,
          "row 2, page at byte 4: a value longer than the page, or too few" },
        { B("\2\0\0\0\6\1\2\0\0\0\2\1"), 3, PQ_BOOLEAN, -1, "fewer values than it claims" },
        { B("\2\0\0\0\6\1\3\0\0\0\2\1"), 3, PQ_BOOLEAN, -1, "contradict" },
        { B("\2\0\0\0\6\1\5"), 0, PQ_BOOLEAN, -1, "[{\"x\":true},{\"x\":false},{\"x\":true}]" },
        { B("\2\0\0\0\6\1\6\0\0\0\6\1"), 3, PQ_BOOLEAN, -1, "contradict" },
        { B("\2\0\0\0\6\1\200\1\4\3\2\2\0\0\0\0"), 5, PQ_INT32, -1, "[{\"x\":1},{\"x\":2},{\"x\":3}]" },
        { B("\2\0\0\0\6\1\200\1\4\3\2\2\101\0\0\0"), 5, PQ_INT32, -1, "fewer values" },        /* 65 bits wide */
        { B("\2\0\0\0\6\1\200\1\4\1\2"), 5, PQ_INT32, -1, "row 1, page at byte 4: fewer values" },
        /* three of length 1, one byte */
        { B("\2\0\0\0\6\1\200\1\4\3\2\0\0\0\0\0a"), 6, PQ_BYTES, 0, "too few" },
        { B("\2\0\0\0\6\1\200\1\4\3\2\0\0\0\0\0abc"), 6, PQ_BYTES, 0, "[{\"x\":\"a\"},{\"x\":\"b\"},{\"x\":\"c\"}]" },
        /* length -1 */
        { B("\2\0\0\0\6\1\200\1\4\3\1\0\0\0\0\0abc"), 6, PQ_BYTES, 0, "row 0, page at byte 4: a value longer" },
        /* lengths for 2^32 values */
        { B("\2\0\0\0\6\1\200\1\4\377\377\377\377\17\2\0\0\0\0\0abc"), 6, PQ_BYTES, 0, "contradict" },
        { B("\2\0\0\0\6\1\200\1\4\3\0\2\0\0\0\0\200\1\4\3\2\0\0\0\0\0abc"), 7, PQ_BYTES, 0,
          "[{\"x\":\"a\"},{\"x\":\"ab\"},{\"x\":\"abc\"}]" },
        /* a prefix of an absent value */
        { B("\2\0\0\0\6\1\200\1\4\3\2\0\0\0\0\0\200\1\4\3\2\0\0\0\0\0abc"), 7, PQ_BYTES, 0, "a value longer" },
        { B("\2\0\0\0\6\1\1\0\0\200\1\0\0\200\1\0\0\200"), 9, PQ_INT32, -1,
          "[{\"x\":32769},{\"x\":8388864},{\"x\":-2147418112}]" },
        { B("\2\0\0\0\6\1\1\0\0\200\1\0\0\200\1\0\0"), 9, PQ_INT32, -1, "contradict" },
        { B("\2\0\0\0\6\1\377\377\377\377\376\377\377\377\0\0\0\0"), 0, PQ_INT32, 13,
          "[{\"x\":4294967295},{\"x\":4294967294},{\"x\":0}]" },
        { B("\2\0\0\0\6\1\1\0\0\0\0\0\0\200"), 0, PQ_INT64, 14, "row 1, page at byte 4: a value longer" },
        { B("\2\0\0\0\6\1\1\0\0\0\0\0\0\200\0\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377"), 0, PQ_INT64, 14,
          "[{\"x\":{\"\\u0001number\":\"9223372036854775809\"}},{\"x\":0},"
          "{\"x\":{\"\\u0001number\":\"18446744073709551615\"}}]" },
        { B("\2\0\0\0\6\1\0\0\0\0\377\377\377\377\170\116\0\0"), 0, PQ_INT32, 6,
          "[{\"x\":\"1970-01-01\"},{\"x\":\"1969-12-31\"},{\"x\":\"2024-12-31\"}]" },
        { B("\2\0\0\0\6\1\1\0\0\0\0\0\0\200"), 0, PQ_INT96, -1, "an INT96" },
        { B("\2\0\0\0\6\1\315\314\314\75\0\0\300\177\0\0\200\377"), 0, PQ_FLOAT, -1,
          "[{\"x\":0.1},{\"x\":null},{\"x\":null}]" },
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        char name[32];
        snprintf(name, sizeof name, "bytes %zu", k);
        struct make m = honest(cases[k].body, cases[k].n);
        m.page.encoding = cases[k].encoding;
        m.type = cases[k].type;
        m.converted = cases[k].converted;
        expect(&m, name, cases[k].says);
    }
}

static struct make with_dictionary(const char *words, size_t n, int64_t count, const char *body, size_t body_n)
{
    struct make m = honest(body, body_n);
    m.dictionary =
        (struct page){ .kind = 2, .unpacked = (int64_t)n, .packed = (int64_t)n, .values = count, .crc = TRUE_ONE };
    str_put(&m.dictionary.body, words, n);
    m.page.encoding = 8;
    return m;
}

static void dictionaries(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        size_t n;
        int64_t count;
        const char *body;
        size_t body_n;
        const char *says;
    } cases[] = {
        { B("\1\0\0\0a\2\0\0\0bc"), 2, B("\2\0\0\0\3\5\1\3\2"), ROWS },
        { B("\1\0\0\0a\2\0\0\0bc"), 2, B("\2\0\0\0\3\5\2\3\14"), "an index outside of the dictionary" },
        { B("\1\0\0\0a\2\0\0\0bc"), 2, B("\2\0\0\0\3\5\1"), "too few" },
        { B("\1\0\0\0a\2\0\0\0bc"), 2, B("\2\0\0\0\3\5\41\3\2"), "indices of 33 bits" },
        { B("\1\0\0\0a\2\0\0\0b"), 2, B("\2\0\0\0\3\5\1\3\2"), "value 1 of the dictionary is longer" },
        { B("\1\0\0\0a\2\0\0\0bc"), 1, B("\2\0\0\0\3\5\1\3\2"), "outside" },
        { B("\1\0\0\0a"), 3, B("\2\0\0\0\3\5\1\3\2"), "claims a dictionary of 3 values in 5 bytes" },
        { B("\1\0\0\0a"), 1 << 26, B("\2\0\0\0\3\5\1\3\2"), "claims a dictionary of 67108864 values" },
        { B(""), 0, B("\2\0\0\0\3\5\1\3\2"), "outside" },
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        char name[32];
        snprintf(name, sizeof name, "dictionary %zu", k);
        struct make m = with_dictionary(cases[k].words, cases[k].n, cases[k].count, cases[k].body, cases[k].body_n);
        expect(&m, name, cases[k].says);
    }
    struct make m = with_dictionary(B("\1\0\0\0a"), 1, B("\1\0\0\0a"));
    m.page.kind = 2;
    m.page.values = 1;
    m.page.encoding = 0;
    expect(&m, "two", "a second dictionary");
}

/* ---- two columns below one list: o { p repeated { a, b } } */

static struct str two_columns(const char *const rep[2], const char *const def[2], int rows)
{
    struct str schema = { 0 };
    put_element(&schema, "r", -1, 0, 1, -1);
    put_element(&schema, "o", -1, 1, 1, -1);
    put_element(&schema, "p", -1, 2, 2, -1);
    put_element(&schema, "a", PQ_INT32, 0, 0, -1);
    put_element(&schema, "b", PQ_INT32, 0, 0, -1);
    struct str s = columns_file(&schema, 5, 2, rep, def, 2, rows);
    str_free(&schema);
    return s;
}

static void levels(void **state)
{
    (void)state;
    #define FIRST "[{\"o\":{\"p\":[{\"a\":1,\"b\":1},{\"a\":2,\"b\":2}]}},"
    static const struct { const char *rep[2], *def[2]; int rows; const char *says; } cases[] = {
        { { "01000", "01000" }, { "22102", "22102" }, 4,
          FIRST "{\"o\":{\"p\":[]}},{\"o\":null},{\"o\":{\"p\":[{\"a\":3,\"b\":3}]}}]" },
        { { "0100", "010" }, { "2222", "222" }, 3, "column \"o.p.b\", row group 0: row 2, page at byte" },
        /* b has one item fewer */
        { { "01", "0" }, { "22", "2" }, 1, "column \"o.p.b\", row group 0: row 0, page at byte" },
        { { "01", "011" }, { "22", "222" }, 1, "contradict" }, { { "0", "01" }, { "2", "22" }, 1, "contradict" },
        { { "0", "0" }, { "2", "1" }, 1, "contradict" }, { { "0", "0" }, { "1", "2" }, 1, "contradict" },
        { { "0", "0" }, { "0", "1" }, 1, "contradict" }, { { "0", "0" }, { "1", "0" }, 1, "contradict" },
        { { "0", "0" }, { "0", "2" }, 1, "contradict" },
        { { "1", "1" }, { "2", "2" }, 1, "does not begin at repetition level 0" },
        { { "00", "01" }, { "22", "22" }, 2, "contradict" },
        /* an empty list continues */
        { { "01", "01" }, { "12", "12" }, 1, "\"o.p.a\", row group 0: row 0, page at byte 4: its levels contradict" },
        { { "01", "01" }, { "21", "21" }, 1, "\"o.p.a\"" }, { { "01", "01" }, { "02", "02" }, 1, "\"o.p.a\"" },
        { { "01", "01" }, { "00", "00" }, 1, "\"o.p.a\"" },
        { { "0", "0" }, { "3", "3" }, 1, "a level higher than its column's" },
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        struct str s = two_columns(cases[k].rep, cases[k].def, cases[k].rows), got = read_all(&s);
        CHECK(strstr(got.p, cases[k].says), "levels %zu: got \"%s\", want \"%s\"", k, got.p, cases[k].says);
        str_free(&s);
        str_free(&got);
    }
}

/* Pages of version 2: levels before the values, never compressed, their lengths in the header. */
static void version_2(void **state)
{
    (void)state;
    static const struct { int64_t codec, def_bytes, rep_bytes, compressed; const char *says; } cases[] = {
        { 0, 2, 0, TRUE_ONE, ROWS }, { 0, 2, 0, 1, ROWS }, { 1, 2, 0, 0, ROWS },
        { 6, 2, 0, TRUE_ONE, "11 bytes of ZSTD are damaged" }, { 0, 1, 0, 1, "fewer levels" },
        { 0, 0, 0, 1, "fewer levels" }, { 0, 2, 2, 1, "levels in a column that has none" },
        { 0, -1, 0, 1, "levels longer than the page" }, { 0, 2, -1, 1, "levels longer" },
        { 0, 2, INT64_MAX, 1, "levels longer" }, { 0, INT64_MAX, 1, 1, "levels longer" },
        { 0, 14, 0, 1, "levels longer" },
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        char name[32];
        snprintf(name, sizeof name, "version 2, %zu", k);
        struct make m = honest(good + 4, sizeof good - 5);
        m.codec = cases[k].codec;
        m.page.kind = 3;
        m.page.def_bytes = cases[k].def_bytes;
        m.page.rep_bytes = cases[k].rep_bytes;
        m.page.compressed = cases[k].compressed;
        expect(&m, name, cases[k].says);
    }
}

/* The historical encodings of lists: LogicalTypes.md, "Backward-compatibility rules". The same levels have another
 * meaning in each. */
static void ways_of_lists(void **state)
{
    (void)state;
    enum { LIST = 3, MAP = 1 };
    struct element { const char *name; int type, repetition, children, converted; };
    static const struct { struct element x[4]; int n; const char *rep, *def, *says; } cases[] = {
        { { { "l", -1, 1, 1, LIST }, { "list", -1, 2, 1, -1 }, { "element", 1, 1, 0, -1 } }, 3, "01000", "32210",
          "[{\"l\":[1,null]},{\"l\":[null]},{\"l\":[]},{\"l\":null}]" },
        { { { "l", -1, 1, 1, LIST }, { "bag", -1, 2, 1, -1 }, { "e", 1, 0, 0, -1 } }, 3, "01000", "22210",
          "[{\"l\":[1,2]},{\"l\":[3]},{\"l\":[]},{\"l\":null}]" },
        { { { "l", -1, 1, 1, LIST }, { "element", 1, 2, 0, -1 } }, 2, "01000", "22210",
          "[{\"l\":[1,2]},{\"l\":[3]},{\"l\":[]},{\"l\":null}]" },
        { { { "l", -1, 1, 1, LIST }, { "array", -1, 2, 1, -1 }, { "v", 1, 0, 0, -1 } }, 3, "01000", "22210",
          "[{\"l\":[{\"v\":1},{\"v\":2}]},{\"l\":[{\"v\":3}]},{\"l\":[]},{\"l\":null}]" },
        { { { "l", -1, 1, 1, LIST }, { "l_tuple", -1, 2, 1, -1 }, { "v", 1, 0, 0, -1 } }, 3, "01000", "22210",
          "[{\"l\":[{\"v\":1},{\"v\":2}]},{\"l\":[{\"v\":3}]},{\"l\":[]},{\"l\":null}]" },
        { { { "l", -1, 1, 1, MAP }, { "key_value", -1, 2, 1, -1 }, { "key", 1, 0, 0, -1 } }, 3, "01000", "22210",
          "[{\"l\":[{\"key\":1},{\"key\":2}]},{\"l\":[{\"key\":3}]},{\"l\":[]},{\"l\":null}]" },
        { { { "l", 1, 2, 0, -1 } }, 1, "01000", "11110", "[{\"l\":[1,2]},{\"l\":[3]},{\"l\":[4]},{\"l\":[]}]" },
        { { { "l", -1, 2, 1, -1 }, { "v", 1, 1, 0, -1 } }, 2, "01000", "21110",
          "[{\"l\":[{\"v\":1},{\"v\":null}]},{\"l\":[{\"v\":null}]},{\"l\":[{\"v\":null}]},{\"l\":[]}]" },
        { { { "l", -1, 1, 1, -1 }, { "list", -1, 2, 1, -1 }, { "v", 1, 0, 0, -1 } }, 3, "01000", "22210",
          "[{\"l\":{\"list\":[{\"v\":1},{\"v\":2}]}},{\"l\":{\"list\":[{\"v\":3}]}},{\"l\":{\"list\":[]}},"
          "{\"l\":null}]" },
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        struct str schema = { 0 };
        put_element(&schema, "r", -1, 0, 1, -1);
        int highest = 0;
        for (int i = 0; i < cases[k].n; i++) {
            const struct element *x = &cases[k].x[i];
            put_element(&schema, x->name, x->type, x->repetition, x->children, x->converted);
            highest += x->repetition > 0;
        }
        const char *rep[] = { cases[k].rep }, *def[] = { cases[k].def };
        struct str s = columns_file(&schema, cases[k].n + 1, 1, rep, def, highest > 1 ? 2 : 1, 4), got = read_all(&s);
        CHECK(!strcmp(got.p, cases[k].says), "list %zu: got \"%s\", want \"%s\"", k, got.p, cases[k].says);
        str_free(&schema);
        str_free(&s);
        str_free(&got);
    }
}

/* A few bytes that claim a huge size. The limit on the address space ends a program that trusts them. */
static void bombs(void **state)
{
    (void)state;
    /* 2^25 items of a list in one row: repetition 0 1 1 ..., definition 1, index 0 of a dictionary */
    struct make m = with_dictionary(B("\0\0\0\0"), 1,
                                    B("\7\0\0\0\2\0\376\377\377\37\1"
                                      "\5\0\0\0\200\200\200\40\1"
                                      "\2\200\200\200\40\0"));
    m.repetition = 2;
    m.values = m.page.values = 1 << 25;
    m.group_rows = m.rows = 1;
    expect(&m, "items", "the row takes more than 67108864 bytes");
    /* 2^25 rows of the same 1000 letters */
    char *word = xcalloc(1, 1004);
    memset(word, 'w', 1004);
    memcpy(word, (uint32_t[]){ 1000 }, 4);
    m = with_dictionary(word, 1004, 1, B("\5\0\0\0\200\200\200\40\1" "\1\200\200\200\40\0"));
    m.values = m.page.values = m.group_rows = m.rows = 1 << 25;
    expect(&m, "rows", "the rows come to more than 682");
    free(word);
    size_t big = (size_t)60 << 20, n;
    for (int codec = PQ_SNAPPY; codec <= PQ_ZSTD; codec++) {
        if (codec > PQ_GZIP && codec < PQ_ZSTD) continue;
        m = honest(good, sizeof good - 1);
        m.codec = codec;
        m.page.unpacked = (int64_t)big;
        expect(&m, "claim", "claims 62914560 bytes, which 17 bytes of");
    }
    char *zeros = xcalloc(1, 8 << 20), *small = xmalloc(1 << 20);
    n = ZSTD_compress(small, 1 << 20, zeros, 8 << 20, 1);
    /* one byte more or less than present */
    for (int off = -1; off <= 1; off++) {
        m = honest(small, n);
        m.codec = PQ_ZSTD;
        m.page.unpacked = (8 << 20) + off;
        expect(&m, "zstd", off ? "do not unpack to the" : "fewer levels than it claims");
    }
    free(zeros);
    free(small);
}

/* A schema of n nested groups, or a field of the footer that is a struct in a struct ...; both are rejected, at any
 * depth. */
static void nests(void **state)
{
    (void)state;
    for (int n = 8; n <= 80000; n *= 10) {
        for (int kind = 0; kind < 2; kind++) {
            struct str s = { 0 };
            int last = 0;
            str_puts(&s, "PAR1");
            if (kind == 0) {
                list(&s, &last, 2, n);
                for (int k = 0, inner = 0; k < n; k++, inner = 0) {
                    if (k == n - 1) number(&s, &inner, 1, 1);
                    head(&s, &inner, 4, THRIFT_BINARY);
                    str_put(&s, "\1g", 2);
                    if (k < n - 1) number(&s, &inner, 5, 1);
                    str_putc(&s, 0);
                }
                number(&s, &last, 3, 0);
            } else {
                for (int k = 0; k < n; k++) str_putc(&s, (char)(9 << 4 | THRIFT_STRUCT));
                for (int k = 0; k < n; k++) str_putc(&s, 0);
            }
            str_putc(&s, 0);
            uint32_t footer = (uint32_t)s.n - 4;
            str_put(&s, (const char *)&footer, 4);
            str_puts(&s, "PAR1");
            struct str got = read_all(&s);
            const char *says = kind == 0 ? n == 8       ? "[]"
                                           : n == 80000 ? "at most 10000"
                                                        : "nested more than 32 deep"
                               : n == 8  ? "no schema"
                                         : "nested more than 32 deep";
            CHECK(strstr(got.p, says), "%d nested, kind %d: got \"%s\", want \"%s\"", n, kind, got.p, says);
            str_free(&got);
            str_free(&s);
        }
    }
}

/* ---- damage */

static void damaged(void **state)
{
    (void)state;
    struct rng g = rng_make(11, 0x64616d67u, 0);
    int rejected = 0, tried = 0;
    for (size_t k = 0; k < COUNT(files); k++) {
        char path[96];
        struct str file = { 0 };
        struct err e;
        snprintf(path, sizeof path, "tests/data/parquet/%s.parquet", files[k]);
        assert_true(file_read(path, 1 << 20, &file, &e));
        for (int i = 0; i < 500; i++) {
            struct str bad = { 0 };
            size_t n = i < 100 ? rng_below(&g, (uint32_t)file.n) : file.n;
            str_put(&bad, file.p, n);
            for (int flips = i < 100 ? 0 : 1 + i % 3; flips > 0; flips--)
                bad.p[rng_below(&g, (uint32_t)n)] ^= (char)(1 << rng_below(&g, 8));
            struct str got = read_all(&bad);
            bool named = !strncmp(got.p, "made.parquet: ", 14);
            CHECK(named || i >= 100, "%s cut at byte %zu was accepted", path, n);
            rejected += named;
            tried++;
            str_free(&got);
            str_free(&bad);
        }
        str_free(&file);
    }
    print_message("%d of %d damaged files rejected\n", rejected, tried);
    assert_true(rejected > tried / 4);
}

int main(void)
{
#ifndef __SANITIZE_ADDRESS__                /* the sanitizer reserves terabytes for itself */
    struct rlimit limit = { (rlim_t)1 << 30, (rlim_t)1 << 30 };
    if (setrlimit(RLIMIT_AS, &limit) != 0) perror("setrlimit");
#endif
    const struct CMUnitTest tests[] = { cmocka_unit_test(written_by_others),
                                        cmocka_unit_test(released_twins),
                                        cmocka_unit_test(chosen_columns),
                                        cmocka_unit_test(runs),
                                        cmocka_unit_test(differences),
                                        cmocka_unit_test(one_lie_each),
                                        cmocka_unit_test(bad_bytes),
                                        cmocka_unit_test(dictionaries),
                                        cmocka_unit_test(version_2),
                                        cmocka_unit_test(levels),
                                        cmocka_unit_test(ways_of_lists),
                                        cmocka_unit_test(bombs),
                                        cmocka_unit_test(nests),
                                        cmocka_unit_test(damaged) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
