# shellcheck shell=bash disable=SC2154
check "a folder" "$build/tests/field/tiny_model" \
    "$tmp/m" base tests/field/tiny_qwen initializer_range=0.041666666666666664
mkdir "$tmp/m/additional_chat_templates"
echo '{{ tools }}{{ messages }}' >"$tmp/m/additional_chat_templates/tool_use.jinja"
echo '{{ documents }}' >"$tmp/m/additional_chat_templates/rag.jinja"
echo 'no template' >"$tmp/m/additional_chat_templates/notes.txt"
echo '{"eos_token_id": [402], "temperature": 0.6}' >"$tmp/m/generation_config.json"
echo '{"eos_token": "<|im_end|>"}' >"$tmp/m/special_tokens_map.json"
echo '{"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"world"}]}' >"$tmp/sft.jsonl"
check "export" "$app" export model.path="$tmp/m" out="$tmp/export"
check "sft" "$app" sft model.path="$tmp/m" data.train_files="$tmp/sft.jsonl" sft.save="$tmp/sft" sft.steps=1
check "train" "$app" train model.path="$tmp/m" rollout.max_len=256 data.max_prompt_length=200 \
    data.max_response_length=8 trainer.total_training_steps=1 \
    trainer.val_before_train=false data.train_batch_size=2 actor.ppo_mini_batch_size=2 data.val_per_family=1 \
    trainer.default_local_dir="$tmp/run"
checkpoint=$(dirname "$(find "$tmp/run" -path '*/huggingface/config.json' | head -n 1)")
for out in "$tmp/export" "$tmp/sft" "$checkpoint"; do
    for f in generation_config.json special_tokens_map.json tokenizer.json tokenizer_config.json \
        additional_chat_templates/{tool_use,rag}.jinja; do
        check "$f in $out" cmp "$tmp/m/$f" "$out/$f"
    done
    check "not what is no template" test ! -e "$out/additional_chat_templates/notes.txt"
    expect "initializer_range in $out" 0 '"initializer_range": 0.041666666666666664,' cat "$out/config.json"
    check "$out loads" "$app" score model.path="$out" </dev/null
done
