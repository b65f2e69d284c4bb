# shellcheck shell=bash disable=SC2154
tiny=$build/tests/field/tiny_model
numbers() { echo '{"text":"hello world"}' | "$app" score model.path="$1" 2>"$tmp/notes"; }
for v in base tied_head_same tied_head_only index_lists_tied_head tied_head_differs; do
    check "$v" "$tiny" "$tmp/$v" $v
done
check "untied by config.json" "$tiny" "$tmp/untied" tied_head_differs tests/field/tiny_qwen tie_word_embeddings=false
check "no flag" "$tiny" "$tmp/noflag" tied_head_differs tests/field/tiny_qwen tie_word_embeddings=
numbers "$tmp/base" >"$tmp/tied.json"
for v in tied_head_same tied_head_only index_lists_tied_head; do
    numbers "$tmp/$v" >"$tmp/got.json"
    check "$v: the embedding is the head" cmp "$tmp/tied.json" "$tmp/got.json"
    check "$v: nothing to say" test ! -s "$tmp/notes"
done
numbers "$tmp/untied" >"$tmp/untied.json"
numbers "$tmp/noflag" >"$tmp/noflag.json"
check "the two heads differ" grep -q logp "$tmp/untied.json"
check "a missing flag means untied, as in the three classes of transformers" cmp "$tmp/untied.json" "$tmp/noflag.json"
if cmp -s "$tmp/tied.json" "$tmp/untied.json"; then bad "the two heads" "give the same numbers"; else ok; fi
numbers "$tmp/tied_head_differs" >"$tmp/got.json"
check "another head is used" cmp "$tmp/untied.json" "$tmp/got.json"
expect "and said so, once" 0 '^1$' grep -c 'lm_head.weight is not the embedding' "$tmp/notes"
for v in tied_head_differs tied_head_only index_lists_tied_head; do
    check "$v: export" "$app" export model.path="$tmp/$v" out="$tmp/out_$v" dtype=f32
    numbers "$tmp/out_$v" >"$tmp/again.json"
    numbers "$tmp/$v" >"$tmp/got.json"
    check "$v: what was exported is the same model" cmp "$tmp/got.json" "$tmp/again.json"
    numbers "$tmp/out_$v" >/dev/null
    check "$v: and config.json says what it is" test ! -s "$tmp/notes"
done
check "no head at all" "$tiny" "$tmp/headless" base
check "its flag says untied" sed -i 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' \
    "$tmp/headless/config.json"
expect "no head, not tied" 1 'no tensor lm_head.weight.*tie_word_embeddings' \
    "$app" score model.path="$tmp/headless" </dev/null
