#!/usr/bin/env bash
# mutants.sh: plants the faults of tests/mutants.txt one at a time into a copy of the sources, builds it, and wants a
# test to fail: first the programs that the fault names, then whole suites. By hand and weekly; about 3 s a fault.
#   tests/mutants.sh [NAME ...]   all faults, or those named ('ckpt*' works); a line each, and a summary
#   tests/mutants.sh --list       names, files and the programs that run first
#   tests/mutants.sh --check      do all texts stand exactly once where they are to be replaced? builds nothing
# JOBS=N: so many compilers at a time (2). MUTANTS=DIR: where the copy and its builds lie (build/mutants), 400 MB.
# Ends with 1 where a fault survives that has no accepted reason, cannot be planted, or does not compile.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
faults=tests/mutants.txt tree=${MUTANTS:-build/mutants} jobs=${JOBS:-2}
state=$tree/build/state from=.
declare -A file old new run suite accept
names=()

die() { echo "mutants.sh: $*" >&2 && exit 1; }

# blocks of "key value", parted by empty lines; see the head of mutants.txt
read_faults() {
    local line key value name='' number=0
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        case $line in '' | '#'*) continue ;; esac
        key=${line%% *} value=${line#* }
        value=${value#"${value%%[! ]*}"}
        [ "$key" = fault ] || [ -n "$name" ] || die "$faults:$number: no fault begins here"
        case $key in
        fault)
            name=$value
            [ -z "${file[$name]+there}" ] || die "$faults:$number: a second fault $name"
            names+=("$name") file[$name]='' old[$name]='' new[$name]='' run[$name]='' suite[$name]='' accept[$name]=''
            ;;
        file) file[$name]=$value ;;
        old) old[$name]=$value ;;
        new) [ "$value" = "-" ] || new[$name]=$value ;;
        run) run[$name]=$value ;;
        suite) suite[$name]=$value ;;
        accept) accept[$name]=$value ;;
        *) die "$faults:$number: no key $key" ;;
        esac
    done <$faults
}

# planted NAME: the text of its file with the fault in it; false, with the reason: it cannot be planted
planted() {
    local text before rest
    if [ ! -f "$from/${file[$1]}" ]; then
        echo "$1: there is no file ${file[$1]}" >&2
        return 1
    fi
    text=$(cat "$from/${file[$1]}" && echo x) text=${text%x}
    before=${text%%"${old[$1]}"*}
    if [ "$before" = "$text" ]; then
        echo "$1: ${file[$1]} does not hold: ${old[$1]}" >&2
        return 1
    fi
    rest=${text:${#before}+${#old[$1]}}
    if [ "${rest/"${old[$1]}"/}" != "$rest" ]; then
        echo "$1: ${file[$1]} holds more than once: ${old[$1]}" >&2
        return 1
    fi
    printf '%s%s%s' "$before" "${new[$1]}" "$rest"
}

# programs NAME: are the programs there that run first?
programs() {
    local program
    for program in ${run[$1]}; do
        if [ ! -f "$from/tests/$program.c" ]; then
            echo "$1: there is no test $program" >&2
            return 1
        fi
    done
}

backend() { case ${file[$1]} in kernels/cuda/*) echo simt ;; *) echo cpu ;; esac; }

# The copy holds what git knows and what it would add. Files that are as they were keep their time, so that builds of an
# earlier run stay good; what a fault changed last was given back with a new one.
copy() {
    local one
    # files in it that git does not know are removed below, and faults are planted in it: only ever in a copy
    [ -d "$state" ] || [ -z "$(ls -A "$tree" 2>/dev/null)" ] || die "MUTANTS=$tree holds other files; give a new folder"
    mkdir -p "$state" || exit 1
    git ls-files --cached --others --exclude-standard | sort >"$state/files"
    while IFS= read -r one; do
        if [ -f "$one" ] && ! cmp -s "$one" "$tree/$one"; then
            mkdir -p "$(dirname "$tree/$one")"
            cp "$one" "$tree/$one" || exit 1
        fi
    done <"$state/files"
    (cd "$tree" && find . -path ./build -prune -o -type f -print | sed 's#^\./##' | sort |
        comm -23 - build/state/files | while IFS= read -r one; do rm "$one"; done)
    [ ! -e "$state/planted" ] || rm "$state/planted"
    from=$tree
}

# plant NAME TEXT, and back; the sources that the copy was made of may change meanwhile
plant() {
    cp "$tree/${file[$1]}" "$state/original"
    echo "${file[$1]}" >"$state/planted"
    printf '%s' "$2" >"$tree/${file[$1]}"
}

restore() {
    [ -e "$state/planted" ] || return
    cp "$state/original" "$tree/$(cat "$state/planted")"
    rm "$state/planted"
}

make_in() { make -s -C "$tree" -j"$jobs" BACKEND="$1" BUILD="build/$1" WERROR=0 "${@:2}" >"$state/build.log" 2>&1; }

# passes BACKEND PROGRAM (as "engine/run/test_x")
passes() {
    (cd "$tree" && OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} APPO_SIMT_ORDER=both \
        timeout 300 "build/$1/tests/$2" >build/state/run.log 2>&1) 2>/dev/null
}

# Whole suites in the copy, until one fails; prints what failed.
sweep() {
    local s log=$state/suite.log
    for s in "$@"; do
        if ! (cd "$tree" && FULL=1 tests/run_all.sh "$s" >build/state/suite.log 2>&1); then
            s="suite $s $(grep -m 1 -aoE '^---- .*' "$log" | sed 's/^---- //; s#.*/tests/##')"
            echo "${s% }"
            return 1
        fi
    done
}

# try NAME: builds, runs, prints the line; counts into caught, survived, accepted, broken
try() {
    local name=$1 kind by='' program started text
    kind=$(backend "$name") started=$(date +%s.%N)
    if ! { text=$(planted "$name" && echo x) && programs "$name"; }; then
        broken=$((broken + 1))
        return
    fi
    plant "$name" "${text%x}"
    for program in ${run[$name]}; do
        if ! make_in "$kind" "build/$kind/tests/$program"; then
            by='does not compile'
            break
        fi
        if ! passes "$kind" "$program"; then
            by=$program
            break
        fi
    done
    if [ -z "$by" ]; then
        local last=(cpu golden)
        [ "$kind" = cpu ] || last=(simt)
        # shellcheck disable=SC2086
        by=$(sweep ${suite[$name]} "${last[@]}")
    fi
    restore
    count "$name" "$by" "$(awk -v a="$started" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')"
}

count() {
    local word=$2 reason=''
    case $2 in
    'does not compile')
        broken=$((broken + 1))
        grep -m 3 -E 'error' "$state/build.log" >&2
        ;;
    '')
        word='SURVIVED'
        if [ -n "${accept[$1]}" ]; then
            accepted=$((accepted + 1))
            word='survives' reason=${accept[$1]}
        else
            survived=$((survived + 1))
        fi
        ;;
    *)
        caught=$((caught + 1))
        [ -z "${accept[$1]}" ] || word="$2 (is accepted as a survivor: take that off the list)"
        ;;
    esac
    printf '%-30s %-36s %6s s  %s\n' "$1" "${file[$1]}" "$3" "$word"
    [ -z "$reason" ] || echo "    $reason"
}

