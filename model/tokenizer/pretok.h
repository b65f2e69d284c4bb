/* pretok.h: cuts text into the words that merges stay within: a list of regular expressions, each applied to the pieces
 * the one before it left (pre_tokenizer of Hugging Face's tokenizers). PCRE2 stands for Oniguruma: patterns that the
 * two read differently are refused. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <stddef.h>

/* What becomes of a match: dropped; a piece of its own; glued to the text before or behind it; glued to matches that
 * touch it. */
enum pretok_how { PRETOK_REMOVED, PRETOK_ISOLATED, PRETOK_WITH_PREVIOUS, PRETOK_WITH_NEXT, PRETOK_CONTIGUOUS };

/* bytes [at, at + n) of the text; raw: not UTF-8, no expression looks at it */
struct pretok_piece { int at, n; bool raw; };
struct pretok_pieces { struct pretok_piece *p; int n, cap; };

enum { PRETOK_STAGES = 16 };
/* code: pcre2_code; NULL puts a space before each piece that has none */
struct pretok_stage { void *code; enum pretok_how how; bool invert; };
struct pretok { struct pretok_stage s[PRETOK_STAGES]; int n; };         /* start with { 0 } */

/* Adds an expression (literal: a plain string). invert: what lies between matches counts as match. False: it does not
 * compile, or too many stages. */
bool pretok_add(struct pretok *p, const char *pattern, bool literal, enum pretok_how how, bool invert, struct err *e);
bool pretok_add_space(struct pretok *p, struct err *e);
void pretok_free(struct pretok *p);

/* Result and memory of one thread. Start with { 0 }; text and cut are the last call's result (text is the input unless
 * a stage changed it). */
struct pretok_work { const char *text; struct pretok_pieces cut, old; struct str own; void *match; };
void pretok_work_free(struct pretok_work *w);

/* Cuts text[n], any bytes. False: an expression ran into PCRE2's limits on this text. */
bool pretok_cut(const struct pretok *p, struct pretok_work *w, const char *text, int n);
