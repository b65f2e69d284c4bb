/* eval.c: `appo eval`: success on held-out questions. */
#include "cmd/cmd.h"
#include "engine/evaluate.h"

int cmd_eval(int argc, char **argv)
{
    struct config c;
    struct session s;
    struct eval_result r;
    struct err e;
    int status;
    if (!cmd_config(&c, argc, argv, "usage: appo eval [data.val_files=FILE,...] [key=value ...]: success on held-out questions: of files, or of every embedded family", 0, &status)) {
        config_free(&c);
        return status;
    }
    config_for_memory(&c, false, stderr);
    if (session_open(&s, &c, false, &e) && session_questions(&s, false, &e)) {
        evaluate(&s, &r, NULL, NULL);
        eval_table(&r, NULL, stdout);
        printf("%d questions, %lld tokens generated in %.1f s, peak memory %.0f MiB\n", r.all.n, (long long)r.generated, r.wall_s, peak_mib());
        status = 0;
    } else status = cmd_fail(&e);
    session_close(&s);
    config_free(&c);
    return status;
}
