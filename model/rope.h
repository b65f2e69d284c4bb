/* rope.h: rotary positions, plain and scaled past the length of pretraining: the settings in config.json, and the
 * frequencies that follow from them. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

/* LINEAR: Chen et al., "Extending context window of large language models via positional interpolation" (2023). LLAMA3:
 * Llama 3.1's model card code (long waves divided by factor, short ones kept, those between blended). YARN: Peng et
 * al., "YaRN" (2023), equations 17 to 23. */
enum rope_kind { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN };

struct rope {
    enum rope_kind kind;
    double factor;                  /* >= 1; PLAIN ignores all that follows */
    double low, high;               /* LLAMA3: low_freq_factor < high_freq_factor; YARN: beta_slow < beta_fast */
    int original;                   /* LLAMA3, YARN: original_max_position_embeddings */
    double attention;               /* YARN: factor of cosines and sines, its square that of logits; 0.1 ln factor + 1
                                     * unless given */
    bool exact;                     /* YARN: the ramp's bounds are not rounded to whole pairs ("truncate": false) */
};

/* freq[head_dim / 2]: the angle of pair j is pos * freq[j]; theta^(-2j / head_dim) before scaling. */
void rope_freq(double *freq, const struct rope *r, double theta, int head_dim);

/* The logits of attention are multiplied with this: 1, or the square of YaRN's attention factor. */
double rope_logit_scale(const struct rope *r);

/* From the value of rope_scaling or rope_parameters (key), which is an object: r and, if it is in there, theta. max_len
 * stands in for a missing original_max_position_embeddings, as in transformers. False: a key that is not understood, or
 * a number out of range; the message names file and key. */
bool rope_read(struct rope *r, double *theta, json_t *j, const char *name, const char *key, int max_len, struct err *e);

/* Appends the object that rope_read reads back unchanged; "null" for PLAIN. */
void rope_put(struct str *s, const struct rope *r);

/* Appends the shortest text that reads back as the same double, with a point or an exponent, so that Python sees a
 * float. */
void json_put_double(struct str *s, double x);
