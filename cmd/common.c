/* common.c: options, messages and progress that several sub-commands share. */
#include "engine/session/fit_config.h"
#include "engine/report/progress.h"
#include "cmd/cmd.h"
#include "engine/comm/comm.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The command's name in a usage text, after "usage: appo ". Returns its length. */
static int name_of(const char *usage, const char **name)
{
    static const char start[] = "usage: appo ";
    *name = strncmp(usage, start, sizeof start - 1) ? "COMMAND" : usage + sizeof start - 1;
    return (int)strcspn(*name, " :");
}

/* Reports an option that no code reads: --learning_rate of another program, or a key with a space before its =. */
static void report_unknown(const char *word, const char *usage)
{
    const char *name, *plain = word + strspn(word, "-");
    char key[128];
    int n = name_of(usage, &name);
    snprintf(key, sizeof key, "%.*s", (int)strcspn(plain, "="), plain);
    const char *ours = config_our_name(key);
    /* at the end of the line */
    static const char *const valued[] = { "--prompt", "--system", "--max", "--top" };
    for (size_t i = 0; i < sizeof valued / sizeof *valued; i++)
        if (!strcmp(word, valued[i]) && help_knows(name, n, word)) {
            fprintf(stderr, "appo: %s needs a value\n", word);
            return;
        }
    fprintf(stderr, "appo: %s: not understood here.%s%s%s appo %.*s --help lists what is\n", word,
            ours ? " Did you mean " : "", ours ? ours : "", ours ? "=VALUE?" : "", n, name);
}

bool cmd_config(struct config *c, int argc, char **argv, const char *usage, int words, int *status)
{
    struct err e;
    const char *name;
    int rest = 0, n = name_of(usage, &name);
    *status = 2;
    if (!config_load(c, argc, argv, &rest, &e)) {
        fprintf(stderr, "appo: %s\n", e.text);
        return false;
    }
    fit_config_to_model(c, NULL, NULL);
    if (c->print) {
        config_print(c, stdout, terminal_width(stdout));
        *status = 0;
        return false;
    }
    for (int i = 0; i < rest; i++)
        if (argv[i][0] == '-' || i >= words) return report_unknown(argv[i], usage), false;
    if (rest < words) {
        fprintf(stderr, "appo: a required argument is missing. %s; appo %.*s --help tells more\n", usage, n, name);
        return false;
    }
    return true;
}

bool cmd_option(int *argc, char **argv, const char *name, const char **value)
{
    size_t len = strlen(name);
    bool found = false;
    for (int i = 0; i < *argc; i++) {
        int took = 0;
        if (strncmp(argv[i], name, len)) continue;
        if (!argv[i][len]) took = value ? 2 : 1;
        else if (value && argv[i][len] == '=') took = 1;
        if (!took || i + took > *argc) continue;
        if (value) *value = took == 2 ? argv[i + 1] : argv[i] + len + 1;
        memmove(argv + i, argv + i + took, (size_t)(*argc - i - took) * sizeof *argv);
        *argc -= took;
        found = true;
        i--;
    }
    return found;
}

int cmd_fail(const struct err *e)
{
    /* a message of another rank is printed by that one and by rank 0; what all found of a rank, by rank 0 */
    if (comm_first() || (!comm_other_failed() && strncmp(e->text, "rank ", 5))) fprintf(stderr, "appo: %s\n", e->text);
    err_keep(e->text);
    return 1;
}

bool sft_progress(void *ctx, const struct sft_report *r)
{
    struct sft_progress *s = ctx;
    char what[160];
    if (!s->bar.f || s->bar.total != r->steps || r->step < s->step) {
        int first = r->step - (r->part == r->whole);
        progress_start(&s->bar, stderr, first, r->steps);
        if (first == 0) s->bar.started -= r->wall_s;
    }
    s->step = r->step;
    int n = snprintf(what, sizeof what, "%.40s", s->what);
    if (r->step) n += snprintf(what + n, sizeof what - (size_t)n, ", loss %.3f, gradient norm %.2f", r->loss, r->norm);
    if (r->part < r->whole)
        snprintf(what + n, sizeof what - (size_t)n, ", %d of %d of the next step", r->part, r->whole);
    progress_step(&s->bar, r->step, what, (double)NAN,
                  r->wall_s > 0 && r->tokens ? (double)r->tokens / r->wall_s : (double)NAN);
    if (s->bar.tty && r->step == r->steps) fputc('\n', stderr);
    return true;
}

double peak_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}
