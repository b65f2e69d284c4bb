/* file.c: bounded reads (gzip and zstd by their magic) and writes that appear whole or not at all. Folders are in
 * dir.c. */
#include "base/dir.h"
#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

int file_open(const char *path, bool plain, struct err *e)
{
    struct stat st;
    /* without O_NONBLOCK a pipe's open waits for a writer */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) { fail(e, "%s: %s", path, strerror(errno)); return -1; }
    bool ok = fstat(fd, &st) == 0 || fail(e, "%s: %s", path, strerror(errno));
    if (ok && S_ISDIR(st.st_mode)) ok = fail(e, "%s: is a folder, a file is needed", path);
    if (ok && plain && !S_ISREG(st.st_mode)) ok = fail(e, "%s: is not a plain file", path);
    if (ok && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) && !isatty(fd))
        ok = fail(e, "%s: is a device, a file is needed", path);
    if (ok && fcntl(fd, F_SETFL, 0) == 0) return fd;
    if (ok) fail(e, "%s: %s", path, strerror(errno));
    close(fd);
    return -1;
}

static bool read_all(int fd, const char *path, size_t max, struct str *out, struct err *e)
{
    struct stat st;
    char chunk[65536];
    ssize_t n;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size > max)
        return fail(e, "%s: larger than the %zu bytes allowed here", path, max);
    while ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
        if (n < 0) continue;
        if (out->n + (size_t)n > max) return fail(e, "%s: larger than the %zu bytes allowed here", path, max);
        str_put(out, chunk, (size_t)n);
    }
    return n == 0 || fail(e, "%s: could not be read after %zu bytes: %s", path, out->n, strerror(errno));
}

/* The next unpacked bytes of z into out. Z_OK: there may be more. */
static int unpack_some(z_stream *z, struct str *out)
{
    unsigned char chunk[65536];
    z->next_out = chunk;
    z->avail_out = sizeof chunk;
    int code = inflate(z, Z_NO_FLUSH);
    str_put(out, (char *)chunk, sizeof chunk - z->avail_out);
    return code == Z_OK && z->avail_in == 0 && z->avail_out ? Z_BUF_ERROR : code;
}

/* All members of in, one after another; zero padding, as tapes leave it, may follow. One byte of in can expand to 1032,
 * so the limit grows with the size of in: a small file cannot fill the memory. */
static size_t packed_bound(const struct str *in, size_t max)
{
    /* rows that all begin with the same instructions: 10,000 of the released ones pack to 1/23 as zstd -19, to 1/15 as
     * gzip */
    const size_t most = ((size_t)64 << 20) + 128 * in->n;
    return most < max ? most : max;
}

static bool too_much(const char *path, const struct str *in, size_t max, struct err *e)
{
    const size_t bound = packed_bound(in, max);
    if (bound == max) return fail(e, "%s: larger than the %zu bytes allowed here", path, max);
    return fail(e, "%s: unpacks to more than %zu bytes, from %zu: unpack it first (gunzip, unzstd) if that is meant",
                path, bound, in->n);
}

static bool unpack_gzip(const struct str *in, const char *path, size_t max, struct str *out, struct err *e)
{
    const size_t bound = packed_bound(in, max);
    z_stream z = { .next_in = (Bytef *)in->p };
    int code = inflateInit2(&z, 15 + 16);
    if (code != Z_OK) die("inflateInit2: %s", z.msg ? z.msg : "no memory");
    size_t left = in->n;
    bool ok = true, rest = false;
    while (ok && !rest) {
        z.avail_in = left > INT_MAX ? INT_MAX : (uInt)left;
        const uInt given = z.avail_in;
        code = unpack_some(&z, out);
        left -= given - z.avail_in;
        if (out->n > bound) {
            ok = too_much(path, in, max, e);
        } else if (code == Z_STREAM_END) {
            while (left && !*z.next_in) { z.next_in++; left--; }
            rest = !left || left < 2 || z.next_in[0] != 0x1f || z.next_in[1] != 0x8b;
            if (left && rest)
                ok = fail(e, "%s: damaged after %zu bytes: %zu bytes follow that are not gzip", path, out->n, left);
            if (!rest) inflateReset(&z);
        } else if (code != Z_OK && !(code == Z_BUF_ERROR && left)) {
            ok = fail(e, "%s: damaged after %zu bytes: %s", path, out->n,
                      code == Z_BUF_ERROR ? "unexpected end of file"
                      : z.msg             ? z.msg
                                          : "not gzip");
        }
    }
    inflateEnd(&z);
    return ok;
}

