# shellcheck shell=bash disable=SC2154
check "the model" "$build/tests/field/tiny_model" "$tmp/m"
sft=("$app" sft model.path="$tmp/m" sft.steps=1 sft.batch_size=1 sft.save="$tmp/saved")
expect "148 tokens, the call with loss" 0 '1 conversations, 148 tokens, 51 of them with loss' \
    "${sft[@]}" data.train_files="$here/conversation.jsonl"
sed 's/"content":"","tool_calls"/"content":null,"tool_calls"/' "$here/conversation.jsonl" >"$tmp/null.jsonl"
expect "null is the same" 0 '1 conversations, 148 tokens, 51 of them with loss' \
    "${sft[@]}" data.train_files="$tmp/null.jsonl"
sed 's/"content":"","tool_calls"/"tool_calls"/' "$here/conversation.jsonl" >"$tmp/none.jsonl"
expect "no content is the same" 0 '1 conversations, 148 tokens, 51 of them with loss' \
    "${sft[@]}" data.train_files="$tmp/none.jsonl"
expect "a format that writes no calls rejects them" 1 'message 1: .* does not write "tool_calls"' \
    "${sft[@]}" data.train_files="$here/conversation.jsonl" model.chat_format=smollm2
sed 's/"tool_calls"/"reasoning_content":"hm","tool_calls"/' "$here/conversation.jsonl" >"$tmp/thought.jsonl"
expect "nor thoughts" 1 'message 1: .* does not write "reasoning_content"' \
    "${sft[@]}" data.train_files="$tmp/thought.jsonl"
