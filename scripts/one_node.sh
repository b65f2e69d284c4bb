#!/usr/bin/env bash
# one_node.sh: one of the published recipes on the GPUs of this machine.
set -euo pipefail
# shellcheck source=scripts/recipe.sh
. "$(dirname "$(readlink -f "$0")")/recipe.sh"
usage='usage: [RECIPE=NAME] [VARIABLE=VALUE ...] scripts/one_node.sh [key=value ...]

trains one of the published recipes on the GPUs of this machine (8, or N_GPUS_PER_NODE)

  ACTOR_MODEL_PATH=models/Qwen2.5-7B-SFT TRAIN_FILES=train_10k.parquet VALID_FILES=valid.parquet scripts/one_node.sh
  RECIPE=trial N_GPUS_PER_NODE=2 scripts/one_node.sh      a minute, on any machine'
case ${1:-} in -h | --help) recipe_help "$usage" && exit ;; esac
recipe_words "$@"
[ "$nodes" = 1 ] || recipe_fail "NNODES=$nodes: scripts/mpirun_nodes.sh and scripts/slurm.sbatch are for several nodes"
start "$front" train NPROC="$per_node" "trainer.max_restarts=${MAX_RESTARTS:-3}" "${words[@]}"
