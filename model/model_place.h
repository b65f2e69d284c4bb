/* model_place.h: whether a path holds a model. */
#pragma once
#include "base/err.h"

/* False: it does not; the message names what it holds instead (an adapter, pickled weights, a checkpoint, ...) and the
 * fix. */
bool model_place(const char *path, struct err *e);
