# shellcheck shell=bash disable=SC2154
expect "the page decides nothing" 0 '^score 1$' "$build/tests/field/grade" response 35 <"$here/response.txt"
