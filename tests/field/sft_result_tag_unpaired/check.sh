# shellcheck shell=bash disable=SC2154
check "a model" "$build/tests/field/tiny_model" "$tmp/m" base "$here/../tiny_qwen"
learn=("$app" sft model.path="$tmp/m" sft.steps=1 sft.batch_size=1 sft.save="$tmp/x")
for f in tags auto hermes; do
    expect "unpaired, $f" 0 ' tokens, 11 of them with loss' \
        "${learn[@]}" data.train_files="$here/conversation.jsonl" tools.format=$f
done
says() { printf '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"%s"}]}\n' \
    "$1" >"$tmp/conversation.jsonl"; }
says 'the answer is 46'
expect "without the tag" 0 ' tokens, 7 of them with loss' \
    "${learn[@]}" data.train_files="$tmp/conversation.jsonl" tools.format=tags
says '<search>q</search><result>46</result>'
expect "a result is not learned" 0 ' tokens, 9 of them with loss' \
    "${learn[@]}" data.train_files="$tmp/conversation.jsonl" tools.format=tags
expect "with hermes it is text" 0 ' tokens, 18 of them with loss' \
    "${learn[@]}" data.train_files="$tmp/conversation.jsonl" tools.format=hermes
