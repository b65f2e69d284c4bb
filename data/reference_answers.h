/* reference_answers.h: what a row's answer column accepts, as a list of texts. */
#pragma once
#include "base/err.h"
#include <jansson.h>

/* number: all of them are numbers, of JSON or as texts, or were boxed; behind_mark, boxed: some text was cut to what
 * follows its last ####, to its last \boxed{}; empty: all are empty texts. */
struct references { char **ref; int n; bool number, behind_mark, boxed, empty; };

/* a: a string, a number, true or false, a list of them, or an object whose only member that is not null is "target"
 * (Search-R1). Whole numbers beyond 64 bits keep their digits. A text that ends as GSM8K's do ("...#### 1,072", one
 * line behind the last ####) is cut to "1072": commas that part thousands go. REFS_BOX: a text with \boxed{},
 * \fbox{} or "\boxed 7$" is cut to what its last one holds. REFS_FOUND: no key named the column, so that a text
 * which is a list or {"target": ...} written out is refused. REFS_WORDS: texts that are numbers count as words, as
 * in {"target": ...}: sets of facts, whose answers are compared by the words in common. False: anything else; name is
 * for the sentence. */
enum { REFS_BOX = 1, REFS_FOUND = 2, REFS_WORDS = 4 };
bool references_read(struct references *x, const json_t *a, const char *name, int how, struct err *e);
bool references_same(const struct references *a, const struct references *b);
void references_free(struct references *x);
/* A text that is messages or turns written out, as JSON or as Python shows them: a column that lost its type on the
 * way. */
bool text_is_messages(const char *s);
/* "a list", "an object with members a, b", what is odd about it, ...: of a value that is none of what was asked for.
 * buf has n bytes. */
const char *value_is(const json_t *v, char *buf, size_t n);
