# shellcheck shell=bash disable=SC2154
rollouts() { # seed, kind
    "$app" train data.train_files="$here/q.jsonl" tools.search_cache="$here/cache.json" data.max_prompt_length=64 \
        data.max_response_length=240 rollout.max_len=300 \
        data.train_batch_size=3 actor.ppo_mini_batch_size=3 rollout.n=64 algorithm.adv_estimator=grpo \
        trainer.val_before_train=false --steps 1 trainer.seed="$1" \
        reward.kind="$2" trainer.rollout_data_dir="$tmp/r$1$2" trainer.default_local_dir="$tmp/c$1$2"
}
rows() { gzip -dcf "$1"* >"$tmp/rows.jsonl"; }
check "a step" rollouts 1 exact
rows "$tmp/r1exact/1.jsonl"
expect "none that is right is worth -1" 0 '^rows 192 right [1-9][0-9]* lost 0$' "$build/tests/field/grade" dump \
    "$tmp/rows.jsonl"
check "a step of the released rule" rollouts 1 deep_research
rows "$tmp/r1deep_research/1.jsonl"
expect "by the released rule some are" 0 'lost [1-9]' "$build/tests/field/grade" dump "$tmp/rows.jsonl"
check "a page with the answer" "$app" train --steps 1 data.train_files="$here/page.jsonl" data.train_batch_size=1 \
    actor.ppo_mini_batch_size=1 tools.search_cache="$here/page.json" \
    data.max_response_length=60 rollout.max_len=160 rollout.n=16 trainer.val_before_train=false \
    trainer.rollout_data_dir="$tmp/p" trainer.default_local_dir="$tmp/pc"
rows "$tmp/p/1.jsonl"
expect "the page was read" 0 '^[1-9]' grep -c 'boxed{Paris}' "$tmp/rows.jsonl"
check "nobody is paid for it" sh -c "! grep -q '\"score\":1' '$tmp/rows.jsonl'"
