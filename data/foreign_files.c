/* foreign_files.c: recognises files by their first bytes, never by the name. */
#include "data/foreign_files.h"
#include "base/text.h"
#include <string.h>
#include <strings.h>

static const struct { const char *bytes; size_t at, n; const char *is;
} kinds[] = {
#define KIND(at, bytes, is) { bytes, at, sizeof bytes - 1, is }
    KIND(0, "version https://git-lfs.github.com/spec/",
         "is a Git LFS pointer, not the file itself: get the file with `git lfs pull`, or download it again"),
    KIND(0, "\x1f\x8b", "is compressed twice (gzip within): unpack it once"),
    KIND(0, "\x28\xB5\x2F\xFD", "is compressed twice (zstd within): unpack it once"),
    KIND(0, "PK\3\4", "is a zip archive: unpack it and name the files in it"),
    KIND(257, "ustar", "is a tar archive: unpack it and name the files in it"),
    KIND(0, "BZh", "is compressed by bzip2, which is not read: unpack it, or use gzip or zstd"),
    KIND(0,
         "\xFD"
         "7zXZ",
         "is compressed by xz, which is not read: unpack it, or use gzip or zstd"),
    KIND(0, "\x04\x22\x4D\x18", "is compressed by lz4, which is not read: unpack it, or use gzip or zstd"),
    KIND(0, "7z\xBC\xAF", "is a 7z archive: unpack it and name the files in it"),
    KIND(0, "Rar!", "is a rar archive: unpack it and name the files in it"),
    KIND(0, "ARROW1", "is an Arrow file, which is not read: write it as Parquet or JSON lines"),
    KIND(0, "\xFF\xFF\xFF\xFF", "is an Arrow stream, which is not read: write it as Parquet or JSON lines"),
    KIND(0, "PARE", "is an encrypted Parquet file, which is not read"),
    KIND(0, "ORC", "is an ORC file, which is not read: write it as Parquet or JSON lines"),
    KIND(0, "Obj\1", "is an Avro file, which is not read: write it as Parquet or JSON lines"),
    KIND(0, "SQLite format 3", "is an SQLite database, which is not read: write its table as JSON lines"),
    KIND(0, "\x89HDF", "is an HDF5 file, which is not read: write it as Parquet or JSON lines"),
    KIND(0, "\x93NUMPY", "is a NumPy array, which is not read: write it as JSON lines"),
    KIND(0, "GGUF", "is a model (GGUF), not data"),
    KIND(0, "\x80\2", "is a Python pickle, which is not read: write it as JSON lines"),
    KIND(0, "\x80\3", "is a Python pickle, which is not read: write it as JSON lines"),
    KIND(0, "\x80\4", "is a Python pickle, which is not read: write it as JSON lines"),
    KIND(0, "\x80\5", "is a Python pickle, which is not read: write it as JSON lines"),
    KIND(0, "\xFF\xFE", "is UTF-16 text: write it as UTF-8"),
    KIND(0, "\xFE\xFF", "is UTF-16 text: write it as UTF-8"),
    KIND(0, "{\0", "is UTF-16 text: write it as UTF-8"),
    KIND(0, "[\0", "is UTF-16 text: write it as UTF-8"),
    KIND(0, "\0{", "is UTF-16 text: write it as UTF-8"),
    KIND(0, "\0\0\0\0", "begins with zero bytes: it was not written to its end, or the disk lost it"),
    KIND(0, "%PDF", "is a PDF, not data"),
    KIND(0, "\x89PNG", "is a picture, not data"),
#undef KIND
};

static size_t blank(const char *p, size_t n)
{
    size_t k = n >= 3 && !memcmp(p, "\xEF\xBB\xBF", 3) ? 3 : 0;
    while (k < n && is_space(p[k])) k++;
    return k;
}

const char *foreign_is(const char *p, size_t n)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (n >= kinds[k].at + kinds[k].n && !memcmp(p + kinds[k].at, kinds[k].bytes, kinds[k].n)) return kinds[k].is;
    size_t k = blank(p, n);
    if (k == n || p[k] != '<') return NULL;
    if (n - k > 14 && (!strncasecmp(p + k, "<!doctype html", 14) || !strncasecmp(p + k, "<html", 5) ||
                       !strncasecmp(p + k, "<head", 5)))
        return "is an HTML page, not data: a page to log in, or one about an error, was saved under this name";
    return "is an HTML or XML text, not data: perhaps an error page of a server";
}

bool foreign_text(const char *p, size_t n)
{
    size_t k = blank(p, n);
    if (k == n || strchr("{[\"-0123456789", p[k])) return k < n && !p[k];
    static const char *const words[] = { "null", "true", "false", "NaN", "Infinity" };
    for (size_t w = 0; w < sizeof words / sizeof *words; w++)
        if (n - k >= strlen(words[w]) && !memcmp(p + k, words[w], strlen(words[w]))) return false;
    return true;
}
