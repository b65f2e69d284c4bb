/* rank_sums.h: the sums of a step that each rank made for its own rollouts become those of all. */
#pragma once
#include "engine/report/step_metrics.h"

/* Called by all ranks at the end of a step of wall_s seconds. Counts of tokens and of tools are added up; times stay
 * this rank's; the metrics of ranks (ranks/...) are filled. One rank: nothing changes. */
void rank_sums(struct step_sums *z, double wall_s);
