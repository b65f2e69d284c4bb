/* golden.c: `appo golden DIR`. Any subset of the golden files will do: missing and unknown files are reported,
 * neither is an error. */
#include "eval/golden/golden.h"
#include "base/file.h"
#include "base/json.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>

enum { MOST_BYTES = 64 << 20 };

static const struct {
    const char *file;
    bool (*run)(const json_t *root, struct golden_tally *t, struct err *e);
} known[] = {
    { "branch_select.json", golden_branch_select },
    { "advantage.json", golden_advantage },
    { "grpo_family.json", golden_grpo_family },
    { "policy_loss.json", golden_policy_loss },
    { "reward.json", golden_reward },
    { "math_equiv.json", golden_math_equiv },
    { "qa_metrics.json", golden_qa_metrics },
};
enum { KNOWN = sizeof known / sizeof *known };

static bool run_file(const char *path, int k, struct golden_tally *t, struct err *e)
{
    struct str bytes = { 0 };
    if (!file_read(path, MOST_BYTES, &bytes, e)) { str_free(&bytes); return false; }
    json_t *root = json_from_with(path, bytes.p, bytes.n, JSON_ALLOW_NUL, e);
    str_free(&bytes);
    if (!root) return false;
    bool read = known[k].run(root, t, e);
    json_decref(root);
    if (!read) return fail_in(e, "%s", path);
    if (t->passed + t->failed + t->skipped == 0) return fail(e, "%s: no cases in it", path);
    return true;
}

/* Prints the *.json files that no function here knows, so that a misspelt name is noticed. False: DIR cannot be
 * read. */
static bool print_unknown(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d) return false;
    for (struct dirent *f; (f = readdir(d)); ) {
        size_t n = strlen(f->d_name);
        bool is = n < 6 || strcmp(f->d_name + n - 5, ".json");
        for (int k = 0; k < KNOWN && !is; k++) is = !strcmp(f->d_name, known[k].file);
        if (!is) printf("%-20s unknown, not read\n", f->d_name);
    }
    closedir(d);
    return true;
}

int golden_main(const char *dir)
{
    int found = 0, bad = 0;
    for (int k = 0; k < KNOWN; k++) {
        struct str path = { 0 };
        struct golden_tally t = { 0 };
        struct err e = { "" };
        str_printf(&path, "%s/%s", dir, known[k].file);
        if (!file_exists(path.p)) printf("%-20s not found\n", known[k].file);
        else if (found++, !run_file(path.p, k, &t, &e)) { bad++; fflush(stdout); fprintf(stderr, "%s\n", e.text); }
        else {
            bad += t.failed > 0;
            printf("%-20s %4d passed, %d failed", known[k].file, t.passed, t.failed);
            if (*t.worst_case) printf(", worst %.2g of the allowed error (case \"%s\")", t.worst, t.worst_case);
            if (t.skipped) printf(", %d skipped (%s)", t.skipped, t.why);
            putchar('\n');
        }
        fflush(stdout);
        str_free(&path);
    }
    if (!print_unknown(dir))
        fprintf(stderr, "%s: cannot be read as a folder: give the folder that holds the golden files\n", dir);
    else if (!found) fprintf(stderr, "%s: none of the known golden files is in this folder\n", dir);
    return found && !bad ? 0 : 1;
}
