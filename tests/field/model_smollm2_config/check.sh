# shellcheck shell=bash disable=SC2154
tiny=$build/tests/field/tiny_model
echo '{"text":"hello world"}' >"$tmp/text"
check "a folder with SmolLM2's config.json" "$tiny" "$tmp/m" base "$here"
check "the same without the notes" "$tiny" "$tmp/plain" base \
    "$here" is_llama_config= rope_interleaved= transformers.js_config= pretraining_tp= mlp_bias= attention_bias=
check "the same, interleaved" "$tiny" "$tmp/interleaved" base "$here" rope_interleaved=true
"$app" score model.path="$tmp/m" <"$tmp/text" >"$tmp/got" 2>/dev/null
"$app" score model.path="$tmp/plain" <"$tmp/text" >"$tmp/want" 2>/dev/null
expect "it loads" 0 '"logp": \[null, -[0-9]' cat "$tmp/got"
check "the notes change no number" cmp "$tmp/got" "$tmp/want"
expect "interleaved rotary positions are rejected" 1 'rope_interleaved' \
    "$app" score model.path="$tmp/interleaved" </dev/null
