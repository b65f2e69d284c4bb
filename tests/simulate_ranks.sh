#!/usr/bin/env bash
# simulate_ranks.sh: the simulator against real runs of the embedded policy with 1, 2 and 4 ranks of one thread; by
# hand. The cost model is fitted to runs with batches of 12 and 52 prompts and predicts a step of 26 with as many ranks;
# measured is the mean of the steps but the first. Short runs take turns, $REPEAT (5) times, so that other work on the
# machine meets all alike; with much of it the result is chance.
# Usage: tests/simulate_ranks.sh build/cpu [CORES]; ends with status 1 where a prediction is off by more than 15 %.
set -uo pipefail
# shellcheck source=tests/ranks/lib.sh
. "$(dirname "$0")/ranks/lib.sh"
cores=${2:-$(nproc)}
cd "$tmp" || exit 1
batch() { echo "data.train_batch_size=$(($1 * 2)) actor.ppo_mini_batch_size=$1"; }

# run NAME RANKS STEPS MINI-BATCH [KEY=VALUE ...]
run() {
    # shellcheck disable=SC2046
    "${ranks[@]}" "$2" ${FIRST:-} "$app" train trainer.total_training_steps="$3" $(batch "$4") trainer.threads=1 \
        trainer.default_local_dir=. trainer.project_name=p trainer.experiment_name="$1" trainer.save_freq=0 \
        trainer.test_freq=0 trainer.val_before_train=false trainer.rollout_data_dir= "${@:5}" >"$1.log" 2>&1 ||
        { tail -n 5 "$1.log" && exit 1; }
}
# times RUN: seconds of its steps but the first
times() { grep -o '"timing_s/step":[0-9.e-]*' "p/$1/metrics.jsonl" | tail -n +2 | cut -d: -f2; }
mean() { awk '{ sum += $1 } END { print sum / NR }'; }

# predict RANKS RUN,...: seconds of a step of 26 prompts
predict() {
    local files=''
    for f in ${2//,/ }; do files+=${files:+,}p/$f/metrics.jsonl; done
    "$app" plan --simulate --calibrate "$files" ranks="$1" steps=20 cores="$cores" threads=1 --json out.json \
        >table.txt || exit 1
    grep -o '"step_s": [0-9.e-]*' out.json | cut -d' ' -f2
}
# compare RANKS WHAT RUN,...
compare() {
    local p m
    p=$(predict "$1" "$3") m=$(cat "measured-$1")
    awk -v r="$1" -v what="$2" -v p="$p" -v m="$m" \
        'BEGIN { printf "%d ranks, fitted to %-28s simulated %.4f s, measured %.4f s: %+.1f %%\n", r, what, p, m,
            100 * (p / m - 1); exit !(p / m > 0.85 && p / m < 1.15) }'
}

repeat=${REPEAT:-5}
# all runs of one number of ranks in turns, so that other work on the machine meets them alike
for n in 1 2 4; do
    fitted=''
    for k in $(seq "$repeat"); do
        run "small$n-$k" $n 12 6
        run "as$n-$k" $n 8 13
        run "large$n-$k" $n 5 26
        fitted+=${fitted:+,}small$n-$k,large$n-$k
        times "as$n-$k" >>"all-$n"
    done
    mean <"all-$n" >"measured-$n"
    if compare $n "batches of 12 and 52" "$fitted"; then ok; else bad "$n ranks" "off by more than 15 %"; fi
    [ $n != 1 ] || one=$fitted
done
# only where nothing else runs: ranks in step wait for the one that shares its core
compare 2 "one rank, for a quiet machine" "$one"
finish
