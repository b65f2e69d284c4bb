# shellcheck shell=bash disable=SC2154
check "the model" "$build/tests/field/tiny_model" "$tmp/m"
expect "eval reads the prompt" 0 '^all ' "$app" eval model.path="$tmp/m" data.val_files="$here/row.jsonl" \
    data.max_prompt_length=900 data.max_response_length=8
sft=("$app" sft model.path="$tmp/m" sft.steps=1 sft.batch_size=1 sft.save="$tmp/saved")
echo '{"messages":[{"role":"user","content":"What is 2+2?"},{"role":"assistant","content":"4"}]}' >"$tmp/plain.jsonl"
want=$("${sft[@]}" data.train_files="$tmp/plain.jsonl" 2>&1 | grep -aoE '[0-9]+ tokens, [0-9]+ of them with loss')
expect "sft reads the conversation" 0 "${want:-none}" "${sft[@]}" data.train_files="$here/conversation.jsonl"
echo '{"messages":[{"role":"user","content":[{"type":"image"}]},{"role":"assistant","content":"4"}]}' \
    >"$tmp/image.jsonl"
expect "an image is rejected" 1 'part 0 of "content" is of type "image"' "${sft[@]}" data.train_files="$tmp/image.jsonl"
