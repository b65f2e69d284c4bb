/* stop.h: signals that ask for an end. INT, TERM, HUP, USR1, USR2 and XCPU are all the same: what is under way is
 * finished or given up, a checkpoint written, and the program ends with status 130. A second INT or TERM ends it at
 * once. */
#pragma once
#include <signal.h>

extern volatile sig_atomic_t run_stop;              /* 0, or the number of the first signal that came */

/* From here on these signals set run_stop, and say on stderr what happens next. One that was ignored when the program
 * started (nohup) stays ignored, but INT, which shells have ignored by what a script runs in the background. */
void stop_catch(void);
/* What will be said: "finishing step 6 and writing its checkpoint". fmt as printf's; at most 200 bytes. NULL:
 * nothing. */
void stop_during(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
