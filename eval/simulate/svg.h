/* svg.h: a figure of a simulation: throughput and idle share over the number of ranks, one line a dealing rule. Plain
 * SVG without scripts; its colours follow the reader's light or dark scheme. */
#pragma once
#include "eval/simulate/report.h"

/* Writes it whole. Results of one number of ranks give points without lines. */
void sim_svg(FILE *f, const struct sim_report *p);
