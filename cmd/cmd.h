/* cmd.h: the sub-commands. Each gets the arguments after its name and returns the exit status: 0: done; 1: environment
 * error (a file, a disk); 2: usage error, nothing was started. */
#pragma once
#include "engine/config/config.h"
#include "engine/report/progress.h"
#include "engine/run/sft.h"

int cmd_debug(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_sft(int argc, char **argv);
int cmd_make_policy(int argc, char **argv);
int cmd_golden(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_keys(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_help(int argc, char **argv);

/* ---- help.c ---- */
void help_all(FILE *f);
bool help_one(const char *name, FILE *f);           /* false: no such command */
void help_unknown(const char *name, FILE *f);       /* one message with the nearest name */
/* Whether the help of the command, n bytes, lists the option. */
bool help_knows(const char *command, int n, const char *option);
int terminal_width(FILE *f);                        /* columns; 0: f is not a terminal */

/* ---- plan_simulate.c ---- */
int plan_simulate(int argc, char **argv);           /* plan --simulate */

/* ---- common.c ---- */
/* Loads the configuration, with fit_config_to_model; on --print-config prints it. words: the number of plain words that
 * the command takes. False: return *status. */
bool cmd_config(struct config *c, int argc, char **argv, const char *usage, int words, int *status);
/* Takes an option of the command itself out of argv: "--name VALUE" or "--name=VALUE"; value NULL: a switch, "--name".
 * The last one counts. False: it is not there, or is last without a value (then it stays, and cmd_config rejects
 * it). */
bool cmd_option(int *argc, char **argv, const char *name, const char **value);
int cmd_fail(const struct err *e);                  /* prints the message, returns 1 */
/* Progress of supervised training on stderr: an sft_after whose ctx is a struct sft_progress. */
struct sft_progress {
    const char *what;
    struct progress bar;
    int step;
};
bool sft_progress(void *ctx, const struct sft_report *r);
double peak_mib(void);                              /* largest resident size of the process so far */
/* "80GiB", "5GB", "1e6": bytes, from 1 to 2^60. */
bool parse_bytes(const char *text, int64_t *bytes);
