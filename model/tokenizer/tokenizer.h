/* tokenizer.h: tokenizer.json of a Hugging Face folder or the vocabulary of a GGUF file, byte-level BPE only. What is
 * not understood (another model type, normaliser or pre-tokeniser) is an error in words at load, never a silent
 * difference. The post_processor is not applied:
 * chat code writes begin-of-text, and for raw text tokenizer_bos says what it would be. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "model/tokenizer/ids.h"
#include <stdint.h>

struct tokenizer;       /* read-only once made: any number of threads may use one */

/* The tokenizer that comes with a model: a folder with tokenizer.json, or a GGUF file (or a folder that holds one).
 * NULL on error. */
struct tokenizer *tokenizer_open(const char *model_path, struct err *e);

/* Reads and checks a tokenizer.json (at most 256 MB). NULL on error; the sentence names file and key. */
struct tokenizer *tokenizer_read(const char *path, struct err *e);

/* The same from memory; the text is copied. name stands for the file in errors. */
struct tokenizer *tokenizer_parse(const char *name, const char *text, size_t n, struct err *e);

void tokenizer_free(struct tokenizer *t);                       /* NULL is fine */

/* Number of ids: largest id + 1. A model may have more rows than that (padding of the vocabulary). */
int tokenizer_vocab(const struct tokenizer *t);

/* Appends the ids of text[n], which may be any bytes (also NUL and bytes that are not UTF-8).
 * special: true, the text of an added token (special or not) becomes its id, longest match first; false, it is encoded
 * as ordinary bytes, so that a user or a tool cannot write one (transformers' split_special_tokens, extended to every
 * added token).
 * decode(encode(x)) == x, unless the file itself asks for a change of the text (NFC, add_prefix_space, Removed) or its
 * vocabulary lacks a byte (SmolLM2's lacks 21): that becomes the file's unk_token or, if it has none or a special one,
 * nothing.
 * False: the file's regular expression gave up on this text (PCRE2's limits), or the text has 2 GB or more; out is as
 * it was. */
bool tokenizer_encode(const struct tokenizer *t, struct ids *out, const char *text, size_t n, bool special);

/* Appends the bytes of ids[n]. special: also print the text of special tokens. Ids that are not in the file print
 * nothing. */
void tokenizer_decode(const struct tokenizer *t, struct str *out, const int *ids, int n, bool special);

/* Decoding one id at a time without ever printing half a character. Start with { 0 }. */
struct tokenizer_stream { char held[4]; int n; };
/* Appends what id completes: always whole UTF-8 characters; what cannot become one is U+FFFD, as Python's
 * errors="replace" has it. special: as above. */
void tokenizer_stream_put(const struct tokenizer *t, struct tokenizer_stream *s, struct str *out, int id, bool special);
/* what is held cannot become a character any more: U+FFFD */
void tokenizer_stream_end(struct tokenizer_stream *s, struct str *out);

/* id of an added token, special or not, by its text; -1: none */
int tokenizer_id(const struct tokenizer *t, const char *token);
/* The longest added token that text[n] begins with, its length in *len; -1: none. */
int tokenizer_match(const struct tokenizer *t, const char *text, size_t n, size_t *len);
/* is an added token with "special": true */
bool tokenizer_special(const struct tokenizer *t, int id);
/* raw bytes of a token; NULL and *n = 0 if the file has no such id */
const char *tokenizer_bytes(const struct tokenizer *t, int id, int *n);
/* What the file puts before raw text (Llama 3's <|begin_of_text|>), for texts that are no conversation; -1: nothing. */
int tokenizer_bos(const struct tokenizer *t);
uint64_t tokenizer_hash(const struct tokenizer *t);                             /* FNV-1a 64 of the file's text */
/* writes the file's text unchanged; from GGUF: a tokenizer.json of the same ids */
bool tokenizer_copy(const struct tokenizer *t, const char *path, struct err *e);
