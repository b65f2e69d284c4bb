/* fits.h: does a run fit the device? Asked before the weights are read. */
#pragma once
#include "engine/config.h"

/* False, and a sentence with what the run asks for in all and in parts, what is there, and the keys to lower: sampling and, with trains, updates of the model in
 * this folder or file; or a shape of the model that this backend's operations do not take. A model that cannot be read, and lengths that contradict it, are for others to say: true. On a CPU the machine's memory counts, free or
 * not, without what products pack. */
bool session_fits(const struct config *c, const char *path, bool trains, struct err *e);
