#!/usr/bin/env bash
# crash.sh: kill -9 of a whole job or of one of its ranks, at random times and (with gdb) within sampling, tools, the
# backward pass, collectives, a checkpoint and its manifest: the same command must end with the bytes of a run that
# nothing has stopped. Then signals, which stop a job with a checkpoint.
# Usage: [KILLS=6] [SEED=1] [KEEP=DIR] tests/ranks/crash.sh build/cpu; the long form, by hand, has KILLS=50
#   KEEP: where the files of a run go that ends otherwise
set -uo pipefail
# shellcheck source=tests/ranks/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
KILLS=${KILLS:-6}
RANDOM=${SEED:-1}
in=appo/debug steps=$((KILLS < 20 ? 3 : 6))
run=("$app" debug --steps $steps data.val_per_family=1 trainer.val_before_train=false trainer.save_freq=1
    trainer.test_freq=2 data.train_batch_size=4 actor.ppo_mini_batch_size=2 rollout.n=8 rollout.initial_rollouts=2
    trainer.threads=1)
if [ "${mpi_options[0]:-}" ]; then mpi_options+=(--mca mpi_yield_when_idle 1); fi

# A rank, whose process is noted in pids/. That of number $victim runs to the $skip-th call of $at and is killed there
# by gdb; without $skip the calls of each function of $at are counted.
cat >rank <<'END'
#!/usr/bin/env bash
r=${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}
echo $$ >"pids/$r"
[ "$r" = "${victim:-}" ] || exec "$@"
gdb=(gdb -q -batch -nx -ex 'set confirm off' -ex 'set debuginfod enabled off' -ex 'handle all nostop noprint pass')
i=0
for f in $at; do i=$((i + 1)); gdb+=(-ex "tbreak $f" -ex "ignore $i ${skip:-1000000}"); done
exec "${gdb[@]}" -ex run ${skip:+-ex 'echo reached\n' -ex kill} -ex 'info breakpoints' -ex 'quit 137' --args "$@"
END
chmod +x rank

