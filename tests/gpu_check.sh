#!/usr/bin/env bash
# gpu_check.sh: ./run.sh gpu-check: everything that only a machine with a GPU can say, in parts of less than 8 minutes
# that go on where they stopped. Each piece of work leaves one JSON object in DIR/done, so that what is done is not done
# again; DIR/results.json and DIR/results.txt are put together from those. APPO_BACKEND=simt|cpu stands in for the GPU,
# to try this script; the results say so.
set -uo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
backend=${1:?run.sh gives the backend}
shift
parts=8 part_s=${GPU_CHECK_SECONDS:-470} rounds=6
part_is=("" "builds" "tests, stored as bf16" "tests, stored as float" "compute-sanitizer" "operations measured"
    "models measured" "APPO runs" "peers")

usage() {
    cat <<'TEXT'
usage: ./run.sh gpu-check [--out DIR] [--part N] [--only REGEX] [--retry] [--list]
  --out DIR      where results go (default: gpu-check); what is there already is not done again
  --part N       one part, at most 8 minutes. Status 0: done, 1: something failed, 3: not finished, call it again.
                 Without it: all parts, one after the other
  --only REGEX   pieces of work whose name matches
  --retry        does again what failed
  --list         names of the pieces of work; does nothing
TEXT
    local p
    for ((p = 1; p <= parts; p++)); do echo "  part $p: ${part_is[p]}"; done
}

out=gpu-check part='' only=. retry='' list=''
while [ $# -gt 0 ]; do
    case $1 in
    --out | --part | --only)
        [ $# -gt 1 ] || { echo "gpu-check: $1 needs a value" >&2; exit 2; }
        case $1 in --out) out=$2 ;; --part) part=$2 ;; --only) only=$2 ;; esac
        shift
        ;;
    --retry) retry=1 ;;
    --list) list=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "gpu-check: no option '$1'" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
[[ -z $part || $part =~ ^[1-8]$ ]] || { echo "gpu-check: --part $part: parts are 1 to $parts" >&2; exit 2; }
if [ "$backend" != cuda ] && [ -z "${APPO_BACKEND:-}" ]; then
    echo "gpu-check: no NVIDIA GPU with nvcc here (neither /dev/nvidia0 nor a GPU in nvidia-smi -L, or no nvcc)." \
        "To try the script: APPO_BACKEND=simt" >&2
    exit 1
fi
# how numbers may be stored in this backend, and sizes that it can measure
reals=(bf16 float) sizes=gpu
case $backend in
cpu) reals=(float) sizes=tiny ;;
simt) sizes=tiny ;;
esac
build_folder() { [ "$1" = float ] && echo "${APPO_BUILD:-build}/$backend" || echo "${APPO_BUILD:-build}/$backend-$1"; }
how() { echo "BACKEND=$backend REAL=$1 BUILD=$(build_folder "$1")"; }
best=${reals[0]}

# ---- the pieces of work: "part seconds name"; name, split at colons, is what work_NAME gets ----

