#!/usr/bin/env bash
# resume.sh: a run goes on with another number of ranks (4, then 2, then 1; 1, then 4) and with another actor.zero:
# its metrics are those of a run of one process up to 1e-6, its weights up to 1e-5. Branch scores, ratios of
# probabilities and the gradient's norm magnify the rounding of single precision (2.8e-5 between 1 and 4 ranks that
# nothing has stopped): up to 1e-4. With actor.grad_sum=fast, which is all that actor.zero=2 has. What a checkpoint of
# several ranks is good for beside that; which files of it are rejected.
# Usage: tests/ranks/resume.sh build/cpu
set -uo pipefail
# shellcheck source=tests/ranks/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
in=appo/debug
run=("$app" debug data.val_per_family=1 trainer.val_before_train=false trainer.save_freq=1 trainer.test_freq=3
    data.train_batch_size=4 actor.ppo_mini_batch_size=2 rollout.n=8 rollout.initial_rollouts=2 trainer.threads=1
    trainer.resume=auto actor.grad_sum=fast)

# goes FOLDER STEPS RANKS KEY...: from where the folder ends to step STEPS
goes() {
    local folder=$1 steps=$2 n=$3
    shift 3
    "${ranks[@]}" "$n" "${run[@]}" --steps "$steps" trainer.default_local_dir="$folder" "$@" >said 2>&1 && return
    bad "$folder: $n ranks to step $steps" "status $?"
    tail -n 4 said
}
# The metrics of all steps, without times and the evaluations, which follow the last step of each part; the weights.
pairs() {
    sed -E 's/"(timing_|perf\/|ranks\/|val-)[^"]*":[^,}]*,?//g' "$1/$in/metrics.jsonl" | tr ',{}' '\n\n\n' | grep ':'
}
numbers() { od -An -v -t f4 -w4 -j "$((8 + $(od -An -t u8 -N 8 "$1")))" "$1"; }
farthest() { # of two columns; relative above 1
    awk 'function a(x) { return x < 0 ? -x : x }
        { d = a($1 - $2) / (a($1) > 1 ? a($1) : 1); if (!(d <= m)) m = d } END { printf "%.3g\n", m }'
}
within() { awk -v x="$1" -v most="$2" 'BEGIN { exit !(x <= most) }'; }
magnified='appo/branch_score|omega|future_factor|probs_diff|ppo_kl|grad_norm'
difference() { paste <(grep "$@" a | sed 's/.*://') <(grep "$@" b | sed 's/.*://') | farthest; }
near() { # NAME FOLDER OTHER
    local names metrics ratios weights
    pairs "$2" >a && pairs "$3" >b
    names=$(cmp -s <(sed 's/:.*//' a) <(sed 's/:.*//' b) && echo same)
    check "$1: the same metrics, by name and step" test "$names" = same
    metrics=$(difference -vE "$magnified") ratios=$(difference -E "$magnified")
    weights=$(paste <(numbers "$2/$in/global_step_6/actor/huggingface/model.safetensors") \
        <(numbers "$3/$in/global_step_6/actor/huggingface/model.safetensors") | farthest)
    echo "$1: metrics differ by at most $metrics, scores and ratios by $ratios, weights by $weights"
    check "$1: metrics up to 1e-6: $metrics" within "$metrics" 1e-6
    check "$1: scores and ratios up to 1e-4: $ratios" within "$ratios" 1e-4
    check "$1: weights up to 1e-5: $weights" within "$weights" 1e-5
}

goes one 6 1
goes fewer 2 4
check "4 ranks write 4 files" [ "$(find fewer/$in/global_step_2/actor/optim -type f | wc -l)" = 4 ]
cp -r fewer base
goes fewer 4 2
check "it is said that the number has changed" grep -q 'was written by a run of 4 ranks, this one has 2' said
goes fewer 6 1
check "one process writes one file" [ -f fewer/$in/global_step_6/actor/optimizer.safetensors ]
near "4, 2, 1 ranks" one fewer
goes more 3 1
goes more 6 4
near "1, 4 ranks" one more
if "$app" keys actor.zero 2>/dev/null | grep -q '^actor.zero'; then
    goes zero 2 2 actor.zero=0
    goes zero 4 4 actor.zero=1
    goes zero 6 2 actor.zero=2
    near "actor.zero 0, 1, 2 with 2, 4, 2 ranks" one zero
fi

goes minutes 3 2 trainer.save_freq=0 trainer.save_minutes=0.00001 comm.timeout=20
check "the first rank's clock decides when a checkpoint is old" [ -e minutes/$in/global_step_2/actor/optim ]

# the weights of such a checkpoint are whole
hf=fewer/$in/global_step_4/actor/huggingface
expect "its model generates" 0 . "$app" generate model.path=$hf --max 4 --prompt 'what is 1 + 1?'
expect "its model is exported" 0 . "$app" export model.path=$hf out=exported

# hurt NAME WORDS COMMAND...: what the command does to the only checkpoint is named, and the run does not start
hurt() {
    local name=$1 words=$2
    shift 2
    rm -rf h && cp -r base h && rm -rf h/$in/global_step_1
    (cd h/$in/global_step_2/actor/optim && "$@")
    expect "$name" 1 "$words" "${ranks[@]}" 2 "${run[@]}" --steps 4 trainer.default_local_dir=h "${keys[@]}"
}
third=rank_0002_of_0004.safetensors
keys=()
hurt "a file is missing" "$third: No such file" rm $third
hurt "a file is cut short" "$third: damaged: has 1000 bytes" truncate -s 1000 $third
hurt "a file of another step" "$third: damaged" cp "$tmp/base/$in/global_step_1/actor/optim/$third" .
keys=(trainer.verify=off)
hurt "unchecked: a file is missing" "$third: No such file" rm $third
hurt "unchecked: of another step" "$third: is the state after step 1, not 2" \
    cp "$tmp/base/$in/global_step_1/actor/optim/$third" .
hurt "unchecked: of another rank" \
    "$third: (is the state that rank 1 of 4 wrote|damaged: has)" cp rank_0001_of_0004.safetensors $third
finish
