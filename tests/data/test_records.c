/* test_records.c: records of files: members that are read or skipped, arrays, files of other formats, packed files, and
 * lists of files. */
#include "base/file.h"
#include "data/data_files.h"
#include "base/json_partial.h"
#include "data/records.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

static char path[128];

static const char *in(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t n)
{
    struct err e;
    CHECK(file_write(in(name), bytes, n, &e), "%s", e.text);
}

/* The columns read from a text as JSON with sorted keys; or "!" and the message. */
static struct str read_json(const char *text, size_t n, const char *const *columns)
{
    struct json_text t = { .p = text, .n = n, .columns = columns };
    struct err e = { 0 };
    struct str s = { 0 };
    json_t *row = json_partial(&t, &e);
    char *shown = row ? json_dumps(row, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
    if (row) str_puts(&s, shown ? shown : "not JSON");
    else str_printf(&s, "!%zu %s", t.at, e.text);
    free(shown);
    json_decref(row);
    str_free(&t.odd);
    return s;
}

static void parts(void **state)
{
    (void)state;
    static const char *const ab[] = { "a", "b.c", "?d.e.f", NULL }, *const none[] = { NULL };
    static const struct { const char *text; const char *const *columns; const char *want; } cases[] = {
        { "{\"x\":NaN,\"a\":1}", ab, "{\"a\":1}" },
        { "{\"x\":{\"y\":[Infinity,-Infinity,{\"z\":123456789012345678901234567890}]},\"a\":1}", ab, "{\"a\":1}" },
        { "{\"x\":\"\\u0000\\ud800\\\"\",\"a\":\"b\"}", ab, "{\"a\":\"b\"}" },
        { "{\"x\":1,\"x\":2,\"a\":3}", ab, "{\"a\":3}" }, { "{\"x\":\"\xff\t\",\"a\":3}", ab, "{\"a\":3}" },
        { "{\"b\":{\"c\":[1,{\"c\":2}],\"x\":NaN},\"a\":null}", ab, "{\"a\":null,\"b\":{\"c\":[1,{\"c\":2}]}}" },
        { "{\"b\":7,\"d\":{\"e\":{\"f\":1,\"g\":2},\"f\":3}}", ab, "{\"d\":{\"e\":{\"f\":1}}}" },
        { "{\"b.c\":5,\"b\":[1]}", ab, "{\"b.c\":5}" },
        { "{\"b\":{\"c\":1},\"b\":{\"c\":2}}", ab, "!17 \"b\" is there twice" },
        { "{\"a\":1,\"a\":2}", ab, "!11 \"a\" is there twice" }, { "{\"a\":NaN}", ab, "{\"a\":null}" },
        { "{\"a\":-Infinity}", ab, "{\"a\":{\"\\u0001other\":\"-Infinity\"}}" },
        { "{\"a\":1e400}", ab, "{\"a\":{\"\\u0001number\":\"1e400\"}}" },
        { "{\"a\":[9223372036854775807,9223372036854775808,-9223372036854775808]}", ab,
          "{\"a\":[9223372036854775807,{\"\\u0001number\":\"9223372036854775808\"},-9223372036854775808]}" },
        { "{\"a\":\"x\\u0000\"}", ab, "{\"a\":{\"\\u0001other\":\"\\\\u0000\"}}" },
        { "{\"a\":{\"k\":1,\"k\":2}}", ab, "!16 \"k\" is there twice" },
        { "{\"a\":{\"tool_calls\":[{\"n\":12345678901234567890}]}}", ab,
          "!25 a number beyond 64 bits, which is not read in calls" },
        { " [1] ", ab, "[]" }, { "7", ab, "7" }, { "null", none, "null" }, { "{}", none, "{}" },
        { "{\"a\":1}", none, "{}" },
        { "{\"a\":{\"b\":[]},\"c\":\"\\u00e9\"}", NULL, "{\"a\":{\"b\":[]},\"c\":\"\xc3\xa9\"}" },
        { "[0.5,1E2,-0,true,false,null,\"\\ud83d\\ude00\\/\\b\"]", NULL,
          "[0.5,100.0,0,true,false,null,\"\xf0\x9f\x98\x80/\\b\"]" },
        /* the first and the last pair of surrogates, and the halves next to them (RFC 8259, 7) */
        { "[\"\\ud800\\udc00\\udbff\\udfff\"]", NULL, "[\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"]" },
        { "[\"\\ud7ff\\ue000\"]", NULL, "[\"\xed\x9f\xbf\xee\x80\x80\"]" },
        { "[\"\\ud800\\ue000\"]", NULL, "[{\"\\u0001other\":\"half a surrogate pair\"}]" },
        { "[\"\\udc00\\ud800\"]", NULL, "[{\"\\u0001other\":\"half a surrogate pair\"}]" },
        { "[\"\\udfff\"]", NULL, "[{\"\\u0001other\":\"half a surrogate pair\"}]" },
        { "{\"x\":nul,\"a\":1}", ab, "!5 a value is needed here" },
        { "{\"x\":1.,\"a\":1}", ab, "!5 a value is needed here" }, { "{\"x\":-,\"a\":1}", ab, "!5 a value" },
        { "{\"x\":[1 2]}", ab, "!8 a comma or ] is needed here" },
        { "{\"x\":[1}", ab, "!7 a comma or ] is needed here" }, { "{\"x\" 1}", ab, "!5 a colon is needed here" },
        { "{x:1}", ab, "!1 a member's name" },
        { "{\"a\":\"\\q\"}", ab, "!6 an escape that JSON does not have" }, { "{\"a\":\"", ab,
          "!6 the text ends within a string" }, { "{\"a\":", ab, "!5 the text ends where a value" }, { "", ab,
          "!0 the text ends" },
        { "{\"\\u0000\":1,\"a\":2}", ab, "{\"a\":2}" },
        { "{\"a\":{\"\\u0000\":1}}", ab, "!6 a member's name that cannot be read" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str got = read_json(cases[i].text, strlen(cases[i].text), cases[i].columns);
        bool same = *cases[i].want == '!' ? !strncmp(got.p, cases[i].want, strlen(cases[i].want))
                                          : !strcmp(got.p, cases[i].want);
        CHECK(same, "%s: %s instead of %s", cases[i].text, got.p, cases[i].want);
        str_free(&got);
    }
}

/* Nesting in skipped values, and in values that are read. */
static void deep(void **state)
{
    (void)state;
    static const char *const a[] = { "a", NULL };
    static const struct { int levels; bool read; const char *want; } cases[] = {
        { 50000, false, "{\"a\":1}" }, { 99999, false, "{\"a\":1}" }, { 100001, false, "nested too deep" }, { 1000,
          true, NULL }, { 1100, true, "nested too deep" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str s = { 0 };
        str_puts(&s, cases[i].read ? "{\"a\":" : "{\"x\":");
        for (int k = 0; k < cases[i].levels; k++) str_puts(&s, k % 2 && !cases[i].read ? "{\"k\":" : "[");
        str_puts(&s, "0");
        for (int k = cases[i].levels; k--;) str_puts(&s, k % 2 && !cases[i].read ? "}" : "]");
        str_puts(&s, cases[i].read ? "}" : ",\"a\":1}");
        struct str got = read_json(s.p, s.n, a);
        CHECK(!cases[i].want || strstr(got.p, cases[i].want), "%d levels: %.100s", cases[i].levels, got.p);
        CHECK(cases[i].want || *got.p == '{', "%d levels: %.100s", cases[i].levels, got.p);
        str_free(&s);
        str_free(&got);
    }
}

static uint64_t draws = 88172645463325252u;
static unsigned draw(unsigned n)
{
    draws ^= draws << 13; draws ^= draws >> 7; draws ^= draws << 17;
    return (unsigned)((draws >> 20) % n);
}

static void put_value(struct str *s, int depth)
{
    static const char *const leaves[] = { "1",
                                          "-2.5e3",
                                          "0",
                                          "true",
                                          "false",
                                          "null",
                                          "\"\"",
                                          "\"a\\u00e9\\ud83d\\ude00\\n\"",
                                          "\"\xc3\xa9\"",
                                          "12345678901234567890",
                                          "0.1",
                                          "1E+2" };
    unsigned kind = depth < 4 ? draw(4) : 0, n = draw(4);
    static const char *const blanks[] = { "", " ", "\n\t" };
    if (kind < 2) { str_puts(s, leaves[draw(sizeof leaves / sizeof *leaves)]); return; }
    str_puts(s, kind == 2 ? "[" : "{");
    for (unsigned k = 0; k < n; k++) {
        str_printf(s, "%s%s", k ? "," : "", blanks[draw(3)]);
        if (kind == 3) str_printf(s, "\"%c\"%s:", 'a' + (char)draw(6), blanks[draw(3)]);
        put_value(s, depth + 1);
        str_puts(s, blanks[draw(3)]);
    }
    str_puts(s, kind == 2 ? "]" : "}");
}

/* jansson accepts the same texts with the same values, apart from the documented differences; skipping finds the same
 * ends and the same faults. */
static void as_jansson(void **state)
{
    (void)state;
    static const char *const none[] = { "zz", NULL };
    int both = 0, neither = 0;
    for (int i = 0; i < 40000; i++) {
        struct str s = { 0 };
        put_value(&s, 0);
        for (unsigned k = i % 3 ? draw(3) : 0; k && s.n; k--)
            s.p[draw((unsigned)s.n)] = "{}[]\",:01.eE+-\\u nt"[draw(19)];
        json_t *theirs = json_loadb(s.p, s.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        struct json_text t = { .p = s.p, .n = s.n }, pass = { .p = s.p, .n = s.n, .columns = none };
        struct err e = { 0 };
        json_t *ours = json_partial(&t, &e), *passed = json_partial(&pass, &e);
        while (ours && t.at < t.n && strchr(" \t\r\n", t.p[t.at])) t.at++;
        bool whole = ours && t.at == t.n;
        CHECK(whole || !theirs, "only jansson reads %s: %s", s.p, e.text);
        CHECK(!theirs || json_equal(ours, theirs), "%s is read otherwise", s.p);
        CHECK(theirs || !whole || t.odd.n, "only this reads %s", s.p);
        CHECK(passed || !ours || strstr(s.p, "\\"), "what is read whole cannot be passed over: %s: %s", s.p, e.text);
        CHECK(!ours || !passed || *s.p != '{' || pass.at <= t.at, "%s ends elsewhere", s.p);
        both += theirs && whole;
        neither += !theirs && !whole;
        json_decref(theirs);
        json_decref(ours);
        json_decref(passed);
        str_free(&t.odd);
        str_free(&pass.odd);
        str_free(&s);
    }
    CHECK(both > 10000 && neither > 10000, "%d texts are JSON, %d are not", both, neither);
}

/* All records of a file, as "place=record;", then '!' and the error, if any. */
static struct str all_rows(const char *name)
{
    static const char *const a[] = { "a", NULL };
    struct err e = { 0 };
    struct str s = { 0 };
    json_t *row;
    int state = -1;
    str_clear(&s);
    struct records *r = records_open(in(name), a, &e);
    while (r && (state = records_next(r, &row, &e)) > 0) {
        struct str place = { 0 };
        records_place(r, &place);
        char *shown = json_dumps(row, JSON_COMPACT | JSON_ENCODE_ANY);
        str_printf(&s, "%s=%s;", place.p + strlen(dir) + 1, shown);
        free(shown);
        json_decref(row);
        str_free(&place);
    }
    if (state < 0) str_printf(&s, "!%s", e.text + (strncmp(e.text, dir, strlen(dir)) ? 0 : strlen(dir) + 1));
    records_close(r);
    return s;
}

static void shapes(void **state)
{
    (void)state;
    static const struct { const char *text, *want; } cases[] = {
        { "{\"a\":1}\r\n\r\n{\"a\":2}", "f=1;f=3;" }, { "\xEF\xBB\xBF\n {\"a\":1}\n", "f=2;" },
        { "\xEF\xBB\xBF{\"a\":1}\n\xEF\xBB\xBF{\"a\":2}\n", "f=1;f=2;" }, { "[{\"a\":1},\n {\"a\":2}\n]\n", "r0;r1;" },
        { "\xEF\xBB\xBF [\r\n{\r\n\"a\": 1,\r\n\"b\": NaN\r\n}\r\n]\r\n\r\n", "r0;" }, { "[]", "" }, { "  \n", "" },
        { "", "" }, { "[{\"a\":1},]", "r0;!f:1: a comma before the end of the array" },
        { "[{\"a\":1}\n{\"a\":2}]", "r0;!f:2: a comma or ] is needed after row 0 of the array" },
        { "[{\"a\":1}", "r0;!f: the file ends within its array: it is cut short" },
        { "[{\"a\":1}] x", "r0;!f: more text after the end of its array" },
        { "[{\"a\":1},\n{\"a\":\n1,}]", "r0;!f: row 1: line 3, column 3: a member's name" },
        { "[1,[2],null]", "r0;r1;r2;" }, { "{\"a\":1}{\"a\":2}", "!f:1: column 8: more text after the row" },
        { "{\"a\":1},\n", "!f:1: column 8: more text after the row" },
        { "{\n\"a\": 1\n}\n",
          "!f:1: column 2: the row does not end on its line; where rows have several lines, the file must be one "
          "array" },
        { "question,answer\nq,a\n",
          "!f: is neither JSON lines nor a JSON array nor Parquet: it begins with \"question,answer\"" },
        { "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
          "!f: is a Git LFS pointer, not the file itself" },
        { "\n<!DOCTYPE HTML PUBLIC>\n<html>", "!f: is an HTML page, not data" },
        { "<html lang=\"en\"><head>", "!f: is an HTML page, not data" },
        { "<?xml version=\"1.0\"?><Error>", "!f: is an HTML or XML text" }, { "PK\3\4abc", "!f: is a zip archive" },
        { "BZh91AY", "!f: is compressed by bzip2" }, { "\xFD" "7zXZ", "!f: is compressed by xz" },
        { "ARROW1", "!f: is an Arrow file" },
        { "\x80\4\x95", "!f: is a Python pickle" }, { "\xFF\xFE{", "!f: is UTF-16 text" }, { "GGUF",
          "!f: is a model (GGUF), not data" }, { "PARE", "!f: is an encrypted Parquet file" },
        { "SQLite format 3", "!f: is an SQLite database" }, { "\x89HDF\r\n", "!f: is an HDF5 file" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file("f", cases[i].text, strlen(cases[i].text));
        struct str got = all_rows("f"), brief = { 0 };
        str_clear(&brief);
        /* "f:3={..};" to "f=3;", "f: row 0={..};" to "r0;" */
        for (char *p = got.p; *p && *p != '!';) {
            long long n = strtoll(p + (p[2] == ' ' ? 7 : 2), NULL, 10);
            str_printf(&brief, p[2] == ' ' ? "r%lld;" : "f=%lld;", n);
            p = strchr(p, ';') + 1;
        }
        if (strchr(got.p, '!')) str_puts(&brief, strchr(got.p, '!'));
        bool cut = strchr(cases[i].want, '!');
        CHECK(cut ? !strncmp(brief.p, cases[i].want, strlen(cases[i].want)) : !strcmp(brief.p, cases[i].want),
              "%s: \"%s\" instead of \"%s\"", cases[i].text, brief.p, cases[i].want);
        str_free(&got);
        str_free(&brief);
    }
    /* an unread picture and a text that is read */
    size_t wide = (size_t)17 << 20;
    char *long_row = xmalloc(wide);
    for (int read = 0; read < 2; read++) {
        memset(long_row, 'x', wide);
        memcpy(long_row, read ? "[{\"a\":1},{\"a\":\"" : "[{\"a\":1},{\"b\":\"", 15);
        memcpy(long_row + wide - 3, "\"}]", 3);
        write_file("long.json", long_row, wide);
        struct str said = all_rows("long.json");
        assert_string_equal(said.p, read ? "long.json: row 0={\"a\":1};!long.json: row 1: line 1, column 15: more is "
                                           "read of this row than 16 MiB"
                                         : "long.json: row 0={\"a\":1};long.json: row 1={};");
        str_free(&said);
    }
    free(long_row);
    write_file("u16", "{\0\"\0", 4);
    struct str got = all_rows("u16");
    CHECK(strstr(got.p, "is UTF-16 text"), "%s", got.p);
    str_free(&got);
    char tar[600] = "dir/rows.jsonl";
    memcpy(tar + 257, "ustar", 5);
    write_file("tar", tar, sizeof tar);
    got = all_rows("tar");
    CHECK(strstr(got.p, "is a tar archive"), "%s", got.p);
    str_free(&got);
}

static size_t zstd(const void *p, size_t n, char *out, size_t cap)
{
    size_t k = ZSTD_compress(out, cap, p, n, 3);
    ENSURE(!ZSTD_isError(k));
    return k;
}

/* The contents of a file decide how it is packed, not its name. */
static void packed(void **state)
{
    (void)state;
    static const char one[] = "{\"a\":1}\n", two[] = "{\"a\":2}\n";
    char z[512], gz[512];
    size_t n = zstd(one, sizeof one - 1, z, sizeof z), m = zstd(two, sizeof two - 1, z + n, sizeof z - n);
    /* two frames, under a name without an extension */
    write_file("one.jsonl", z, n + m);
    struct str got = all_rows("one.jsonl");
    assert_string_equal(got.p, "one.jsonl:1={\"a\":1};one.jsonl:2={\"a\":2};");
    str_free(&got);
    write_file("cut.jsonl.zst", z, n - 3);
    got = all_rows("cut.jsonl.zst");
    CHECK(strstr(got.p, "cut.jsonl.zst: damaged after") && strstr(got.p, "unexpected end of file"), "%s", got.p);
    str_free(&got);
    z[n - 5] ^= 0x55;
    z[7] ^= 0xff;
    write_file("bad.zst", z, n);
    got = all_rows("bad.zst");
    CHECK(strstr(got.p, "bad.zst: damaged after"), "%s", got.p);
    str_free(&got);
    z_stream s = {
        .next_in = (Bytef *)one, .avail_in = sizeof one - 1, .next_out = (Bytef *)gz, .avail_out = sizeof gz
    };
    ENSURE(deflateInit2(&s, 6, Z_DEFLATED, 31, 8, 0) == Z_OK && deflate(&s, Z_FINISH) == Z_STREAM_END);
    n = sizeof gz - s.avail_out;
    deflateEnd(&s);
    write_file("gz.zst", gz, n);
    got = all_rows("gz.zst");
    assert_string_equal(got.p, "gz.zst:1={\"a\":1};");
    str_free(&got);
    m = zstd(gz, n, z, sizeof z);
    write_file("twice", z, m);
    got = all_rows("twice");
    CHECK(strstr(got.p, "twice: is compressed twice (gzip within)"), "%s", got.p);
    str_free(&got);
    size_t big = (size_t)80 << 20;                                          /* a small file must not fill the memory */
    char *zeros = xcalloc(big, 1), *small = xmalloc(big / 100);
    m = zstd(zeros, big, small, big / 100);
    write_file("bomb.zst", small, m);
    got = all_rows("bomb.zst");
    CHECK(strstr(got.p, "bomb.zst: unpacks to more than"), "%.200s", got.p);
    str_free(&got);
    free(zeros);
    free(small);
}

static void touch(const char *name) { write_file(name, "{}", 2); }

/* File names relative to the folder, separated by blanks; or "!" and the message. */
static struct str found(const char *list)
{
    struct data_files f = { 0 };
    struct err e = { 0 };
    struct str s = { 0 }, all = { 0 };
    for (const char *p = list; *p; p++) if (*p == '@') str_puts(&all, dir); else str_putc(&all, *p);
    str_clear(&s);
    if (!data_files_find(&f, all.p ? all.p : "", &e)) str_printf(&s, "!%s", e.text);
    else
        for (int k = 0; k < f.n; k++)
            str_printf(&s, "%s%s", k ? " " : "",
                       strncmp(f.path[k], dir, strlen(dir)) ? f.path[k] : f.path[k] + strlen(dir) + 1);
    if (f.note.n) str_printf(&s, "|%s", f.note.p);
    data_files_free(&f);
    str_free(&all);
    return s;
}

static void lists(void **state)
{
    (void)state;
    static const char *const folders[] = { "sh", "mix", "split", "none", "none/data", "json", "hf" };
    static const char *const files[] = { "sh/train-00001-of-00003.parquet",
                                         "sh/train-00000-of-00003.parquet",
                                         "sh/README.md",
                                         "sh/.hidden.parquet",
                                         "sh/dataset_info.json",
                                         "mix/a.jsonl",
                                         "mix/a.parquet",
                                         "split/train.jsonl.gz",
                                         "split/test.jsonl.gz",
                                         "none/LICENSE",
                                         "none/data/a.jsonl",
                                         "json/b.json",
                                         "json/a.json.zst",
                                         "json/c.json",
                                         "json/d.json",
                                         "json/e.json",
                                         "a,b.jsonl",
                                         "hf/data-00000-of-00001.arrow",
                                         "hf/state.json" };
    static const struct { const char *list, *want; } cases[] = {
        { "@/mix/a.jsonl, @/sh/x ,", "mix/a.jsonl sh/x" }, { "", "" }, { " , ", "" },
        { "['@/mix/a.jsonl', \"@/y\"]", "mix/a.jsonl y" }, { "[@/y]", "y" },
        { "@/sh", "sh/train-00000-of-00003.parquet sh/train-00001-of-00003.parquet|" },
        { "@/sh/", "sh/train-00000-of-00003.parquet sh/train-00001-of-00003.parquet|" },
        { "@/sh/train-*-of-*.parquet", "sh/train-00000-of-00003.parquet sh/train-00001-of-00003.parquet|" },
        { "@/sh/train-0000[1-9]*", "sh/train-00001-of-00003.parquet|" },
        { "@/json", "json/a.json.zst json/b.json json/c.json json/d.json json/e.json|" }, { "@/mix", "!" },
        { "@/mix/*.parquet,@/nofile", "mix/a.parquet nofile|" }, { "@/split", "!" }, { "@/split/*", "!" },
        { "@/split/tr*", "split/train.jsonl.gz|" }, { "@/none", "!" }, { "@/none/*.parquet", "!" }, { "@/zz*", "!" },
    };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) CHECK(mkdir(in(folders[i]), 0777) == 0, "%s", path);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) touch(files[i]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str got = found(cases[i].list);
        const char *want = cases[i].want;
        size_t n = strlen(want);
        bool open = n && (want[n - 1] == '|' || want[n - 1] == '!');
        CHECK(open ? !strncmp(got.p, want, n) : !strcmp(got.p, want), "%s: \"%s\" instead of \"%s\"", cases[i].list,
              got.p, want);
        str_free(&got);
    }
    static const struct { const char *list, *says; } wrong[] = {
        { "@/sh", "/sh: 2 files: train-00000-of-00003.parquet, train-00001-of-00003.parquet (2 of 3 shards)\n" },
        { "@/json", "/json: 5 files: a.json.zst, b.json, ... e.json\n" },
        { "@/mix",
          "holds files of several kinds (1 .jsonl, 0 .json, 1 .parquet), which may hold the same records: name a "
          "pattern "
          "such as" },
        { "@/split", "stands for both train.jsonl.gz and test.jsonl.gz: name the files, or patterns" },
        { "@/none", "is a folder without .parquet, .jsonl or .json files; it has folders: data" },
        { "@/hf", "hf: holds Arrow files, which are not read: write the set with to_parquet()" },
        { "@/zz*", "zz*: no file matches this pattern" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct str got = found(wrong[i].list);
        CHECK(strstr(got.p, wrong[i].says), "%s says \"%s\"", wrong[i].list, got.p);
        str_free(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(parts),      cmocka_unit_test(deep),
                                        cmocka_unit_test(as_jansson), cmocka_unit_test(shapes),
                                        cmocka_unit_test(packed),     cmocka_unit_test(lists) };
    return cmocka_run_group_tests_name("rows", tests, make_dir, drop_dir);
}
