# shellcheck shell=bash disable=SC2154
tiny=$build/tests/field/tiny_model
score() { expect "$1" 1 "$2" "$app" score model.path="$3" </dev/null; }
for v in bin lora pth safetensors sharded_without_index lfs cache empty both; do
    check $v "$tiny" "$tmp/$v" no_weights
done
touch "$tmp/bin/pytorch_model.bin" "$tmp/bin/training_args.bin" "$tmp/pth/consolidated.00.pth"
score "pytorch_model.bin" \
    'pytorch_model.bin holds PyTorch.s pickled weights, which are not read: convert it once with transformers' \
    "$tmp/bin"
score "the file itself" 'pytorch_model.bin: holds PyTorch.s pickled' "$tmp/bin/pytorch_model.bin"
mv "$tmp/bin/pytorch_model.bin" "$tmp/bin/pytorch_model-00001-of-00002.bin"
echo '{}' >"$tmp/bin/pytorch_model.bin.index.json"
score "pytorch_model.bin in shards" 'PyTorch.s pickled weights' "$tmp/bin"
score "Llama's own files" 'consolidated.00.pth holds PyTorch.s pickled weights.*config.json and model.safetensors' \
    "$tmp/pth"
echo '{"base_model_name_or_path": "Qwen/Qwen2.5-0.5B-Instruct", "r": 16}' | tee "$tmp/lora/adapter_config.json" \
    "$tmp/both/adapter_config.json" >/dev/null
touch "$tmp/lora/adapter_model.safetensors"
score "LoRA" 'is an adapter \(LoRA; adapter_config.json\) of Qwen/Qwen2.5-0.5B-Instruct.*merge_and_unload' "$tmp/lora"
rm "$tmp/lora/config.json"
score "LoRA without config.json" 'is an adapter' "$tmp/lora"
expect "LoRA, plan" 1 'is an adapter' "$app" plan model.path="$tmp/lora"
expect "LoRA, export" 1 'is an adapter' "$app" export model.path="$tmp/lora" out="$tmp/out"
check "an adapter beside a model, which transformers would add to it" "$tiny" "$tmp/both" base
score "both" 'is an adapter' "$tmp/both"
check "weights" "$tiny" "$tmp/safetensors" base
score "the weights' file" 'give the folder it is in' "$tmp/safetensors/model.safetensors"
rm "$tmp/safetensors/config.json"
score "no config.json" '/config.json: no such file' "$tmp/safetensors"
check "shards" "$tiny" "$tmp/sharded_without_index" sharded
rm "$tmp/sharded_without_index/model.safetensors.index.json"
score "shards without an index" 'model-00001-of-00003.safetensors but neither' "$tmp/sharded_without_index"
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 3949\n' >"$tmp/lfs/model.safetensors"
score "a Git LFS pointer" 'model.safetensors: is a Git LFS pointer.*git lfs pull' "$tmp/lfs"
mkdir -p "$tmp/cache/snapshots/0123" "$tmp/ckpt/actor/huggingface"
rm "$tmp/cache/config.json"
score "the hub's cache" 'snapshots' "$tmp/cache"
cp "$tmp/empty/config.json" "$tmp/ckpt/actor/huggingface/"
score "a checkpoint" 'actor/huggingface' "$tmp/ckpt"
score "nothing" '/model.safetensors: no such file' "$tmp/empty"
mkdir "$tmp/nothing"
score "nothing at all" 'holds no model' "$tmp/nothing"
score "a name of the hub" 'no such folder.*downloaded first' Qwen/Qwen2.5-0.5B
score "no such folder" 'no such folder' "$tmp/nowhere"
score "some file" 'neither a folder nor a GGUF file' "$tmp/empty/config.json"
mkdir "$tmp/ggufs"
touch "$tmp/ggufs/a.gguf" "$tmp/ggufs/b.gguf"
score "two GGUF files" 'holds 2 GGUF files' "$tmp/ggufs"
