/* tensorboard.h: TensorBoard event files: TFRecord frames of Event messages with simple_value summaries. */
#pragma once
#include "engine/report/metrics.h"

struct tensorboard;

/* A new event file in dir. after >= 0: readers drop what earlier files hold of later steps. */
struct tensorboard *tensorboard_open(const char *dir, int64_t after, struct err *e);
/* False: the disk is full. */
bool tensorboard_write(struct tensorboard *b, int64_t step, const struct metrics *m, struct err *e);
/* b may be NULL. */
bool tensorboard_close(struct tensorboard *b, struct err *e);

/* CRC-32C (Castagnoli), RFC 3720 B.4. */
uint32_t crc32c(const void *bytes, size_t n);
