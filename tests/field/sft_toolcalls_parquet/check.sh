# shellcheck shell=bash disable=SC2154
check "the model" "$build/tests/field/tiny_model" "$tmp/m"
expect "the call has loss" 0 '1 conversations, 119 tokens, 36 of them with loss' \
    "$app" sft model.path="$tmp/m" data.train_files="$here/conversation.parquet" sft.steps=1 sft.batch_size=1 \
    sft.save="$tmp/saved"