/* All frames of in; skippable frames are skipped. */
static bool unpack_zstd(const struct str *in, const char *path, size_t max, struct str *out, struct err *e)
{
    char chunk[65536];
    ZSTD_DStream *z = ZSTD_createDStream();
    if (!z) die("ZSTD_createDStream: no memory");
    ZSTD_inBuffer from = { in->p, in->n, 0 };
    size_t more = 1;
    bool ok = true;
    while (ok && (from.pos < from.size || more)) {
        ZSTD_outBuffer to = { chunk, sizeof chunk, 0 };
        const size_t at = from.pos;
        more = ZSTD_decompressStream(z, &to, &from);
        str_put(out, chunk, to.pos);
        if (ZSTD_isError(more)) ok = fail(e, "%s: damaged after %zu bytes: %s", path, out->n, ZSTD_getErrorName(more));
        else if (out->n > packed_bound(in, max)) ok = too_much(path, in, max, e);
        else if (more && from.pos == from.size && to.pos == 0 && at == from.pos)
            ok = fail(e, "%s: damaged after %zu bytes: unexpected end of file", path, out->n);
    }
    ZSTD_freeDStream(z);
    return ok;
}

bool file_read(const char *path, size_t max, struct str *out, struct err *e)
{
    str_clear(out);
    int fd = file_open(path, false, e);
    if (fd < 0) return false;
    bool ok = read_all(fd, path, max, out, e);
    close(fd);
    const bool gzip = ok && out->n >= 2 && !memcmp(out->p, "\x1f\x8b", 2),
               zstd = ok && out->n >= 4 && !memcmp(out->p, "\x28\xB5\x2F\xFD", 4);
    if (!gzip && !zstd) return ok;
    struct str packed = *out;
    *out = (struct str){ 0 };
    str_clear(out);
    ok = gzip ? unpack_gzip(&packed, path, max, out, e) : unpack_zstd(&packed, path, max, out, e);
    str_free(&packed);
    return ok;
}

/* Open temporary files. A signal handler may read the table while it is being written: each entry is a complete path or
 * NULL at any time. */
enum { TEMPS = 32 };
static char *volatile temps[TEMPS];
/* a forked child that exits before exec owns none of these files */
static volatile pid_t owner;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void out_sweep(void)
{
    for (int i = 0; i < TEMPS && owner == getpid(); i++) if (temps[i]) unlink(temps[i]);
}

void out_note(char *path, bool open)
{
    static bool registered;
    pthread_mutex_lock(&lock);
    if (!registered) registered = atexit(out_sweep) == 0;
    owner = getpid();
    for (int i = 0; i < TEMPS; i++) {
        if (temps[i] != (open ? NULL : path)) continue;
        temps[i] = open ? path : NULL;
        break;
    }
    pthread_mutex_unlock(&lock);
}

/* The existing path is not a plain file, or may be a stream of this process (/dev/stdout): it cannot be renamed
 * over. */
static bool is_stream(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && (!S_ISREG(st.st_mode) || starts_with(path, "/dev/") || starts_with(path, "/proc/"));
}

/* Never writes through a name that already exists, which may be a link planted there. */
static int make_temp(const char *tmp)
{
    int fd = -1;
    for (int again = 0; again < 2 && fd < 0; again++) {
        fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0 && (errno != EEXIST || unlink(tmp) != 0)) break;
    }
    return fd;
}

