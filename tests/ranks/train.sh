#!/usr/bin/env bash
# train.sh: the embedded run on 1, 2, 3 and 4 ranks: the same tokens, rewards and calls, metrics within 1e-6 and final
# weights within 1e-5 of a run of one process. With numbers stored as double: the gradient's sum has another order for
# each number of ranks, and in float its rounding decides a sampled token after some ten steps. FULL=1: 20 steps. In
# float the same holds with actor.grad_sum=exact, for 20 steps.
# Usage: tests/ranks/train.sh build/cpu, beside which lies build/cpu-double (make REAL=double all)
set -uo pipefail
. "$(dirname "$0")/lib.sh"
float=$app
app=$(readlink -f "$1")-double/appo
number=f8
steps=3
[ "${FULL:-0}" = 1 ] && steps=20
small=(--seed 3 data.val_per_family=1 data.train_batch_size=12 actor.ppo_mini_batch_size=4 rollout.n=8
    rollout.initial_rollouts=2 trainer.threads=1 trainer.val_before_train=false)

# run NAME RANKS ARGUMENTS...: into $tmp/NAME-RANKS; 0 ranks: without mpirun
run() {
    local dir=$tmp/$1-$2 n=$2 launch=(timeout 600)
    shift 2
    [ "$n" = 0 ] || launch=(timeout -k 5 600 "$mpirun" "${mpi_options[@]}" -n "$n")
    "${launch[@]}" "$app" debug "${small[@]}" --steps $steps trainer.default_local_dir="$dir" \
        trainer.rollout_data_dir="$dir/rollouts" "$@" >"$dir.out" 2>&1
}
log() { find "$1" -name metrics.jsonl | head -n 1; }
# a line a number: step, name, value; without what a clock or who ran what decides
numbers() {
    awk '{ match($0, /"step":[0-9]+/); step = substr($0, RSTART + 7, RLENGTH - 7)
           sub(/.*"data":\{/, ""); sub(/\}\}.*/, ""); n = split($0, part, ",")
           for (i = 1; i <= n; i++) {
               name = value = part[i]; sub(/:[^:]*$/, "", name); sub(/.*:/, "", value)
               if (name !~ /"(timing_|perf\/|ranks\/)/) print step name, value } }' "$(log "$1")"
}
tokens() {
    for step in $(seq $steps); do zcat "$1/rollouts/$step.jsonl.gz" || return 1; done |
        grep -oE '"(ids|mask)":\[[^]]*\]|"(prompt|rollout|score|branch_index|finish)":[^,]*|"query":"[^"]*"'
}
weights() {
    local file header
    file=$(find "$1" -path "*global_step_$steps/*" -name model.safetensors | head -n 1)
    header=$(od -An -tu8 -N8 "$file") || return 1
    od -An -v -w"${number#f}" -t"$number" -j $((8 + header)) "$file"
}
# within FILE FILE LIMIT: as many lines; equal, or with last fields that differ by at most LIMIT (1 + |x|)
within() {
    [ -s "$1" ] && [ "$(wc -l <"$1")" = "$(wc -l <"$2")" ] || return 1
    paste -d ' ' "$1" "$2" | awk -v limit="$3" '{
        n = NF / 2; x = $n; y = $NF; d = x > y ? x - y : y - x
        if ((n > 1 && $1 != $(n + 1)) || (x != y && !(d <= limit * (1 + (x < 0 ? -x : x))))) { print; bad = 1 }
    } END { exit bad }'
}
same() { # NAME RANKS
    local one=$tmp/$1-0 many=$tmp/$1-$2
    within "$one.numbers" "$many.numbers" 1e-6 >"$many.off" || { bad "$1 on $2 ranks" metrics; head -n 3 "$many.off"; }
    check "$1 on $2 ranks: tokens, rewards, calls" cmp "$one.tokens" "$many.tokens"
    check "$1 on $2 ranks: final weights" within "$one.weights" "$many.weights" 1e-5
}

# one NAME RANKS ARGUMENTS...: runs it and keeps what is compared
one() {
    local name=$1 n=$2 dir=$tmp/$1-$2
    if ! run "$@"; then
        bad "$name on $n ranks" "does not end well"
        tail -n 4 "$dir.out"
        return
    fi
    numbers "$dir" >"$dir.numbers"
    tokens "$dir" >"$dir.tokens"
    weights "$dir" >"$dir.weights"
    rm -rf "$dir"/rollouts
    [ "$n" = 0 ] || same "$name" "$n"
    [ "$n" -lt 2 ] || check "$name on $n ranks: metrics of ranks" grep -q '"ranks/tokens/min":' "$(log "$dir")"
    [ "$n" != 0 ] || check "$name: there are rollouts to compare" test -s "$dir.tokens"
}

for n in 0 1 2 3 4; do one appo $n; done
for n in 0 2; do one grpo $n algorithm.adv_estimator=grpo actor.kl_loss_coef=0.01 actor.ppo_epochs=2; done
for n in 0 2 4; do one train $n branch.train=on; done
for n in 0 3; do one step $n branch.when=step actor.ppo_epochs=2; done
for n in 0 3; do
    one rounds $n branch.rounds=2 branch.train=on branch.omega=previous actor.kl_loss_coef=0.01
done
for n in 0 2; do one slots $n rollout.max_num_seqs=3 data.train_batch_size=6 actor.ppo_mini_batch_size=1; done

# A signal to the last rank alone stops all; the same command goes on and ends with the numbers of a run that was not
# stopped.
pid_of_rank() { # the process of the program that has this rank in this folder
    local p
    for p in $(pgrep -f -- "default_local_dir=$2 "); do
        [ "$(readlink "/proc/$p/exe")" = "$app" ] || continue
        tr '\0' '\n' <"/proc/$p/environ" | grep -qxE "(OMPI_COMM_WORLD_RANK|PMI_RANK)=$1" && echo "$p"
    done
}
run stopped 2 &
for _ in $(seq 3000); do
    [ -n "$(log "$tmp/stopped-2" 2>/dev/null)" ] && grep -qs '"step":1,' "$(log "$tmp/stopped-2")" && break
    sleep 0.02
done
pid=$(pid_of_rank 1 "$tmp/stopped-2")
[ -n "$pid" ] && kill -INT "$pid"
wait
check "a rank that is stopped stops all" grep -q 'stopped after step' "$tmp/stopped-2.out"
run stopped 2
numbers "$tmp/stopped-2" >"$tmp/stopped-2.numbers"
check "a stopped run of two ranks continues to the same numbers" cmp "$tmp/appo-2.numbers" "$tmp/stopped-2.numbers"

app=$float number=f4 steps=20
for n in 0 2 4; do one exact $n actor.grad_sum=exact; done
one exact 3 actor.grad_sum=exact actor.zero=1
expect "an exact sum needs whole gradients" 2 "set actor.zero=1, or actor.grad_sum=fast" \
    "$app" debug actor.grad_sum=exact actor.zero=2
finish
