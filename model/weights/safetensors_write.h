/* safetensors_write.h: a safetensors file written tensor by tensor. Declare every tensor, put their values in the order
 * declared, finish. Nothing appears under the path before st_finish. */
#pragma once
#include "model/weights/safetensors.h"

/* Values come in pieces of any length; a piece does not run over the end of a tensor. Declare wider types first if
 * types are mixed, so that data stays aligned. A wrong order of calls, a name used twice and too many values are broken
 * invariants: die(). A full disk is st_finish's error. */
struct st_writer;
struct st_writer *st_create(const char *path, struct err *e);       /* NULL: the path cannot be written */
void st_declare(struct st_writer *w, const char *name, enum st_dtype dtype, int rank, const int64_t *shape);

/* Converts to the declared type, rounding to nearest even. */
void st_put_f32(struct st_writer *w, const float *x, int64_t n);
void st_put_f64(struct st_writer *w, const double *x, int64_t n);

/* Frees w in every case; false: not written, or values missing. */
bool st_finish(struct st_writer *w, struct err *e);

/* Frees w, leaves no file; NULL is allowed. */
void st_abandon(struct st_writer *w);
