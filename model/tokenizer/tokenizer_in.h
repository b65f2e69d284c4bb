/* tokenizer_in.h: struct tokenizer, which tokenizer_read.c fills and tokenizer.c uses. */
#pragma once
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/pretok.h"
#include "model/tokenizer/tokenizer.h"

enum token_kind { TOKEN_NONE, TOKEN_PLAIN, TOKEN_ADDED, TOKEN_SPECIAL };        /* none: a gap in the ids */
struct vocab_token { uint32_t at; int n; enum token_kind kind; };               /* bytes pool.p[at .. at + n) */

struct tokenizer {
    struct str text;            /* the file */
    uint64_t hash;
    struct vocab_token *tok;    /* [n], by id */
    int n;
    struct str pool;
    int byte_id[256];           /* -1: the vocabulary lacks this byte, which text then loses */
    int *words;                 /* open addressing over plain tokens' bytes: id, or -1; size words_mask + 1 */
    uint64_t words_mask;
    struct bpe bpe;
    bool ignore_merges;         /* a word that is a token is that token, whatever the merges say (Llama 3) */
    bool nfc;
    int bos;                    /* of the post_processor; -1 */
    struct pretok pretok;
    int *added, n_added;        /* ids of added tokens in order of their bytes, a prefix before what it begins */
    bool first[256];            /* does an added token begin with this byte? */
};

/* Id of the vocabulary entry with these bytes; -1: none. */
int tokenizer_word(const struct tokenizer *t, const char *bytes, size_t n);
