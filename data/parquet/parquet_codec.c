/* parquet_codec.c: decompresses pages. The size claimed by a page header is allocated only if the codec can reach it
 * from so few bytes. */
#include "data/parquet/parquet_in.h"
#include <snappy-c.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

/* ratio: the most bytes that one byte can unpack to. Snappy: a copy of 64 bytes takes 3. Deflate: 258 bytes take two
 * bits. zstd: 128 KiB of one byte take a block of 4. */
static const struct { const char *name; int64_t ratio; } codecs[] = {
    [PQ_PLAIN_BYTES] = { "UNCOMPRESSED", 1 }, [PQ_SNAPPY] = { "SNAPPY", 22 }, [PQ_GZIP] = { "GZIP", 1032 },
    [PQ_LZO] = { "LZO", 0 }, [PQ_BROTLI] = { "BROTLI", 0 }, [PQ_LZ4] = { "LZ4", 0 }, [PQ_ZSTD] = { "ZSTD", 32768 },
    [PQ_LZ4_RAW] = { "LZ4_RAW", 0 },
};

bool pq_codec(int codec, struct err *e)
{
    if (codec < 0 || codec > PQ_LZ4_RAW) return fail(e, "compressed by an unknown method, number %d", codec);
    return codecs[codec].ratio > 0 ||
           fail(e, "compressed with %s; write it again with SNAPPY, GZIP, ZSTD or without compression",
                codecs[codec].name);
}

/* one or more gzip members, or a zlib frame, which some writers use */
static bool unpack_gzip(const uint8_t *in, size_t n, uint8_t *out, size_t size)
{
    z_stream z = { .next_in = (Bytef *)in, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)size };
    if (inflateInit2(&z, 15 + 32) != Z_OK) die("inflateInit2: %s", z.msg ? z.msg : "no memory");
    int code = Z_OK;
    while (code == Z_OK) {
        uInt in_before = z.avail_in, out_before = z.avail_out;
        code = inflate(&z, Z_NO_FLUSH);
        if (code == Z_STREAM_END && z.avail_in > 0) code = inflateReset(&z);
        else if (code == Z_OK && z.avail_in == in_before && z.avail_out == out_before) code = Z_BUF_ERROR;
    }
    bool whole = code == Z_STREAM_END && z.avail_out == 0;
    inflateEnd(&z);
    return whole;
}

static bool unpack_zstd(const uint8_t *in, size_t n, uint8_t *out, size_t size)
{
    size_t made = ZSTD_decompress(out, size, in, n);
    return !ZSTD_isError(made) && made == size;
}

static bool unpack_snappy(const uint8_t *in, size_t n, uint8_t *out, size_t size)
{
    size_t made = size;
    return snappy_uncompress((const char *)in, n, (char *)out, &made) == SNAPPY_OK && made == size;
}

bool pq_unpack(int codec, const uint8_t *in, size_t n, int64_t size, uint8_t **out, struct err *e)
{
    const char *name = codecs[codec].name;
    if (size / codecs[codec].ratio > (int64_t)n)
        return fail(e, "claims %lld bytes, which %zu bytes of %s cannot unpack to", (long long)size, n, name);
    *out = xmalloc(size ? (size_t)size : 1);
    bool ok = codec == PQ_SNAPPY ? unpack_snappy(in, n, *out, (size_t)size)
            : codec == PQ_GZIP ? unpack_gzip(in, n, *out, (size_t)size) : unpack_zstd(in, n, *out, (size_t)size);
    if (ok) return true;
    free(*out);
    *out = NULL;
    return fail(e, "the %zu bytes of %s are damaged or do not unpack to the %lld bytes claimed", n, name,
                (long long)size);
}
