/* tensorboard.c: TensorBoard event files: TFRecord frames (length, masked CRC-32C of it, bytes, masked CRC-32C of them)
 * around hand-written protobuf. Event: 1 wall_time double, 2 step int64, 3 file_version, 5 summary, 7 session_log;
 * Summary: 1 value { 1 tag, 2 simple_value float }. */
#include "engine/report/tensorboard.h"
#include "base/dir.h"
#include "base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct tensorboard { FILE *f; char *path; };

uint32_t crc32c(const void *bytes, size_t n)
{
    uint32_t c = ~0u;
    for (const uint8_t *p = bytes; n--; p++) {
        c ^= *p;
        for (int i = 0; i < 8; i++) c = c >> 1 ^ (0x82F63B78u & -(c & 1));
    }
    return ~c;
}

static uint32_t masked(const void *bytes, size_t n)
{
    uint32_t c = crc32c(bytes, n);
    return (c >> 15 | c << 17) + 0xA282EAD8u;
}

static void put_fixed(struct str *s, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++) str_putc(s, (char)(x >> 8 * i));
}

static void put_varint(struct str *s, uint64_t x)
{
    for (; x > 127; x >>= 7) str_putc(s, (char)(x | 128));
    str_putc(s, (char)x);
}

static void put_bytes(struct str *s, int field, const char *bytes, size_t n)
{
    put_varint(s, (uint64_t)field << 3 | 2);
    put_varint(s, n);
    str_put(s, bytes, n);
}

/* One frame: an Event with this step and one field of bytes. */
static bool put_event(struct tensorboard *b, int64_t step, int field, const char *bytes, size_t n, struct err *e)
{
    struct str event = { 0 }, frame = { 0 };
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    double wall = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    uint64_t bits;
    memcpy(&bits, &wall, 8);
    put_varint(&event, 1 << 3 | 1);
    put_fixed(&event, bits, 8);
    put_varint(&event, 2 << 3 | 0);
    put_varint(&event, (uint64_t)step);
    put_bytes(&event, field, bytes, n);
    put_fixed(&frame, event.n, 8);
    put_fixed(&frame, masked(frame.p, 8), 4);
    str_put(&frame, event.p, event.n);
    put_fixed(&frame, masked(event.p, event.n), 4);
    bool ok = fwrite(frame.p, 1, frame.n, b->f) == frame.n && !fflush(b->f);
    if (!ok) fail(e, "%s: %s", b->path, strerror(errno));
    str_free(&event);
    str_free(&frame);
    return ok;
}

struct tensorboard *tensorboard_open(const char *dir, int64_t after, struct err *e)
{
    static const char version[] = "brain.Event:2", start[] = { 1 << 3 | 0, 1 };         /* SessionLog: status START */
    char host[64] = "";
    struct str path = { 0 };
    if (!dir_make(dir, e)) return NULL;
    if (gethostname(host, sizeof host - 1) || strchr(host, '/')) strcpy(host, "host");
    str_printf(&path, "%s/events.out.tfevents.%010lld.%s.%d", dir, (long long)time(NULL), host, (int)getpid());
    FILE *f = fopen(path.p, "ab");
    if (!f) {
        fail(e, "%s: %s", path.p, strerror(errno));
        str_free(&path);
        return NULL;
    }
    struct tensorboard *b = xmalloc(sizeof *b);
    *b = (struct tensorboard){ f, path.p };
    bool ok = put_event(b, 0, 3, version, sizeof version - 1, e);
    if (ok && after >= 0) ok = put_event(b, after + 1, 7, start, sizeof start, e);
    if (ok) return b;
    tensorboard_close(b, NULL);
    return NULL;
}

bool tensorboard_write(struct tensorboard *b, int64_t step, const struct metrics *m, struct err *e)
{
    struct str summary = { 0 }, value = { 0 };
    for (int i = 0; i < m->n; i++) {
        float x = (float)m->v[i].value;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        str_clear(&value);
        put_bytes(&value, 1, m->v[i].name, strlen(m->v[i].name));
        put_varint(&value, 2 << 3 | 5);
        put_fixed(&value, bits, 4);
        put_bytes(&summary, 1, value.p, value.n);
    }
    bool ok = put_event(b, step, 5, summary.p ? summary.p : "", summary.n, e);
    str_free(&summary);
    str_free(&value);
    return ok;
}

bool tensorboard_close(struct tensorboard *b, struct err *e)
{
    if (!b) return true;
    bool ok = !fclose(b->f);
    if (!ok) fail(e, "%s: %s", b->path, strerror(errno));
    free(b->path);
    free(b);
    return ok;
}
