/* make_policy.c: `appo make-policy DIR`: makes the embedded policy from nothing. */
#include "cmd/cmd.h"
#include "base/dir.h"
#include "base/file.h"
#include "engine/run/cold_start.h"
#include <stdlib.h>

int cmd_make_policy(int argc, char **argv)
{
    struct config c;
    struct err e;
    int status;
    if (!cmd_config(&c, argc, argv,
                    "usage: appo make-policy DIR [key=value ...]: tokenizer, skill, behaviour; writes the embedded "
                    "policy into DIR",
                    1, &status)) {
        config_free(&c);
        return status;
    }
    if (c.trainer.threads > 0) dev_set_threads(c.trainer.threads);
    struct cold_start_rule r = cold_start_default(&c);
    struct sft_progress show = { .what = "cold start" };
    struct staging out;
    bool ok = staging_open(&out, argv[0], &e) && cold_start_run(out.tmp, &r, sft_progress, &show, &e) &&
              staging_commit(&out, "config.json", &e);
    staging_drop(&out);
    status = ok ? 0 : cmd_fail(&e);
    config_free(&c);
    return status;
}
