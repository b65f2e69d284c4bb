/* pretok.h: cuts text into the words that merges do not cross: a list of regular expressions, each applied to the
 * pieces of the one before it (pre_tokenizer of Hugging Face's tokenizers). PCRE2 stands in for Oniguruma: patterns
 * that the two read differently are rejected. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <stddef.h>

/* A match is dropped; becomes a piece; joins the text before it, or after it; or joins the matches next to it. */
enum pretok_how { PRETOK_REMOVED, PRETOK_ISOLATED, PRETOK_WITH_PREVIOUS, PRETOK_WITH_NEXT, PRETOK_CONTIGUOUS };

struct pretok_piece {
    int at, n;                      /* bytes [at, at + n) of the text */
    bool raw;                       /* not UTF-8: no expression is applied to it */
};
struct pretok_pieces { struct pretok_piece *p; int n, cap; };

enum { PRETOK_STAGES = 16 };
struct pretok_stage {
    void *code;                     /* pcre2_code; NULL: puts a space before each piece that has none */
    enum pretok_how how;
    bool invert;                    /* text between matches counts as match */
};
struct pretok { struct pretok_stage s[PRETOK_STAGES]; int n; };         /* start with { 0 } */

/* Adds an expression (literal: a plain string). False: it does not compile, or too many stages. */
bool pretok_add(struct pretok *p, const char *pattern, bool literal, enum pretok_how how, bool invert, struct err *e);
bool pretok_add_space(struct pretok *p, struct err *e);
void pretok_free(struct pretok *p);

/* Result and scratch of one thread. Start with { 0 }. */
struct pretok_work {
    const char *text;               /* of the last call: the input, unless a stage changed it */
    struct pretok_pieces cut;       /* its pieces */
    struct pretok_pieces old;       /* scratch */
    struct str own;
    void *match;
};
void pretok_work_free(struct pretok_work *w);

/* Cuts text[n], any bytes. False: an expression ran into PCRE2's limits on this text. */
bool pretok_cut(const struct pretok *p, struct pretok_work *w, const char *text, int n);
