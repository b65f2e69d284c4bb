# shellcheck shell=bash disable=SC2154
tools=$build/tests/field
check "a folder" "$tools/tiny_model" "$tmp/m"
text='<|im_start|>user
hello <tool_call> world, 12 + 34</think><|im_end|>'
n=0
for order in "" front holes "front holes"; do
    # shellcheck disable=SC2086
    check "GGUF, $order" "$tools/tiny_gguf" "$tmp/m" "$tmp/$n.gguf" $order
    check "export, $order" "$app" export model.path="$tmp/$n.gguf" out="$tmp/$n" dtype=f32
    check "ids as the library numbers them, $order" "$tools/hf_ids" "$tmp/$n/tokenizer.json"
    "$tools/hf_ids" "$tmp/$n/tokenizer.json" >"$tmp/ids"
    expect "nine added tokens, $order" 0 '^9$' grep -c . "$tmp/ids"
    while read -r id token; do
        got=$(printf %s "$token" | "$app" tokenize --special model.path="$tmp/$n.gguf")
        check "$token is $id in the GGUF file, $order" test "$got" = "$id"
    done <"$tmp/ids"
    for path in "$tmp/$n.gguf" "$tmp/$n"; do
        printf %s "$text" | "$app" tokenize --special model.path="$path" >"$tmp/text.$(basename "$path")"
    done
    check "the same text, $order" cmp "$tmp/text.$n.gguf" "$tmp/text.$n"
    expect "eos by name, $order" 0 '"eos_token": "<.im_end.>"' cat "$tmp/$n/tokenizer_config.json"
    n=$((n + 1))
done
sizes=(rollout.max_len=256 data.max_prompt_length=200 data.max_response_length=8)
echo '{"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"world"}]}' >"$tmp/sft.jsonl"
check "sft" "$app" sft model.path="$tmp/1.gguf" data.train_files="$tmp/sft.jsonl" sft.save="$tmp/sft" sft.steps=1
check "ids in what sft writes" "$tools/hf_ids" "$tmp/sft/tokenizer.json"
check "the tokenizer is the one that export writes" cmp "$tmp/1/tokenizer.json" "$tmp/sft/tokenizer.json"
check "train" "$app" train model.path="$tmp/1.gguf" \
    "${sizes[@]}" trainer.total_training_steps=1 trainer.val_before_train=false data.train_batch_size=2 \
    actor.ppo_mini_batch_size=2 data.val_per_family=1 trainer.default_local_dir="$tmp/run"
found=$(find "$tmp/run" -path '*/huggingface/tokenizer.json' | head -n 1)
check "a checkpoint's too" cmp "$tmp/1/tokenizer.json" "$found"
