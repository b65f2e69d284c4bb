# shellcheck shell=bash disable=SC2154
tiny=$build/tests/field/tiny_model
for v in base nan_weight inf_weight bad_weights; do check $v "$tiny" "$tmp/$v" $v; done
echo '{"text":"hello world"}' >"$tmp/text"
for c in score generate tokenize; do
    want=1 words='up_proj.weight: 1 of 8192 numbers are NaN or infinite.*first at \[0, 0\]'
    if [ $c = tokenize ]; then want=0 words=.; fi
    expect "$c" $want "$words" bash -c "'$app' $c model.path='$tmp/nan_weight' <'$tmp/text'"
done
expect "train" 1 'up_proj.weight: 1 of 8192' "$app" train model.path="$tmp/nan_weight" rollout.max_len=128 \
    trainer.total_training_steps=1 trainer.default_local_dir="$tmp/run"
expect "export" 1 'up_proj.weight: 1 of 8192' "$app" export model.path="$tmp/nan_weight" out="$tmp/out"
expect "infinite" 1 'o_proj.weight: 1 of 4096 .*first at \[1, 13\]' \
    "$app" score model.path="$tmp/inf_weight" <"$tmp/text"
expect "several" 1 'up_proj.weight: 3 of 8192 .*first at \[2, 2\]; 2 other tensors have some too\.' \
    "$app" score model.path="$tmp/bad_weights" <"$tmp/text"
expect "loaded all the same: NaN is reported" 1 'log-probabilities of token 1 of text 1 are not finite' \
    "$app" score model.path="$tmp/nan_weight" model.check=off <"$tmp/text"
"$app" score model.path="$tmp/nan_weight" model.check=off <"$tmp/text" >"$tmp/printed" 2>/dev/null
check "and nothing is printed" test ! -s "$tmp/printed"
check "a whole model is as before" "$app" score model.path="$tmp/base" </dev/null
