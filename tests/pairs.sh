#!/usr/bin/env bash
# pairs.sh: two builds of the program side by side: seconds of the processor for decoding (6000 greedy answers) and for
# training (16 steps) of the embedded policy, one thread on one core, in turns so that a machine's moods meet both. A
# line a pair, then medians and the median of the pairs' ratios B / A. By hand, on a quiet machine.
# Usage: tests/pairs.sh A B [PAIRS], for example
#   make BUILD=build/soft HARDEN= HARDEN_LD= all && tests/pairs.sh build/soft/appo build/cpu/appo 12
set -euo pipefail
a=$(readlink -f "$1") b=$(readlink -f "$2") pairs=${3:-12} core=${CORE:-1}
export OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for i in $(seq 1 6000); do echo "{\"prompt\": \"take $((i % 90 + 2)), minus 1, times 3.\"}"; done >"$tmp/in"
train=(debug --steps 16 trainer.threads=1 trainer.val_before_train=false data.val_per_family=1 trainer.save_freq=-1)

used() {
    local TIMEFORMAT=%U
    { time taskset -c "$core" "$@" >/dev/null 2>&1; } 2>&1
}
decode() { used "$1" generate trainer.threads=1 --greedy <"$tmp/in"; }
step() {
    rm -rf "$tmp/out"
    used "$1" "${train[@]}" trainer.default_local_dir="$tmp/out"
}
for i in $(seq 1 "$pairs"); do
    if [ $((i % 2)) = 0 ]; then
        da=$(decode "$a") db=$(decode "$b") sa=$(step "$a") sb=$(step "$b")
    else
        db=$(decode "$b") da=$(decode "$a") sb=$(step "$b") sa=$(step "$a")
    fi
    echo "decode $da $db   train $sa $sb"
done | tee "$tmp/pairs"
median() { sort -n | awk '{ x[NR] = $1 } END { print (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2 }'; }
# shellcheck disable=SC2016
for what in 1:decode 4:train; do
    at=${what%:*}
    column() { awk -v at="$at" "{ print $1 }" "$tmp/pairs" | median; }
    printf '%-7s A %.3f s, B %.3f s, B / A %.4f\n' "${what#*:}" "$(column '$(at + 1)')" "$(column '$(at + 2)')" \
        "$(column '$(at + 2) / $(at + 1)')"
done
