# shellcheck shell=bash disable=SC2154
"$build/tests/field/calls" hermes <"$here/turn.txt" >"$tmp/calls"
printf '%s\n' 'python: print("</tool_call>")' '1 calls' >"$tmp/want"
check "one call" diff "$tmp/calls" "$tmp/want"
