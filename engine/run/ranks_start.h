/* ranks_start.h: what the ranks of a run settle before it begins: the cores of a host are divided among its ranks, and
 * ranks that would not compute the same run are rejected with both values. With one rank nothing happens. */
#pragma once
#include "engine/session/memory_estimate.h"
#include "engine/session/session.h"

/* Of cores 0 .. n of a host, in the order of packages and cores, those of its local-th of `locals` ranks:
 * [*from, *to). With fewer cores than ranks each rank has all of them. */
void ranks_cores(int n, int local, int locals, int *from, int *to);

/* Binds this rank to its share of the host's cores, if that is two or more, and uses as many threads; trainer.threads
 * and OMP_NUM_THREADS set the number of threads, and OMP_PROC_BIND, GOMP_CPU_AFFINITY or a launcher's own binding are
 * left alone. Rank 0 reports to f (may be NULL) when a launcher has left cores unused. */
void ranks_place(const struct config *c, FILE *f);

/* Something that must have one value on all ranks. */
struct rank_fact {
    const char *name;               /* "the program" */
    const char *value;
    const char *fix;                /* ends the message; NULL: none */
};
/* Whether every rank has the values of rank 0. False: the message names the first difference, both values and both
 * hosts; it is the same on every rank. */
bool ranks_same(const struct rank_fact *f, int n, struct err *e);

/* trainer.n_gpus_per_node and trainer.nnodes against the ranks that were started. */
bool ranks_asked(const struct config *c, struct err *e);
/* The program, the build, the environment and every key but those for threads. */
bool ranks_same_start(const struct config *c, struct err *e);
/* The weights that were loaded, every byte. */
bool ranks_same_weights(const struct session *s, struct err *e);
/* The records of data.train_files and data.val_files as far as they decide numbers, tokenizer and recorded searches. */
bool ranks_same_inputs(const struct session *s, struct err *e);
/* fit_config_to_memory, and then the lowest values of all ranks. False: with them a host's memory does not hold its
 * ranks. */
bool ranks_fit(struct config *c, enum memory_purpose what, FILE *report, struct err *e);
