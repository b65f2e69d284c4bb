#!/usr/bin/env bash
# restarts.sh: trainer.max_restarts: a run that lost a rank is started again by run.sh, resumes and ends as one that was
# never disturbed; not more often than allowed, and not after a signal to stop.
# Usage: tests/ranks/restarts.sh build/cpu
set -uo pipefail
# shellcheck source=tests/ranks/lib.sh
. "$(dirname "$0")/lib.sh"
front=$top/run.sh
APPO_BUILD=$(dirname "$build")
export APPO_BUILD APPO_RESTART_PAUSE=1
cd "$tmp" || exit 1
small=(data.train_batch_size=4 actor.ppo_mini_batch_size=4 data.val_per_family=1 NPROC=2 trainer.save_freq=2)
waits() { for _ in $(seq 600); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; return 1; }
rank_of() { pgrep -f "appo debug .*experiment_name=$1( |$)" | while read -r p; do
    # a rank's parent is mpirun or its proxy, the launcher script's is this script
    case $(readlink "/proc/$p/exe") in */appo) echo "$p" ;; esac; done | tail -n 1; }
# debug_run NAME ARGUMENTS...: in the background, its process in $job, what it says in NAME.txt
debug_run() {
    local name=$1
    shift
    "$front" debug "${small[@]}" "$@" trainer.experiment_name="$name" >"$name.txt" 2>&1 &
    job=$!
}

debug_run straight --steps 12
wait $job
check "12 steps" [ $? = 0 ]
debug_run lost --steps 12 trainer.max_restarts=2
check "the run takes steps" waits lost.txt 'step:3'
kill -KILL "$(rank_of lost)"
check "a rank is lost" waits lost.txt 'a rank was lost (status [0-9]*): start 1 of at most 2 again in 1 s'
check "it resumes" waits lost.txt 'resumed after step'
wait $job
check "it ends well" [ $? = 0 ]
kept() { sed -E 's/"(timing_s|perf|ranks|memory)[^,}]*[,}]//g' "checkpoints/appo/$1/metrics.jsonl" | cksum; }
check "the metrics of a run that lost none" [ "$(kept lost)" = "$(kept straight)" ]
weights() { sha256sum <"checkpoints/appo/$1/global_step_12/actor/huggingface/model.safetensors"; }
check "its weights" [ "$(weights lost)" = "$(weights straight)" ]

debug_run once --steps 1000
check "the run takes steps" waits once.txt 'step:2'
kill -KILL "$(rank_of once)"
wait $job
check "no restart allowed: status 75" [ $? = 75 ]
check "and what to do" grep -q 'the same command resumes from the last checkpoint' once.txt
check "no restart" [ "$(grep -c 'again in' once.txt)" = 0 ]

debug_run stopped --steps 1000 trainer.max_restarts=3
check "the run takes steps" waits stopped.txt 'step:2'
kill -TERM $job
wait $job
check "TERM: status 130" [ $? = 130 ]
check "TERM: no restart" [ "$(grep -c 'again in' stopped.txt)" = 0 ]
expect "a folder to resume from, and restarts" 2 'a restart would begin there again' "$front" debug "${small[@]}" \
    trainer.max_restarts=1 trainer.resume=checkpoints/appo/lost/global_step_12
finish
