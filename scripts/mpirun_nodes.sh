#!/usr/bin/env bash
# mpirun_nodes.sh: one of the published recipes on several machines, by mpirun and ssh. The program, the model and the
# data are under the same paths on all of them, and SAVE_PATH is a folder that all see.
set -euo pipefail
# shellcheck source=scripts/recipe.sh
. "$(dirname "$(readlink -f "$0")")/recipe.sh"
usage='usage: HOSTS=a,b NNODES=2 [RECIPE=NAME] [VARIABLE=VALUE ...] scripts/mpirun_nodes.sh [key=value ...]

trains one of the published recipes on the GPUs of several machines that ssh reaches without a password

  HOSTS=a,b            their names; NNODES of them, the first is this one
  MPIRUN_ARGS=...      more arguments of mpirun, such as --mca btl_tcp_if_include eth0

  HOSTS=node1,node2 NNODES=2 ACTOR_MODEL_PATH=/data/Qwen2.5-7B-SFT TRAIN_FILES=/data/train_10k.parquet \
      SAVE_PATH=/shared/runs scripts/mpirun_nodes.sh'
case ${1:-} in -h | --help) recipe_help "$usage" && exit ;; esac
recipe_words "$@"
IFS=, read -ra hosts <<<"${HOSTS:-}"
[ "${#hosts[@]}" -gt 0 ] || recipe_fail "HOSTS is not given: HOSTS=node1,node2 NNODES=2"
[ "${#hosts[@]}" = "$nodes" ] || recipe_fail "HOSTS has ${#hosts[@]} names and NNODES=$nodes"
if ! mpirun --version 2>&1 | grep -qE 'Open MPI|OpenRTE|PRRTE'; then list=$HOSTS options="-ppn $per_node -hosts"
else
    list=$(printf "%s:$per_node," "${hosts[@]}") options=-H
fi
export MPIRUN_ARGS="$options ${list%,} ${MPIRUN_ARGS:-}"
[ -z "${DRY:-}" ] || printf 'MPIRUN_ARGS=%q ' "$MPIRUN_ARGS"
start "$front" train NPROC=$((per_node * nodes)) "trainer.max_restarts=${MAX_RESTARTS:-3}" "${words[@]}"
