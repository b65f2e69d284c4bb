/* stop.h: signals that request a stop. INT, TERM, HUP, USR1, USR2 and XCPU are treated alike: the program finishes or
 * abandons the current step, writes a checkpoint and ends with status 130. A second INT or TERM ends it at once. */
#pragma once
#include <signal.h>

extern volatile sig_atomic_t run_stop;              /* 0, or the number of the first such signal */

/* From here on these signals set run_stop and print the text of stop_during to stderr. A signal that was ignored when
 * the program started (nohup) stays ignored, except INT: shells start a script's background jobs with INT ignored. */
void stop_catch(void);
/* Sets the text that a signal prints: "finishing step 6 and writing its checkpoint". fmt as printf's; at most 200
 * bytes. NULL: nothing is printed. */
void stop_during(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* From here on stop_during prints nothing: for the ranks of a run beside the one that speaks for all. */
void stop_quiet(void);
