/* watch_frames.c: frames on a connection between ranks: type, bytes, body, as the machine stores them, because all
 * ranks are one program. */
#include "engine/comm/watch_in.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

struct head { uint32_t type, bytes; };

bool frame_send(int fd, enum frame type, const void *body, size_t bytes, bool may_drop)
{
    char all[sizeof(struct head) + FRAME_MAX];
    const struct head h = { type, (uint32_t)bytes };
    const size_t n = sizeof h + bytes;
    ENSURE(bytes <= FRAME_MAX);
    memcpy(all, &h, sizeof h);
    if (bytes) memcpy(all + sizeof h, body, bytes);
    for (size_t at = 0, turns = 0; at < n;) {
        const ssize_t k = send(fd, all + at, n - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k > 0) { at += (size_t)k; continue; }
        if (k < 0 && errno == EINTR) continue;
        if (k == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return false;
        if (at == 0 && may_drop) return true;
        if (turns++ == 10) return false;                 /* it has not read for a second while its buffer was full */
        poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 100);
    }
    return true;
}

bool inbox_fill(struct inbox *in, int fd)
{
    for (;;) {
        if (in->n == sizeof in->bytes) return true;
        const ssize_t k = recv(fd, in->bytes + in->n, sizeof in->bytes - in->n, MSG_DONTWAIT);
        if (k > 0) { in->n += (size_t)k; continue; }
        if (k < 0 && errno == EINTR) continue;
        return k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
}

int inbox_next(struct inbox *in, char *body, size_t *bytes)
{
    struct head h;
    if (in->n < sizeof h) return 0;
    memcpy(&h, in->bytes, sizeof h);
    if (h.bytes > FRAME_MAX || h.type < FRAME_HELLO || h.type > FRAME_LOST) return -1;
    if (in->n < sizeof h + h.bytes) return 0;
    memcpy(body, in->bytes + sizeof h, h.bytes);
    *bytes = h.bytes;
    in->n -= sizeof h + h.bytes;
    memmove(in->bytes, in->bytes + sizeof h + h.bytes, in->n);
    return (int)h.type;
}
