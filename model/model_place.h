/* model_place.h: whether a path holds a model. */
#pragma once
#include "base/err.h"

/* False: it does not; the message says what it holds instead (an adapter, pickled weights, a checkpoint, ...) and what
 * to do. */
bool model_place(const char *path, struct err *e);
