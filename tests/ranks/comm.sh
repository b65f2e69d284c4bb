#!/usr/bin/env bash
# comm.sh: engine/comm among 1 to 4 processes: collectives against sums computed alone, the queue of work, strangers at
# the port, and what happens when a rank is killed, stopped, late, or ends with an error. Usage: tests/ranks/comm.sh
# build/cpu
set -uo pipefail
. "$(dirname "$0")/lib.sh"
program=$tests/engine/comm/test_ranks

expect "one rank without a launcher" 0 'collectives of 1 ranks: right' "$program" collectives 100000
for n in 2 3 4; do
    expect "collectives of $n ranks" 0 "collectives of $n ranks: right" "${ranks[@]}" $n "$program" collectives 1000003
    expect "work of $n ranks" 0 "work of $n ranks: right" "${ranks[@]}" $n "$program" work 300
done
expect "10 million elements" 0 "collectives of 2 ranks: right" "${ranks[@]}" 2 "$program" collectives 10000019
# as a message of more than 1 GiB is cut with pieces of 1 MiB, so one of 4 MB with pieces of 4099 bytes
TEST_PIECE=4099 expect "many pieces" 0 "collectives of 3 ranks: right" "${ranks[@]}" 3 "$program" collectives 1000003
expect "garbage at the port" 0 "garbage of 3 ranks: right" "${ranks[@]}" 3 "$program" garbage

alive() { # PID: it runs, and is no zombie that its parent has not asked for yet
    local state
    state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c 1)
    [ -n "$state" ] && [ "$state" != Z ]
}
pid_of() { sed -nE "s/^rank $1 pid ([0-9]+)$/\1/p" "$tmp/trouble" 2>/dev/null; }

# trouble NAME WHAT RANK STATUS WITHIN 'regex': 3 ranks with comm.timeout=3 do collectives without end; RANK makes
# trouble, or gets a signal if WHAT is one. The job must end with a status that matches STATUS, within so many seconds,
# with these words, and leave no process.
trouble() {
    local name=$1 what=$2 rank=$3 status=$4 within=$5 words=$6 got from left=0 r mode=none pids=()
    [ "$what" = KILL ] || [ "$what" = STOP ] || mode=$what
    rm -f "$tmp/trouble"
    TEST_TIMEOUT=3 "${ranks[@]}" 3 "$program" trouble "$([ $mode = none ] && echo -1 || echo "$rank")" $mode \
        >"$tmp/trouble" 2>&1 &
    local job=$!
    for _ in $(seq 500); do
        if [ -n "$(pid_of 0)" ] && [ -n "$(pid_of 1)" ] && [ -n "$(pid_of 2)" ]; then break; fi
        sleep 0.02
    done
    for r in 0 1 2; do pids+=("$(pid_of $r)"); done
    from=$(date +%s%N)
    [ $mode != none ] || kill "-$what" "${pids[$rank]}"
    wait $job
    got=$?
    local took=$((($(date +%s%N) - from) / 1000000))
    for _ in $(seq 100); do
        left=0
        for r in "${pids[@]}"; do if alive "$r"; then left=$((left + 1)); fi; done
        [ $left != 0 ] || break
        sleep 0.03
    done
    if ! [[ $got =~ ^($status)$ ]]; then bad "$name" "status $got, want $status"
    elif [ $took -gt $((within * 1000)) ]; then bad "$name" "ended after $took ms, $within s are allowed"
    elif [ $left != 0 ]; then bad "$name" "$left processes are left"
    elif ! grep -qE -- "$words" "$tmp/trouble"; then bad "$name" "does not say /$words/"
    else ok && return; fi
    kill -9 "${pids[@]}" 2>/dev/null
    tail -n 30 "$tmp/trouble"
}

here=$(uname -n)
lost=75 killed="appo: rank 1 on $here ended without a word: killed"
# mpirun of MPICH kills the others when one ends, at times before they can print, and reports that signal
[ ${#mpi_options[@]} != 0 ] || { lost='75|9' && killed+='|EXIT STRING: Killed'; }

# each rank with a host name of its own: connections by the addresses of the network
if unshare -u true 2>/dev/null; then
    # shellcheck disable=SC2016
    apart=(unshare -u sh -c 'hostname "node${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"; exec "$@"' sh)
    expect "three hosts" 0 "work of 3 ranks: right" "${ranks[@]}" 3 "${apart[@]}" "$program" work 100
    TEST_TIMEOUT=2 expect "three hosts, one late" 1 'appo: rank 2 on node2 is late' \
        sh -c '"$@" || exit 1' sh "${ranks[@]}" 3 "${apart[@]}" "$program" trouble 2 late
else
    echo "several hosts were not tested: unshare -u is not allowed here"
fi

for r in 0 1 2; do
    trouble "rank $r is killed" KILL $r "137|9|$lost" 4 "rank $r on $here ended without a word: killed"
done
for r in 0 2; do
    trouble "rank $r is stopped" STOP $r $lost 7 "rank $r on $here has been silent for [34] s: stopped"
    trouble "rank $r is late" late $r $lost 8 "rank $r on $here is late: behind operation [0-9]+ \(gather.*sampling"
done
trouble "the ring of a late rank" late 1 $lost 8 'operation [0-9]+ \(gather of 7.8 KiB\) +begun at +[0-9.]+ s, took'
trouble "a rank in another collective" differs 1 $lost 8 "rank 1 on $here is in operation [0-9]+ \(barrier\), rank 0"
trouble "rank 1 dies" die 1 "70|$lost" 4 "rank 1 on $here ended with status 70: a test dies"
trouble "rank 0 dies" die 0 "70|$lost" 4 "rank 0 on $here ended with status 70: a test dies"
trouble "rank 2 ends" exit 2 "3|$lost" 4 "rank 2 on $here ended with status 3"
trouble "rank 1 fails" fail 1 "1|$lost" 6 "rank 1 on $here ended: no file x"

# the program itself: a rank is stopped, or killed, in the middle of a step
in_a_step() { # NAME SIGNAL STATUS 'regex'
    local got
    rm -rf "$tmp/run" && mkdir "$tmp/run"
    # shellcheck disable=SC2016
    "${ranks[@]}" 3 sh -c 'echo $$ >"pid.${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"; exec "$@"' sh "$app" debug --steps 1000 \
        comm.timeout=3 trainer.val_before_train=false trainer.default_local_dir="$tmp/run" >"$tmp/said" 2>&1 &
    for _ in $(seq 1500); do
        if grep -qs '"step":2' "$tmp"/run/*/*/metrics.jsonl; then break; fi
        sleep 0.02
    done
    kill "-$2" "$(cat pid.1)"
    wait $!
    got=$?
    if ! [[ $got =~ ^($3)$ ]]; then bad "$1" "status $got, want $3"
    elif ! grep -qE -- "$4" "$tmp/said"; then bad "$1" "does not say /$4/"
    elif [ -n "$(find "$tmp/run" -name '*.tmp')" ]; then bad "$1" "temporary files are left"
    else ok && return; fi
    tail -n 30 "$tmp/said"
}
cd "$tmp" || exit 1
in_a_step "a step with a stopped rank" STOP "$lost" "appo: rank 1 on $here has been silent for [34] s"
in_a_step "a step with a killed rank" KILL "137|9|$lost" "$killed"
finish
