# shellcheck shell=bash disable=SC2154
rows=$here/rows.jsonl
say() { echo \
    "rows.jsonl:1: no column \"$1\", which data.$2 names, or it is null here; there are question, my_prompt, answer"; }
expect "prompt_key, train" 1 "$(say my_promt prompt_key)\. Did you mean my_prompt\?" \
    "$app" train data.train_files="$rows" data.prompt_key=my_promt trainer.default_local_dir="$tmp/run"
check "nothing was trained" test ! -e "$tmp/run"
expect "prompt_key, eval" 1 "$(say my_promt prompt_key)" "$app" eval data.val_files="$rows" data.prompt_key=my_promt
expect "verl's name of it" 1 "$(say prompt prompt_key)" "$app" eval data.val_files="$rows" data.prompt_key=prompt
expect "source_key" 1 "$(say nosuch source_key)" "$app" eval data.val_files="$rows" data.source_key=nosuch
expect "answer_key" 1 "$(say anwser answer_key)\. Did you mean answer\?" \
    "$app" eval data.val_files="$rows" data.answer_key=anwser
expect "sft, prompt_key" 1 "$(say my_promt prompt_key)" \
    "$app" sft data.train_files="$rows" data.prompt_key=my_promt sft.save="$tmp/sft"
expect "sft, answer_key" 1 "$(say anwser answer_key)" \
    "$app" sft data.train_files="$rows" data.answer_key=anwser sft.save="$tmp/sft"
expect "the right name" 0 '^1 +[0-9.]+ ' \
    "$app" eval data.val_files="$rows" data.prompt_key=my_prompt data.source_key=answer
expect "in a row further down" 1 'mixed.jsonl:3: no column "my_prompt"' \
    "$app" eval data.val_files="$tmp/mixed.jsonl" data.prompt_key=my_prompt \
    < <(sed 's/^/ /' "$rows" >"$tmp/mixed.jsonl"; echo '{"question":"q","answer":1}' >>"$tmp/mixed.jsonl")
