#!/usr/bin/env bash
# form.sh: checks the form of all files that git knows: columns, tabs, headers, lengths, includes that point upwards,
# circles, words (tests/form_words.txt) and the link guards of the rooms. A fault is a line "file:line: what is wrong".
# Usage: tests/form.sh [CHECK ...]; without names all run and each prints its first $SHOW (15) faults only.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C.UTF-8
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
checks=(columns tabs headers header_lines functions includes circles paths words mutants rooms)
show=${SHOW:-15}
[ $# -eq 0 ] || show=${SHOW:-100000}
passed=0 failed=0

# Recorded data: made by other programs or by a script, and compared byte for byte, so nobody lays it out by hand.
recorded='^(policy/.*\.(json|safetensors)|docs/results/.*|docs/.*\.svg|tests/golden/.*\.(json|gz|gguf|safetensors)'
recorded+='|tests/data/parquet/.*\.(jsonl|parquet)|tests/fuzz/corpus/.*|tests/cli/launchers/.*\.keys'
recorded+='|tests/field/.*\.(json|jsonl|txt|jinja|parquet)|LICENSE)$'
git ls-files --cached --others --exclude-standard | while read -r f; do [ ! -f "$f" ] || echo "$f"; done |
    grep -vE "$recorded" >"$tmp/text"
# a release has no .git: nothing to check is no success
[ -s "$tmp/text" ] || { echo "form.sh: git lists no files here; a clone is needed" >&2 && exit 2; }
grep -E '\.(c|h|cu|cuh|cpp)$' "$tmp/text" >"$tmp/code"
grep -v '^tests/' "$tmp/code" >"$tmp/product"

over() { xargs -d '\n' -a "$1" grep "${@:2}" /dev/null; } # over LIST GREP_ARGS...: grep over the files of a list

check_columns() { over "$tmp/text" -anE '^.{121,}$' | sed -E 's/^([^:]*:[0-9]+):.*/\1: more than 120 columns/'; }

check_tabs() {
    grep -vE '(^|/)Makefile$' "$tmp/text" >"$tmp/untabbed"
    over "$tmp/untabbed" -anP '\t' | sed -E 's/^([^:]*:[0-9]+):.*/\1: a tab/'
    over "$tmp/text" -anE ' $' | sed -E 's/^([^:]*:[0-9]+):.*/\1: blanks at the end/'
}

# A .c of these rooms has a header of its own name, or the first comment of a *_in.h beside it names the file; a name
# with a star stands for several.
check_headers() {
    local f in name parts
    grep -E '^(base|data|model|engine)/.*\.c$' "$tmp/product" | while read -r f; do
        [ ! -e "${f%.c}.h" ] || continue
        parts=''
        for in in "${f%/*}"/*_in.h; do
            [ ! -e "$in" ] || parts+=" $(sed '/\*\//q' "$in" | grep -oE '[a-z0-9_*]+\.c\b')"
        done
        set -f
        for name in $parts; do
            # shellcheck disable=SC2053
            if [[ ${f##*/} == $name ]]; then set +f && continue 2; fi
        done
        set +f
        echo "$f:1: no header ${f%.c}.h, and no ${f%/*}/*_in.h names this part"
    done
}

check_header_lines() {
    grep -E '\.(h|cuh)$' "$tmp/product" | while read -r f; do
        awk -v f="$f" 'END { if (NR >= 150) print f ":" NR ": a header of " NR " lines; below 150 are allowed" }' "$f"
    done
}

# a body begins with { and ends with } in the first column
check_functions() {
    xargs -d '\n' -a "$tmp/product" awk '
        /^\{/ { at = FNR }
        /^\}/ && at {
        if (FNR - at - 1 > 60) print FILENAME ":" at ": a function of " FNR - at - 1 " lines; 60 are allowed"
        at = 0 }'
}

