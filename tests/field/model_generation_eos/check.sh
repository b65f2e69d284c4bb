# shellcheck shell=bash disable=SC2154
# this model answers </tool_call> (404) to everything, and only generation_config.json calls that an end
tiny=$build/tests/field/tiny_model
check "the model" "$tiny" "$tmp/m" generation_config_eos
check "the same without the file" cp -r "$tmp/m" "$tmp/without"
rm "$tmp/without/generation_config.json"
sizes=(rollout.max_len=256 data.max_prompt_length=200 data.max_response_length=20)
echo '{"prompt":"hello world"}' >"$tmp/ask"
expect "generate stops" 0 '"text":"","finish":"stop"' "$app" generate model.path="$tmp/m" --greedy --max 9 <"$tmp/ask"
expect "without the file it goes on" 0 '"finish":"length"' \
    "$app" generate model.path="$tmp/without" --greedy --max 9 <"$tmp/ask"
expect "evaluation: 2 tokens (greedy, sampled) for each of 13 questions" 0 '13 prompts, 26 tokens' \
    "$app" eval model.path="$tmp/m" "${sizes[@]}" data.val_per_family=1
expect "rollouts: 32 of one token each" 0 ' 32 tokens generated' \
    "$app" train model.path="$tmp/m" "${sizes[@]}" trainer.total_training_steps=1 \
    trainer.val_before_train=false data.train_batch_size=2 actor.ppo_mini_batch_size=2 rollout.n=16 \
    data.val_per_family=1 trainer.default_local_dir="$tmp/run"
found=$(find "$tmp/run" -path '*/huggingface/generation_config.json' | head -n 1)
check "a checkpoint keeps the file" cmp "$tmp/m/generation_config.json" "$found"
check "export" "$app" export model.path="$tmp/m" out="$tmp/out" dtype=f32
check "keeps it too" cmp "$tmp/m/generation_config.json" "$tmp/out/generation_config.json"
expect "and stops as before" 0 '"text":"","finish":"stop"' \
    "$app" generate model.path="$tmp/out" --greedy --max 9 <"$tmp/ask"
for bad in 409 -1 '"</tool_call>"' '[402, 409]' '[[404]]' true 4e2 '[1,2,3,4,5,6,7,8,9]'; do
    echo "{\"eos_token_id\": $bad}" >"$tmp/m/generation_config.json"
    expect "eos_token_id $bad" 1 'generation_config.json: eos_token_id' \
        "$app" generate model.path="$tmp/m" --greedy --max 9 <"$tmp/ask"
done
for fine in 404 '[404, 404, 402]' '[404]'; do
    echo "{\"eos_token_id\": $fine, \"temperature\": 0.6}" >"$tmp/m/generation_config.json"
    expect "eos_token_id $fine" 0 '"text":"","finish":"stop"' \
        "$app" generate model.path="$tmp/m" --greedy --max 9 <"$tmp/ask"
done
echo '{"eos_token_id": null}' >"$tmp/m/generation_config.json"
expect "null adds none" 0 '"finish":"length"' "$app" generate model.path="$tmp/m" --greedy --max 9 <"$tmp/ask"
echo '[404' >"$tmp/m/generation_config.json"
expect "no JSON" 1 'generation_config.json: not JSON' "$app" generate model.path="$tmp/m" --greedy --max 9 <"$tmp/ask"
