# shellcheck shell=bash disable=SC2154
"$app" tokenize model.path="$here" --chat <"$here/ask.json" >"$tmp/ids" 2>"$tmp/said"
"$app" tokenize model.path="$here" --decode --special <"$tmp/ids" >"$tmp/text" 2>>"$tmp/said"
printf '<|begin_of_text|><|im_start|>user\nwhat is<|im_end|>\n<|im_start|>assistant\n' >"$tmp/want"
check "begins with bos_token" cmp "$tmp/text" "$tmp/want"
expect "its id" 0 '^409 401 ' cat "$tmp/ids"
mkdir "$tmp/m"
cp "$here/tokenizer.json" "$tmp/m"
sed 's/"bos_token": "[^"]*"/"bos_token": "<s>"/' "$here/tokenizer_config.json" >"$tmp/m/tokenizer_config.json"
expect "a bos_token that is no token" 1 "prints bos_token '<s>', which the tokenizer lacks" \
    "$app" tokenize model.path="$tmp/m" --chat <"$here/ask.json"
sed 's/"bos_token": "[^"]*"/"bos_token": null/' "$here/tokenizer_config.json" >"$tmp/m/tokenizer_config.json"
expect "none" 1 'prints bos_token, and no file names one' "$app" tokenize model.path="$tmp/m" --chat <"$here/ask.json"
sed 's/{{ bos_token }}/{{ bos_token }}{{ bos_token }}/' "$here/tokenizer_config.json" >"$tmp/m/tokenizer_config.json"
expect "two of them are not known" 1 'line 1 column .* model.chat_format=' \
    "$app" tokenize model.path="$tmp/m" --chat <"$here/ask.json"
