# shellcheck shell=bash disable=SC2154
cd "$tmp" || exit
rows() { # ABILITY SOURCE ANSWER MORE
    printf '{"question":"take 18, times 2, times 9.","answer":"%s","ability":"%s","data_source":"%s"%s}\n' "$3" "$1" \
        "$2" "$4"
    printf '{"question":"take 59, minus 49, times 6.","answer":"60","ability":"%s","data_source":"%s"%s}\n' "$1" "$2" \
        "$4"
}
rows qa sums 324 '' >set.jsonl
printf '{"capital of France":"Page 1: Paris"}' >searches.json
train=("$app" train data.train_batch_size=2 actor.ppo_mini_batch_size=2 rollout.n=4 trainer.val_before_train=false
    data.max_response_length=40)
expect "a step" 0 '1 steps in' "${train[@]}" data.train_files=set.jsonl tools.search_cache=searches.json \
    trainer.default_local_dir=run trainer.total_training_steps=1
again() { # NAME STATUS WORDS FILE CACHE: the second step in a copy of the first run
    rm -rf copy
    cp -r run copy
    expect "$1" "$2" "$3" "${train[@]}" data.train_files="$4" tools.search_cache="$5" trainer.default_local_dir=copy \
        trainer.total_training_steps=2
}
others='data.train_files.* hold.? other prompts'
rows math sums 324 '' >ability.jsonl
again "another rule" 1 "$others" ability.jsonl searches.json
rows qa others 324 '' >source.jsonl
again "another data_source" 1 "$others" source.jsonl searches.json
rows qa sums 325 '' >answer.jsonl
again "another answer" 1 "$others" answer.jsonl searches.json
tac set.jsonl >order.jsonl
again "another order" 1 "$others" order.jsonl searches.json
printf '{"capital of France":"Page 1: Lyon"}' >lyon.json
again "other searches" 1 'search_cache' set.jsonl lyon.json
rows qa sums 324 ',"id":NaN,"index":7' | gzip -c >renamed.jsonl.gz
cp searches.json moved.json
again "other names, packing and columns that nobody reads" 0 'resumed after step 1 from' renamed.jsonl.gz moved.json
