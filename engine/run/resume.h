/* resume.h: where a run begins: anew, or at a checkpoint. */
#pragma once
#include "engine/run/checkpoint.h"
#include "engine/run/run_folder.h"

enum run_start { RUN_ANEW, RUN_RESUMED, RUN_DONE /* nothing is left to do */ };
struct run_origin {
    enum run_start how;
    struct str folder;              /* the checkpoint, of a resumed run */
    bool elsewhere;                 /* it belongs to another run */
    bool pending;                   /* the evaluation of its last step is still to be made */
    bool rolling;
    struct ckpt_extra *extra;       /* in: the run's own hashes; out: mark and best of the checkpoint */
};
/* Reads the checkpoint that trainer.resume asks for into t, r and m (the metrics of the step whose evaluation is
 * pending). False: it is damaged and there is no other, or it belongs to a run with other settings. */
bool run_resume(struct trainer *t, struct run_report *r, const struct run_folder *p, struct run_origin *from,
                struct metrics *m, struct err *e);
