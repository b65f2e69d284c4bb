/* cmd.h: the sub-commands. Each gets what follows its name on the command line and returns the exit status: 0 done, 1
 * the world is wrong (a file, a disk), 2 the command line is wrong and nothing was started. */
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

/* help.c */
void help_all(FILE *f);
bool help_one(const char *name, FILE *f);           /* false: no such command */
void help_unknown(const char *name, FILE *f);       /* one sentence with the nearest name */
/* does the help of the command, n bytes, list the option? */
bool help_knows(const char *command, int n, const char *option);
int terminal_width(FILE *f);                        /* columns; 0: f is no terminal */

/* common.c */
/* Loads the configuration; on --print-config prints it. False: return *status. words: how many plain words the command
 * takes. */
bool cmd_config(struct config *c, int argc, char **argv, const char *usage, int words, int *status);
/* Takes an option of the command itself out of argv: "--name VALUE" or "--name=VALUE"; value NULL: a switch, "--name".
 * False: it is not there (or, at the end of the line, has no value: then it stays, for cmd_config to refuse). The last
 * one counts. */
bool cmd_option(int *argc, char **argv, const char *name, const char **value);
int cmd_fail(const struct err *e);          /* prints the sentence, returns 1 */
/* Progress of supervised training on stderr: ctx is a struct sft_progress. */
struct sft_progress { const char *what; struct progress bar; int step; };
bool sft_progress(void *ctx, const struct sft_report *r);
double peak_mib(void);                      /* largest resident size of the process so far */
/* "80GiB", "5GB", "1e6": bytes, from 1 to 2^60. */
bool parse_bytes(const char *text, int64_t *bytes);