# begins a job in the background: its mpirun is $job; 4 ranks share out optimizer state and gradient
start() { # RANKS FOLDER KEY...
    local n=$1 folder=$2
    shift 2
    [ "$n" != 4 ] || set -- "$@" actor.zero=2
    rm -rf pids && mkdir pids
    timeout -s KILL 100 "$mpirun" "${mpi_options[@]}" -n "$n" ./rank "${run[@]}" trainer.default_local_dir="$folder" \
        "$@" >k.out 2>&1 &
    job=$!
}
whole() { # RANKS FOLDER KEY...: to its end
    start "$@"
    wait $job
}
# The numbers of a rank's own file, without the hash of state.json, which has times: numbers 5 and 6 behind the header.
own() {
    local n=$(($(od -An -t u8 -N 8 "$1") + 8))
    { head -c $((n + 40)) "$1"; tail -c +$((n + 57)) "$1"; } | sha256sum
}
# All that must be the same: metrics without times, the last checkpoint, rollouts without times.
picture() {
    (cd "$1/$in" && {
        sed -E 's/"(timing_|perf\/|ranks\/)[^"]*":[^,}]*,?//g; s/,\}/}/g' metrics.jsonl | sha256sum
        find global_step_$steps/actor/huggingface -type f -exec sha256sum {} + | sort
        for f in global_step_$steps/actor/optim/*; do echo "$f $(own "$f")"; done
        grep -vE '"(wall_s|bytes|hash)":' global_step_$steps/state.json | sha256sum
        for f in rollouts/*; do echo "$f $(zcat "$f" | sed -E 's/"ms":[0-9.e+-]+//g' | sha256sum)"; done
        cat latest_checkpointed_iteration.txt best_checkpointed_iteration.txt
    })
}
# ends_right NAME RANKS FOLDER KEY...: the plain command goes on and ends with the bytes of the run that nothing stopped
ends_right() {
    local name=$1 n=$2 folder=$3
    whole "$n" "$folder" "${@:4}" || { bad "$name" "does not resume"; tail -n 5 k.out; return; }
    picture "$folder" >k.picture 2>&1
    if cmp -s "ref$n.picture" k.picture && [ -z "$(find "$folder" -name '*.tmp' -o -name .lock)" ]; then ok
    else
        bad "$name" "other bytes"
        diff "ref$n.picture" k.picture | head -n 6
        [ -z "${KEEP:-}" ] || { mkdir -p "$KEEP" && cp -r "ref$n" "$folder" k.out "$KEEP"; }
    fi
}
now() { echo $(($(date +%s%N) / 1000000)); }

ranks_tested=(2)
[ "$KILLS" -lt 20 ] || ranks_tested=(2 2 2 4)
declare -A took calls hits
for n in 2 4; do
    [[ " ${ranks_tested[*]} " == *" $n "* ]] || continue
    began=$(now)
    whole $n ref$n || { tail -n 5 k.out; bad "a run of $n ranks" "failed"; finish; exit 1; }
    took[$n]=$(($(now) - began))
    picture ref$n >ref$n.picture
done

# places where gdb kills, and how often a run of two ranks comes there
declare -A place=([sampling]=pass_run [tools]=tools_call [backward]=model_backward [collectives]=comm_gather
    [checkpoint]=optim_write [weights]=model_save_as [manifest]=manifest_put [latest]=ckpt_put_step)
ways=(whole one whole one)
if command -v gdb >/dev/null; then
    ways=(whole sampling one tools backward collectives checkpoint manifest whole sampling one tools backward
        collectives weights latest)
    for who in 0 1; do
        victim=$who at="${place[*]}" whole 2 counted$who
        i=0
        for name in "${!place[@]}"; do
            i=$((i + 1))
            calls[$name$who]=$(awk -v i=$i '$1 ~ /^[0-9]+$/ { on = $1 == i }
                on && /already hit/ { print $4; exit }' k.out)
        done
    done
else echo "kills at chosen places: not run, they need gdb"
fi

# Kills a job that has begun: all its processes, or one after which the others must end by themselves.
slowest=0
kill_job() { # WAY RANKS
    local n=$2 all r began
    case $1 in
    whole | one)
        sleep "$(awk -v ms=$((RANDOM % took[$n])) 'BEGIN { print ms / 1000 }')"
        all=$(cat pids/* 2>/dev/null)
        # shellcheck disable=SC2086
        if [ "$1" = whole ]; then kill -9 $(pgrep -P $job) $all $job; else kill -9 "$(cat pids/$((RANDOM % n)))"; fi
        ;;
    esac 2>/dev/null
    began=$(now)
    wait $job 2>/dev/null
    r=$(($(now) - began))
    [ "$1" != one ] || [ $r -le $slowest ] || slowest=$r
    # nobody is left to write into the folder
    for r in $(cat pids/* 2>/dev/null); do
        for _ in $(seq 100); do [ -d "/proc/$r" ] || break; sleep 0.1; done
        [ ! -d "/proc/$r" ] || { bad "$1" "rank $r is still there"; kill -9 "$r"; }
    done
}

sent=0 late=0 round=0 right=$passed
while [ $sent -lt "$KILLS" ]; do
    n=${ranks_tested[round % ${#ranks_tested[@]}]} aside=$((round % 2))
    keys=(trainer.save_async=$([ $aside = 1 ] && echo on || echo off))
    round=$((round + 1))
    rm -rf k
    said=
    for again in 0 1; do
        way=${ways[(sent + late) % ${#ways[@]}]}
        victim='' at='' skip=''
        if [ "${place[$way]:-}" ]; then
            victim=$((RANDOM % 2)) at=${place[$way]}
            most=${calls[$way$victim]:-}
            [ "${most:-0}" -gt 0 ] || { victim=0; most=${calls[${way}0]:-1}; }
            # 4 ranks have less to do each, and so has a run that was resumed
            most=$((most / (n / 2 + again)))
            skip=$((RANDOM % (most > 0 ? most : 1)))
        fi
        export victim at skip
        start "$n" k "${keys[@]}"
        kill_job "$way" "$n"
        unset victim at skip
        if [ "${place[$way]:-}" ] && ! grep -q '^reached' k.out; then late=$((late + 1))
        elif grep -q "^$steps steps in" k.out; then late=$((late + 1))
        else
            sent=$((sent + 1))
            hits[$way]=$((${hits[$way]:-0} + 1))
        fi
        said="$said $way"
        [ $((RANDOM % 3)) = 0 ] || break
    done
    ends_right "round $round, $n ranks, ${keys[*]}, killed in$said" "$n" k "${keys[@]}"
done
where=$(for w in "${!hits[@]}"; do printf '%s %d, ' "$w" "${hits[$w]}"; done)
echo "kills: $sent (${where%, }; $late came too late) in $round runs," \
    "of which $((passed - right)) end with the same bytes;" \
    "after the kill of one rank the others were gone within $slowest ms"

# A signal to any rank stops all of them with a checkpoint and status 130.
for who in 0 1; do
    rm -rf k
    start 2 k
    for _ in $(seq 300); do grep -q '"step":2' k/$in/metrics.jsonl 2>/dev/null && break; sleep 0.02; done
    kill -TERM "$(cat pids/$who)"
    wait $job
    status=$?
    check "rank $who gets TERM: status 130" test $status = 130
    check "rank $who gets TERM: a checkpoint" grep -q 'the checkpoint is in' k.out
    ends_right "after TERM to rank $who" 2 k
done
finish
