#!/usr/bin/env bash
# front.sh: run.sh and several ranks: NPROC=N, mpirun ./run.sh, what is rejected, signals.
# Usage: tests/ranks/front.sh build/cpu
set -uo pipefail
# shellcheck source=tests/ranks/lib.sh
. "$(dirname "$0")/lib.sh"
front=$top/run.sh
APPO_BUILD=$(dirname "$build")
export APPO_BUILD
cd "$tmp" || exit 1
small=(data.train_batch_size=4 actor.ppo_mini_batch_size=4 data.val_per_family=1)

# rejected NAME STATUS WORDS ARGUMENTS...: and no run folder is made
rejected() {
    expect "$1" "$2" "$3" "${@:4}"
    [ ! -e checkpoints ] || bad "$1" "something was started"
}
rejected "a count that is no number" 2 'NPROC=x: a number of processes' "$front" debug NPROC=x
rejected "no processes" 2 'NPROC=0: a number of processes' env NPROC=0 "$front" debug
rejected "a command of one process" 2 'plan runs in one process' "$front" plan NPROC=2
rejected "keys of verl that ask for more" 1 'ask for 8 ranks, and 2 were started: .*NPROC=8' "$front" debug NPROC=2 \
    trainer.n_gpus_per_node=4 trainer.nnodes=2
check "said once" [ "$(grep -c 'ask for 8 ranks' said)" = 1 ]
rejected "a launcher inside a launcher" 2 'has started 2 processes already' env OMPI_COMM_WORLD_SIZE=2 "$front" debug \
    NPROC=2
rejected "a wrong key is reported once" 2 'no such option' "$front" debug NPROC=2 trainer.nonsense=1
check "once" [ "$(grep -c "no such option" said)" = 1 ]
rejected "no mpirun of that name" 1 'MPIRUN=no-such-mpirun: there is no such program' \
    env MPIRUN=no-such-mpirun "$front" debug NPROC=2
printf '#!/bin/sh\necho another launcher\n' >other && chmod +x other
rejected "the mpirun of another MPI" 1 'is not of .*, with which this build joins' \
    env MPIRUN=./other "$front" debug NPROC=2

expect "NPROC=2" 0 '^1 steps in' "$front" debug --steps 1 "${small[@]}" NPROC=2 trainer.experiment_name=two
expect "NPROC in the environment, and one process" 0 '^1 steps in' env NPROC=1 "$front" debug --steps 1 "${small[@]}" \
    trainer.experiment_name=one
check "streams that are closed end no run" sh -c "'$front' debug --steps 1 ${small[*]} NPROC=2 \
    trainer.experiment_name=closed <&- >&- 2>&-; test -e checkpoints/appo/closed/global_step_1/manifest"
expect "mpirun run.sh" 0 '^1 steps in' "${ranks[@]}" 2 "$front" debug --steps 1 "${small[@]}" \
    trainer.experiment_name=bare
expect "eval" 0 '^all ' "$front" eval NPROC=2 data.val_per_family=1
lines() { grep -c . "checkpoints/appo/$1/metrics.jsonl"; }
check "one file of metrics" [ "$(lines two)" = "$(lines one)" ]
check "the same under mpirun" [ "$(lines bare)" = "$(lines one)" ]

# waits FILE WORDS: until the file has them, 60 s at most
waits() { for _ in $(seq 600); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; return 1; }
long=("${small[@]}" NPROC=2 trainer.experiment_name=long)
"$front" debug --steps 1000 "${long[@]}" >long.txt 2>&1 &
job=$!
check "the long run takes steps" waits long.txt 'step:2'
kill -TERM $job
wait $job
status=$?
check "TERM: status 130" [ $status = 130 ]
check "TERM: the step at hand is saved" grep -q 'checkpoint' long.txt
check "TERM: a checkpoint is there" sh -c 'ls checkpoints/appo/long/global_step_*/actor'
expect "it resumes, and stops with timeout" 124 'resumed after step' timeout -s TERM 10 \
    "$front" debug --steps 1000 "${long[@]}"
finish
