#!/usr/bin/env bash
# launch.sh: starts a command as several ranks by mpirun, and again where trainer.max_restarts allows it; run.sh calls
# it for NPROC=N. An mpirun that gets TERM or INT kills its processes within a second, before any of them has written
# its checkpoint, so it runs in a process group of its own and gets USR1 instead, which it hands on to every rank.
# Usage: cmd/launch.sh PROGRAM N COMMAND [key=value ...]
set -uo pipefail
program=$1 ranks=$2 command=$3
shift 3

# a stream that is closed: mpirun would take its number for a pipe of its own, and the run ends as if it got a signal
{ : >&1; } 2>/dev/null || exec >/dev/null
{ : >&2; } 2>/dev/null || exec 2>/dev/null

stop() { # STATUS MESSAGE
    echo "run.sh: $2" >&2
    exit "$1"
}

# what `appo version` says of the library that this build joins ranks with: "Open MPI v4.1.4", "MPICH 4.0.2", "none"
library=$("$program" version | sed -n 's/^ranks: by \(.*\)/\1/p')
case $library in
Open\ MPI*) own=(mpirun.openmpi mpiexec.openmpi) words='Open MPI|OpenRTE|PRRTE' ;;
MPICH*) own=(mpirun.mpich mpiexec.hydra mpiexec.mpich) words='HYDRA|MPICH|mpich' ;;
*) own=() words=. ;;
esac

# the first launcher on the path that belongs to the library; Debian's names tell two installed ones apart
find_launcher() {
    local name other=
    for name in ${MPIRUN:-"${own[@]}" mpirun mpiexec}; do
        command -v "$name" >/dev/null || continue
        if "$name" --version 2>&1 | grep -qE "$words"; then
            launcher=$name
            return
        fi
        other=$name
    done
    [ -z "${MPIRUN:-}" ] || [ -n "$other" ] || stop 1 "MPIRUN=$MPIRUN: there is no such program"
    [ -z "$other" ] || stop 1 "$other is not of $library, with which this build joins its ranks; put the mpirun of \
that MPI first on PATH, or name it: MPIRUN=/path/mpirun"
    stop 1 "NPROC=$ranks needs mpirun, and there is none on PATH; ./run.sh setup --ranks installs one"
}

# Open MPI hands only its own variables to other hosts
exported() { compgen -e | grep -E '^(APPO|NCCL|OMP|GOMP|CUDA)_' | sed 's/^/-x /'; }

# The program divides the cores of a host among its ranks itself, so that a bare mpirun is right too; Open MPI would
# bind each of two ranks to one core. It counts cores where nproc counts their threads: more ranks than that must be
# asked for.
set_arguments() {
    arguments=(-n "$ranks")
    if [ "${words%%|*}" = 'Open MPI' ]; then
        arguments+=(--bind-to none -q)
        [ "$(id -u)" != 0 ] || arguments+=(--allow-run-as-root)
        if [ -z "${MPIRUN_ARGS:-}" ] && [ "$ranks" -gt $(($(nproc) / 2)) ]; then arguments+=(--oversubscribe); fi
        # shellcheck disable=SC2207
        arguments+=($(exported))
    fi
    # shellcheck disable=SC2206
    arguments+=(${MPIRUN_ARGS:-})
}

# one_start ARGUMENTS...: runs the job and leaves its status in $status; signals on the way are handed on
one_start() {
    set -m
    if [ "$ranks" = 1 ]; then "$program" "$command" "$@" </dev/null &
    else "$launcher" "${arguments[@]}" "$program" "$command" "$@" </dev/null &
    fi
    job=$!
    set +m
    # a signal ends the wait, not the job
    while seen=$signals; wait $job; got=$?; [ $got = 127 ] || status=$got; [ "$seen" != "$signals" ]; do :; done
    job=
    # an mpirun that was not ready for USR1 yet
    if [ -n "$stopping" ] && [ "$status" = 138 ]; then status=130; fi
    # MPICH's mpiexec forgets the status of the ranks after a signal that it has handed on
    if [ -n "$stopping" ] && [ "$status" = 0 ] && [ "${own[0]-}" = mpirun.mpich ]; then status=130; fi
}

# The first signal asks every rank to stop after this step. A second INT or TERM ends them at once; timeout and shells
# send the first one twice, so those of the same second are one.
# shellcheck disable=SC2317
on_signal() {
    signals=$((signals + 1))
    if [ -z "$stopping" ]; then
        stopping=$SECONDS
        [ -z "$job" ] || kill -USR1 "$job"
    elif [ "$1" = TERM ] && [ $((SECONDS - stopping)) -gt 0 ] && [ -n "$job" ]; then kill -TERM "$job"; fi
}

# A rank was lost: the others' status, or that of a signal, 128 more in Open MPI: ABRT, BUS, FPE, KILL, SEGV
lost() { case $1 in 75 | 134 | 135 | 136 | 137 | 139 | 6 | 7 | 8 | 9 | 11) return 0 ;; *) return 1 ;; esac; }

value_of() { sed -n "s/^trainer\.$1: \"\{0,1\}\([^\"#]*[^\"# ]\)\"\{0,1\} *#.*/\1/p" <<<"$settings"; }

# faults of the configuration are reported once, not by every rank
words_of_check=$("$program" "$command" "$@" --print-config 2>&1) || { echo "$words_of_check" >&2; exit 2; }
settings=$words_of_check
restarts=$(value_of max_restarts)
resume=$(value_of resume)
if [ "$ranks" -gt 1 ]; then
    [ "$library" != none ] || stop 1 "this build of the program has no MPI, and NPROC=$ranks needs it: \
./run.sh setup --ranks, then the same again"
    find_launcher
    set_arguments
fi
case $resume in
auto | off | interrupted) ;;
*) [ "${restarts:-0}" = 0 ] || stop 2 "trainer.max_restarts=$restarts with trainer.resume=$resume: a restart would \
begin there again and lose what came after; use trainer.resume=auto" ;;
esac

stopping='' job='' status=0 signals=0 pause=${APPO_RESTART_PAUSE:-5}
trap 'on_signal TERM' TERM INT
trap 'on_signal USR1' HUP USR1 USR2
one_start "$@"
for ((n = 1; n <= ${restarts:-0}; n++)); do
    if [ -n "$stopping" ] || ! lost "$status"; then break; fi
    echo "run.sh: a rank was lost (status $status): start $n of at most $restarts again in $pause s" >&2
    sleep "$pause" &
    wait $!
    if [ -n "$stopping" ]; then kill $!; exit 130; fi
    pause=$((pause * 2 < 300 ? pause * 2 : 300))
    again=("$@")
    [ "$resume" != off ] || again+=(trainer.resume=auto)
    one_start "${again[@]}"
done
if lost "$status" && [ -z "$stopping" ]; then
    echo "run.sh: a rank was lost (status $status); the same command resumes from the last checkpoint" >&2
    status=75
fi
exit "$status"
