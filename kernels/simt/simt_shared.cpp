/* simt_shared.cpp: memory shared by the ranks of the shim's NCCL, and their rendezvous. */
#include "kernels/simt/simt_nccl.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <random>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct id { uint64_t magic, key; int process, fd; };
enum : uint64_t { ID_MAGIC = 0x6e63636c2d6964u };

bool simt_region_make(ncclUniqueId *to)
{
    std::random_device random;
    id x = { ID_MAGIC, (uint64_t)random() << 32 | random(), getpid(), memfd_create("simt-nccl", MFD_CLOEXEC) };
    memset(to, 0, sizeof *to);
    memcpy(to, &x, sizeof x);
    return x.fd >= 0 && pwrite(x.fd, &x.key, sizeof x.key, 0) == (ssize_t)sizeof x.key;
}

simt_region *simt_region_open(const ncclUniqueId *from, int ranks)
{
    id x;
    char path[64];
    const size_t bytes = sizeof(simt_region) + (size_t)ranks * NCCL_SLOT;
    memcpy(&x, from, sizeof x);
    if (x.magic != ID_MAGIC) return nullptr;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", x.process, x.fd);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes)) return nullptr;
    void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED || ((simt_region *)p)->key != x.key) return nullptr;
    return (simt_region *)p;
}

/* The first error stays. */
void simt_fail(ncclComm_t c, ncclResult_t e, const char *format, ...)
{
    va_list a;
    if (c->error) return;
    va_start(a, format);
    vsnprintf(c->text, sizeof c->text, format, a);
    va_end(a);
    c->error = e;
}

const simt_nccl_rules *simt_nccl_rules_read()
{
    static simt_nccl_rules r = { -1, 0, "", false, 500 };
    static bool read;
    const char *s = read ? nullptr : getenv("APPO_SIMT_NCCL");
    read = true;
    for (; s && *s; s += strcspn(s, ","), s += *s == ',') {
        if (!strncmp(s, "silent", 6)) r.silent = true;
        else if (sscanf(s, "delay=%d", &r.delay) != 1 &&
                 sscanf(s, "fail=%d.%31[a-z-].%d", &r.rank, r.call, &r.n) != 3)
            die("APPO_SIMT_NCCL: %s", s);
    }
    return &r;
}

/* A process that has ended, also one that its parent has not asked for yet. */
static bool ended(pid_t process)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *f = fopen(path, "r");
    if (!f) return true;
    const char *state = fgets(line, sizeof line, f) ? strrchr(line, ')') : nullptr;
    fclose(f);
    return !state || state[2] == 'Z' || state[2] == 'X';
}

void simt_sleep(simt_region *a, uint32_t heard)
{
    const struct timespec t = { 0, 20000000 };
    syscall(SYS_futex, &a->bell, FUTEX_WAIT, heard, &t, nullptr, 0);
}

void simt_ring(simt_region *a)
{
    a->bell++;
    syscall(SYS_futex, &a->bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

bool simt_lives(ncclComm_t c, int r) { return simt_nccl_rules_read()->silent || !ended(c->all->peer[r].process); }

bool simt_gone(ncclComm_t c, int r)
{
    simt_fail(c, ncclRemoteError, "rank %d, process %d, has ended", r, (int)c->all->peer[r].process);
    return false;
}

bool simt_meet(ncclComm_t c)
{
    simt_peer *peer = c->all->peer;
    const uint64_t mine = ++peer[c->rank].round;
    simt_ring(c->all);
    for (int r = 0; r < c->ranks; r++)
        while (peer[r].round < mine) {
            const uint32_t heard = c->all->bell;
            const bool lives = simt_lives(c, r);
            if (peer[r].round >= mine) break;           /* it came here, and may have ended since */
            if (c->aborted || c->error) return false;
            if (!lives) return simt_gone(c, r);
            simt_sleep(c->all, heard);
        }
    return !c->aborted && !c->error;
}
