#!/usr/bin/env bash
# scripts.sh: the launch scripts: --help, what DRY=1 prints, recipes that load and fit 8 GPUs, a trial on two ranks, and
# the Slurm script with an srun and an scontrol that are programs of this test.
# Usage: tests/ranks/scripts.sh build/cpu
set -uo pipefail
# shellcheck source=tests/ranks/lib.sh
. "$(dirname "$0")/lib.sh"
APPO_BUILD=$(dirname "$build")
export APPO_BUILD
cd "$tmp" || exit 1
scripts=$top/scripts
given=(ACTOR_MODEL_PATH=/m TRAIN_FILES=/t.parquet VALID_FILES=/v.parquet SAVE_PATH=/s)

for script in one_node.sh mpirun_nodes.sh slurm.sbatch; do
    check "$script: bash reads it" bash -n "$scripts/$script"
    expect "$script --help" 0 'ACTOR_MODEL_PATH +model.path' env APPO_DIR="$top" "$scripts/$script" --help
done
expect "no model" 2 'model.path is not given: ACTOR_MODEL_PATH=DIR' env DRY=1 "$scripts/one_node.sh"
expect "no such recipe" 2 'RECIPE=none: no such recipe' env RECIPE=none "$scripts/one_node.sh"
expect "a count that is no number" 2 'N_GPUS_PER_NODE=x .*numbers' env N_GPUS_PER_NODE=x "$scripts/one_node.sh"
expect "one node" 0 'run.sh train NPROC=8 trainer.max_restarts=3 --config .*/7b_reasoning.yaml model.path=/m data' \
    env DRY=1 "${given[@]}" "$scripts/one_node.sh"
expect "several nodes are another script's" 2 'mpirun_nodes.sh' env DRY=1 "${given[@]}" NNODES=2 "$scripts/one_node.sh"
expect "two nodes" 0 'MPIRUN_ARGS=(-H\\ a:4\\,b:4|-ppn\\ 4\\ -hosts\\ a\\,b).* NPROC=8 .*8b_deepsearch' \
    env DRY=1 "${given[@]}" RECIPE=8b_deepsearch N_GPUS_PER_NODE=4 NNODES=2 HOSTS=a,b "$scripts/mpirun_nodes.sh"
expect "hosts and nodes differ" 2 'HOSTS has 1 names and NNODES=2' env DRY=1 "${given[@]}" NNODES=2 HOSTS=a \
    "$scripts/mpirun_nodes.sh"
expect "no hosts" 2 'HOSTS is not given' env DRY=1 "${given[@]}" NNODES=2 "$scripts/mpirun_nodes.sh"
expect "Slurm" 0 'srun --mpi=pmix --kill-on-bad-exit=1 --nodes=8 --ntasks-per-node=8 .*14b_deepsearch.yaml' \
    env DRY=1 "${given[@]}" RECIPE=14b_deepsearch SLURM_SUBMIT_DIR="$top" SLURM_JOB_NUM_NODES=8 "$scripts/slurm.sbatch"

# each recipe is what the published script gives, and loads with its variables
value() { sed -n "s/^$1: \"\{0,1\}\([^\"# ]*\).*/\1/p" out; }
while read -r recipe shape batch small prompt response n initial epochs; do
    "$app" train --config "$scripts/recipes/$recipe.yaml" --print-config >out 2>said
    check "$recipe loads" [ $? = 0 ]
    check "$recipe: its numbers" [ "$(value data.train_batch_size) $(value actor.ppo_mini_batch_size) $(value \
        data.max_prompt_length) $(value data.max_response_length) $(value rollout.n) $(value \
        rollout.initial_rollouts) $(value trainer.total_epochs) $(value actor.zero)" = \
        "$batch $small $prompt $response $n $initial $epochs 2" ]
    check "$recipe: no warning" [ "$(grep -cv 'sampler and trainer share their numbers' said)" = 0 ]
    for gpu in h100 h200; do
        expect "$recipe fits 8 of $gpu" 0 "^fits [0-9.]+ GiB" "$app" plan ranks=8 gpu=$gpu \
            model.path="$top/tests/cmd/shapes/$shape" --config "$scripts/recipes/$recipe.yaml"
    done
