/* cost_model.h: how long the parts of a training step take on one rank, in seconds, from a few constants: counted from
 * stated rates of a card (cost_by_count) or fitted to measured files (calibrate.h). No device is asked. */
#pragma once
#include "base/err.h"
#include "model/acts.h"
#include <stdint.h>

struct cost_model {
    /* A forward pass of the sampler takes pass + max(weights, row r) + context p for r rows that read p positions of
     * keys and values in all. */
    double pass;                    /* launches, host, small kernels: of a pass, whatever its rows */
    double weights;                 /* reading the weights once */
    double row;                     /* products of one row */
    double context;                 /* keys and values of one position, for one row */
    /* Scoring (forward) and training (forward and backward) take pack + row n + context p for a pack of n positions. */
    double pack;
    double score_row, score_context;
    double train_row, train_context;
    double adamw;                   /* one update of all parameters by one rank; actor.zero >= 1 shares it */
    double grade;                   /* of a rollout */
    double branch;                  /* choosing a point and forking there, of a branch */
    double credit;                  /* advantages, loss, statistics: of a token of the mini-batch, on every rank */
    double update;                  /* of an update, whatever its size */
    double step;                    /* of a step: dumps, metrics, checkpoints */

    /* between ranks */
    double grad_bytes;              /* of a whole gradient */
    double weight_bytes;            /* of the weights */
    double token_bytes;             /* of a trajectory's token that all ranks get: id, mask, log-probs, entropy */
    double inside, between;         /* bytes a second out of one rank, to ranks of its node and of others */
    double latency_inside, latency_between;             /* of a message */
    double host;                    /* bytes a second of the gathers in host memory */
    double overlap;                 /* share of the backward pass of the last pack beside which gradients travel */
    bool graphs;                    /* passes that only sample run with the sizes of schedule_pass_size */
    int node;                       /* ranks of a node */
    int zero;                       /* actor.zero: 1, 2: optimizer state in shards, weights gathered */
    /* processors: ranks of one machine that share its cores; 0: every rank has its own */
    int cores, threads;
};

/* One constant by name, for tables, files and fits. */
struct cost_constant {
    const char *name;
    size_t at;                      /* offset of the double in struct cost_model */
    const char *unit;
    const char *what;
};
extern const struct cost_constant cost_constants[];     /* ends with name NULL */

/* Stated rates of a card. */
struct cost_card {
    const char *name, *full;
    double memory;                  /* bytes a second */
    double flops;                   /* dense bf16 */
    double link;                    /* bytes a second out of one card to others of its node */
};
const struct cost_card *cost_card(const char *name);    /* NULL: rates of no such card are listed */
extern const struct cost_card cost_cards[];             /* ends with name NULL */

/* What is counted for a model, in the storage type of elem_bytes. */
struct cost_shape {
    double parameters;              /* all */
    double matrices;                /* of the matrix products a token goes through, the head once */
    double layers, width;           /* width of the queries */
    double kv_bytes;                /* of one position's keys and values, all layers */
    double again;                   /* share of the matrices that the backward pass multiplies with once more */
    bool attention_again;
    int elem_bytes;
};
void cost_shape_of(struct cost_shape *s, const struct model_config *c, int elem_bytes, enum recompute recompute);
/* By count. Every assumption beside the card's stated rates is listed in cost_model.c, with its source. */
void cost_by_count(struct cost_model *m, const struct cost_shape *s, const struct cost_card *card);
/* Ranks that are processes of one machine: bytes from the shape, and, assumed, what messages through its memory take.
 * The constants of computation stay 0, for a fit. */
void cost_of_host(struct cost_model *m, const struct cost_shape *s);

/* A pass of `rows` rows that read `positions` in all. */
double cost_pass(const struct cost_model *m, double rows, double positions);
/* A sum over ranks, so that all have it; and all parts to all ranks, `bytes` in all. Two levels: inside a node by a
 * ring, between nodes by a ring or, where that is faster, by two binary trees (Sanders, Speck, Träff 2009), each card
 * with its share of the bytes on its own network port:
 *   ring of n, sum:  2 (n - 1)/n bytes/rate + 2 (n - 1) latency     (Thakur, Rabenseifner, Gropp 2005)
 *   ring of n, all to all parts: half of it
 *   trees of n, sum: 2 bytes/rate + 2 ceil(log2 n) latency */
double cost_sum(const struct cost_model *m, int ranks, double bytes);
double cost_gather(const struct cost_model *m, int ranks, double bytes);
/* The same in host memory, over MPI. */
double cost_host_gather(const struct cost_model *m, int ranks, double bytes);
/* AdamW on one rank. */
double cost_adamw(const struct cost_model *m, int ranks);
