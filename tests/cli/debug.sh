#!/usr/bin/env bash
# debug.sh: a short `debug` run from end to end: the report and the metrics hold what they must; 1 and 2 threads give
# the same metrics, and so does a run that was stopped and resumed.
# Usage: tests/cli/debug.sh build/cpu/appo
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
small=(data.val_per_family=1 data.train_batch_size=13 actor.ppo_mini_batch_size=13 rollout.n=8
    rollout.initial_rollouts=2 --seed 5)

# metrics without what a clock decides
steady() { sed -E 's/"(timing_|perf\/)[^"]*":[^,}]*,?//g; s/,\}/}/g' "$1"; }
run() { # folder, further arguments
    local dir=$1
    shift
    timeout 240 "$app" debug "${small[@]}" trainer.default_local_dir="$dir" "$@" >"$dir.out" 2>"$dir.err"
}
metrics() { find "$1" -name metrics.jsonl | head -n 1; }

run one --steps 3 trainer.threads=1 --report one.json trainer.rollout_data_dir=dump trainer.logger=console,tensorboard
check "a run ends well" test $? = 0
[ -s one.json ] || { tail -n 5 one.err; }
for key in before after wall_s tokens_generated tokens_trained rollout_probs_diff_max config; do
    check "the report has $key" grep -qE "\"$key\" *:" one.json
done
check "sampled and trained log-probabilities are the same bits" grep -qE \
    '"rollout_probs_diff_max" *: *0(\.0+)?[,} ]*$|"rollout_probs_diff_max" *: *0(\.0+)?[,}]' one.json
m=$(metrics one)
check "metrics.jsonl" test -s "$m"
for name in actor/pg_loss actor/grad_norm critic/rewards/mean response_length/mean training/rollout_probs_diff_max \
    timing_s/gen perf/throughput; do
    check "metrics have $name" grep -q "\"$name\":" "$m"
done
for step in 1 2 3; do
    check "metrics of step $step" test "$(grep -c "^{\"step\":$step,.*\"actor/pg_loss\"" "$m")" = 1
    check "rollouts of step $step" sh -c "zcat dump/$step.jsonl.gz | grep -q '\"output\"'"
done
check "a TensorBoard file" test -n "$(find one -name 'events.out.tfevents.*' -size +0)"
check "a line a step on the console" test "$(grep -cE '^step:[0-9]+ - ' one.out)" -ge 3
check "a table of families" grep -q threehop one.out

run two --steps 3 trainer.threads=2
check "two threads end well" test $? = 0
steady "$m" >one.steady
steady "$(metrics two)" >two.steady
check "there are metrics to compare" test -s one.steady
check "1 and 2 threads give the same metrics" cmp one.steady two.steady

# stopped in the middle, resumed; without timeout(1), which would pass the signal on twice, and a second one ends the
# program at once
"$app" debug "${small[@]}" trainer.default_local_dir=cut --steps 3 trainer.threads=1 >cut.out 2>cut.err &
pid=$!
running() { kill -0 $pid 2>/dev/null; }
for _ in $(seq 6000); do
    if grep -qs '"step":1,' cut/*/*/metrics.jsonl || ! running; then break; fi
    sleep 0.02
done
kill -INT $pid
for _ in $(seq 6000); do
    running || break
    sleep 0.02
done
kill -KILL $pid 2>/dev/null
wait $pid
check "an interrupted run ends with status 130" test $? = 130
check "an interrupted run says how to resume" grep -qE 'continues from there|resume' cut.out
check "it left a checkpoint" test -n "$(find cut -name 'latest_checkpointed_iteration.txt')"
check "nothing half-written" test -z "$(find cut -name '*.tmp*')"
# as of a process that was killed while it wrote
left=$(dirname cut/*/*/latest_checkpointed_iteration.txt)/global_step_7.99999999.tmp
mkdir -p "$left/actor"
run cut --steps 3 trainer.threads=1
check "the resumed run ends well" test $? = 0
check "what a killed process left is gone" test ! -e "$left"
steady "$(metrics cut)" >cut.steady
check "a resumed run's metrics are those of one that never stopped" cmp one.steady cut.steady

