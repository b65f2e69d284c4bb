/* reference_answers.h: the reference answers in a record's answer column, as a list of texts. */
#pragma once
#include "base/err.h"
#include <jansson.h>

struct references {
    char **ref;
    int n;
    bool number;            /* all are numbers, of JSON or as texts, or stood in a box */
    bool behind_mark;       /* some text was cut to what follows its last #### */
    bool boxed;             /* some text was cut to the content of its last \boxed{} */
    bool empty;             /* all are empty texts */
};

/* REFS_BOX: a text with \boxed{}, \fbox{} or "\boxed 7$" is cut to the content of the last one. REFS_FOUND: no key
 * named the column, so a text that is a list or {"target": ...} written out is rejected. REFS_WORDS: texts that are
 * numbers count as words, as in {"target": ...}: references for word overlap. */
enum { REFS_BOX = 1, REFS_FOUND = 2, REFS_WORDS = 4 };

/* a: a string, a number, true or false, a list of them, or an object whose only non-null member is "target"
 * (Search-R1). Whole numbers beyond 64 bits keep their digits. A text that ends as GSM8K's do ("...#### 1,072", one
 * line after the last ####) is cut to "1072"; thousands separators are dropped. how: REFS_* bits. False: any other
 * value; name is the column, for the message. */
bool references_read(struct references *x, const json_t *a, const char *name, int how, struct err *e);
bool references_same(const struct references *a, const struct references *b);
void references_free(struct references *x);

/* Is the text a list of messages or turns written out, as JSON or in Python's notation? Such a column lost its type. */
bool text_is_messages(const char *s);
/* Describes a value of an unexpected type: "a list", "an object with a, b", or what is odd about it. buf has n
 * bytes. */
const char *value_is(const json_t *v, char *buf, size_t n);
