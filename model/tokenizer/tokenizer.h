/* tokenizer.h: tokenizer.json of a Hugging Face folder or the vocabulary of a GGUF file, byte-level BPE only. Anything
 * not understood (another model type, normaliser or pre-tokeniser) is an error at load, never a silent difference. The
 * post_processor is not applied: chat code writes begin-of-text, and for raw text tokenizer_bos returns it. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "model/tokenizer/ids.h"
#include <stdint.h>

struct tokenizer;       /* read-only once made: any number of threads may use one */

/* The tokenizer that comes with a model: a folder with tokenizer.json, or a GGUF file (or a folder that holds one).
 * NULL on error. */
struct tokenizer *tokenizer_open(const char *model_path, struct err *e);

/* Reads and checks a tokenizer.json (at most 256 MB). NULL on error; the message names file and key. */
struct tokenizer *tokenizer_read(const char *path, struct err *e);

/* The same from memory; the text is copied. name stands for the file in errors. */
struct tokenizer *tokenizer_parse(const char *name, const char *text, size_t n, struct err *e);

void tokenizer_free(struct tokenizer *t);                       /* NULL is allowed */

/* Number of ids: largest id + 1. A model may have more rows than that (padding of the vocabulary). */
int tokenizer_vocab(const struct tokenizer *t);

/* Appends the ids of text[n], which may be any bytes (also NUL and bytes that are not UTF-8).
 * special: true, the text of an added token (special or not) becomes its id, longest match first; false, it is encoded
 * as ordinary bytes, so that a user or a tool cannot write one (transformers' split_special_tokens, extended to every
 * added token).
 * decode(encode(x)) == x, unless the file itself changes the text (NFC, add_prefix_space, Removed) or its vocabulary
 * lacks a byte (SmolLM2's lacks 21): that becomes the file's unk_token or, if it has none or a special one, nothing.
 * False: the file's regular expression ran into PCRE2's limits on this text, or the text has 2 GB or more; out is
 * unchanged. */
bool tokenizer_encode(const struct tokenizer *t, struct ids *out, const char *text, size_t n, bool special);

/* Appends the bytes of ids[n]. special: also print the text of special tokens. Ids that are not in the file print
 * nothing. */
void tokenizer_decode(const struct tokenizer *t, struct str *out, const int *ids, int n, bool special);

/* Decoding one id at a time without ever printing half a character. Start with { 0 }. */
struct tokenizer_stream { char held[4]; int n; };
/* Appends the characters that id completes, always whole UTF-8; bytes that cannot become one are U+FFFD, as with
 * Python's errors="replace". special: as above. */
void tokenizer_stream_put(const struct tokenizer *t, struct tokenizer_stream *s, struct str *out, int id, bool special);
/* U+FFFD for the bytes that are held: no more will follow. */
void tokenizer_stream_end(struct tokenizer_stream *s, struct str *out);

/* The id of an added token, special or not, by its text; -1: none. */
int tokenizer_id(const struct tokenizer *t, const char *token);
/* The longest added token at the beginning of text[n], its length in *len; -1: none. */
int tokenizer_match(const struct tokenizer *t, const char *text, size_t n, size_t *len);
/* An added token with "special": true? */
bool tokenizer_special(const struct tokenizer *t, int id);
/* The raw bytes of a token; NULL and *n = 0 if the file has no such id. */
const char *tokenizer_bytes(const struct tokenizer *t, int id, int *n);
/* The id that the file puts before raw text (Llama 3's <|begin_of_text|>), for text outside of conversations; -1:
 * none. */
int tokenizer_bos(const struct tokenizer *t);
uint64_t tokenizer_hash(const struct tokenizer *t);                             /* FNV-1a 64 of the file's text */
/* Writes the file's text unchanged; from GGUF: a tokenizer.json of the same ids. */
bool tokenizer_copy(const struct tokenizer *t, const char *path, struct err *e);
