/* python_text_tables.h: character classes and lower-casing as sorted ranges of code points; only
 * data/grade/python_text.c reads them. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct text_range { uint32_t first, last; };
/* first, first + step, ... last are lower-cased by adding delta */
struct text_lower_run { uint32_t first, last; int step, delta; };

/* Python's \w without '_': letters, and everything that has a numeric value */
extern const struct text_range text_word[];
/* cased and not case-ignorable: what makes a capital sigma beside it final */
extern const struct text_range text_cased[];
extern const struct text_range text_ignorable[];    /* Case_Ignorable: skipped while looking for such a character */
extern const struct text_lower_run text_lower_runs[];
extern const size_t text_word_n, text_cased_n, text_ignorable_n, text_lower_runs_n;
