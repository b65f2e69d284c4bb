#!/usr/bin/env bash
# agree.sh: ranks that would not make the same run are rejected at the start, with both values and the host, by one
# message; what may differ does not matter.
# Usage: tests/ranks/agree.sh build/cpu
set -uo pipefail
# shellcheck source=tests/ranks/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
small=(debug --steps 1 data.train_batch_size=4 actor.ppo_mini_batch_size=4 data.val_per_family=1)
# two NAME STATUS WORDS COMMAND_0 -- COMMAND_1: rank 0 runs the first, rank 1 the second
two() {
    local name=$1 status=$2 words=$3 first=()
    shift 3
    while [ "$1" != -- ]; do first+=("$1") && shift; done
    shift
    expect "$name" "$status" "$words" timeout -k 5 100 "$mpirun" "${mpi_options[@]}" -n 1 "${first[@]}" : -n 1 "$@"
}
here=$(hostname)

differs() { # NAME WORDS COMMAND_0 -- COMMAND_1
    local name=$1 words=$2
    shift 2
    two "$name" 1 "^appo: rank 1 on $here differs from rank 0 on $here: $words" "$@"
    [ "$(grep -c '^appo: ' "$tmp/said")" = 1 ] || bad "$name: one message" "$(grep '^appo: ' "$tmp/said")"
    [ -z "$(find checkpoints -name metrics.jsonl 2>/dev/null)" ] || bad "$name" "the run was started"
    rm -rf checkpoints
}
differs "a key" 'actor.optim.lr is 0.0001 there and 0.001 here' "$app" "${small[@]}" actor.optim.lr=1e-3 -- \
    "$app" "${small[@]}" actor.optim.lr=1e-4
differs "a text" 'trainer.project_name is "b" there and "appo" here' "$app" "${small[@]}" -- \
    "$app" "${small[@]}" trainer.project_name=b
differs "the environment" 'APPO_NUMERICS is fast there and exact here; mpirun -x' env APPO_NUMERICS=exact \
    "$app" "${small[@]}" -- env APPO_NUMERICS=fast "$app" "${small[@]}"
cp -r "$top/policy" policy
# one weight: the last byte of the file
printf '\101' | dd of=policy/model.safetensors bs=1 conv=notrunc status=none \
    seek=$(($(stat -c %s policy/model.safetensors) - 2))
mkdir home && mv policy home/
differs "the weights" 'the checksum of the weights in model.path is [0-9a-f]+ there and [0-9a-f]+ here; .*policy' \
    "$app" "${small[@]}" -- env APPO_HOME="$tmp/home" "$app" "${small[@]}"
# the program of another commit: its name is in the file once
commit=$("$app" version | sed -n '1s/.*commit \([^,]*\),.*/\1/p')
sed "s/$commit/$(tr 0-9a-f a-j0-5 <<<"$commit")/g" "$app" >other && chmod +x other
if [ "$(stat -c %s other)" = "$(stat -c %s "$app")" ] && ./other version >/dev/null; then
    differs "the commit" "the commit of the program is .* there and ${commit/+/\\+} here; start one build" \
        "$app" "${small[@]}" -- env APPO_HOME="$top" ./other "${small[@]}"
else bad "the commit" "the program cannot be patched"; fi
echo '{"prompt": "What is 1 + 1?", "answer": "2"}' >a.jsonl
echo '{"prompt": "What is 1 + 2?", "answer": "3"}' >b.jsonl
mkdir -p one two && cp a.jsonl one/q.jsonl && cp b.jsonl two/q.jsonl
files=(data.train_files=q.jsonl data.train_batch_size=1 actor.ppo_mini_batch_size=1)
differs "the data" 'the checksum of data.train_files is [0-9a-f]+ there and [0-9a-f]+ here; q.jsonl' \
    sh -c 'cd one && exec "$@"' x "$app" "${small[@]}" "${files[@]}" trainer.default_local_dir="$tmp/checkpoints" -- \
    sh -c 'cd two && exec "$@"' x "$app" "${small[@]}" "${files[@]}" trainer.default_local_dir="$tmp/checkpoints"
