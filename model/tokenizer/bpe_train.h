/* bpe_train.h: trains a byte-level BPE and writes it as a Hugging Face tokenizer.json (Sennrich et al. 2016,
 * arXiv:1508.07909, on bytes).
 * The same texts give the same file, whatever the machine: ties go to the smaller pair of ids. */
#pragma once
#include "base/err.h"

/* ids: specials[0 .. n_specials-1], then the 256 bytes, then n_merges merges.
 * texts are cut at the specials (longest first), then into words by pattern (PCRE2, UTF-8; text between matches is a
 * word too); merges never cross words. A pair whose text in the file would be that of a special or of an existing token
 * is skipped.
 * False: a pattern that does not compile, specials doubled, of one character or not UTF-8, texts too small for n_merges
 * (no pair left that occurs twice), or a path that cannot be written. */
bool bpe_train(const char *path_out, const char *const *texts, int n_texts, const char *const *specials, int n_specials,
               const char *pattern, int n_merges, struct err *e);
