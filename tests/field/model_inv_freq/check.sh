# shellcheck shell=bash disable=SC2154
tiny=$build/tests/field/tiny_model
for v in base inv_freq old_buffers odd_tensor; do check $v "$tiny" "$tmp/$v" $v; done
echo '{"text":"hello world"}' | "$app" score model.path="$tmp/base" >"$tmp/want" 2>&1
for v in inv_freq old_buffers; do
    echo '{"text":"hello world"}' | "$app" score model.path="$tmp/$v" >"$tmp/got" 2>&1
    check "$v: same numbers" cmp "$tmp/want" "$tmp/got"
done
expect "a tensor nobody knows" 1 'self_attn.gate.weight belongs to no part' \
    "$app" score model.path="$tmp/odd_tensor" </dev/null