bool out_open(struct out *o, const char *path, struct err *e)
{
    struct str tmp = { 0 };
    struct stat st;
    const bool there = stat(path, &st) == 0, direct = is_stream(path);
    *o = (struct out){ 0 };
    if (there && S_ISDIR(st.st_mode)) return fail(e, "%s: is a folder, a file is to be written", path);
    char *real = there && !direct ? realpath(path, NULL) : NULL;
    o->path = real ? real : xstrdup(path);
    str_printf(&tmp, "%s.%ld.tmp", o->path, (long)getpid());
    o->tmp = direct ? NULL : tmp.p;
    if (direct) str_free(&tmp);
    int fd = direct ? open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : make_temp(o->tmp);
    if (fd >= 0 && direct && fcntl(fd, F_SETFL, O_APPEND) != 0) { close(fd); fd = -1; }
    o->f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (o->f) {
        if (o->tmp) out_note(o->tmp, true);
        return true;
    }
    fail(e, "%s: cannot be written: %s", path, errno == ENXIO ? "nobody reads from this pipe" : strerror(errno));
    free(o->path);
    free(o->tmp);
    *o = (struct out){ 0 };
    return false;
}

static void out_forget(struct out *o)
{
    if (o->tmp) out_note(o->tmp, false);
    free(o->path);
    free(o->tmp);
    *o = (struct out){ 0 };
}

/* Flushes the names in the folder of path to the disk: 0 or errno. */
static int sync_folder_of(const char *path)
{
    char *dir = xstrdup(path), *slash = strrchr(dir, '/');
    if (slash) *slash = 0;
    int why = dir_sync(slash ? (*dir ? dir : "/") : ".");
    free(dir);
    return why;
}

bool out_commit(struct out *o, struct err *e)
{
    errno = 0;
    bool ok = !ferror(o->f);
    ok = fflush(o->f) == 0 && ok;
    ok = ok && (fsync(fileno(o->f)) == 0 || !o->tmp);                       /* pipes and terminals cannot be synced */
    int why = errno;
    /* an earlier write failed: one more write yields errno */
    if (!ok && !why && o->tmp && write(fileno(o->f), "", 1) < 0) why = errno;
    ok = fclose(o->f) == 0 && ok;
    if (ok && o->tmp && rename(o->tmp, o->path) != 0) { ok = false; why = errno; }
    if (!ok) {
        fail(e, "%s: could not be written whole: %s", o->path,
             why ? strerror(why) : "write error, the disk may be full");
        if (o->tmp) unlink(o->tmp);
    } else if (o->tmp && (why = sync_folder_of(o->path))) {
        ok = fail(e, "%s: is written, but its folder could not be brought to the disk: %s", o->path, strerror(why));
    }
    out_forget(o);
    return ok;
}

void out_drop(struct out *o)
{
    if (!o->f) return;
    fclose(o->f);
    if (o->tmp) unlink(o->tmp);
    out_forget(o);
}

bool file_write(const char *path, const void *bytes, size_t n, struct err *e)
{
    struct out o;
    if (!out_open(&o, path, e)) return false;
    fwrite(bytes, 1, n, o.f);
    return out_commit(&o, e);
}

bool file_copy(const char *from, const char *to, struct err *e)
{
    struct out o;
    char chunk[65536];
    ssize_t n;
    int fd = file_open(from, true, e);
    if (fd < 0) return false;
    if (!out_open(&o, to, e)) { close(fd); return false; }
    while ((n = read(fd, chunk, sizeof chunk)) > 0) fwrite(chunk, 1, (size_t)n, o.f);
    int why = errno;
    close(fd);
    if (n == 0) return out_commit(&o, e);
    out_drop(&o);
    return fail(e, "%s: could not be read to its end: %s", from, strerror(why));
}

bool file_exists(const char *path) { struct stat st; return stat(path, &st) == 0; }

bool file_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}
