/* qa_metrics.h: the answer metrics of the official APPO evaluation (evaluation/src/evaluate/metrics.py): exact match,
 * containment, token F1, math_equiv. */
#pragma once
#include "base/str.h"
#include <stdbool.h>

struct qa_score { double em, acc, f1, math_equal; };    /* each is 0 or 1, except f1 in [0, 1] */

/* Mathematics: lower-cased, white space collapsed; em: equal, acc: ref is a substring of pred (an empty one always is),
 * f1 of words, math_equiv. */
struct qa_score metrics_math(const char *pred, const char *ref);

/* Question answering: as above without the words a, an, the; each metric is its maximum over refs[0..n); n = 0 gives
 * zeros. */
struct qa_score metrics_qa(const char *pred, const char *const *refs, int n);

/* The references of a prompt given as one string: the string itself or, when it begins with '[', the text between its
 * brackets, split at each comma and stripped; quotes stay. Free with metrics_refs_free. */
struct qa_refs { char **p; int n; };
void metrics_refs(struct qa_refs *r, const char *text);
void metrics_refs_free(struct qa_refs *r);
