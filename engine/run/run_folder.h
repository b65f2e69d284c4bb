/* run_folder.h: the folder of a run, {default_local_dir}/{project_name}/{experiment_name}, and that of its rollouts:
 * who may write there, and what becomes of what an earlier run left. Nothing of an earlier run is ever overwritten or
 * removed: it is moved into old-1/, old-2/, ... beside. */
#pragma once
#include "base/lock.h"
#include "base/str.h"
#include "engine/config/config.h"

struct run_folder {
    struct str dir, dumps;          /* dumps empty: no rollouts are written */
    struct lock lock, dumps_lock;
    size_t was;                     /* so many bytes of dir name a folder that was there before */
};

/* Makes the folders, takes the locks, ends a move that a killed process had begun and sweeps temporary files that
 * killed processes left. False: another process writes there, or it cannot be written. Call run_folder_close in either
 * case. */
bool run_folder_open(struct run_folder *p, const struct config *c, struct err *e);
/* gives the locks back and removes the folders that run_folder_open made, where they are empty */
void run_folder_close(struct run_folder *p);

/* Moves all that an earlier run left. where: the folder it is in now, empty where there was nothing (a
 * run that ended before its first line of metrics has left nothing). A process that is killed on the way leaves a move
 * that the next run_folder_open ends, so that no mixture is ever found. */
bool run_folder_clear(struct run_folder *p, struct str *where, struct err *e);
/* Of a run that goes on after `step`: moves the checkpoints of later steps, the latest first. */
bool run_folder_clear_after(struct run_folder *p, int step, struct str *where, struct err *e);
/* Moves its rollouts of steps after `seen`, the step that was under way when it ended; those between are made again,
 * byte for byte, and removed. */
bool run_folder_clear_dumps(struct run_folder *p, int step, int64_t seen, struct str *where, struct err *e);

/* "global_step_12" -> 12; -1: another name. */
int run_folder_step_of(const char *name);
