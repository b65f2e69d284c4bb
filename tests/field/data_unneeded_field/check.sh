# shellcheck shell=bash disable=SC2154
for f in nan bigint nul; do expect "$f" 0 "^$f +[0-9.]+ " "$app" eval data.val_files="$here/$f.jsonl"; done
row() { # NAME MEMBERS: a row with these members beside a question and an answer
    printf '{"question":"take 18, times 2, times 9.","answer":"324",%s}\n' "$2" >"$tmp/$1.jsonl"
}
n=0
while read -r members; do
    row "odd$((n += 1))" "$members"
    expect "$members" 0 "^odd$n +[0-9.]+( \([^)]*\))? +100\.0 " "$app" eval data.val_files="$tmp/odd$n.jsonl"
done <<'TEXT'
"x":[NaN,Infinity,-Infinity,{"y":NaN}]
"x":{"deep":{"deeper":-123456789012345678901234567890}}
"x":1e999,"y":-1E-999
"x":"\u0000","y":"\ud800","z":"\udc00\ud800","\u0000":1
"x":1,"x":2,"x":{"x":1,"x":2}
"extra_info":{"index":3,"score":NaN,"note":"\u0000","index2":123456789012345678901234}
"reward_model":{"style":NaN,"n":123456789012345678901234}
TEXT
row deep "\"x\":$(printf '[%.0s' $(seq 5000))$(printf ']%.0s' $(seq 5000))"
expect "5000 brackets" 0 '^deep ' "$app" eval data.val_files="$tmp/deep.jsonl"
printf '{"question":"q","answer":"4","x":"\xff\x01"}\n' >"$tmp/bytes.jsonl"
expect "bytes that are no text" 0 '^bytes ' "$app" eval data.val_files="$tmp/bytes.jsonl"
used() { # NAME WORDS ROW
    printf '%s\n' "$3" >"$tmp/used.jsonl"
    expect "$1" 1 "used.jsonl:1: .*$2" "$app" eval data.val_files="$tmp/used.jsonl"
}
used "a question with a zero" \
    '"question" must be .*, it is .u0000 \(values of the record that cannot be read: .*column 13' \
    '{"question":"q\u0000","answer":"4"}'
used "half a pair in a message" 'message 0 of "prompt".*half a surrogate pair at column' \
    '{"prompt":[{"role":"user","content":"\ud800"}],"answer":"4"}'
used "an answer that is no number" 'answer 0 in "answer" is Infinity' '{"question":"q","answer":Infinity}'
used "no answer" 'no answer' '{"question":"q","answer":NaN}'
used "an answer twice" '"answer" is there twice' '{"question":"q","answer":"4","answer":"5"}'
# a large whole number is an answer like any other
row big '"id":1'
printf '{"question":"take 18, times 2, times 9.","answer":[123456789012345678901234,324]}\n' >"$tmp/big.jsonl"
expect "an answer beyond 64 bits" 0 '^big +[0-9.]+( \([^)]*\))? +100\.0 ' "$app" eval data.val_files="$tmp/big.jsonl"