differs "the data of an evaluation" 'the checksum of data.val_files is [0-9a-f]+ there and [0-9a-f]+ here' \
    sh -c 'cd one && exec "$@"' x "$app" eval data.val_files=q.jsonl -- \
    sh -c 'cd two && exec "$@"' x "$app" eval data.val_files=q.jsonl
echo '{"a": "b"}' >one/s.json && echo '{"a": "c"}' >two/s.json
differs "recorded searches" 'the checksum of tools.search_cache is [0-9a-f]+ there and [0-9a-f]+ here; s.json' \
    sh -c 'cd one && exec "$@"' x "$app" eval data.val_per_family=1 tools.search_cache=s.json -- \
    sh -c 'cd two && exec "$@"' x "$app" eval data.val_per_family=1 tools.search_cache=s.json
rm two/q.jsonl
two "a file that one host lacks" 1 "^appo: rank 1 on $here: .*q\.jsonl" \
    sh -c 'cd one && exec "$@"' x "$app" "${small[@]}" "${files[@]}" trainer.default_local_dir="$tmp/checkpoints" -- \
    sh -c 'cd two && exec "$@"' x "$app" "${small[@]}" "${files[@]}" trainer.default_local_dir="$tmp/checkpoints"
rm -rf checkpoints
two "threads of a host, and instructions that give the same bits" 0 '^1 steps in' \
    env APPO_ISA=portable "$app" "${small[@]}" trainer.threads=2 -- "$app" "${small[@]}" trainer.threads=1
rm -rf checkpoints
# rank 0 makes the policy alone, for longer than comm.timeout
expect "--from-scratch" 0 '^1 steps in' "${ranks[@]}" 2 "$app" debug --from-scratch --steps 1 \
    data.val_per_family=1 data.train_batch_size=4 actor.ppo_mini_batch_size=4 sft.steps=3 comm.timeout=5
rm -rf checkpoints
# which step is the best one is rank 0's decision
expect "a best step by the clock" 0 '^60 steps in' "${ranks[@]}" 3 "$app" "${small[@]}" --steps 60 \
    trainer.test_freq=1 trainer.best_metric=timing_s/rank_wait trainer.val_before_train=false comm.timeout=20
rm -rf checkpoints
# the message is that of the rank and, with its name, that of rank 0, and not of a third one
limited=(debug --steps 1 data.val_per_family=1 data.train_batch_size=4 actor.ppo_mini_batch_size=4)
expect "a rank that cannot write" 1 "^appo: step 1 is not saved: rank 1 on $here: .*could not be written whole" \
    timeout -k 5 100 "$mpirun" "${mpi_options[@]}" -n 1 "$app" "${limited[@]}" : \
    -n 1 sh -c 'ulimit -f 100; exec "$@"' x "$app" "${limited[@]}" : -n 1 "$app" "${limited[@]}"
check "is said twice" [ "$(grep -c '^appo: step 1 is not saved' "$tmp/said")" = 2 ]
check "leaves no half checkpoint" test -z "$(find checkpoints -name '*global_step*')"
rm -rf checkpoints
# of settings, data and a step: what every rank finds is said once
for i in 1 2 3 4; do echo "{\"prompt\": \"$(printf 'a %.0s' $(seq $((i * 40))))\", \"answer\": \"2\"}"; done >long.jsonl
expect "warnings" 0 '^1 steps in' "${ranks[@]}" 3 "$app" "${small[@]}" algorithm.adv_estimator=grpo branch.when=step \
    data.train_files=long.jsonl data.truncation=filter data.max_prompt_length=120 reward.kind=exact
for words in 'no effect with algorithm.adv_estimator' 'prompts are longer than' 'had nothing to learn from'; do
    [ "$(grep -c "$words" "$tmp/said")" = 1 ] || bad "one warning: $words" "$(grep -c "$words" "$tmp/said")"
done
finish
