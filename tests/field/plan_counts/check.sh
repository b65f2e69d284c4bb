# shellcheck shell=bash disable=SC2154
check "a model of 12 M weights" "$build/tests/field/tiny_model" \
    "$tmp/m" base tests/field/tiny_qwen hidden_size=256 intermediate_size=1024 num_hidden_layers=4 \
    num_attention_heads=4 vocab_size=32000
keys=(model.path="$tmp/m" rollout.max_len=256 data.max_prompt_length=240 data.max_response_length=4 rollout.n=4
    rollout.initial_rollouts=2 data.train_batch_size=2
    actor.ppo_mini_batch_size=2 rollout.max_num_seqs=8 actor.ppo_max_token_len_per_gpu=512)
echo '{"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"world"}]}' >"$tmp/sft.jsonl"
planned() { "$app" plan "$@" 2>/dev/null | awk '/^all / { print $2 }'; }
near() { # NAME PLANNED PEAK_KB: within 3 %
    check "$1: planned $2 MiB, measured $(($3 / 1024)) MiB" awk -v p="${2:-0}" -v m="$3" \
        'BEGIN { m /= 1024; exit !(m > 50 && p > 0.97 * m && p < 1.03 * m) }'
}
peak() { # COMMAND...: its largest resident size in KiB
    "$@" >"$tmp/said" 2>&1 &
    local pid=$! most=0 now
    while kill -0 $pid 2>/dev/null; do
        now=$(awk '/^VmHWM/ { print $2 }' /proc/$pid/status 2>/dev/null)
        if [ "${now:-0}" -gt "$most" ]; then most=$now; fi
        sleep 0.02
    done
    echo "$most"
}
for kl in false true; do
    [ $kl = false ] || keys+=(model.recompute=cheap)
    more=(actor.use_kl_loss=$kl actor.kl_loss_coef=0.01 actor.entropy_coeff=0.001 actor.live_rows_only=false)
    near "train, KL $kl" "$(planned "${keys[@]}" "${more[@]}")" \
        "$(peak "$app" train "${keys[@]}" "${more[@]}" trainer.total_training_steps=1 data.val_per_family=1 \
        trainer.val_before_train=false trainer.default_local_dir="$tmp/run$kl")"
done
host=(actor.offload=optimizer actor.use_kl_loss=true actor.kl_loss_coef=0.01 ref.offload=true)
near "train, offloaded" "$(planned "${keys[@]}" "${host[@]}")" \
    "$(peak "$app" train "${keys[@]}" "${host[@]}" trainer.total_training_steps=1 data.val_per_family=1 \
    trainer.val_before_train=false trainer.default_local_dir="$tmp/runhost")"
near "sft" "$(planned for=sft "${keys[@]}")" \
    "$(peak "$app" sft "${keys[@]}" data.train_files="$tmp/sft.jsonl" sft.steps=1 sft.warmup_steps=0 \
    sft.save="$tmp/out")"
expect "a card" 0 'fits 139.5[0-9] GiB' "$app" plan gpu=h200 "${keys[@]}"
expect "and as bf16" 0 'numbers stored as bf16, on a GPU' "$app" plan gpu=h200 "${keys[@]}"
"$app" plan gpu=4090 \
    "${keys[@]}" rollout.max_num_seqs=60000 rollout.max_total_tokens=122880000 rollout.max_len=2048 \
    actor.ppo_max_token_len_per_gpu=2048 >"$tmp/plan" 2>&1
expect "too much for a card" 0 'does NOT fit 23.11 GiB: [0-9.]+ GiB too much' cat "$tmp/plan"
# every key that the advice names is one, with that value
for k in $(grep -oE '[a-z_]+\.[a-z_.]+=[a-z0-9]+' "$tmp/plan" | sort -u); do
    check "advice: $k" "$app" plan "${keys[@]}" "$k"
done
expect "what is too much" 1 \
    'm: this run takes [0-9.]+ GiB \(weights 0\..*keys and values .* free.*Lower .*, rollout.max_num_seqs=65536' \
    "$app" train "${keys[@]}" rollout.max_num_seqs=65536 rollout.max_total_tokens=134217728 \
    rollout.max_num_batched_tokens=65536 rollout.max_len=2048 \
    actor.ppo_max_token_len_per_gpu=2048 \
    trainer.default_local_dir="$tmp/run"
