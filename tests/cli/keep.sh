#!/usr/bin/env bash
# keep.sh: what a run keeps: the lock, the files of an earlier run, damaged checkpoints and metrics, which checkpoints
# stay, signals, rollouts. tests/torture.sh does more of each.
# Usage: tests/cli/keep.sh build/cpu/appo
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
small=(data.val_per_family=1 data.train_batch_size=4 actor.ppo_mini_batch_size=2 rollout.n=4 rollout.initial_rollouts=2
    branch.points=1 trainer.threads=1 trainer.save_freq=1)
in=appo/debug

train() { # folder, further arguments
    local d=$1
    shift
    timeout 100 "$app" train "${small[@]}" trainer.default_local_dir="$d" "$@"
}
wanted() { # NAME STATUS REGEX FOLDER ARGUMENTS...
    local name=$1 status=$2 words=$3 d=$4
    shift 4
    expect "$name" "$status" "$words" "$app" train "${small[@]}" trainer.default_local_dir="$d" "$@"
}
sums() { (cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2); }
steady() { sed -E 's/"(timing_|perf\/)[^"]*":[^,}]*,?//g; s/,\}/}/g' "$1"; }
# without how long a call took
rollouts() { for f in "$1/$in"/rollouts/*; do echo \
    "${f##*/} $(zcat "$f" | sed -E 's/"ms":[0-9.e-]+//g' | sha256sum)"; done; }
