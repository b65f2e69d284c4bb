#!/usr/bin/env bash
# field.sh: inputs from public reports of this field, one folder each under tests/field: README says what was seen and
# what is right, check.sh tests it with the functions of tests/cli/lib.sh ($app the program, $here the case's folder,
# $tmp scratch, $build where test programs are).
# Usage: tests/field.sh APPO [CASE ...]
set -uo pipefail
program=$(readlink -f "$1")
cd "$(dirname "$0")/.." || exit 1
shift
cases=("$@")
[ $# -gt 0 ] || for c in tests/field/*/check.sh; do cases+=("$(basename "$(dirname "$c")")"); done
total_passed=0 total_failed=0
for c in "${cases[@]}"; do
    said=$(
        # shellcheck source=tests/cli/lib.sh
        . tests/cli/lib.sh "$program"
        here=$(readlink -f "tests/field/$c") build=$(dirname "$program")
        # shellcheck disable=SC1090
        . "$here/check.sh"
        finish
    )
    p=$(grep -oE '^[0-9]+ passed' <<<"$said" | grep -oE '[0-9]+') \
        f=$(grep -oE '[0-9]+ failed$' <<<"$said" | grep -oE '[0-9]+')
    # a case that says nothing, or that checks nothing, has failed
    if [ "${p:-0}" = 0 ] && [ "${f:-0}" = 0 ]; then f=1; fi
    total_passed=$((total_passed + ${p:-0})) total_failed=$((total_failed + ${f:-1}))
    if [ "${f:-1}" = 0 ]; then echo "ok      $c"; else
        echo "FAILED  $c"
        sed -E '/^[0-9]+ passed, [0-9]+ failed$/d; s/^/    /' <<<"$said"
    fi
done
echo "$total_passed passed, $total_failed failed"
[ $total_failed = 0 ] && [ $total_passed -gt 0 ]
