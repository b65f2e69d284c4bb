# shellcheck shell=bash disable=SC2154
check "a model" "$build/tests/field/tiny_model" "$tmp/m" base "$here/../tiny_qwen"
learn() { # name, keys
    local name=$1
    shift
    "$app" train model.path="$tmp/m" data.train_files="$here/rows.jsonl" data.system_prompt=none \
        data.max_prompt_length=200 data.max_response_length=24 rollout.max_len=240 \
        data.train_batch_size=2 actor.ppo_mini_batch_size=2 rollout.n=4 actor.optim.lr=1e-4 reward.kind=exact \
        trainer.val_before_train=false --steps 2 \
        trainer.default_local_dir="$tmp/$name" "$@" >"$tmp/$name.said" 2>&1 || return 1
}
norm() { grep -oE '"actor/grad_norm":[^,]*' "$tmp/$1"/appo/*/metrics.jsonl | sed -n "$2s/.*://p"; }
above() { awk -v x="$(norm "$1" "$2")" 'BEGIN { exit !(x > 1e-6) }'; }
check "grpo, entropy" learn a algorithm.adv_estimator=grpo actor.entropy_coeff=0.1
check "it has a gradient" above a 1
check "and again" above a 2
check "grpo, live rows" learn b algorithm.adv_estimator=grpo actor.entropy_coeff=0.1 actor.live_rows_only=true
check "the same gradient" [ "$(norm a 1)" = "$(norm b 1)" ]
check "appo, entropy" learn c actor.entropy_coeff=0.1 rollout.initial_rollouts=2
check "it has one, too" above c 1
check "KL beside it" learn d algorithm.adv_estimator=grpo actor.entropy_coeff=0.1 actor.use_kl_loss=true \
    actor.kl_loss_coef=0.5
check "the KL has a gradient once the weights have moved" grep -qE '"actor/kl_loss":(0[.]0*)?[1-9]' \
    "$tmp/d/appo/"*/metrics.jsonl
check "nothing at all" learn e rollout.initial_rollouts=2
check "says so" grep -q 'step 1 had nothing to learn from: all rewards are equal' "$tmp/e.said"
check "its rate is logged" grep -q '"actor/lr":0.0001' "$tmp/e/appo/"*/metrics.jsonl
