# lib.sh: black-box checks of the program: a command, the status it must end with, and words it must say. Sourced by the
# scripts beside it.
app=$(readlink -f "$1")
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

ok() { passed=$((passed + 1)); }
bad() { # name, what
    failed=$((failed + 1))
    echo "FAILED: $1: $2"
}
# check NAME CONDITION...: a command that must succeed
check() {
    local name=$1
    shift
    if "$@" >/dev/null 2>&1; then ok; else bad "$name" "$*"; fi
}
# expect NAME STATUS 'extended regex' COMMAND...: status and what is said on either stream
expect() {
    local name=$1 want=$2 words=$3 status
    shift 3
    timeout 120 "$@" >"$tmp/said" 2>&1
    status=$?
    if [ $status -ne "$want" ]; then
        bad "$name" "status $status, want $want: $*"
        tail -n 5 "$tmp/said"
    elif ! grep -qE -- "$words" "$tmp/said"; then
        bad "$name" "does not say /$words/"
        tail -n 5 "$tmp/said"
    else ok; fi
}
finish() {
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
}
