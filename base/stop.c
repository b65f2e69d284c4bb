/* stop.c: the handler calls what a handler may: write, clock_gettime, unlink, _exit. */
#include "base/stop.h"
#include "base/file.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t run_stop;

/* Two texts by turns: the one that is shown is never the one that is written. */
enum { TEXT_MAX = 240 };
static char text[2][TEXT_MAX];
static const char *volatile shown;
static volatile double first;

static void say(const char *s) { if (s && write(2, s, strlen(s)) < 0) return; }

/* timeout(1), srun and shells pass a signal on to a whole group and to the program: what comes within 0.3 s is the same
 * one. XCPU comes every second. */
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
    if (!fmt) {
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
    if (run_stop) say(to + 1);                           /* it has already come: what it waits for now */
}
