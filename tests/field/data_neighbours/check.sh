# shellcheck shell=bash disable=SC2154,SC2016
# the embedded policy's greedy answer to this question is 324
q='"question":"take 18, times 2, times 9."'
right() { # NAME MEMBERS [KEY=VALUE ...]
    printf '{%s,%s}\n' "$q" "$2" >"$tmp/rows.jsonl"
    expect "$1" 0 '^rows +[0-9.]+( \([^)]*\))? +100\.0 ' "$app" eval data.val_files="$tmp/rows.jsonl" "${@:3}"
}
wrong() { # NAME MEMBERS WORDS [KEY=VALUE ...]
    printf '{%s,%s}\n' "$q" "$2" >"$tmp/rows.jsonl"
    expect "$1" 1 "rows.jsonl:1: .*$3" "$app" eval data.val_files="$tmp/rows.jsonl" "${@:4}"
}
right "GSM8K" '"answer":"18*2 is 36, 36*9 is <<36*9=324>>324.\n#### 324"'
check "and it is reported" grep -q '1 of 1 answers end as GSM8K.s do: the text after the last #### is the reference' \
    "$tmp/said"
right "GSM8K on one line" '"answer":"324 it is #### 324"'
wrong_number() { # NAME MEMBERS: another number, which the same words without sign and point would be
    printf '{%s,%s}\n' "$q" "$2" >"$tmp/rows.jsonl"
    expect "$1" 0 '^rows +[0-9.]+( \([^)]*\))? +0\.0 ' "$app" eval data.val_files="$tmp/rows.jsonl"
}
wrong_number "GSM8K, the other sign" '"answer":"so\n#### -324"'
wrong_number "a text, another point" '"answer":"3.24"'
right "GSM8K with cents" '"answer":"so\n#### $324.00"'
right "a text with a point" '"answer":"324.0"'
right "MATH without braces" '"solution":"So $\\boxed 324$."'
right "MATH in the other box" '"solution":"So \\fbox{324}"'
printf '{%s,"answer":""}\n' "$q" >"$tmp/rows.jsonl"
expect "an empty answer is reported" 0 '1 of 1 answers are empty texts' "$app" eval data.val_files="$tmp/rows.jsonl"
right "TRL" '"solution":"324"'
right "TRL with mathematics" '"solution":"$324$","ability":"math"'
right "MATH" '"solution":"First 36.\nSo \\boxed{324}."'
check "and it is said" grep -q '1 of 1 answers hold .boxed{}: the content of the last one is the reference' "$tmp/said"
right "slime" '"label":"324"'
right "slime with numbers" '"label":324'
right "FlashRAG" '"golden_answers":["12","324"]'
right "a real number" '"answer":324.0'
right "a list of numbers" '"answer":[1,324]'
right "beyond 64 bits" '"answer":[324,99999999999999999999999999]'
right "MATH with an answer beside it" '"answer":"324","solution":"long\nway"'
right "a key decides" '"answer":"1","label":"324"' data.answer_key=label
right "a key into an object" '"answer":{"value":"324","aliases":["a"]}' data.answer_key=answer.value
right "verl's answer goes first" '"reward_model":{"ground_truth":"324"},"answer":"1"'
wrong "two answers" '"answer":"1","label":"324"' \
    '"answer" and "label" both hold an answer and differ: choose one with data.answer_key'
wrong "only the way" '"solution":"First 36.\nThen 324."' \
    '"solution" has several lines and no .boxed..: .*data.answer_key'
wrong "no answer" '"target":"324"' 'no answer: .*data.answer_key names it.; there are question, target'
wrong "an object" '"answer":{"value":"324"}' 'is an object with value: name its member with data.answer_key='
wrong "an object that is the answer of nothing" '"answer":null' 'no answer: .*"answer" is null here'
wrong "two questions" '"problem":"another","answer":1' \
    '"question" and "problem" both hold a prompt and differ: choose one with data.prompt_key'
printf '{"question":"take 18, times 2, times 9.","answer":true}\n' >"$tmp/rows.jsonl"
expect "a boolean" 0 '^rows +[0-9.]+( \([^)]*\))? +0\.0 ' "$app" eval data.val_files="$tmp/rows.jsonl"
for column in half single double big flag money day category list struct struct.target two.b; do
    expect "Parquet: $column" 0 '^answers ' \
        "$app" eval data.val_files="$top/tests/data/parquet/answers.parquet" data.answer_key=$column
done
