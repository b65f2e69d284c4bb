#!/usr/bin/env bash
# memory.sh: what `appo plan ranks=N` prints against the largest resident size of each rank of a real run, within 3 %.
# Usage: tests/ranks/memory.sh build/cpu
set -uo pipefail
# shellcheck source=tests/ranks/lib.sh
. "$(dirname "$0")/lib.sh"
# the numbers of processes of the C backend: its memory is the device's and the host's
"$app" --version | grep -q ' cpu ' || { echo "0 passed, 0 failed"; exit 0; }
"$tests/field/tiny_model" "$tmp/m" base "$top/tests/field/tiny_qwen" hidden_size=256 intermediate_size=1024 \
    num_hidden_layers=4 num_attention_heads=4 vocab_size=32000 || bad "a model of 12 M weights" "tiny_model failed"
keys=(model.path="$tmp/m" rollout.max_len=256 data.max_prompt_length=240 data.max_response_length=4 rollout.n=4
    rollout.initial_rollouts=2 data.train_batch_size=4 actor.ppo_mini_batch_size=4 rollout.max_num_seqs=8
    actor.ppo_max_token_len_per_gpu=512 actor.entropy_coeff=0.001 actor.live_rows_only=false)

# Prints its largest resident size in KiB into the file $tmp/peak.PID and ends as COMMAND does.
cat >"$tmp/watched" <<'WATCHED'
#!/usr/bin/env bash
"$@" &
pid=$! most=0
while kill -0 $pid 2>/dev/null; do
    now=$(awk '/^VmHWM/ { print $2 }' /proc/$pid/status 2>/dev/null)
    if [ "${now:-0}" -gt "$most" ]; then most=$now; fi
    sleep 0.02
done
echo "$most" >"$PEAKS/peak.$$"
wait $pid
WATCHED
chmod +x "$tmp/watched"
# near N KEY=VALUE ...: a step of N ranks
near() {
    local n=$1 planned peak
    shift
    rm -rf "$tmp"/run "$tmp"/peak.*
    planned=$("$app" plan ranks="$n" "${keys[@]}" "$@" 2>/dev/null | awk '/^all / { print $2 }')
    expect "a step of $n ranks $*" 0 'in .*run.*global_step_1' env PEAKS="$tmp" "${ranks[@]}" "$n" "$tmp/watched" \
        "$app" train "${keys[@]}" "$@" trainer.total_training_steps=1 data.val_per_family=1 \
        trainer.val_before_train=false trainer.default_local_dir="$tmp/run"
    check "$n ranks were measured" [ "$(cat "$tmp"/peak.* | wc -l)" = "$n" ]
    while read -r peak; do
        check "$n ranks $*: planned $planned MiB, measured $((peak / 1024)) MiB" awk -v p="${planned:-0}" \
            -v m="$peak" 'BEGIN { m /= 1024; exit !(m > 50 && p > 0.97 * m && p < 1.03 * m) }'
    done < <(cat "$tmp"/peak.*)
}
near 2
near 2 actor.zero=1 actor.offload=optimizer
near 2 actor.zero=2 model.recompute=cheap actor.use_kl_loss=true actor.kl_loss_coef=0.01 ref.offload=true
near 4
finish
