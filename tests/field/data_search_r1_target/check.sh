# shellcheck shell=bash disable=SC2154
for f in row.jsonl row.parquet; do
    expect "$f" 0 '^nq +[0-9.]+ ' "$app" eval data.val_files="$here/$f"
    expect "$f, the path said" 0 '^nq +[0-9.]+ ' \
        "$app" eval data.val_files="$here/$f" data.answer_key=reward_model.ground_truth.target
done
# the embedded policy's greedy answer to this question is 324: any of the list is right
for answer in '{"target":["x","324"]}' '{"target":"324","pad":null}' '["x",324]' 324.0 '"324"' '"so\n#### 324"'; do
    printf '{"data_source":"s","prompt":"take 18, times 2, times 9.","reward_model":%s}\n' \
        "{\"style\":\"rule\",\"ground_truth\":$answer}" >"$tmp/one.jsonl"
    expect "graded with $answer" 0 '^s +[0-9.]+( \([^)]*\))? +100\.0 ' "$app" eval data.val_files="$tmp/one.jsonl"
done
echo '{"prompt":"take 18, times 2, times 9.","golden_answers":["324"]}' >"$tmp/one.jsonl"
expect "golden_answers" 0 '^one +[0-9.]+( \([^)]*\))? +100\.0 ' "$app" eval data.val_files="$tmp/one.jsonl"
echo '{"prompt":"take 18, times 2, times 9.","reward_model":{"ground_truth":{"target":["1","2"]}}}' >"$tmp/one.jsonl"
expect "none of the list" 0 '^one +[0-9.]+( \([^)]*\))? +0\.0 ' "$app" eval data.val_files="$tmp/one.jsonl"
echo '{"prompt":"p","reward_model":{"ground_truth":{"value":"1","other":"2"}}}' >"$tmp/one.jsonl"
expect "another object" 1 \
    'one.jsonl:1: the answer "reward_model.ground_truth" is an object with value, other: name its member' \
    "$app" eval data.val_files="$tmp/one.jsonl"
