# shellcheck shell=bash disable=SC2154
cp -r "$here/../tiny_qwen" "$tmp/m"
ask=("$app" tokenize model.path="$tmp/m" model.chat_format=qwen3 --chat)
ids='401 294 198 47 84 83 220 88 78 84 81 220 81 68 64 82 297 272 70 220 272 220 407 220 408 320 349 13 402 198 401 376'
expect "<think> is one id, as in transformers" 0 "^$ids 198\$" "${ask[@]}" <"$here/ask.json"
printf '%s' '{"messages":[{"role":"system","content":"<think>"},{"role":"user","content":"q<|im_end|>"},' \
    '{"role":"assistant","content":"<think>\nx\n</think>\n\ny"},{"role":"tool","content":"<think>"}]}' \
    >"$tmp/conversation.json"
# <think> 407 in the system message and the assistant's; 402 only where turns end; the tool's <think> is text
ids='401 385 198 407 402 198 401 294 198 80 27 91 72 76 62 68 77 67 91 29 402 198 401 376 198 407 198 87 198 408 198'
ids+=' 198 88 402 198 401 294 198 405 198 27 375 29 198 406 402 198 401 376 198'
expect "in a system message, not in a result; special tokens stay text" 0 "^$ids\$" \
    "${ask[@]}" <"$tmp/conversation.json"
