/* run_folder.h: the folder of a run, {default_local_dir}/{project_name}/{experiment_name}, and that of its rollouts:
 * locks, and what happens to the files of an earlier run. Those are never overwritten or removed, but moved into
 * old-1/, old-2/, ... beside the new ones. */
#pragma once
#include "base/lock.h"
#include "base/str.h"
#include "engine/config/config.h"

struct run_folder {
    struct str dir;
    struct str dumps;               /* the rollouts' folder; empty: none are written */
    struct lock lock;
    struct lock dumps_lock;
    size_t was;                     /* the first `was` bytes of dir are a folder that existed before */
};

/* Makes and locks the folders, completes a move that a killed process had begun and removes temporary files of killed
 * processes. False: another process writes there, or the folder cannot be written. Call run_folder_close in either
 * case. */
bool run_folder_open(struct run_folder *p, const struct config *c, struct err *e);
/* For the ranks that write nothing: only the names. */
void run_folder_names(struct run_folder *p, const struct config *c);
/* Releases the locks and removes the folders that run_folder_open made, if they are empty. */
void run_folder_close(struct run_folder *p);

/* Moves all files of an earlier run. where: their new folder; empty: there were none (a run that ended before its first
 * line of metrics has left none). If the process is killed on the way, the next run_folder_open completes the move, so
 * that files of two runs never mix. */
bool run_folder_clear(struct run_folder *p, struct str *where, struct err *e);
/* Of a resumed run: moves the checkpoints of steps after `step`, the latest first. */
bool run_folder_clear_after(struct run_folder *p, int step, struct str *where, struct err *e);
/* Of a resumed run: moves its rollouts of steps after `seen`, the step in progress when it ended. Removes those between
 * `step` and `seen`, which will be made again, byte for byte. */
bool run_folder_clear_dumps(struct run_folder *p, int step, int64_t seen, struct str *where, struct err *e);

/* "global_step_12" -> 12; -1: another name. */
int run_folder_step_of(const char *name);
