/* main.c: prepares streams, signals, OpenMP and the stack, then runs a sub-command. */
#include "cmd/cmd.h"
#include "base/file.h"
#include "engine/comm/comm.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* cmd/help.c describes them. SINGLE: works in one process alone; several would do the same work several times and write
 * the same files. */
enum processes { ANY, SINGLE };
static const struct command { const char *name; int (*run)(int argc, char **argv); enum processes p; } commands[] = {
    { "debug", cmd_debug, ANY }, { "train", cmd_train, ANY }, { "eval", cmd_eval, ANY }, { "sft", cmd_sft, SINGLE },
    { "make-policy", cmd_make_policy, SINGLE }, { "export", cmd_export, SINGLE }, { "plan", cmd_plan, ANY },
    { "tokenize", cmd_tokenize, SINGLE }, { "score", cmd_score, SINGLE }, { "generate", cmd_generate, SINGLE },
    { "golden", cmd_golden, SINGLE }, { "bench", cmd_bench, SINGLE }, { "doctor", cmd_doctor, ANY },
    { "keys", cmd_keys, ANY }, { "version", cmd_version, ANY }, { "--version", cmd_version, ANY },
    { "-V", cmd_version, ANY }, { "help", cmd_help, ANY }, { "--help", cmd_help, ANY }, { "-h", cmd_help, ANY },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/* A command for one process that mpirun or srun has started several times. */
static bool started_too_often(const struct command *c)
{
    if (c->p == ANY || comm_launched() <= 1) return false;
    fprintf(stderr,
            "appo: %s runs in one process, and %d were started: start it without mpirun or srun (train, debug and eval "
            "run as ranks)\n", c->name, comm_launched());
    return true;
}

/* Whether --help is among the arguments of a command and is not an option's value. */
static bool wants_help(int argc, char **argv)
{
    static const char *const take[] = { "--prompt", "--system" };
    for (int i = 2; i < argc; i++) {
        bool value = false;
        for (size_t k = 0; k < sizeof take / sizeof *take; k++) value = value || !strcmp(argv[i - 1], take[k]);
        if (!value && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) return true;
    }
    return false;
}

enum { STACK_LEAST = 1 << 20, STACK = 8 << 20 };

/* Whether the stack is smaller than the program needs (`ulimit -s`); then commands run in a thread with a stack of its
 * own. */
static bool small_stack(void)
{
    struct rlimit r;
    return getrlimit(RLIMIT_STACK, &r) == 0 && r.rlim_cur != RLIM_INFINITY && r.rlim_cur < STACK_LEAST;
}

/* Sets OpenMP's environment and restarts the program, because libgomp reads it before main. Its idle threads spin for
 * milliseconds by default, which costs whole steps on shared cores, and the stack limit sets their stacks. 1,000 spins
 * take about as long as a fork and join. Six debug steps on two cores with four other processes: 10 to 16 s with 20,000
 * spins, 5.3 to 5.9 s with 2,000, 5.7 to 6.3 s with none. */
static void set_openmp(char **argv)
{
    bool spin = !getenv("GOMP_SPINCOUNT") && !getenv("OMP_WAIT_POLICY"),
         stack = small_stack() && !getenv("OMP_STACKSIZE") && !getenv("GOMP_STACKSIZE");
    if (!spin && !stack) return;
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return;                                  /* no /proc: keep the default */
    self[n] = 0;
    if (spin) setenv("GOMP_SPINCOUNT", "1000", 1);
    if (stack) setenv("OMP_STACKSIZE", "4M", 1);
    execv(self, argv);
}

/* If the parent closed fd 0-2, the next open() would reuse the number and our output would land in that file. Opens
 * /dev/null read-only there instead: writes fail and are reported. */
static void open_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd) _exit(70);
}

static void on_end(int signo)
{
    out_sweep();
    signal(signo, SIG_DFL);
    raise(signo);
}

static void on_limit(int signo) { (void)signo; }

/* A signal that ends the program first removes temporary files. SIGXFSZ (file size limit, ulimit -f) makes the write
 * fail, which is reported like a full disk; it has a handler instead of SIG_IGN, because tool processes must not
 * inherit that. */
static void catch_signals(void)
{
    static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU };
    struct sigaction a = { .sa_handler = on_end }, was;
    sigemptyset(&a.sa_mask);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (sigaction(ends[i], NULL, &was) == 0 && was.sa_handler == SIG_DFL) sigaction(ends[i], &a, NULL);
    a.sa_handler = on_limit;
    a.sa_flags = SA_RESTART;
    sigaction(SIGXFSZ, &a, NULL);
}

/* Flushes stdout. A failure is reported and turns success into status 1. */
static int finish(int status)
{
    bool ok = !ferror(stdout);
    errno = 0;
    if (fflush(stdout) == 0 && ok) return status;
    fprintf(stderr, "appo: stdout: could not be written: %s\n",
            errno ? strerror(errno) : "write error, the disk may be full");
    return status ? status : 1;
}

static int run(int argc, char **argv)
{
    open_streams();
    catch_signals();
    if (argc < 2) {
        help_all(stderr);
        return finish(2);
    }
    if (comm_launched() > 1 && comm_launched_rank() > 0) notes_off();
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(argv[1], commands[i].name)) {
            if (wants_help(argc, argv) && help_one(argv[1], stdout)) return finish(0);
            return finish(started_too_often(&commands[i]) ? 2 : commands[i].run(argc - 2, argv + 2));
        }
    help_unknown(argv[1], stderr);
    return finish(2);
}

struct started {
    int argc;
    int status;
    char **argv;
};

static void *run_there(void *arg)
{
    struct started *s = arg;
    s->status = run(s->argc, s->argv);
    return NULL;
}

int main(int argc, char **argv)
{
    struct started s = { .argc = argc, .argv = argv };
    pthread_attr_t how;
    pthread_t thread;
    set_openmp(argv);
    if (!small_stack()) return run(argc, argv);
    pthread_attr_init(&how);
    if (pthread_attr_setstacksize(&how, STACK) || pthread_create(&thread, &how, run_there, &s)) {
        fprintf(stderr, "appo: a stack of %d MiB is needed, and the limit (ulimit -s) and memory do not give one\n",
                STACK >> 20);
        return 1;
    }
    pthread_join(thread, NULL);
    return s.status;
}