# damaged checkpoints, where there is no other: a message that names the file and what can be done, and the run is not
# begun again over it
rm -rf whole
cp -r cut whole
for n in 1 2; do rm -rf whole/appo/debug/global_step_$n; done
state=cut/appo/debug/global_step_3/state.json
# hurt NAME REGEX COMMAND FURTHER...: a fourth step after the checkpoint of the third was damaged by a shell command
hurt() {
    local name=$1 words=$2
    rm -rf cut && cp -r whole cut && eval "$3"
    shift 3
    expect "$name" 1 "$words" \
        "$app" debug "${small[@]}" trainer.default_local_dir=cut --steps 4 trainer.threads=1 trainer.resume=auto "$@"
    check "$name: no fourth step" test ! -e cut/appo/debug/global_step_4
    check "$name: the old metrics stay" cmp -s whole/appo/debug/metrics.jsonl cut/appo/debug/metrics.jsonl
}
key() { sed -Ei "s/(^ \"$1\" *: *)[^,]*/\1$2/" $state; rm cut/appo/debug/global_step_3/manifest; }
old='no checkpoint in .* is whole; trainer\.resume=off'
hurt "a state cut short" "$old.*state\.json: damaged: has 200 bytes" 'truncate -s 200 $state'
hurt "no state" "$old.*state\.json: No such file" 'rm $state'
hurt "no manifest" "$old.*manifest: No such file: .*trainer\.verify=off" 'rm cut/appo/debug/global_step_3/manifest'
# what is in the files is looked at even where checksums are not
raw=trainer.verify=off
hurt "a step below 0" 'state\.json: .*step must be a whole number' 'key step -3' $raw
hurt "a step of 33 bits" 'state\.json: .*step must be a whole number' 'key step 4294967299' $raw
hurt "another step than the folder's" 'state\.json: is the state after step 2, not 3' 'key step 2' $raw
hurt "updates below 0" 'state\.json: .*updates must be a whole number' 'key updates -1' $raw
hurt "no configuration" 'state\.json: not the state of a run' 'sed -i "s/\"config\":/\"was\":/" $state; key step 3' $raw
hurt "an optimizer cut short" "optimizer\.safetensors: damaged: has 50000 bytes" \
    'truncate -s 50000 cut/appo/debug/global_step_3/actor/optimizer.safetensors' $raw
hurt "weights cut short" "$old.*model\.safetensors: damaged: has 50000 bytes" \
    'truncate -s 50000 cut/appo/debug/global_step_3/actor/huggingface/model.safetensors'
hurt "heads cut otherwise" 'huggingface: its shape differs' 'key step 3
    sed -Ei "s/(num_attention_heads\": *)4/\18/; s/(num_key_value_heads\": *)2/\14/; s/(head_dim\": *)24/\112/" \
        cut/appo/debug/global_step_3/actor/huggingface/config.json' $raw
hurt "no checkpoint at all" \
    "latest_checkpointed_iteration\.txt: names step 3, but no checkpoint is here" 'rm -rf cut/appo/debug/global_step_3'
rm -rf whole

# moments of bf16: rounded at random, and yet the same after a resume
last() { steady "$(metrics "$1")" | grep '^{"step":3,'; }
bytes() { find "$1" -path "*global_step_3/*" -name optimizer.safetensors -printf '%s\n'; }
for steps in 2 3; do run half --steps $steps actor.optim.state_dtype=bf16 trainer.resume=auto; done
run whole --steps 3 actor.optim.state_dtype=bf16
check "a run with moments of bf16 ends well" test $? = 0
last half >half.last
last whole >whole.last
check "its third step is there" test -s whole.last
check "and is the same after a resume" cmp half.last whole.last
check "and is not the one of fp32" test -n "$(last one | cmp - whole.last 2>&1)"
check "its optimizer state is half as large" test "$(($(bytes whole) * 2))" -lt "$(($(bytes one) + 100000))"
finish
