/* token_kind.c: scans back to the last tag before a token. */
#include "engine/train/token_kind.h"
#include "base/text.h"

static const char *const open[] = { "<think>", "<python>", "<search>", "<answer>", "<tool_call>" };
static const char *const close[] = { "</think>", "</python>", "</search>", "</answer>", "</tool_call>" };
static const int kind[] = { TOKEN_THINK, TOKEN_CALL, TOKEN_CALL, TOKEN_ANSWER, TOKEN_CALL };
enum { TAGS = 5, OWN_TAGS = 4 };        /* those of the embedded policy come first */

/* With tags as ordinary text: by the last tag that is complete before the token. A token that completes a tag belongs
 * to the tag. */
static int kind_by_text(const struct session *s, const struct sequence *seq, int pos)
{
    struct str text = { 0 };
    int found = TOKEN_TAG;
    str_clear(&text);
    tokenizer_decode(s->tok, &text, seq->ids + seq->prompt_len, pos, true);
    size_t before = text.n;
    tokenizer_decode(s->tok, &text, seq->ids + seq->prompt_len + pos, 1, true);
    for (size_t n = text.n; n > 0; n--)
        for (int k = 0; text.p[n - 1] == '>' && k < TAGS; k++) {
            bool opens = bytes_end_with(text.p, n, open[k]), closes = bytes_end_with(text.p, n, close[k]);
            if (!opens && !closes) continue;
            if (opens && n <= before) found = kind[k];
            n = 1;
            break;
        }
    str_free(&text);
    return found;
}

int token_kind(const struct session *s, const struct sequence *seq, int pos)
{
    /* of these tags Qwen3 has a token for <think> alone */
    for (int k = 0; k < OWN_TAGS; k++) if (tokenizer_id(s->tok, open[k]) < 0) return kind_by_text(s, seq, pos);
    if (tokenizer_special(s->tok, seq->ids[seq->prompt_len + pos])) return TOKEN_TAG;
    for (int i = seq->prompt_len + pos - 1; i >= seq->prompt_len; i--)
        for (int k = 0; k < OWN_TAGS; k++) {
            if (seq->ids[i] == tokenizer_id(s->tok, open[k])) return kind[k];
            if (seq->ids[i] == tokenizer_id(s->tok, close[k])) return TOKEN_TAG;
        }
    return TOKEN_TAG;
}