done <<'TABLE'
7b_reasoning       qwen2.5-7b    96 16 2048  6144 16 8 2
8b_llama_reasoning llama-3.1-8b  96 16 2048  6144 16 8 2
8b_deepsearch      qwen3-8b     128 16 2000 10000 16 8 5
14b_deepsearch     qwen3-14b     64  8 2000  6192 12 6 5
TABLE
# every variable reaches a key that the program knows, or is rejected by its name
for row in ROLLOUT_N=12 INITIAL_ROLLOUTS=6 TRAIN_BATCH_SIZE=32 MAX_PROMPT_LENGTH=1000 MAX_RESPONSE_LENGTH=3000 \
    PPO_MINI_BATCH_SIZE=8 PROJECT_NAME=p EXPERIMENT_NAME=e TOTAL_EPOCHS=1 SAVE_FREQ=7 TEST_FREQ=9 PROMPT_KEY=q \
    ROLLOUT_SAVE_PATH=/r SEARCH_CACHE_PATH=/c.json ENABLE_MULTI_TURN=True REWARD_MANAGER=naive ROLLOUT_NAME=vllm \
    GPU_MEMORY_UTILIZATION=0.5; do
    mapfile -t command < <(env DRY=1 "${given[@]}" "$row" "$scripts/one_node.sh" | xargs -n 1)
    # without run.sh, train and NPROC
    expect "$row" 0 'model.path: "/m"' "$app" train "${command[@]:3}" --print-config
done
mapfile -t command < <(env DRY=1 "${given[@]}" BEAM_SIZE=2 "$scripts/one_node.sh" | xargs -n 1)
expect "ARPO's branching" 2 'beam_size=2' "$app" train "${command[@]:3}" --print-config

expect "the trial on two ranks" 0 '^2 steps in' env RECIPE=trial N_GPUS_PER_NODE=2 "$scripts/one_node.sh"

# Slurm: srun starts two ranks by mpirun and hands USR1 on, as srun does; scontrol notes what it is asked
mkdir bin
cat >bin/srun <<SRUN
#!/usr/bin/env bash
while [[ \$1 == -* ]]; do shift; done
echo "start" >>"$tmp/starts"
[ -z "\${SRUN_STATUS:-}" ] || exit "\$SRUN_STATUS"
exec "$mpirun" ${mpi_options[*]} -n 2 "\$@"
SRUN
cat >bin/scontrol <<SCONTROL
#!/bin/sh
echo "\$@" >>"$tmp/requeued"
SCONTROL
chmod +x bin/srun bin/scontrol
slurm=(env PATH="$tmp/bin:$PATH" SLURM_JOB_ID=42 SLURM_SUBMIT_DIR="$top" RECIPE=trial N_GPUS_PER_NODE=2
    "$scripts/slurm.sbatch" trainer.experiment_name=slurm)
requeues() { cat requeued 2>/dev/null | grep -c '^requeue 42$'; }
expect "Slurm: a wrong key ends the job" 2 'nothing is put back' env SRUN_STATUS=2 "${slurm[@]}"
check "Slurm: not requeued" [ "$(requeues)" = 0 ]
for n in 1 2; do
    expect "Slurm: loss $n" 0 "a rank was lost, loss $n of at most 2" env SRUN_STATUS=137 MAX_RESTARTS=2 "${slurm[@]}"
done
check "Slurm: requeued twice" [ "$(requeues)" = 2 ]
expect "Slurm: one loss too many" 75 'MAX_RESTARTS=2' env SRUN_STATUS=75 MAX_RESTARTS=2 "${slurm[@]}"
check "Slurm: not a third time" [ "$(requeues)" = 2 ]
waits() { for _ in $(seq 600); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; return 1; }
"${slurm[@]}" trainer.total_training_steps=1000 >first.txt 2>&1 &
job=$!
check "Slurm: the job takes steps" waits first.txt 'step:2'
kill -TERM $job
wait $job
check "Slurm: the script ends with 0" [ $? = 0 ]
check "Slurm: the run was saved" grep -q '^stopped after step' first.txt
check "Slurm: and requeued" [ "$(requeues)" = 3 ]
done_at=$(sed -n 's/^stopped after step \([0-9]*\);.*/\1/p' first.txt)
expect "Slurm: the next start ends the run" 0 "resumed after step $done_at" "${slurm[@]}" \
    trainer.total_training_steps=$((done_at + 1))
check "Slurm: it is done" grep -q 'slurm.sbatch: the run is done' said
check "Slurm: and not requeued" [ "$(requeues)" = 3 ]
finish
