#!/usr/bin/env bash
# no_mpi.sh: a build without MPI: it runs alone, needs no library of MPI, and rejects several processes with what to
# install. Usage: tests/cli/no_mpi.sh build/cpu-no-mpi/appo
set -uo pipefail
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh" "$1"
cd "$tmp" || exit 1
small=(debug --steps 1 data.val_per_family=1 data.train_batch_size=4 actor.ppo_mini_batch_size=4)
expect "version" 0 '^ranks: by none' "$app" version
expect "doctor" 0 'ranks +by none: .*setup --ranks' "$app" doctor
check "no library of MPI" sh -c "! ldd '$app' | grep -qE 'libmpi|libnccl'"
expect "several processes" 1 '2 processes were started, but this build has no MPI .*setup --ranks' \
    env OMPI_COMM_WORLD_SIZE=2 "$app" "${small[@]}"
expect "NPROC" 1 'this build of the program has no MPI, and NPROC=2 needs it: \./run\.sh setup --ranks' \
    "$top/cmd/launch.sh" "$app" 2 "${small[@]}"
check "nothing was started" [ ! -e checkpoints ]
expect "NPROC=1" 0 '^1 steps in' "$top/cmd/launch.sh" "$app" 1 "${small[@]}"
finish