test_names() { # real
    local t all=()
    for t in tests/*/test_*.c; do all+=("$(build_folder "$1")/${t%.c}"); done
    # shellcheck disable=SC2046
    make -s $(how "$1") which-tests WANT="${all[*]}" | tr ' ' '\n' | sed "/^$/d; s|^$(build_folder "$1")/tests/||"
}

# kernels whose tests go through compute-sanitizer, at the small shapes of those tests
sanitized=(kernels/test_layers kernels/test_row_stats kernels/test_sample kernels/test_attn kernels/test_rl
    kernels/test_pg kernels/test_optim)
models=(SmolLM2-135M Qwen2.5-0.5B Qwen3-0.6B Qwen2.5-1.5B Qwen3-1.7B Qwen2.5-3B Qwen3-4B Llama-3.1-8B)
[ "$backend" = cuda ] || models=(tiny)

# the pieces of one part
pieces() { # part
    local r t m
    case $1 in
    1)  for r in "${reals[@]}"; do echo "1 460 build:$r:appo"; done
        for r in "${reals[@]}"; do echo "1 460 build:$r:tests"; done ;;
    2)  [ "$best" = float ] && return
        test_names bf16 | sed 's|.*|2 240 test:bf16:&|'
        # every operation and whole models once more, attention by wgmma; simt/test_attn_cuda has both ways in it
        for t in kernels/test_naive model/test_naive; do echo "2 240 test:bf16:$t:wgmma"; done
        echo "2 120 nccl:bf16" ;;
    3)  test_names float | sed 's|.*|3 240 test:float:&|'
        echo "3 120 nccl:float" ;;
    4)  for m in memcheck racecheck; do
            for t in bench "${sanitized[@]}"; do echo "4 240 sanitizer:$m:$t"; done
        done ;;
    5)  # the first part makes the program that knows its operations
        for m in $("$(program "$best")" bench list 2>/dev/null || echo all); do echo "5 200 bench:$m"; done ;;
    6)  for m in "${models[@]}"; do printf '6 %s\n' "300 train:$m" "200 decode:$m"; done
        # the step with the largest share of attention by the other way, too: heads of 128
        [ "$best" = float ] || echo "6 300 train:${models[4]:-tiny}:wgmma" ;;
    7)  for r in "${reals[@]}"; do
            echo "7 400 appo:$r:exact"
            [ "$r" = float ] || echo "7 400 appo:$r:fast"
        done ;;
    8)  for t in eval/peers/[a-z]*.py; do
            t=$(basename "$t" .py)
            [ "$t" = common ] || echo "8 400 peers:$t"
        done ;;
    esac
}

program() { echo "$(build_folder "$1")/appo"; }

# Each work_* runs one piece. Status 0: passed, 77: left out; `note` is the message that goes into the results,
# `fields` further JSON.
work_build() { # real, appo|tests
    local target
    if [ "$2" = tests ] && ! pkg-config --exists cmocka; then note="no cmocka here: no tests"; return 77; fi
    target=$([ "$2" = appo ] && program "$1" || echo tests)
    # shellcheck disable=SC2046
    timeout "$limit" make -s -k -j"$(nproc)" $(how "$1") "$target"
}

# what cmocka's summary lines say: "[  PASSED  ] 12 test(s)."
counted() { grep -aoE "^\[  $1 ? \] [0-9]+ test" "$2" | grep -oE '[0-9]+' | awk '{ n += $1 } END { print n + 0 }'; }

# Is there attention by wgmma (APPO_ATTN)? The shim plays a GPU that has it.
hopper() { [ "$backend" = simt ] || [ \
    "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1)" = 9.0 ]; }

work_test() { # real, layer/test_name[, APPO_ATTN]
    local status passed failed skipped
    if ! pkg-config --exists cmocka; then note="no cmocka here"; return 77; fi
    if [ -n "${3:-}" ] && ! hopper; then note="attention by $3 needs compute capability 9.0"; return 77; fi
    APPO_ATTN=${3:-} timeout "$limit" "$(build_folder "$1")/tests/$2"
    status=$?
    passed=$(counted PASSED "$log") failed=$(counted FAILED "$log") skipped=$(counted SKIPPED "$log")
    fields="\"passed\":$passed,\"failed\":$failed,\"skipped\":$skipped"
    [ $status -ne 0 ] || [ $((passed + skipped)) -gt 0 ] || { note="it ran no test"; return 1; }
    return $status
}

# One GPU is one rank: NCCL with a communicator of one, every collective and its order beside other work.
work_nccl() { # real
    local dir part
    dir=$(build_folder "$1")/tests/engine/comm
    [ "$backend" != cpu ] || { note="the C build has no NCCL"; return 77; }
    # shellcheck disable=SC2046
    make -s -j"$(nproc)" $(how "$1") "$dir/test_ranks" "$dir/test_device_ranks" || return
    if APPO_COMM=nccl "$dir/test_device_ranks" bits 2>&1 | grep -q 'has no NCCL'; then
        note="this build has no NCCL (nccl.h in the toolkit or the system)"
        return 77
    fi
    APPO_COMM=nccl timeout "$limit" "$dir/test_ranks" collectives 10000019 || return
    for part in beside bits; do APPO_COMM=nccl timeout "$limit" "$dir/test_device_ranks" $part || return; done
}

work_sanitizer() { # tool, bench|layer/test
    local what=("$(build_folder "$best")/tests/$2")
    if [ "$backend" != cuda ]; then
        note="$backend has no compute-sanitizer; the shim's own checks are suites of ./run.sh test"; return 77
    fi
    if ! command -v compute-sanitizer >/dev/null; then
        note="no compute-sanitizer in the CUDA toolkit here"; return 77
    fi
    if ! compute-sanitizer --tool "$1" \
        "$(program "$best")" bench add --sizes tiny 2>&1 | grep -q 'ERROR SUMMARY: 0\|RACECHECK SUMMARY: 0'; then
        note="compute-sanitizer does not work on this machine, or a plain addition fails in it"
        return 77
    fi
    [ "$2" != bench ] || what=("$(program "$best")" bench kernels models --sizes tiny)
    timeout "$limit" compute-sanitizer --tool "$1" --error-exitcode 9 "${what[@]}"
}

rows_into() { # rows file, further arguments of bench
    local rows=$1
    shift
    APPO_COMMAND="./run.sh gpu-check: bench $*" timeout "$limit" "$(program "$best")" bench "$@" --sizes \
        "$sizes" --json "$rows"
}
work_bench() { rows_into "$out/rows/bench.$1.jsonl" "$([ "$1" = all ] && echo kernels || echo "$1")"; }
work_train() { # model[, APPO_ATTN]
    if [ -n "${2:-}" ] && ! hopper; then note="attention by $2 needs compute capability 9.0"; return 77; fi
    APPO_ATTN=${2:-} rows_into "$out/rows/train.$1${2:+.$2}.jsonl" train --model "$1"
}
work_decode() { rows_into "$out/rows/decode.$1.jsonl" decode --model "$1"; }

# A short run of the embedded policy: success before and after, and how far sampled and trained probabilities are apart.
work_appo() { # real, exact|fast
    local steps=20 more=() run=$out/runs/$1-$2 metrics differences
    [ "$backend" = cuda ] || { steps=1; \
        more=(data.val_per_family=1 data.train_batch_size=13 actor.ppo_mini_batch_size=13 rollout.n=4
        rollout.initial_rollouts=2); }
    rm -rf "$run"
    mkdir -p "$run"
    APPO_NUMERICS=$2 timeout "$limit" "$(program "$1")" debug --seed 1 --steps $steps \
        "${more[@]}" trainer.default_local_dir="$run" --report "$run/report.json" || return
    metrics=$(find "$run" -name metrics.jsonl | head -n 1)
    differences=$(worst_differences "$metrics")
    fields="\"steps\":$steps,\"real\":\"$1\",\"numerics\":\"$2\"$differences"
    fields+=",\"report\":$(tr -d '\n' <"$run/report.json")"
    note="differences of sampled and trained probabilities (largest of the steps):"
    note+=$(tr -d '",' <<<"${differences//rollout_probs_diff_/ }")
    if [ "$2" = exact ] && [[ $differences != *'"rollout_probs_diff_max":0,'* ]]; then
        note="numerics=exact, but sampled and trained probabilities differ"
        return 1
    fi
}
# the largest value of each of these keys over the steps of a metrics file
worst_differences() {
    local key
    for key in max mean; do
        grep -oE "\"training/rollout_probs_diff/$key\":[-+.0-9eE]+" "$1" | sed 's/.*://' |
            awk -v key=$key \
                'NR == 1 || $1 > most { most = $1 }
                END { printf ",\"rollout_probs_diff_%s\":%s", key, NR ? most + 0 : "null" }'
    done
}

work_peers() { # script
    if ! command -v python3 >/dev/null; then note="no python3 here"; return 77; fi
    "$(program "$best")" bench --shapes "$out/shapes.jsonl" --sizes "$sizes" || return
    # with what was measured, because models may have been sized down to the memory
    cat "$out"/rows/[btd]*.jsonl >>"$out/shapes.jsonl" 2>/dev/null
    timeout "$limit" python3 "eval/peers/$1.py" --shapes "$out/shapes.jsonl" --json "$out/rows/peers.$1.jsonl"
    local status=$?
    if [ $status -eq 77 ]; then note=$(tail -n 1 "$log"); fi
    return $status
}

# ---- running them ----

quoted() { printf '%s' "$1" | tr -d '\000-\010\013-\037' | sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/ /g' | tr '\n' ' '; }
done_file() { echo "$out/done/${1//[:\/]/.}.json"; }

# Status 0: it is done (well or not), 3: the part's time was over before it ended.
run_piece() { # part, seconds, name
    local name=$3 kind started=$SECONDS status verdict words
    log=$out/logs/${name//[:\/]/.}.log note='' fields=''
    limit=$2
    [ $((deadline - SECONDS)) -ge "$limit" ] || limit=$((deadline - SECONDS))
    [ "$limit" -ge 10 ] || return 3
    IFS=: read -ra words <<<"$name"
    kind=${words[0]}
    work_"$kind" "${words[@]:1}" >"$log" 2>&1
    status=$?
    # out of time: for lack of what the part had left, or a build, which goes on where it was
    if [ $status -eq 124 ] && { [ "$limit" -lt "$2" ] || [ "$kind" = build ]; }; then return 3; fi
    case $status in 0) verdict=passed ;; 77) verdict="left out" ;; 124) verdict=failed note="longer than $limit s" ;; \
        *) verdict=failed ;; esac
    [ "$verdict" != failed ] || [ -n "$note" ] || note="status $status: $(tail -n 3 "$log")"
    printf '{"piece":"%s","part":%d,"verdict":"%s","seconds":%d,"note":"%s"%s}\n' "$name" "$1" \
        "$verdict" $((SECONDS - started)) "$(quoted "$note")" "${fields:+,$fields}" \
        >"$out/done/tmp.$$" && mv "$out/done/tmp.$$" "$(done_file "$name")"
    printf '%-10s %-48s %5d s  %s\n' "$verdict" "$name" $((SECONDS - started)) \
        "$(printf '%s' "$note" | tr '\n' ' ' | cut -c 1-160)"
}

# With --retry what failed before this call counts as not done.
is_done() {
    local f
    f=$(done_file "$1")
    [ -e "$f" ] && ! { [ -n "$retry" ] && [ "$f" -ot "$out/commit" ] && grep -q '"verdict":"failed"' "$f"; }
}

# Status 0: nothing is left to do in this part, 3: something is.
run_part() { # part
    local p seconds name
    deadline=$((SECONDS + part_s))
    while read -r p seconds name; do
        if ! [[ $name =~ $only ]] || is_done "$name"; then continue; fi
        run_piece "$p" "$seconds" "$name" </dev/null || return 3
    done < <(pieces "$1")
}

# ---- the report ----

rows() { # pattern: rows of files as elements of an array
    local first=1 f line
    for f in $1; do
        [ -e "$f" ] || continue
        while read -r line; do
            [ -n "$line" ] || continue
            [ -n "$first" ] || printf ',\n'
            first=''
            printf '%s' "$line"
        done <"$f"
    done
}

gpu() { nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null | head -n 1; }

report() {
    local device
    device=$(gpu)
    [ "$backend" = cuda ] || device="no GPU: $backend stands in, times say nothing of a GPU"
    {
        printf '{"commit":"%s","command":"./run.sh gpu-check","date":"%s","backend":"%s",' \
            "$(quoted "${APPO_COMMIT:-unknown}")" "$(date -u +%FT%TZ)" "$backend"
        printf '"device":"%s","driver":"%s","nvcc":"%s",\n' "$(quoted "$device")" "$(quoted "${APPO_DRIVER:-}")" \
            "$(quoted "$(nvcc --version 2>/dev/null | grep release | sed 's/.*release //')")"
        printf '"pieces":[\n%s],\n' "$(rows "$out/done/*.json")"
        printf '"bench":[\n%s],\n' "$(rows "$out/rows/[btd]*.jsonl")"
        printf '"peers":[\n%s]}\n' "$(rows "$out/rows/peers.*.jsonl")"
    } >"$out/results.json.tmp" && mv "$out/results.json.tmp" "$out/results.json"
    {
        echo "gpu-check of commit ${APPO_COMMIT:-unknown} on: $device"
        echo
        for f in "$out"/done/*.json; do
            [ -e "$f" ] || continue
            sed -E 's/^\{"piece":"([^"]*)","part":([0-9]+),"verdict":"([^"]*)",/\3\t\2\t\1\t/
                s/"seconds":([0-9]+),"note":"(([^"\\]|\\.)*)".*/\1 s\t\2/' "$f"
        done | sort -t "$(printf '\t')" -k 2,2n -k 3,3 | awk -F '\t' \
            '{ printf "%-9s part %s  %-48s %7s  %s\n", $1, $2, $3, $4, $5 }'
        echo
        if [ -x "$(program "$best")" ]; then "$(program "$best")" bench --table "$out/results.json"; fi
    } >"$out/results.txt" 2>&1
    count() { grep -l "\"verdict\":\"$1\"" "$out"/done/*.json 2>/dev/null | wc -l; }
    failures=$(count failed)
    echo "$(count passed) passed, $failures failed, $(count 'left out') left out; $out/results.json, $out/results.txt"
}

case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$top" || exit 1
if [ -n "$list" ]; then
    for ((p = 1; p <= parts; p++)); do pieces $p; done | awk '{ print "part " $1 ", " $2 " s: " $3 }'
    exit
fi
if [ -e "$out/commit" ] && [ "$(cat "$out/commit")" != "$backend ${APPO_COMMIT:-unknown}" ]; then
    echo "gpu-check: $out holds results of '$(cat "$out/commit")', this is '$backend ${APPO_COMMIT:-unknown}':" \
        "give a new folder" >&2
    exit 1
fi
mkdir -p "$out/done" "$out/logs" "$out/rows" || exit 1
echo "$backend ${APPO_COMMIT:-unknown}" >"$out/commit"
unfinished=0
for ((p = 1; p <= parts; p++)); do
    [ -z "$part" ] || [ "$p" = "$part" ] || continue
    echo "part $p: ${part_is[p]}"
    # a part that its time cut off goes on, unless only this one was asked for
    for ((round = 1; ; round++)); do
        run_part "$p" && break
        if [ -n "$part" ] || [ $round = $rounds ]; then unfinished=1; break; fi
    done
done
report
[ "$unfinished" = 0 ] || exit 3
[ "$failures" = 0 ]
