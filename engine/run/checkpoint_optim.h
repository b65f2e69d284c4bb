/* checkpoint_optim.h: the optimizer's state in a checkpoint. One process writes actor/optimizer.safetensors: a tensor a
 * vector. Of several each writes actor/optim/rank_0002_of_0008.safetensors: ranges of the vectors, "exp_avg@4096"
 * beginning at number 4096, and the tensor "checkpoint", which says what the file belongs to. Any number of ranks reads
 * what any number has written. */
#pragma once
#include "base/str.h"
#include "engine/learner/learner.h"

enum { OPTIM_VECTORS = 3 };
/* As acc_t or bf16; squares are not below 0. */
struct optim_vector {
    const char *name;
    void *x;
    bool bf16, square;
};
/* What a rank writes, or what it holds: the learner's own, or a copy. */
struct optim_state {
    struct optim_vector v[OPTIM_VECTORS];
    int n;
    int64_t count;                  /* numbers in all, of every rank */
    struct learner_piece *piece;    /* this rank's; held: index in v[].x */
    int pieces;
    bool on_host;                   /* a copy */
};
/* What a file belongs to. */
struct optim_mark {
    int step;
    int rank, ranks;
    uint64_t tag;                   /* the hash of the checkpoint's state.json */
};

void optim_of(struct optim_state *o, const struct learner *l, int rank, int ranks, bool to_write);
size_t optim_bytes(const struct optim_state *o);
/* A copy on the host. */
void optim_copy(struct optim_state *to, const struct optim_state *from);
void optim_free(struct optim_state *o);

/* The file's name below a checkpoint's folder. */
void optim_name(struct str *name, int rank, int ranks);
/* Writes one rank's file into the folder of a checkpoint. False: a number is not finite ("a NaN or an infinity"), or
 * the disk is full. */
bool optim_write(const struct optim_state *o, const struct optim_mark *m, const char *folder, struct err *e);
/* Reads the ranges of `o` from the files of m->ranks ranks. False: the message names the file that is missing, cut
 * short, of another checkpoint, or holds a number that is not usable. */
bool optim_read(struct optim_state *o, const struct optim_mark *m, const char *folder, struct err *e);
