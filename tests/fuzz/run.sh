#!/usr/bin/env bash
# Builds every tests/fuzz/fuzz_*.c with clang, libFuzzer, ASan and UBSan, and runs each for SECONDS_EACH (30). Prints a
# line a target and "N passed, M failed". Skips in words where clang has no libFuzzer.
# Usage: tests/fuzz/run.sh [TARGET ...]
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${SECONDS_EACH:-30}
out=build/fuzz
mkdir -p $out/obj $out/crashes
cc=${FUZZ_CC:-clang}
flags="-std=gnu11 -O1 -gline-tables-only -fno-omit-frame-pointer -ffunction-sections -I. -DREAL_IS_float"
[ "$(uname -m)" != x86_64 ] || flags+=" -march=x86-64-v3"

one='int LLVMFuzzerTestOneInput(const unsigned char *p, unsigned long n)'
echo "$one; $one { return p && n ? 0 : 0; }" >$out/try.c
if ! command -v "$cc" >/dev/null || ! "$cc" -fsanitize=fuzzer,address,undefined $out/try.c -o $out/try 2>/dev/null; then
    echo "skipped: no clang with libFuzzer here; the same parsers run on damaged input in the sanitizer suite"
    echo "0 passed, 0 failed"
    exit 0
fi

# the layers that parse; OpenMP needs a library that clang often lacks, and no parser uses it
compile() {
    local o=${1//\//_}
    o=$out/obj/${o%.c}.o
    if [ ! "$o" -nt "$1" ] || [ -n "$(find base data model engine -name '*.h' -newer "$o" -print -quit)" ]; then
        # shellcheck disable=SC2086
        "$cc" $flags -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -Wno-unknown-pragmas \
            -c "$1" -o "$o"
    fi
}
export -f compile
export out cc flags seconds
sources=(base/*.c data/*.c data/*/*.c model/*.c model/*/*.c engine/config/config*.c engine/tools/*.c
    engine/prompts/rollout_messages.c)
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -n 1 bash -ec 'compile "$1"' compile
rm -f $out/libappo.a
objects=("${sources[@]//\//_}")
cd $out/obj && ar rcs ../libappo.a "${objects[@]/%.c/.o}" && cd - >/dev/null

targets=("$@")
[ $# -gt 0 ] || for f in tests/fuzz/fuzz_*.c; do targets+=("$(basename "$f" .c)"); done
one() {
    local t=$1 log=$out/$1.log seeds=()
    mkdir -p "$out/corpus/$t"
    [ ! -d "tests/fuzz/corpus/$t" ] || seeds=("tests/fuzz/corpus/$t")
    # shellcheck disable=SC2046,SC2086
    if "$cc" $flags -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
        "tests/fuzz/$t.c" $out/libappo.a -Wl,--gc-sections -o "$out/$t" \
        $(pkg-config --libs jansson libpcre2-8 yaml-0.1 sqlite3 zlib snappy libzstd) -lpthread -lm >"$log" 2>&1 &&
        "$out/$t" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=4096 \
            -artifact_prefix="$out/crashes/$t-" "$out/corpus/$t" "${seeds[@]}" >>"$log" 2>&1
    then echo "ok $t: $(grep -Eo 'Done [0-9]+ runs' "$log")"
    else echo "FAILED $t: see $log"; tail -n 30 "$log"; fi
}
export -f one
results=$out/results
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -n 1 bash -c 'one "$1"' one > $results
cat $results
failed=$(grep -c '^FAILED' $results) || failed=0
echo "$(grep -c '^ok' $results) passed, $failed failed"
[ "$failed" = 0 ]
