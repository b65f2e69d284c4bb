#!/usr/bin/env bash
# comm.sh: the collectives of engine/comm among 1 to 4 processes against sums computed alone.
# Usage: tests/ranks/comm.sh build/cpu
set -uo pipefail
. "$(dirname "$0")/lib.sh"
program=$tests/engine/comm/test_ranks

expect "one rank without a launcher" 0 'collectives of 1 ranks: right' "$program" collectives 100000
for n in 2 3 4; do
    expect "collectives of $n ranks" 0 "collectives of $n ranks: right" "${ranks[@]}" $n "$program" collectives 200003
done
finish
