# shellcheck shell=bash disable=SC2154
mkdir "$tmp/m"
cp "$here/../chat_bos_token/tokenizer.json" "$here/tokenizer_config.json" "$tmp/m"
expect "rejected by name" 1 \
    'chat template: .* line 1 column 36 has message, where the nearest .*\(.*\) has loop.* model.chat_format=' \
    "$app" tokenize model.path="$tmp/m" --chat <"$here/ask.json"
expect "a format can be forced" 0 '^401 ' \
    "$app" tokenize model.path="$tmp/m" model.chat_format=chatml --chat <"$here/ask.json"
