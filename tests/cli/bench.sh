#!/usr/bin/env bash
# bench.sh: what bench, gpu-check and pack-deps print, write and reject; the check of a GPU runs here with the C backend
# in its place.
# Usage: tests/cli/bench.sh build/cpu/appo
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
front=$top/run.sh

# ---- bench ----
expect "list" 0 'row_stats .*attn_paged' sh -c "'$app' bench list | tr '\n' ' '"
expect "an unknown operation" 2 'attn_x: no benchmark' "$app" bench attn_x
expect "an unknown model" 2 'GPT-5: no such model' "$app" bench train --model GPT-5
expect "unknown sizes" 2 'gpu, cpu or tiny' "$app" bench --sizes huge
expect "a limit that is no size" 2 'a size is needed' "$app" bench --limit much
expect "no value" 2 'a value is missing' "$app" bench --json
expect "a place that cannot be written" 1 'none/x' "$app" bench add --sizes tiny --json none/x
expect "a table of nothing" 2 'which files' "$app" bench --table
expect "a table of no file" 1 'none' "$app" bench --table none
expect "too little memory" 0 'left out: takes about .* GiB' "$app" bench embed --sizes cpu --limit 2MiB
expect "it says that there is no GPU" 0 'no GPU: this measures the C backend' \
    "$app" bench add scale --sizes tiny --json rows.jsonl
check "a row each" test "$(grep -c '"backend":"cpu"' rows.jsonl)" = 2
check "a row says the command" grep -q '"command":"appo bench add scale --sizes tiny --json rows.jsonl"' rows.jsonl
check "cases for peers" "$app" bench --shapes cases.jsonl --sizes gpu
check "the largest vocabulary is among them" grep -q '"name":"row_stats","shape":{"n":16384,"vocab":151936}.*"bytes":' \
    cases.jsonl
printf '{"name":"add","shape":{"n":3,"dim":40},"peer":"other","us":1e9,"rate":1,"unit":"GB/s"}\n' >peer.jsonl
expect "a table" 0 'other .* x our time' "$app" bench --table rows.jsonl peer.jsonl

# ---- gpu-check ----
hidden=(env -u APPO_BACKEND PATH="$tmp/none:/usr/bin:/bin")
if [ ! -e /dev/nvidia0 ]; then expect "no GPU" 1 'no NVIDIA GPU with nvcc here' "${hidden[@]}" "$front" gpu-check; fi
stand_in=(env APPO_BACKEND=cpu APPO_COMMIT=one "$front" gpu-check --out out)
expect "no such part" 2 'parts are 1 to 8' "${stand_in[@]}" --part 9
expect "no such option" 2 "no option '--fast'" "${stand_in[@]}" --fast
check "nothing was started" test ! -e out
expect "pieces of work" 0 'part 7, .*appo:float:exact' "${stand_in[@]}" --list
expect "NCCL of one rank" 0 'part 3, .*nccl:float' "${stand_in[@]}" --list
some=(--only '^(bench:(add|kl)|train:tiny|appo:float:exact|sanitizer:memcheck:bench)$')
expect "a part whose time is over" 3 '0 passed, 0 failed' env GPU_CHECK_SECONDS=5 "${stand_in[@]}" "${some[@]}" --part 5
expect "a part" 0 '2 passed, 0 failed, 0 left out' "${stand_in[@]}" "${some[@]}" --part 5
before=$(stat -c %Y.%i out/done/bench.add.json)
expect "the rest" 0 '4 passed, 0 failed, 1 left out' "${stand_in[@]}" "${some[@]}"
check "what was done is not done again" test "$before" = "$(stat -c %Y.%i out/done/bench.add.json)"
check "the result is one JSON object, with all rows" test \
    "$("$app" bench --table out/results.json | grep -cE '^(add|kl|train) ')" = 3
check "it says what stood in" grep -q '"device":"no GPU: cpu stands in' out/results.json
check "sampled and trained probabilities are the same" grep -q '"numerics":"exact","rollout_probs_diff_max":0,' \
    out/results.json
check "what was left out has a reason" grep -q \
    '"piece":"sanitizer:memcheck:bench","part":4,"verdict":"left out","seconds":[0-9]*,"note":"cpu has no' \
    out/results.json
check "a table for people" grep -q 'passed    part 6  train:tiny' out/results.txt
expect "results of another commit" 1 "holds results of 'cpu one'" \
    env APPO_BACKEND=cpu APPO_COMMIT=two "$front" gpu-check --out out
sed -i 's/"verdict":"passed"/"verdict":"failed"/' out/done/bench.add.json
touch -d yesterday out/done/bench.add.json
expect "what failed is named" 1 '3 passed, 1 failed' "${stand_in[@]}" "${some[@]}"
expect "and done again when asked" 0 '4 passed, 0 failed' "${stand_in[@]}" "${some[@]}" --retry

# ---- pack-deps ----
expect "pack-deps without a folder" 2 'usage: ./run.sh pack-deps DIR' "$front" pack-deps
mkdir full && : >full/file
expect "pack-deps into somebody's folder" 1 'give a new folder' "$front" pack-deps full
expect "DEPS that is none" 1 'not a folder that ./run.sh pack-deps made' env DEPS=full "$front" help
if command -v dpkg >/dev/null && dpkg -s libjansson-dev >/dev/null 2>&1; then
    expect "pack-deps" 0 'deps holds [0-9]+ MiB' "$front" pack-deps deps
    mv deps moved
    check "the libraries are below 40 MB" test "$(du -sm moved | cut -f 1)" -lt 40
    expect "its pkg-config, wherever it lies" 0 "^-L$tmp/moved/lib .*-ljansson" moved/bin/pkg-config --libs jansson zlib
    check "knows what is there" moved/bin/pkg-config --exists sqlite3
    expect "and what is not" 1 'nonesuch was not packed' moved/bin/pkg-config --libs nonesuch
    printf '#include <jansson.h>\nint main(void) { return json_null() == NULL; }\n' >probe.c
    # shellcheck disable=SC2046
    check "a program builds and runs with it" \
        sh -c "cc probe.c -o probe $(moved/bin/pkg-config --cflags --libs jansson) && ./probe"
    rm moved/lib/packages/jansson
    expect "what was not packed is missing" 0 'libjansson-dev' env DEPS="$tmp/moved" "$front" setup --dry-run
fi
finish
