# shellcheck shell=bash disable=SC2154
"$build/tests/field/calls" llama3_json <"$here/turn.txt" >"$tmp/calls"
printf '%s\n' 'search: a' '1 calls' >"$tmp/want"
check "one call" diff "$tmp/calls" "$tmp/want"
