/* checkpoint_write.h: a checkpoint is written by all ranks into one folder of a temporary name: rank 0 the weights and
 * state.json, each rank its part of the optimizer's state. When all are on disk rank 0 writes the manifest and gives the
 * folder its name, so that it appears as a whole or not at all. */
#pragma once
#include "engine/run/checkpoint.h"
#include "engine/run/checkpoint_optim.h"

struct ckpt_job {
    const struct session *s;
    char *dir;                      /* of the run */
    char *tmp;                      /* the folder that is filled */
    int step;
    struct optim_mark mark;
    struct optim_state optim;       /* what this rank writes of it */
    /* rank 0 */
    struct str state;               /* the text of state.json */
    struct model m;                 /* the weights to write: the session's, or a copy */
    elem_t *w_ref, *w_prev;
    struct str lines;               /* of the manifest: this rank's files */
};

/* The next three calls are made by all ranks. Makes the folder; the state is that of now. */
bool ckpt_begin(struct ckpt_job *j, const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x,
                const char *dir, struct err *e);
/* Writes this rank's files, and waits for no other rank. False: a number is not finite (the message holds "NaN or an
 * infinity"), the disk is full, ... */
bool ckpt_write(struct ckpt_job *j, struct err *e);
/* ok, e: what ckpt_write returned. True: the checkpoint is in place and complete. False: nothing of it is left. */
bool ckpt_commit(struct ckpt_job *j, bool ok, struct err *e);
void ckpt_job_free(struct ckpt_job *j);

/* All of it. Until its end an older checkpoint of this number stays in place. */
bool ckpt_save(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x, const char *dir,
               struct err *e);
/* False, after some seconds: rank 0 made this file or folder, but it is not on this machine. */
bool ckpt_seen(const char *path, struct err *e);
