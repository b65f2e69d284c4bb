#!/usr/bin/env bash
# recipe.sh: what the launch scripts beside it share: a recipe (recipes/*.yaml) and the variables that users of the
# published scripts know, as arguments of run.sh. Sourced; sets $front, $words (the arguments), $per_node and $nodes.
scripts=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck disable=SC2034
front=$(dirname "$scripts")/run.sh

# variable -> key. A variable that is not set leaves the recipe's value. Those of ARPO that this program has no key for
# are handed on too: it rejects them by name, and does not run something else in silence.
table=(
    "ACTOR_MODEL_PATH model.path" "TRAIN_FILES data.train_files" "VALID_FILES data.val_files"
    "PROMPT_KEY data.prompt_key" "TRAIN_BATCH_SIZE data.train_batch_size"
    "PPO_MINI_BATCH_SIZE actor.ppo_mini_batch_size" "MAX_PROMPT_LENGTH data.max_prompt_length"
    "MAX_RESPONSE_LENGTH data.max_response_length" "ROLLOUT_N rollout.n" "INITIAL_ROLLOUTS rollout.initial_rollouts"
    "SEARCH_CACHE_PATH tools.search_cache" "ENABLE_MULTI_TURN rollout.multi_turn.enable"
    "REWARD_MANAGER reward_model.reward_manager" "CUSTOM_REWARD_FUNCTION_PATH custom_reward_function.path"
    "PROJECT_NAME trainer.project_name" "EXPERIMENT_NAME trainer.experiment_name"
    "SAVE_PATH trainer.default_local_dir" "ROLLOUT_SAVE_PATH trainer.rollout_data_dir"
    "TOTAL_EPOCHS trainer.total_epochs" "SAVE_FREQ trainer.save_freq" "TEST_FREQ trainer.test_freq"
    "GPU_MEMORY_UTILIZATION rollout.gpu_memory_utilization" "ROLLOUT_NAME rollout.name"
    "BEAM_SIZE rollout.beam_size" "BRANCH_PROBABILITY rollout.branch_probability"
    "Entropy_weight rollout.entropy_weight"
)

recipe_help() { # USAGE
    cat <<TEXT
$1

recipes (RECIPE=NAME): $(cd "$scripts/recipes" && echo -- *.yaml | sed 's/^-- //; s/\.yaml//g')

variables, each of which sets a key; the recipe has a value for the others:
$(printf '%s\n' "${table[@]}" | awk '{ printf "  %-28s %s\n", $1, $2 }')
  N_GPUS_PER_NODE, NNODES      ranks of a node (8) and nodes (1); without GPUs, processes that share its cores
  MAX_RESTARTS                 how often a run that lost a rank is started again (3)
  DRY=1                        print the command and do nothing

Arguments key=value come last and win. Needed, except by RECIPE=trial: ACTOR_MODEL_PATH, TRAIN_FILES.
TEXT
}

recipe_fail() {
    echo "$(basename "$0"): $1" >&2
    exit 2
}

# recipe_words ARGUMENTS...
recipe_words() {
    local row name key file
    RECIPE=${RECIPE:-7b_reasoning} per_node=${N_GPUS_PER_NODE:-8} nodes=${NNODES:-1}
    file=$scripts/recipes/$RECIPE.yaml
    [ -e "$file" ] || recipe_fail "RECIPE=$RECIPE: no such recipe; --help lists them"
    for name in per_node nodes; do
        [[ ${!name} =~ ^[1-9][0-9]*$ ]] || recipe_fail "N_GPUS_PER_NODE=$per_node NNODES=$nodes: numbers from 1 on"
    done
    words=(--config "$file")
    for row in "${table[@]}"; do
        name=${row% *} key=${row#* }
        if [ -n "${!name:-}" ]; then words+=("$key=${!name}"); fi
    done
    words+=("$@")
    [ "$RECIPE" = trial ] && return
    for name in model.path data.train_files; do
        [[ " ${words[*]}" == *" $name="* ]] || recipe_fail \
            "$name is not given: ACTOR_MODEL_PATH=DIR TRAIN_FILES=FILE (RECIPE=trial needs neither)"
    done
}

# start COMMAND...: or print it
start() {
    if [ -n "${DRY:-}" ]; then printf '%q ' "$@" && echo
    else "$@"; fi
}
