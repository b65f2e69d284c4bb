/* checkpoint_write.h: a checkpoint is written by all ranks into one folder of a temporary name: rank 0 the weights and
 * state.json, each rank its part of the optimizer's state. When all are on disk rank 0 writes the manifest and gives
 * the folder its name, so that it appears as a whole or not at all. */
#pragma once
#include "engine/run/checkpoint.h"
#include "engine/run/checkpoint_optim.h"

struct ckpt_job {
    struct session s;               /* a copy of the struct: a thread reads it while steps change the run's */
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
    struct ckpt_writer *writer;     /* the thread that writes them; NULL: none */
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

/* In place of ckpt_write: copies to host memory what this rank writes, and writes it by a thread. ckpt_written: whether
 * that has ended. ckpt_wait waits for it and returns what ckpt_write returned. */
void ckpt_write_aside(struct ckpt_job *j);
bool ckpt_written(const struct ckpt_job *j);
bool ckpt_wait(struct ckpt_job *j, struct err *e);
/* Bytes of host memory that the copy of this rank takes. */
size_t ckpt_copy_bytes(const struct trainer *t);

/* All of it. Until its end an older checkpoint of this number stays in place. */
bool ckpt_save(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x, const char *dir,
               struct err *e);
/* False, after some seconds: rank 0 made this file or folder, but it is not on this machine. */
bool ckpt_seen(const char *path, struct err *e);
