/* stop.c: the handler calls async-signal-safe functions alone: write, clock_gettime, unlink, _exit. */
#include "base/stop.h"
#include "base/file.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t run_stop;

/* Two alternating buffers: the handler never prints the one that is being written. */
enum { TEXT_MAX = 240 };
static char text[2][TEXT_MAX];
static const char *volatile shown;
static volatile double first;

static bool quiet;

void stop_quiet(void) { quiet = true; }

static void say(const char *s) { if (s && write(2, s, strlen(s)) < 0) return; }

/* timeout(1), srun and shells send a signal to the process group and to the program: signals within 0.3 s count as one.
 * XCPU is sent every second. */
static void on_stop(int signo)
{
    if (run_stop) {
        if ((signo != SIGINT && signo != SIGTERM) || seconds() - first < 0.3) return;
        say("appo: stopped at once; what came after the last checkpoint is lost\n");
        out_sweep();
        _exit(130);
    }
    first = seconds();
    run_stop = signo;
    say(shown);
}

void stop_catch(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU };
    struct sigaction a = { .sa_handler = on_stop, .sa_flags = SA_RESTART }, was;
    sigfillset(&a.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (signals[i] == SIGINT || (sigaction(signals[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN))
            sigaction(signals[i], &a, NULL);
}

void stop_during(const char *fmt, ...)
{
    static int turn;
    if (!fmt || quiet) {
        shown = NULL;
        return;
    }
    char *to = text[turn ^= 1];
    va_list ap;
    int n = snprintf(to, TEXT_MAX, "\nappo: ");
    va_start(ap, fmt);
    vsnprintf(to + n, TEXT_MAX - 40, fmt, ap);
    va_end(ap);
    strcat(to, "; again to stop now\n");
    shown = to;
    if (run_stop) say(to + 1);                  /* the signal has already arrived: print what the program waits for */
}
