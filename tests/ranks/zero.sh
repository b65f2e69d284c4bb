#!/usr/bin/env bash
# zero.sh: runs of 1, 2 and 4 ranks with actor.zero=0, 1 and 2 are the same run: metrics within 1e-6 and weights within
# 1e-5 of the run of one process (bf16 moments: see near); zero 0 and 1, and a run made again, byte for byte. Many small
# packs, branches trained. FULL=1: 20 steps. With actor.grad_sum=fast, which is all that actor.zero=2 has; train.sh has
# exact.
# Usage: tests/ranks/zero.sh build/cpu
set -uo pipefail
# shellcheck source=tests/ranks/lib.sh
. "$(dirname "$0")/lib.sh"
same=$tests/engine/run/test_same_run
cd "$tmp" || exit 1

for n in 1 2 3 4; do
    expect "updates of $n ranks" 0 "updates of $n ranks: right" "${ranks[@]}" $n \
        "$tests/engine/learner/test_zero_ranks"
done
steps=4
[ -z "${FULL:-}" ] || steps=20
small=(--memory --seed 3 --steps $steps data.train_batch_size=8 actor.ppo_mini_batch_size=4 rollout.n=8
    rollout.initial_rollouts=4 trainer.val_before_train=false trainer.test_freq=-1 data.val_per_family=1
    trainer.threads=1 trainer.save_minutes=0 actor.grad_sum=fast)

# run NAME RANKS KEYS...
run() {
    local launch=()
    [ "$2" = 1 ] || launch=("${ranks[@]}" "$2")
    timeout -k 5 150 "${launch[@]}" "$app" debug "${small[@]}" trainer.default_local_dir="$1" "${@:3}" >"$1.out" 2>&1
    local status=$?
    check "$1 ends well" test $status = 0
    [ $status = 0 ] || tail -n 5 "$1.out"
}
metrics() { echo "$1"/*/*/metrics.jsonl; }
weights() { echo "$1"/*/*/global_step_*/actor/huggingface/model.safetensors; }
# near A B: metrics to 1e-6, weights to 1e-5. bf16 moments are rounded stochastically: where a gradient's last bit
# decides to which side, a moment changes by 1/256 and its weight by a hundredth of the rate (20 steps: 2.8e-5).
near() {
    local m=1e-6 w=1e-5
    [[ $1 != bf16* ]] || m=1e-5 w=1e-4
    expect "$1 and $2: metrics" 0 'same: ' "$same" "$(metrics "$1")" "$(metrics "$2")" $m
    expect "$1 and $2: weights" 0 'same: ' "$same" "$(weights "$1")" "$(weights "$2")" $w
}
# equal A B: the same bytes, but for what a clock decides
steady() { sed -E 's/"(timing_|perf\/|ranks\/)[^"]*":[^,}]*,?//g; s/,\}/}/g' "$(metrics "$1")"; }
equal() {
    check "$1 and $2 have the same weights" cmp "$(weights "$1")" "$(weights "$2")"
    steady "$1" >steady.1
    steady "$2" >steady.2
    check "$1 has metrics" test -s steady.1
    check "$1 and $2 have the same metrics" cmp steady.1 steady.2
}

packs=(actor.ppo_max_token_len_per_gpu=160 branch.train=on)
for moments in fp32 bf16; do
    keys=("${packs[@]}" actor.optim.state_dtype=$moments)
    run $moments-1 1 "${keys[@]}"
    for n in 2 4; do
        for zero in 0 1 2; do
            [ $n$zero != 40 ] || continue
            run $moments-$n-zero$zero $n "${keys[@]}" actor.zero=$zero
            near $moments-1 $moments-$n-zero$zero
        done
    done
    equal $moments-2-zero0 $moments-2-zero1
done

# Memory of gradient and AdamW. fp32: 3 numbers a weight; of 4 ranks with zero 1: 1 + 2/4; with zero 2 nearly 3/4 and
# three buckets.
memory() { awk '/^arena optimizer/ { print $3 }' "$1.out"; }
# at_most NAME PART WHOLE SHARE
at_most() { check "$1: $2 of $3 MiB" awk "BEGIN { exit !($2 > 0 && $2 <= $4 * $3) }"; }
at_most "zero 0 of 2 ranks" "$(memory fp32-2-zero0)" "$(memory fp32-1)" 1
at_most "zero 1 of 2 ranks" "$(memory fp32-2-zero1)" "$(memory fp32-1)" 0.68
at_most "zero 1 of 4 ranks" "$(memory fp32-4-zero1)" "$(memory fp32-1)" 0.51
at_most "zero 2 of 4 ranks" "$(memory fp32-4-zero2)" "$(memory fp32-4-zero1)" 0.95
run again 4 "${packs[@]}" actor.optim.state_dtype=bf16 actor.zero=2
equal bf16-4-zero2 again
check "a rank's part of the gradient differs from the whole by rounding" \
    test "$(cmp "$(weights bf16-4-zero1)" "$(weights bf16-4-zero2)" >/dev/null 2>&1 && echo same)" != same

# More ranks than the update has trajectories: a rank without any takes part with zeros.
few=(data.train_batch_size=1 actor.ppo_mini_batch_size=1 rollout.n=2 rollout.initial_rollouts=2
    algorithm.adv_estimator=grpo --steps 3)
run few-1 1 "${few[@]}"
for zero in 0 2; do
    run few-4-zero$zero 4 "${few[@]}" actor.zero=$zero
    near few-1 few-4-zero$zero
done
finish
