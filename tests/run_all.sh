#!/usr/bin/env bash
# run_all.sh: every test there is; ./run.sh test calls it. One line a suite, full output only where something failed,
# and at the end "N passed, M failed", N counting cmocka tests, golden cases, command-line checks and fuzz targets.
# Without names all run, the longest with a sample; `weekly`, or FULL=1, runs them in full (tests/README.md).
# Usage: tests/run_all.sh [weekly | SUITE ...]
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
logs=build/test-logs
mkdir -p $logs
jobs=$(nproc)
full=${FULL:-}
# here a warning is an error
export WERROR=1
# idle OpenMP threads must not spin while the other test binaries need the core
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
total_passed=0 total_failed=0

say() { printf '%-9s %5d passed %4d failed %7.1f s%s\n' "$@"; }
clock() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(clock)" 'BEGIN { print b - a }'; }

# sums the numbers before a word: total FILE 'regular expression with a number'
total() { grep -aoE "$2" "$1" | grep -oE '[0-9]+' | awk '{ n += $1 } END { print n + 0 }'; }

finish() { # suite passed failed started note
    say "$1" "$2" "$3" "$(since "$4")" "${5:+   $5}"
    total_passed=$((total_passed + $2)) total_failed=$((total_failed + $3))
}

# One cmocka binary. Its log ends with a line "result NAME passed failed"; a crash, a hang and a program that ran
# nothing each count as one failure. Tests that say themselves that they have nothing to do here (skip()) are not
# nothing.
one_binary() {
    local log=$1/${2//\//_}.log passed failed skipped status started
    started=$(date +%s.%N)
    timeout 300 "$2" >"$log" 2>&1
    status=$?
    awk -v a="$started" -v b="$(date +%s.%N)" -v n="$2" 'BEGIN { printf "%7.1f s  %s\n", b - a, n }' >>"$1.times"
    passed=$(grep -aoE '^\[  PASSED  \] [0-9]+ test' "$log" | grep -oE '[0-9]+' | awk '{ n += $1 } END { print n + 0 }')
    failed=$(grep -aoE '^\[  FAILED  \] [0-9]+ test' "$log" | grep -oE '[0-9]+' | awk '{ n += $1 } END { print n + 0 }')
    skipped=$(grep -acE '^\[  SKIPPED \] [0-9]+ test' "$log")
    if [ $status -ne 0 ] && [ "$failed" = 0 ]; then
        failed=1
        echo "$2 ended with status $status (124: it ran longer than 300 s)" >>"$log"
    elif [ "$passed$failed$skipped" = 000 ]; then
        failed=1
        echo "$2 ran no test" >>"$log"
    fi
    echo "result $2 $passed $failed $log"
}
export -f one_binary

# suite NAME BUILD_FOLDER LAYERS MAKE_ARGS...: builds and runs the test binaries of these layers, or single ones
# (engine/test_x)
suite() {
    local name=$1 build=$2 layers=$3 started built targets=() t l
    shift 3
    started=$(clock)
    for l in $layers; do
        [ ! -e "tests/$l.c" ] || targets+=("$build/tests/$l")
        [ ! -d "tests/$l" ] || for t in $(find "tests/$l" -name 'test_*.c' | sort); do targets+=("$build/${t%.c}"); done
    done
    # tests of the C backend's own parts are not for the others; the Makefile knows which
    read -ra targets < <(make -s BUILD="$build" "$@" which-tests WANT="${targets[*]}")
    if ! make -s -k -j"$jobs" BUILD="$build" "$@" "${targets[@]}" >$logs/"$name"-build.log 2>&1; then
        cat $logs/"$name"-build.log
        local whole=("${targets[@]}")
        targets=()
        for t in "${whole[@]}"; do
            if make -q -s BUILD="$build" "$@" "$t" >/dev/null 2>&1; then targets+=("$t"); fi
        done
        finish "$name" 0 $((${#whole[@]} - ${#targets[@]})) "$started" "test programs that do not build"
        [ ${#targets[@]} -gt 0 ] || return
    fi
    built=$(printf 'built in %.0f s' "$(since "$started")")
    rm -rf "${logs:?}/$name" "${logs:?}/$name.times"
    mkdir -p $logs/"$name"
    printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -n 1 \
        bash -c 'one_binary "$0" "$1"' $logs/"$name" >$logs/"$name".results
    report_binaries "$name" "$started" "$built"
}

report_binaries() {
    local passed=0 failed=0 skipped word binary p f log
    while read -r word binary p f log; do
        [ "$word" = result ] || continue
        passed=$((passed + p)) failed=$((failed + f))
        if [ "$f" != 0 ]; then
            echo "---- $binary"
            grep -avE '^\[ RUN|^\[       OK' "$log" | tail -n 200
        fi
    done <$logs/"$1".results
    skipped=$(cat $logs/"$1"/*.log | grep -aoE '^\[  SKIPPED \] [0-9]+ test' | grep -oE '[0-9]+' |
        awk '{ n += $1 } END { print n + 0 }')
    [ "$skipped" = 0 ] || set -- "$1" "$2" "$3, $skipped skipped"
    finish "$1" $passed $failed "$2" "$3"
}

# counted NAME COMMAND...: something that prints "N passed, M failed" lines itself
counted() {
    local name=$1 started status passed failed log=$logs/$1.log
    shift
    started=$(clock)
    "$@" >"$log" 2>&1
    status=$?
    passed=$(total "$log" '[0-9]+ passed')
    failed=$(total "$log" '[0-9]+ failed')
    if { [ $status -ne 0 ] && [ "$failed" = 0 ]; } || ! grep -q passed "$log"; then
        failed=$((failed + 1))
        echo "$* ended with status $status" >>"$log"
    fi
    [ "$failed" = 0 ] || cat "$log"
    finish "$name" "$passed" "$failed" "$started" "$(grep -m 1 -aoE '^skipped: .*' "$log")"
}

# the test programs that took longest, where there are many
slowest() {
    local s files=()
    for s in "${suites[@]}"; do [ ! -e "$logs/$s.times" ] || files+=("$logs/$s.times"); done
    [ ${#files[@]} -gt 0 ] || return 0
    echo "slowest programs:"
    sort -rn "${files[@]}" | head -n "${TOP:-8}"
}

program() { make -s -j"$jobs" all && [ -x build/cpu/appo ]; }

# The GPU's program, whole and without a spill, and its random numbers against cuRAND's, where there is nvcc: bf16 for
# the newest GPU or, in full, both number types for all GPUs of the Makefile.
gpu_builds() {
    local real reals=(bf16) dir failed=0
    if [ -n "$full" ]; then reals=(float bf16); else export GPUS='-gencode arch=compute_90a,code=sm_90a'; fi
    for real in "${reals[@]}"; do
        dir=build/cuda$([ $real = float ] || echo "-$real")$([ -n "$full" ] || echo "-sm_90a")
        tests/spills.sh "$dir" REAL=$real || failed=1
        command -v nvcc >/dev/null || return 0
        if make -s -j"$jobs" BACKEND=cuda BUILD="$dir" REAL=$real all; then
            echo "appo for a GPU, REAL=$real: 1 passed"
        else
            echo "1 failed" && failed=1
        fi
    done
    mkdir -p build/cuda
    if [ ! -e "$(dirname "$(readlink -f "$(command -v nvcc)")")/../include/curand_kernel.h" ]; then
        echo "this CUDA toolkit is without cuRAND: its stream was not compared"
    elif nvcc -std=c++17 -I. -DREAL_IS_float tests/cuda/curand.cu -o build/cuda/curand; then
        build/cuda/curand || failed=1
    else
        echo "1 failed" && failed=1
    fi
    return $failed
}

# what `appo export` writes, loaded by transformers; $PYTHON: an interpreter that has it
exported() {
    local python=${PYTHON:-python3}
    if ! command -v "$python" >/dev/null; then echo \
        "skipped: no $python, exported models were not loaded with transformers: 0 passed"
    else make -s -j"$jobs" field && "$python" tests/golden/check_export.py build/cpu/appo; fi
}

fields() {
    make -s -j"$jobs" field && tests/field.sh build/cpu/appo
}

checked_run() {
    make -s -j"$jobs" BUILD=build/cpu-debug DEBUG=1 all && tests/cli/debug.sh build/cpu-debug/appo
}

# a build without MPI; its objects are those of build/cpu but for engine/comm
without_mpi() {
    make -s -j"$jobs" MPI=0 BUILD=build/cpu-no-mpi all && tests/cli/no_mpi.sh build/cpu-no-mpi/appo
}

# What a run without FULL=1 has of the shim: programs that launch kernels, without those that take minutes there. The
# others test C code, which the cpu and san suites run too.
shim_model="model/test_naive model/test_golden_model model/test_rope"
shim_engine="engine/learner engine/branch engine/session/test_naive engine/session/test_token_scores engine/rollout
    engine/train engine/run/test_sft_gradient engine/run/test_turns eval"
shim_full="kernels simt model engine/session/test_naive"
pick() { if [ -n "$full" ]; then echo "$1"; else echo "$2"; fi; }      # FULL SAMPLE

# form.sh reads the files that git knows; a release has none, and git answers nobody but the owner of a checkout
formed() {
    if [ -n "$(git ls-files 2>/dev/null | head -n 1)" ]; then tests/form.sh
    else echo "skipped: git lists no files here, the form was not checked: 0 passed"; fi
}

# Several ranks: every executable script of tests/ranks. Each prints "N passed, M failed" at its end (tests/cli/lib.sh),
# or else lines "ok ..." and "FAIL ...", which are counted here.
ranked() {
    local script status log failed=0
    if ! command -v mpirun >/dev/null; then
        echo "skipped: no mpirun here, several ranks were not tested (./run.sh setup --ranks): 0 passed"
        return 0
    fi
    make -s -j"$jobs" all build/cpu/tests/engine/comm/test_ranks build/cpu/tests/engine/learner/test_zero_ranks \
        build/cpu/tests/engine/run/test_same_run || return 1
    if ! build/cpu/tests/engine/comm/test_ranks mpi; then
        echo "skipped: this build has no MPI, several ranks were not tested (./run.sh setup --ranks): 0 passed"
        return 0
    fi
    make -s -j"$jobs" REAL=double all || return 1
    for script in tests/ranks/*.sh; do
        [ -x "$script" ] || continue
        log=$logs/ranks-$(basename "$script" .sh).log
        timeout 600 "$script" build/cpu >"$log" 2>&1
        status=$?
        echo "---- $script"
        cat "$log"
        if ! grep -qE '^[0-9]+ passed, [0-9]+ failed' "$log"; then
            echo "$(grep -c '^ok ' "$log") passed, $(grep -cE '^FAIL' "$log") failed"
        fi
        [ $status = 0 ] || { echo "$script ended with status $status" && failed=1; }
    done
    return $failed
}

run_suite() {
    case $1 in
    cpu) suite cpu build/cpu "base data kernels model engine eval cmd" ;;
    double) suite double build/cpu-double "kernels model engine/learner/test_gradients" REAL=double ;;
    san) suite san build/cpu-san "base data kernels model engine eval cmd" SAN=1 ;;
    # every operation's output is looked at, in a unit test and in a short run
    checks) suite checks build/cpu-debug "kernels/test_check" DEBUG=1 && counted checks-run checked_run &&
        counted no-mpi without_mpi ;;
    # the CUDA sources on the CPU: every launch twice, its lanes forward and then backward (a race changes the bits);
    # whole steps forward only
    simt) APPO_SIMT_ORDER=both suite simt build/simt "$(pick "$shim_full" "kernels simt $shim_model")" BACKEND=simt ;;
    simt-run) APPO_SIMT_ORDER=forward suite simt-run build/simt \
        "$(pick "engine eval cmd" "$shim_engine")" BACKEND=simt ;;
    simt-san) APPO_SIMT_ORDER=reverse suite simt-san build/simt-san \
        "$(pick "$shim_full" "kernels simt")" BACKEND=simt SAN=1 ;;
    simt-bf16) APPO_SIMT_ORDER=reverse suite simt-bf16 build/simt-bf16 \
        "$(pick "$shim_full" "kernels simt $shim_model")" BACKEND=simt REAL=bf16 ;;
    # every operation and whole models with attention by wgmma, which the shim's GPU has; test_attn_cuda has it in every
    # build
    simt-wgmma) APPO_SIMT_ORDER=forward APPO_ATTN=wgmma suite simt-wgmma build/simt-bf16 \
        "kernels/test_naive model/test_naive" BACKEND=simt REAL=bf16 ;;
    nvcc) counted nvcc gpu_builds ;;
    golden) counted golden build/cpu/appo golden tests/golden ;;
    cli) counted cli sh -c 'tests/cli/run.sh build/cpu/appo; a=$?; tests/cli/launchers.sh build/cpu/appo && exit $a' ;;
    user) counted user tests/cli/user.sh build/cpu/appo ;;
    debug) counted debug tests/cli/debug.sh build/cpu/appo ;;
    keep) counted keep tests/cli/keep.sh build/cpu/appo ;;
    export) counted export exported ;;
    field) counted field fields ;;
    bench) counted bench tests/cli/bench.sh build/cpu/appo ;;
    ranks) counted ranks ranked ;;
    fuzz) SECONDS_EACH=${SECONDS_EACH:-$(pick 300 10)} counted fuzz tests/fuzz/run.sh ;;
    form) counted form formed ;;
    esac
}

all=(cpu form double san checks simt simt-run simt-san simt-bf16 simt-wgmma nvcc golden export field cli user bench
    debug keep ranks fuzz)
suites=("$@")
[ $# -gt 0 ] || suites=("${all[@]}")
if [ "$*" = weekly ]; then full=1 suites=("${all[@]}"); fi
for s in "${suites[@]}"; do
    if [[ " ${all[*]} " != *" $s "* ]]; then
        echo "no test suite '$s'; there are: ${all[*]}, and weekly for all in full" >&2
        exit 2
    fi
done
begun=$(clock)
for s in "${suites[@]}"; do
    case $s in golden | export | field | cli | user | bench | debug | keep)
        # these need the program itself
        if ! program >$logs/program.log 2>&1; then
            cat $logs/program.log
            finish "$s" 0 1 "$(clock)" "the program does not build"
            continue
        fi
        ;;
    esac
    run_suite "$s"
done
slowest
printf 'wall time %.0f s\n' "$(since "$begun")"
echo "$total_passed passed, $total_failed failed"
[ "$total_failed" = 0 ] && [ "$total_passed" -gt 0 ]
