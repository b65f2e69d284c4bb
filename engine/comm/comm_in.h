/* comm_in.h: bytes between ranks (mpi.c or, in a build without MPI, no_mpi.c); private to engine/comm. device_host.c
 * makes the device collectives of comm.h from them. */
#pragma once
#include "base/err.h"

bool transport_open(int *rank, int *ranks, struct err *e);
void transport_close(void);
const char *transport_name(void);       /* NULL: a build without MPI */
void transport_barrier(void);
void transport_bcast(void *p, size_t bytes, int root);
/* out[begin[r] .. begin[r + 1]): the bytes of rank r; begin is the same on all. */
void transport_gather(char *out, const size_t *begin, const void *p, size_t bytes);
void transport_exchange(char *out, const size_t *out_begin, const char *in, const size_t *in_begin);
