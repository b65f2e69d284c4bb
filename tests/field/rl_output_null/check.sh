# shellcheck shell=bash disable=SC2154
check "a model" "$build/tests/field/tiny_model" "$tmp/m" base "$here/../tiny_qwen"
check "a step" "$app" train model.path="$tmp/m" data.train_files="$here/rows.jsonl" data.system_prompt=none \
    data.max_prompt_length=200 data.max_response_length=40 rollout.max_len=240 \
    data.train_batch_size=2 actor.ppo_mini_batch_size=2 rollout.n=4 algorithm.adv_estimator=grpo \
    trainer.val_before_train=false --steps 1 reward.kind=exact \
    trainer.rollout_data_dir="$tmp/r" trainer.default_local_dir="$tmp/c"
gzip -dcf "$tmp"/r/1.jsonl* >"$tmp/rows.jsonl"
check "eight rollouts" [ "$(wc -l <"$tmp/rows.jsonl")" = 8 ]
check "none without a text" sh -c "! grep -q '\"output\":null' '$tmp/rows.jsonl'"
check "all with one" [ "$(grep -c '"output":"' "$tmp/rows.jsonl")" = 8 ]
check "some cut inside a character" grep -q "$(printf '\357\277\275')" "$tmp/rows.jsonl"
