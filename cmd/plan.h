/* plan.h: what the parts of `appo plan` share: the request (plan.c), the table and the advice (plan_table.c). */
#pragma once
#include "engine/session/memory_estimate.h"

struct card { const char *name, *full; int mib; };

/* A parsed command line. */
struct plan_request {
    const struct card *card;        /* NULL: none was named */
    struct memory_rule rule;
    int64_t memory;                 /* bytes of a device; 0: not given */
    int64_t host;                   /* bytes of a host; 0: not given */
    bool gpu_build;
};
enum { PLAN_HOST_RANKS = 8 };       /* ranks of a host, if there are so many */

extern const char *const plan_recompute[];

/* Where every byte lies. */
void plan_table(const struct memory_estimate *n, const struct plan_request *q);
/* Whether `all` bytes fit, and the largest batches that do. */
void plan_advise(struct config *c, const struct model_config *shape, size_t all, const struct plan_request *q);
