#!/usr/bin/env bash
# efficiency.sh: the same training steps on 1 rank and on 2, one thread each: seconds of a step and of its phases, and
# the efficiency (seconds of 1 rank) / (2 x seconds of 2 ranks); processor_s: user and system seconds of all ranks for
# the whole run. By hand, on two cores without other work, or by root with chrt -r 5 before it (the suite runs
# executable scripts alone). STEPS=N: other than 6.
# Usage: bash tests/ranks/efficiency.sh build/cpu [key=value ...]
set -uo pipefail
. "$(dirname "$0")/lib.sh"
shift
steps=${STEPS:-6}
work=(--seed 1 --steps "$steps" data.val_per_family=1 trainer.val_before_train=false trainer.threads=1
    data.train_batch_size=128 actor.ppo_mini_batch_size=64 rollout.n=16 rollout.initial_rollouts=8
    rollout.max_num_seqs=512 rollout.max_num_batched_tokens=1024 "$@")

# phases FOLDER: mean seconds of each phase, without the first step, "name seconds" a line
phases() {
    grep -E '"timing_s/step"' "$(find "$1" -name metrics.jsonl)" | tail -n +2 |
        grep -oE '"((timing_s|ranks)/[a-z_/]*|perf/[a-z_]*rows)":[-0-9.e+]*' |
        awk -F'[":]+' '{ sum[$2] += $3; n[$2]++ } END { for (k in sum) print k, sum[k] / n[k] }' | sort
}
for n in 1 2; do
    dir=$tmp/$n
    launch=()
    [ $n = 1 ] || launch=("$mpirun" "${mpi_options[@]}" -n $n)
    TIMEFORMAT='processor_s %U %S'
    { time "${launch[@]}" "$app" debug "${work[@]}" trainer.default_local_dir="$dir" >"$dir.out" 2>&1; } \
        2>"$dir.time" || { tail -n 5 "$dir.out"; exit 1; }
    { phases "$dir"; awk '{ print $1, $2 + $3 }' "$dir.time"; } | sort >"$dir.phases"
done
join -a 2 -o 0,1.2,2.2 -e - "$tmp/1.phases" "$tmp/2.phases" | awk '
    BEGIN { printf "%-26s %9s %9s\n", "", "1 rank", "2 ranks" }
    { printf "%-26s %9.4g %9.4g", $1, $2, $3
      if ($1 == "processor_s") printf "   %3.0f %%", 100 * $2 / $3
      if ($1 ~ /timing_s/ && $2 > 0.001) printf "   %3.0f %%", 100 * $2 / (2 * $3)
      print "" }
    $1 == "timing_s/step" { e = $2 / (2 * $3) }
    END { printf "efficiency %.1f %%\n", 100 * e }'
