# shellcheck shell=bash disable=SC2154
check "the model" "$build/tests/field/tiny_model" "$tmp/m"
sft=("$app" sft model.path="$tmp/m" sft.steps=1 sft.batch_size=1 sft.save="$tmp/saved")
expect "rejected" 1 '"tools" must be a list of declarations' \
    "${sft[@]}" data.train_files="$here/conversation.jsonl" tools.format=hermes
expect "in tags too" 1 '"tools" must be a list of declarations' \
    "${sft[@]}" data.train_files="$here/conversation.jsonl" tools.format=tags
sed 's/"tools": {"type": "function"}/"tools": "{\\"type\\": \\"function\\"}"/' \
    "$here/conversation.jsonl" >"$tmp/text.jsonl"
expect "as text" 1 'tools: must be a JSON array' "${sft[@]}" data.train_files="$tmp/text.jsonl"
sed 's/"tools": {"type": "function"}/"tools": [{"type": "function", "function": {"name": "f"}}]/' \
    "$here/conversation.jsonl" >"$tmp/list.jsonl"
listed='[{\\"type\\": \\"function\\", \\"function\\": {\\"name\\": \\"f\\"}}]'
sed "s/\"tools\": {\"type\": \"function\"}/\"tools\": \"$listed\"/" "$here/conversation.jsonl" >"$tmp/listed.jsonl"
want=$("$app" sft model.path="$tmp/m" data.train_files="$tmp/list.jsonl" sft.steps=1 sft.batch_size=1 \
    sft.save="$tmp/saved" 2>&1 | grep -aoE '[0-9]+ tokens, [0-9]+ of them')
expect "a list and its text are the same" 0 "${want:-none}" "${sft[@]}" data.train_files="$tmp/listed.jsonl"
