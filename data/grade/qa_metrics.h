/* qa_metrics.h: the answer metrics of the official APPO evaluation (evaluation/src/evaluate/metrics.py): exact match,
 * containment, token F1, math_equiv. */
#pragma once
#include "base/str.h"
#include <stdbool.h>

struct qa_score { double em, acc, f1, math_equal; };    /* each in [0, 1]; f1 alone takes values between */

/* Mathematics: lower-cased, white space collapsed; em = the same, acc = ref is part of pred (an empty one always is),
 * f1 of words, math_equiv. */
struct qa_score metrics_math(const char *pred, const char *ref);

/* Questions: as above without the words a, an, the; each metric is its maximum over refs[0..n); n = 0 gives zeros. */
struct qa_score metrics_qa(const char *pred, const char *const *refs, int n);

/* The references of a question given as one string: the string itself, or, when it begins with '[', what stands between
 * its brackets, split at each comma and stripped; quotes stay. Free with metrics_refs_free. */
struct qa_refs { char **p; int n; };
void metrics_refs(struct qa_refs *r, const char *text);
void metrics_refs_free(struct qa_refs *r);