# what must be the same: metrics without times, the last checkpoint's tensors, the rollouts
same() { # NAME A B STEP
    local f
    steady "$2/$in/metrics.jsonl" >a.steady
    steady "$3/$in/metrics.jsonl" >b.steady
    check "$1: metrics" cmp a.steady b.steady
    for f in actor/huggingface/model.safetensors actor/optimizer.safetensors; do
        check "$1: $f" cmp "$2/$in/global_step_$4/$f" "$3/$in/global_step_$4/$f"
    done
    check "$1: rollouts" test "$(rollouts "$2")" = "$(rollouts "$3")"
}
# until a condition holds or the process $pid has ended
wait_for() { for _ in $(seq 6000); do if eval "$1" || ! kill -0 "$pid" 2>/dev/null; then return; fi; sleep 0.02; done; }
listed() { (cd "$1/$in" && echo global_step_*); }
flip() { # FILE BYTE: its lowest bit
    printf "\\x$(printf %02x $((0x$(od -An -t x1 -j "$2" -N 1 "$1" | tr -d ' ') ^ 1)))" |
        dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

train ref --steps 3 >ref.out 2>&1
check "a run ends well" test $? = 0
check "three checkpoints" test "$(listed ref)" = "global_step_1 global_step_2 global_step_3"
check "no lock is left" test ! -e ref/$in/.lock
check "run.json says what it was" grep -q '"version": "[0-9a-f]\{12\}' ref/$in/run.json

# ---- one run a folder ----
mkfifo pipe
"$app" train "${small[@]}" trainer.default_local_dir=two --steps 500 trainer.seed=1 >two.out 2>&1 &
pid=$!
wait_for "grep -qs '\"step\":2,' two/$in/metrics.jsonl"
wanted "a second run is rejected" 1 \
    "two/$in: another process writes into this folder: pid $pid on .*, since 20.*another trainer\.experiment_name" \
    two --steps 4 trainer.seed=2
wanted "one with the same rollouts, too" 0 'nothing|step:1' two trainer.experiment_name=b --steps 1
kill -KILL $pid
wait $pid 2>/dev/null
check "no mixture" sh -c "! grep -v '^{\"step\":.*}}$' two/$in/metrics.jsonl | head -c 1 | grep -q ."
"$app" train "${small[@]}" trainer.default_local_dir=three trainer.rollout_data_dir=shared --steps 500 >two.out 2>&1 &
pid=$!
wait_for "grep -qs '\"step\":1,' three/$in/metrics.jsonl"
wanted "rollouts of two runs in one folder" 1 'shared: another process .*another trainer\.rollout_data_dir' four \
    trainer.rollout_data_dir=shared --steps 1
check "nothing of it" test ! -e four
kill -KILL $pid
wait $pid 2>/dev/null
"$app" sft sft.save=tuned sft.steps=2000 sft.batch_size=4 >sft.out 2>&1 &
pid=$!
wait_for '[ -e tuned/.lock ]'
expect "a second sft in one folder" 1 "tuned: another process writes into this folder: pid $pid" \
    "$app" sft sft.save=tuned sft.steps=1
kill -TERM $pid
wait $pid 2>/dev/null
check "nothing is locked any more" test ! -e tuned/.lock
for gone in 'rm -rf gone' 'rm gone/$in/.lock' 'rm -rf gone/$in/rollouts' 'rm -rf gone && touch gone'; do
    rm -rf gone
    "$app" train "${small[@]}" trainer.default_local_dir=gone --steps 500 trainer.save_freq=0 >two.out 2>&1 &
    pid=$!
    wait_for "grep -qs '\"step\":1,' gone/$in/metrics.jsonl"
    # rm fails where the run adds a file to a folder that it is emptying
    for _ in {1..50}; do if eval "$gone" 2>/dev/null; then break; fi; done
    wait $pid
    check "$gone, while it runs: an error" test $? = 1
    check "$gone: in words" grep -q '^appo: gone/' two.out
done

# ---- a finished run ----
sums ref >before.sums
wanted "a finished run" 0 \
    'nothing is left to do: .*global_step_3 is the checkpoint of step 3 of 3.*training_steps.*resume=off' \
    ref --steps 3
wanted "fewer steps than were made" 0 'nothing is left to do' ref --steps 2
wanted "with other settings" 1 'was made with trainer\.seed=1, now it is 2: .*trainer\.resume=off to start anew' ref \
    --steps 3 trainer.seed=2
sums ref >after.sums
check "no byte was changed" cmp before.sums after.sums
cp -r ref on
wanted "more steps go on" 0 'resumed after step 3' on --steps 4
cp -r ref shown
debug=("$app" debug "${small[@]}" trainer.default_local_dir=shown)
expect "debug again" 0 'nothing is left to do.*trainer\.resume=auto' "${debug[@]}" --steps 3
expect "debug with other settings begins anew" 0 'earlier run are now in shown/appo/debug/old-1' \
    "${debug[@]}" --steps 2 --seed 2
check "only its own rollouts" test "$(cd shown/$in/rollouts && echo *)" = "1.jsonl.gz 2.jsonl.gz"
sums ref/$in >before.sums
sums shown/$in/old-1 >after.sums
check "the old files are as they were" cmp before.sums after.sums
expect "debug with more steps begins anew" 0 'earlier run are now in shown/appo/debug/old-2' \
    "${debug[@]}" --steps 1 --seed 2

# ---- resume=off, killed at once: the old run is whole, here or in old-1 ----
cp -r ref off
if command -v strace >/dev/null; then
    for k in 2 4; do
        rm -rf off && cp -r ref off
        strace -f -o /dev/null -e trace=rename -e inject=rename:signal=KILL:when=$k \
            "$app" train "${small[@]}" trainer.default_local_dir=off --steps 3 trainer.resume=off >/dev/null 2>&1
        train off --steps 3 >off.out 2>&1
        check "killed at rename $k: the plain command" test $? = 0
        same "killed at rename $k" ref off 3
    done
fi
rm -rf off && cp -r ref off
wanted "resume=off" 0 'earlier run are now in off/appo/debug/old-1' off --steps 2 trainer.resume=off
check "the new run alone" test "$(listed off) $(grep -c . off/$in/metrics.jsonl) $(cd off/$in/rollouts && echo *)" = \
    "global_step_1 global_step_2 3 1.jsonl.gz 2.jsonl.gz"
sums off/$in/old-1 >after.sums
check "the old run whole" cmp before.sums after.sums

# ---- damage ----
cp -r ref lone && rm -r lone/$in/global_step_[12]
find ref/$in/global_step_3 -type f -printf '%P %s\n' >files
while read -r f size; do
    flip "lone/$in/global_step_3/$f" $((size / 2))
    wanted "a bit of $f" 1 \
        "no checkpoint in lone/$in is whole; trainer\.resume=off starts anew.*global_step_3/$f: damaged" lone --steps 4
    flip "lone/$in/global_step_3/$f" $((size / 2))
done <files
cp -r ref hurt
flip hurt/$in/global_step_3/actor/optimizer.safetensors 70000
wanted "the one before it" 0 'warning: .*global_step_3/actor/optimizer\.safetensors: damaged.*' hurt --steps 3
check "in words" grep -q 'global_step_2 is the newest whole checkpoint' said
same "begun again at step 2" ref hurt 3
check "the damaged one is kept aside" test -s hurt/$in/old-1/global_step_3/state.json
note=latest_checkpointed_iteration.txt
for text in 7 1 3x; do
    rm -rf hurt && cp -r ref hurt
    printf '%s' "$text" >hurt/$in/$note
    wanted "'$text' as the newest step" 0 \
        "warning: .*$note (names another step|holds no step number); .*global_step_3 is the newest whole.*" hurt \
        --steps 4
    check "'$text': goes on" grep -q 'resumed after step 3' said
done
rm -rf hurt && cp -r ref hurt && rm hurt/$in/$note
wanted "no newest step" 0 "$note is missing; .*global_step_3 is the newest whole" hurt --steps 4
for how in 'flip hurt/$in/metrics.jsonl 100' 'truncate -s -10 hurt/$in/metrics.jsonl' \
    'sed -i 2d hurt/$in/metrics.jsonl' 'rm hurt/$in/metrics.jsonl'; do
    rm -rf hurt && cp -r ref hurt && eval "$how"
    wanted "$how" 1 'metrics\.jsonl: (damaged|cut short|No such file).*' hurt --steps 4
    check "$how: what can be done" grep -q 'trainer.verify=off continues anyway, trainer.resume=off starts anew' \
        said
done
wanted "without looking" 0 'warning: .*metrics\.jsonl: its last line is of step -1.*' hurt --steps 4 trainer.verify=off
ln -s "$tmp/victim" link.jsonl
rm -rf hurt && cp -r ref hurt && mv hurt/$in/metrics.jsonl victim && ln -s "$tmp/victim" hurt/$in/metrics.jsonl
wanted "metrics through a link" 1 'metrics\.jsonl: is a link' hurt --steps 4

# ---- numbers that are not finite ----
rm -rf hurt && cp -r ref hurt
# put FOLDER STEP TENSOR BYTES: into number 1000 of an optimizer's tensor
put() {
    local file=$1/$in/global_step_$2/actor/optimizer.safetensors at
    at=$(od -An -t u8 -N 8 "$file" | tr -d ' ')
    at=$((8 + at + \
        $(head -c $((8 + at)) "$file" | tail -c "$at" | sed -nE \
        "s/.*\"$3\":\{[^}]*\"data_offsets\":\[([0-9]+),.*/\1/p") + 4000))
    # shellcheck disable=SC2059
    printf "$4" | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
}
put hurt 3 exp_avg_sq '\x01\0\0\x80'
wanted "a negative mean of squares" 0 'warning: .*number 1000 of exp_avg_sq, a mean of squares, is below 0' hurt \
    --steps 4 trainer.verify=off
rm -rf wild

# a first moment that is finite and too large: the next update makes weights of it that are not
loud() { put "$1" "$2" exp_avg '\xff\xff\x7f\x7f'; }
train once --steps 1 actor.ppo_mini_batch_size=4 >once.out 2>&1
loud once 1
wanted "weights that overflow in the only update of a step" 1 \
    'step 2 is not saved: .*the weights have diverged\. The newest .*global_step_1: start another.*lower .*lr' \
    once --steps 3 actor.ppo_mini_batch_size=4 trainer.verify=off
check "are not saved" test "$(listed once)" = global_step_1
rm -rf hurt && cp -r ref hurt && loud hurt 3
wanted "and in the first of two" 1 'the logits holds a NaN or an infinity: the weights have diverged\..*' hurt --steps \
    4 trainer.verify=off
check "where to go on from" grep -q 'The newest checkpoint is hurt/appo/debug/global_step_3' said

# ---- which checkpoints stay ----
train few --steps 3 trainer.max_actor_ckpt_to_keep=2 >few.out 2>&1
check "the newest two" test "$(listed few)" = "global_step_2 global_step_3"
train quick --steps 4 trainer.save_freq=0 trainer.save_minutes=0.00001 >quick.out 2>&1
check "of those by time the newest two, and the last" test "$(listed quick)" = \
    "global_step_2 global_step_3 global_step_4"
train none --steps 1 trainer.save_freq=0 >none.out 2>&1
check "by default the last" test "$(listed none)" = "global_step_1"
train best --steps 4 trainer.save_freq=0 trainer.test_freq=1 trainer.max_actor_ckpt_to_keep=1 data.val_per_family=2 \
    actor.optim.lr=3e-3 >best.out 2>&1
top=$(sed -nE 's/^\{"step":([1-4]),.*"val-core\/all\/acc\/mean@1":([0-9.e-]+).*/\2 \1/p' best/$in/metrics.jsonl |
    sort -k 1,1gr -k 2,2n | head -n 1 | cut -d ' ' -f 2)
check "the best and the newest" test "$(listed best)" = \
    "$(printf 'global_step_%s\n' "$top" 4 | sort -u | tr '\n' ' ' | sed 's/ $//')"
check "which is the best is noted" test "$(cat best/$in/best_checkpointed_iteration.txt)" = "$top"
wanted "a metric that nobody gives" 1 \
    'trainer\.best_metric=val-core/x: no evaluation gives it; there are .*val-core/all/acc/mean@1' nope --steps 1 \
    trainer.best_metric=val-core/x
mkdir -p few/$in/global_step_2/actor && echo mine >few/$in/global_step_2/actor/notes.txt
wanted "a user's file in a checkpoint that goes" 0 \
    'global_step_2: holds files that this program did not write; they are in .*old-1' few --steps 4 \
    trainer.max_actor_ckpt_to_keep=2
check "is kept" grep -q mine few/$in/old-1/actor/notes.txt

# ---- signals ----
# at WHEN (a condition) the signal comes; then the same command ends as if nothing had been
stopped() { # NAME SIGNAL CONDITION ARGUMENTS...
    local name=$1 signal=$2 when=$3 started status=0
    shift 3
    for _ in 1 2 3 4 5 6; do                            # on a busy machine a run may end before the signal is sent
        rm -rf cut
        # a HUP that was ignored before, as under nohup, stays ignored
        env --default-signal=HUP "$app" train "${small[@]}" trainer.default_local_dir=cut "$@" >cut.out 2>cut.err &
        pid=$!
        for _ in $(seq 3000); do
            if eval "$when" || ! kill -0 $pid 2>/dev/null; then break; fi
            sleep 0.01
        done
        started=$(date +%s%N)
        kill -"$signal" $pid 2>/dev/null
        wait $pid
        status=$?
        [ $status = 0 ] || break
    done
    check "$name: status 130" test $status = 130
    check "$name: within seconds" test $((($(date +%s%N) - started) / 1000000)) -lt 8000
    check "$name: what it does" grep -qE 'appo: .*; again to stop now' cut.err
    [ "$name" != "TERM in the first evaluation" ] || return
    timeout 100 "$app" train "${small[@]}" trainer.default_local_dir=cut "$@" >cut.out 2>&1
    check "$name: goes on" test $? = 0
}
first='grep -qs "\"step\":1," cut/$in/metrics.jsonl'
for signal in HUP USR1 XCPU; do
    stopped "$signal" $signal "$first" --steps 3 trainer.save_freq=0
    steady cut/$in/metrics.jsonl >b.steady
    steady ref/$in/metrics.jsonl >a.steady
    check "$signal: the same metrics" cmp a.steady b.steady
done
train long --steps 2 trainer.test_freq=1 data.val_per_family=20 >long.out 2>&1
stopped "TERM in an evaluation" TERM '[ -e cut/$in/rollouts/1.jsonl.gz ]' --steps 2 trainer.test_freq=1 \
    data.val_per_family=20
same "TERM in an evaluation" long cut 2
stopped "TERM in the last evaluation" TERM '[ -e cut/$in/rollouts/2.jsonl.gz ]' --steps 2 trainer.test_freq=1 \
    data.val_per_family=20
same "TERM in the last evaluation" long cut 2
stopped "TERM in the first evaluation" TERM '[ -e cut/$in/run.json ]' --steps 1 data.val_per_family=400 \
    trainer.save_freq=0

"$app" train "${small[@]}" trainer.default_local_dir=twice data.val_per_family=3000 >twice.out 2>&1 &
pid=$!
wait_for '[ -e twice/$in/run.json ]'
kill -STOP $pid; kill -TERM $pid; sleep 0.4; kill -CONT $pid; kill -INT $pid
wait $pid
check "two signals" test $? = 130

# ---- rollouts ----
plain=$(zcat ref/$in/rollouts/1.jsonl.gz | wc -l)
check "all four prompts" test "$plain" = 16
train no --steps 1 trainer.rollout_data_dir= >no.out 2>&1
check "an empty key: none" test ! -e no/$in/rollouts
train one --steps 1 trainer.rollout_data_prompts=1 trainer.rollout_data_gzip=false >one.out 2>&1
check "one prompt, plain" test "$(grep -c '"output"' one/$in/rollouts/1.jsonl)" = 4
mkdir -p left/$in/rollouts
touch left/$in/rollouts/3.jsonl.gz.99999999.tmp left/$in/metrics.jsonl.99999999.tmp left/$in/mine.99999999.tmp
echo old >left/$in/rollouts/77.jsonl
wanted "over leftovers" 0 'earlier run are now in left/appo/debug/old-1' left --steps 1
check "temporary files are gone, others stay" test "$(find left -name '*.tmp')" = "left/$in/mine.99999999.tmp"
check "rollouts of one run" test "$(cd left/$in/rollouts && echo *)" = "1.jsonl.gz"

# ---- what may change between stop and resume ----
cp -r ref other
wanted "what memory and speed ask for" 0 'resumed after step 3' other --steps 4 actor.ppo_max_token_len_per_gpu=777 \
    rollout.max_num_seqs=5 rollout.max_num_batched_tokens=300 trainer.threads=2 tools.threads=3
same "memory and speed" on other 4
wanted "other questions to evaluate" 1 'data\.val_per_family=1, now it is 2' ref --steps 4 data.val_per_family=2
finish
