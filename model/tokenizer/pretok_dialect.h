/* pretok_dialect.h: translates Oniguruma's regular expressions, those of tokenizer.json, to PCRE2's. */
#pragma once
#include "base/err.h"
#include "base/str.h"

/* Appends pattern so that PCRE2 matches what Oniguruma 6.9.10 of Hugging Face's tokenizers does: \s as a list (PCRE2
 * adds U+180E), \p{L} and its like with the characters of Unicode 15 and 16 (PCRE2 10.42 has Unicode 14). False: a
 * construct that the two read differently; the message names it. */
bool pretok_dialect(struct str *out, const char *pattern, struct err *e);
