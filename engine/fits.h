/* fits.h: does a run fit the device? Asked before the weights are read. */
#pragma once
#include "engine/config.h"

/* For sampling from the model in this folder or file and, with trains, updating it. False, and a sentence with what the run takes in all and in parts, what is
 * there, and the keys to lower; or that operations of this backend do not take the model's shape. A model that cannot be read, and lengths that contradict it,
 * are for others to say: true. On a CPU the machine's memory counts, free or not, without what products pack. */
bool session_fits(const struct config *c, const char *path, bool trains, struct err *e);
