# shellcheck shell=bash disable=SC2154
sft() { # NAME LOSS FORM ROW [KEY=VALUE ...]: tokens with loss, the form that is said
    printf '%s\n' "$4" >"$tmp/rows.jsonl"
    expect "$1" 0 "^1 conversations, [0-9]+ tokens, $2 of them with loss" \
        "$app" sft data.train_files="$tmp/rows.jsonl" sft.save="$tmp/out" sft.steps=1 sft.batch_size=1 "${@:5}"
    check "$1: its form" grep -q "data.train_files: .*rows.jsonl: 1 conversations in $3\$" "$tmp/said"
}
no() { # NAME WORDS ROW [KEY=VALUE ...]
    printf '%s\n' "$3" >"$tmp/rows.jsonl"
    expect "$1" 1 "rows.jsonl:1: .*$2" \
        "$app" sft data.train_files="$tmp/rows.jsonl" sft.save="$tmp/out" sft.steps=1 "${@:4}"
}
# with the embedded policy's tokenizer "7" is one token, and one more ends the turn
a='{"role":"assistant","content":"7"}' u='{"role":"user","content":"7"}'
sft "messages" 2 messages "{\"messages\":[$u,$a]}"
sft "two turns" 4 messages "{\"messages\":[$u,$a,$u,$a]}"
two='{"from":"human","value":"7"},{"from":"gpt","value":"7"}'
sft "ShareGPT" 4 conversations "{\"conversations\":[$two,$two],\"id\":NaN}"
sft "ShareGPT's turns, OpenAI's names" 2 conversations "{\"conversations\":[$u,$a]}"
sft "TRL, texts" 2 'prompt + completion' '{"prompt":"7","completion":"7"}'
sft "TRL, messages" 2 'prompt + completion' "{\"prompt\":[$u,$a,$u],\"completion\":[$a]}"
sft "Alpaca" 2 'instruction + output' '{"instruction":"7","input":"7","output":"7"}'
sft "Alpaca with history" 4 'instruction + output' '{"instruction":"7","input":"","output":"7","history":[["7","7"]]}'
sft "a question" 2 'question + answer' '{"question":"7","answer":"7"}'
sft "two forms and a key" 2 'prompt + completion' \
    "{\"prompt\":\"7\",\"completion\":\"7\",\"messages\":[$u,$a,$u,$a]}" data.prompt_key=prompt
sft "two forms and the other key" 4 messages \
    "{\"prompt\":\"7\",\"completion\":\"7\",\"messages\":[$u,$a,$u,$a]}" data.prompt_key=messages
sft "a prompt beside the conversation that begins with it" 4 messages "{\"prompt\":\"7\",\"messages\":[$u,$a,$u,$a]}"
h='{"from":"human","value":"7"}' nothing_said='{"from":"gpt","value":"7","loss":null}'
for key in '"loss":false' '"train":false' '"weight":0' '"training":false' '"loss_scale":0.0'; do
    sft "ShareGPT, $key" 2 conversations \
        "{\"conversations\":[$h,{\"from\":\"gpt\",\"value\":\"7\",$key},$h,$nothing_said]}"
done
no "ShareGPT with a thought" 'reasoning_content' \
    "{\"conversations\":[$h,{\"from\":\"gpt\",\"value\":\"7\",\"reasoning_content\":\"hm\"}]}"
no "ShareGPT with a picture" '"images" would be lost' \
    "{\"conversations\":[$h,{\"from\":\"gpt\",\"value\":\"7\",\"images\":[\"x.png\"]}]}"
no "a picture beside it" '"image" would be lost: only text can be read' \
    "{\"image\":\"x.png\",\"conversations\":[$h,{\"from\":\"gpt\",\"value\":\"7\"}]}"
for none in '""' '"[]"' '" [ ] "' '"null"' null '[]' '[null]'; do
    sft "tools that are $none" 2 messages "{\"tools\":$none,\"messages\":[$u,$a]}"
done
empty='"images":[null],"videos":[],"audio":{"bytes":null,"path":null},"chat_template_kwargs":{"enable_thinking":null}'
no_calls='"function_call":{"name":null,"arguments":null},"tool_calls":[{"function":null}]'
sft "Arrow's padding" 2 messages \
    "{$empty,\"messages\":[$u,{\"role\":\"assistant\",\"content\":\"7\",$no_calls}]}"
no "two forms" \
    'two conversations in one row: messages and prompt \+ completion; choose one with data.prompt_key and' \
    "{\"prompt\":\"7\",\"completion\":\"7\",\"messages\":[$u,$a]}"
no "nobody is called king" 'turn 0 of "conversations" is from "king"; there are human' \
    '{"conversations":[{"from":"king","value":"7"},{"from":"gpt","value":"7"}]}'
no "a system message twice" 'both hold a system message and differ' \
    "{\"system\":\"a\",\"messages\":[{\"role\":\"system\",\"content\":\"b\"},$u,$a]}"
no "tools as an object" '"tools" must be a list of declarations' "{\"tools\":{\"name\":\"f\"},\"messages\":[$u,$a]}"
no "a prompt alone" '"prompt" has no message of role "assistant"' "{\"prompt\":[$u]}"
no "none of these" 'no conversation: .*; there are text' '{"text":"7"}'
# a call in ShareGPT's way is the call of messages: the same tokens, the same step
check "a model whose template writes calls" "$build/tests/field/tiny_model" "$tmp/m" base
call='{\"name\":\"get\",\"arguments\":{\"city\":\"Rome\",\"n\":3}}'
{
    printf '{"system":"Be brief.","tools":"","conversations":[{"from":"human","value":"weather?"},'
    printf '{"from":"function_call","value":"%s"},{"from":"observation","value":"sunny"},' "$call"
    printf '{"from":"gpt","value":"It is."}]}\n'
} >"$tmp/sharegpt.jsonl"
{
    printf '{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"weather?"},'
    printf '{"role":"assistant","content":null,"tool_calls":[{"type":"function","function":%s}]},' "${call//\\/}"
    printf '{"role":"tool","content":"sunny"},{"role":"assistant","content":"It is."}]}\n'
} >"$tmp/messages.jsonl"
for f in sharegpt messages; do
    expect "a call, $f" 0 '^1 conversations, [0-9]+ tokens, [0-9]+ of them with loss' \
        "$app" sft model.path="$tmp/m" data.train_files="$tmp/$f.jsonl" sft.save="$tmp/$f" \
        sft.steps=1 sft.batch_size=1
    grep -oE '^1 conversations.*loss' "$tmp/said" >"$tmp/$f.tokens"
done
check "the same tokens" cmp "$tmp/sharegpt.tokens" "$tmp/messages.tokens"
check "the same weights after a step" cmp "$tmp/sharegpt/model.safetensors" "$tmp/messages/model.safetensors"
check "which are others than before" bash -c "! cmp -s '$tmp/m/model.safetensors' '$tmp/messages/model.safetensors'"
for key in '"image":"x.png"' '"video":["x"]' '"audios":[{"path":"a"}]'; do
    printf '{"messages":[%s,%s],%s}\n' "$u" "$a" "$key" >"$tmp/line"
    expect "score rejects $key" 1 'would be lost: only text can be read' sh -c "'$app' score <'$tmp/line'"
done
printf '{"messages":[%s,%s],"image":[null],"tools":"null"}\n' "$u" "$a" >"$tmp/line"
expect "score passes over nothing" 0 '"ids"' sh -c "'$app' score <'$tmp/line'"