# the room of a file, from the longest folder that is one
room_of() {
    local d=${1%/*}
    while [[ " $rooms " != *" $d "* ]]; do
        [[ $d == */* ]] || return 1
        d=${d%/*}
    done
    echo "$d"
}

# Every include of a product file, as "file:line room room-of-the-included included"
includes() {
    [ ! -s "$tmp/includes" ] || return 0
    make -s layers >"$tmp/layers" || exit 1
    rooms=$(awk '{ print $1 }' "$tmp/layers" | tr '\n' ' ')
    declare -A seen
    local at d path
    over "$tmp/product" -nE '^ *# *include "' | sed -E 's/^([^:]*):([0-9]+):.*"([^"]*)".*/\1 \2 \3/' |
        while read -r f line path; do
            for d in "$f" "$path"; do
                [ -n "${seen[${d%/*}]:-}" ] || seen[${d%/*}]=$(room_of "$d" || echo -)
            done
            at=${seen[${f%/*}]}
            echo "$f:$line $at ${seen[${path%/*}]} $path"
        done >"$tmp/includes"
}

# Rooms include only what the Makefile's needs.* give them; model/ and engine/ see four headers of kernels/, and their
# CUDA sources the queue.
check_includes() {
    includes
    awk -v layers="$tmp/layers" '
        BEGIN { while ((getline line < layers) > 0) {
            n = split(line, w, " ")
            for (i = 1; i <= n; i++) ok[w[1] " " w[i]] = 1 } }
        $4 ~ /^tests\// { print $1 ": the product includes " $4; next }
        $2 == "-" || $3 == "base" || $2 == $3 { next }
        !($2 " " $3 in ok) { print $1 ": " $2 " may not include " $4 " (needs." $2 " in the Makefile)"; next }
        $1 ~ /\.cu:/ && $4 == "kernels/cuda/simt.h" { next }
        $2 ~ /^(model|engine|data)/ && $3 == "kernels" && $4 !~ /^kernels\/(ops|ops_rl|dev|gemm|rl_math)\.h$/ {
            print $1 ": " $2 " sees ops.h, ops_rl.h, dev.h and gemm.h of kernels/, not " $4 }' "$tmp/includes"
}

# circles among rooms and among headers
check_circles() {
    includes
    awk '$2 != $3 && $2 != "-" && $3 != "-" { print $2, $3 }' "$tmp/includes" | sort -u | tsort 2>&1 >/dev/null |
        sed -E 's/^tsort: -: input contains a loop:$/Makefile:1: rooms that include each other:/; s/^tsort: /    /'
    awk '{ sub(/:.*/, "", $1); if ($1 ~ /\.(h|cuh)$/) print $1, $4 }' "$tmp/includes" | sort -u |
        tsort 2>&1 >/dev/null |
        sed -E 's/^tsort: -: input contains a loop:$/Makefile:1: headers that include each other:/; s/^tsort: /    /'
}

# nothing of the machine or of the meeting a file was written in
check_paths() {
    grep -vE '^tests/form' "$tmp/text" >"$tmp/unnamed"
    over "$tmp/unnamed" -anE '(^|[^[:alnum:]_./$}-])/(work|root|home/[a-z]+)/|(^|[^[:alnum:]])[Ii]ssue #?[0-9]' |
        sed -E 's/^([^:]*:[0-9]+):.*/\1: a path of one machine, or the number of an issue/'
}

check_words() {
    local line word use not soft='' n
    grep -vE '^tests/form' "$tmp/text" >"$tmp/worded"
    while read -r -u 3 line; do
        case $line in
        '#'* | '') continue ;;
        '[soft]') soft=-soft && continue ;;
        esac
        word=${line%% -> *} use=${line#* -> } not='^$'
        case $use in *' -> '*) not=${use#* -> } use=${use% -> *} ;; esac
        over "$tmp/worded" -aniP "(?<![A-Za-z])($word)(?![A-Za-z])" | grep -vE -- "$not" >"$tmp/found"
        n=$(wc -l <"$tmp/found")
        [ "$n" = 0 ] || printf '%5d  %s -> %s\n' "$n" "$word" "$use" >>"$tmp/counts$soft"
        [ -n "$soft" ] || USE=$use awk '{
            match($0, /^[^:]*:[0-9]+:/)
            text = substr($0, RLENGTH + 1)
            sub(/^ +/, "", text)
            print substr($0, 1, RLENGTH) " -> " ENVIRON["USE"] ": " substr(text, 1, 70) }' "$tmp/found"
    done 3<tests/form_words.txt
}

# a program of each room with all it may call, which the linker refuses to make where a room calls upwards
# the faults of tests/mutants.txt still fit the sources
check_mutants() { tests/mutants.sh --check >"$tmp/planted" 2>&1 || sed 's/^/tests\/mutants.txt:1: /' "$tmp/planted"; }

check_rooms() { make -s -j"$(nproc)" rooms >"$tmp/make" 2>&1 || sed 's/^/Makefile:1: make rooms: /' "$tmp/make"; }

run=("$@")
[ $# -gt 0 ] || run=("${checks[@]}")
for c in "${run[@]}"; do
    if [[ " ${checks[*]} " != *" $c "* ]]; then
        echo "no check '$c'; there are: ${checks[*]}" >&2
        exit 2
    fi
    "check_$c" >"$tmp/out-$c"
    n=$(wc -l <"$tmp/out-$c")
    if [ "$n" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    printf '%-13s %5d\n' "$c" "$n"
    head -n "$show" "$tmp/out-$c"
    [ "$n" -le "$show" ] || echo "... all of them: tests/form.sh $c"
    [ "$c" != words ] || cat "$tmp"/counts "$tmp"/counts-soft 2>/dev/null
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
