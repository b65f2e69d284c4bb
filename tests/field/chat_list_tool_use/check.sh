# shellcheck shell=bash disable=SC2154
mkdir -p "$tmp/m" "$tmp/n/additional_chat_templates"
cp "$here/../chat_bos_token/tokenizer.json" "$here/tokenizer_config.json" "$tmp/m"
render() {
    "$app" tokenize model.path="$1" --chat <"$2" 2>&1 | "$app" tokenize model.path="$1" --decode --special 2>&1
}
render "$tmp/m" "$here/ask.json" >"$tmp/text"
declared='\{"name": "f", "description": "d", "parameters": \{"type": "object", "properties": \{\}\}\}'
expect "the tools are declared" 0 "^\{\"type\": \"function\", \"function\": $declared\}\$" cat "$tmp/text"
expect "as tool_use has it" 0 '^You are Qwen, created by Alibaba Cloud' cat "$tmp/text"
echo '[{"role": "user", "content": "what is"}]' >"$tmp/plain.json"
render "$tmp/m" "$tmp/plain.json" >"$tmp/plain"
printf '<|im_start|>user\nwhat is<|im_end|>\n<|im_start|>assistant\n' >"$tmp/want"
check "without tools as default has it" cmp "$tmp/plain" "$tmp/want"
# the same as files
cp "$here/default.jinja" "$tmp/n/chat_template.jinja"
cp "$here/tool_use.jinja" "$tmp/n/additional_chat_templates"
cp "$here/../chat_bos_token/tokenizer.json" "$tmp/n"
render "$tmp/n" "$here/ask.json" >"$tmp/files"
check "from additional_chat_templates" cmp "$tmp/files" "$tmp/text"
