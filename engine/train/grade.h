/* grade.h: what a trajectory is worth: its reward, and whether it is well formed and correct, by the keys reward.*. */
#pragma once
#include "engine/train/group.h"

/* Grades a finished trajectory of g: sets r->seq.reward, r->well_formed and r->correct. A prompt from data is correct
 * when its answer's F1 is 1. Tool results count as empty, except with reward.kind=deep_research, whose released rule
 * reads them. */
void trajectory_grade(const struct group *g, struct trajectory *r, const struct session *s);
