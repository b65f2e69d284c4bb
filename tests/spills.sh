#!/usr/bin/env bash
# spills.sh: compiles every CUDA source for every GPU of the Makefile and fails if a kernel spills registers: a spilled
# value travels through memory that the kernel is there to save; or if ptxas says that it makes wgmma instructions wait
# for one another (C7510 and the like), so that nothing runs beside them. Prints a table of registers and spills, then
# "N passed, M failed", one function and GPU each, and one more for each such warning.
# Usage: tests/spills.sh [BUILD_FOLDER [MAKE_ARGS ...]], for example: tests/spills.sh build/cuda-bf16 REAL=bf16
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=${1:-build/cuda}
shift $(($# > 0))
# May spill, and why: the choice of branch points is one block of 1024 threads a prompt, microseconds a step; on sm_80
# that leaves a thread 32 registers.
cold='branch_select_kernel'
if ! command -v nvcc >/dev/null; then
    echo "skipped: no nvcc here, the CUDA sources were only run on the CPU"
    echo "0 passed, 0 failed"
    exit 0
fi
objects=()
for f in kernels/cuda/*.cu; do objects+=("$build/${f%.cu}.o"); done
if ! make -s -k -j"$(nproc)" BACKEND=cuda BUILD="$build" "$@" "${objects[@]}"; then
    echo "0 passed, 1 failed"
    exit 1
fi

# "Compiling entry function 'NAME' for 'GPU'"; for it, and after it for each function that is called and not inlined,
# "Function properties for NAME" and a line of stack and spills; "Used N registers" for the kernel. One line each: gpu,
# registers (- for a function), stack, bytes stored, bytes loaded, name.
functions() {
    awk '
        function flush() { if (name) print gpu, regs, stack, stores, loads, name; name = "" }
        /Compiling entry function/ { flush(); split($0, q, "'\''"); gpu = q[4]; next }
        /Function properties for/ { flush(); name = $NF; regs = "-"; next }
        /bytes stack frame/ && name { stack = $1; stores = $5; loads = $9; next }
        /Used [0-9]+ registers/ && name { match($0, /Used [0-9]+/); regs = substr($0, RSTART + 5, RLENGTH - 5); next }
        END { flush() }' "$@"
}

# the name without what it returns and takes
demangled() { if command -v c++filt >/dev/null; then c++filt; else cat; fi |
    sed -E 's/\(.*//; s/^(([^ ]+ ){5})[a-z_0-9]+ ([a-z])/\1\3/'; }

# One row a function, a column a GPU: registers, then +bytes spilled and ~bytes of arrays in local memory where there
# are any.
table() { # how many such warnings there were
    awk -v cold="$cold" -v serial="$1" '
        {
            gpu = $1; regs = $2; stack = $3; spilled = $4 + $5
            name = $0
            for (i = 0; i < 5; i++) sub(/^[^ ]+ /, "", name)
            if (!(gpu in column)) { column[gpu] = ++gpus; head[gpus] = gpu }
            if (!(name in row)) { row[name] = ++rows; label[rows] = name }
            cell[row[name], column[gpu]] = regs (spilled ? " +" spilled : "") (stack && !spilled ? " ~" stack : "")
            n++
            if (spilled && name !~ cold) bad++
        }
        END {
            printf "%-52s", "registers (+ bytes spilled, ~ of local arrays)"
            for (c = 1; c <= gpus; c++) printf " %12s", head[c]
            print ""
            for (r = 1; r <= rows; r++) {
                printf "%-52s", label[r]
                for (c = 1; c <= gpus; c++) printf " %12s", cell[r, c]
                print label[r] ~ cold ? "   may spill" : ""
            }
            printf "%d passed, %d failed\n", n - bad, bad + serial + !n
            exit bad + serial > 0 || !n
        }'
}

logs=("${objects[@]/%.o/.ptxas}")
grep -h 'Potential Performance Loss' "${logs[@]}"
functions "${logs[@]}" | demangled | sort -s -k 6 | table "$(cat "${logs[@]}" | grep -c 'Potential Performance Loss')"
