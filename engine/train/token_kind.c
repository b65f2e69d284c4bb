/* token_kind.c: scans back to the last tag before a token. */
#include "engine/train/token_kind.h"
#include "engine/train/token_tags.h"
#include "base/text.h"

/* With tags as ordinary text: by the last tag that is complete before the token. A token that completes a tag belongs
 * to the tag. */
static int kind_by_text(const struct session *s, const struct token_tags *tags, const struct sequence *seq, int pos)
{
    struct str text = { 0 };
    int found = TOKEN_TAG;
    str_clear(&text);
    tokenizer_decode(s->tok, &text, seq->ids + seq->prompt_len, pos, true);
    size_t before = text.n;
    tokenizer_decode(s->tok, &text, seq->ids + seq->prompt_len + pos, 1, true);
    for (size_t n = text.n; n > 0; n--)
        for (int k = 0; text.p[n - 1] == '>' && k < tags->n; k++) {
            const struct token_tag *t = &tags->p[k];
            bool opens = bytes_end_with(text.p, n, t->open), closes = bytes_end_with(text.p, n, t->close);
            if (!opens && !closes) continue;
            if (opens && n <= before) found = t->kind;
            n = 1;
            break;
        }
    str_free(&text);
    return found;
}

int token_kind(const struct session *s, const struct sequence *seq, int pos)
{
    struct token_tags tags;
    token_tags_make(&tags);
    /* of these tags Qwen3 has a token for <think> alone */
    for (int k = 0; k < tags.own; k++)
        if (tokenizer_id(s->tok, tags.p[k].open) < 0) return kind_by_text(s, &tags, seq, pos);
    if (tokenizer_special(s->tok, seq->ids[seq->prompt_len + pos])) return TOKEN_TAG;
    for (int i = seq->prompt_len + pos - 1; i >= seq->prompt_len; i--)
        for (int k = 0; k < tags.own; k++) {
            if (seq->ids[i] == tokenizer_id(s->tok, tags.p[k].open)) return tags.p[k].kind;
            if (seq->ids[i] == tokenizer_id(s->tok, tags.p[k].close)) return TOKEN_TAG;
        }
    return TOKEN_TAG;
}