# what is to fail must pass without any fault
clean() {
    local kind program=() name targets
    for kind in cpu simt; do
        targets=()
        for name in "$@"; do
            if [ "$(backend "$name")" = $kind ] && programs "$name" 2>/dev/null; then
                for program in ${run[$name]}; do targets+=("$program"); done
            fi
        done
        [ ${#targets[@]} -gt 0 ] || continue
        mapfile -t targets < <(printf '%s\n' "${targets[@]}" | sort -u)
        if ! make_in $kind "${targets[@]/#/build/$kind/tests/}"; then
            cat "$state/build.log" >&2
            die "the copy does not build"
        fi
        for program in "${targets[@]}"; do
            passes $kind "$program" || { tail -20 "$state/run.log" >&2 && die "$program fails without any fault"; }
        done
    done
}

read_faults
chosen=("${names[@]}")
case ${1:-} in
--list)
    for name in "${names[@]}"; do printf '%-30s %-36s %s\n' "$name" "${file[$name]}" "${run[$name]}"; done
    exit
    ;;
--check)
    bad=0
    for name in "${names[@]}"; do { planted "$name" >/dev/null && programs "$name"; } || bad=$((bad + 1)); done
    echo "${#names[@]} faults, $bad cannot be planted or run"
    exit $((bad > 0))
    ;;
?*)
    chosen=()
    for want in "$@"; do
        found=0
        # shellcheck disable=SC2053
        for name in "${names[@]}"; do if [[ $name == $want ]]; then chosen+=("$name") found=1; fi; done
        [ $found = 1 ] || die "no fault $want; tests/mutants.sh --list names them"
    done
    ;;
esac
caught=0 survived=0 accepted=0 broken=0
copy
trap restore EXIT
trap 'exit 130' INT TERM
clean "${chosen[@]}"
for name in "${chosen[@]}"; do try "$name"; done
echo "${#chosen[@]} faults: $caught caught, $survived survive, $accepted survive with a reason, $broken not tried"
[ $((survived + broken)) = 0 ]
