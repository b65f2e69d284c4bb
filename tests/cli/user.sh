#!/usr/bin/env bash
# user.sh: what a person sees of generate, eval, sft and score, and where the program runs. Usage: tests/cli/user.sh build/cpu/appo
set -uo pipefail
# shellcheck source=tests/cli/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export OMP_NUM_THREADS=2

# ---- where it runs ----
# a stack of 64 KiB, for the program's threads too
short=(debug --steps 1 data.val_per_family=1 trainer.threads=2)
numbers() { sed -E 's/"(timing_s|perf)[^,}]*,?//g' "$1/appo/debug/metrics.jsonl"; }
expect "a stack of 64 KiB" 0 . bash -c 'ulimit -s 64; exec "$@"' - "$app" "${short[@]}" trainer.default_local_dir="$tmp/stack64"
expect "a stack of 1 MiB" 0 . bash -c 'ulimit -s 1024; exec "$@"' - "$app" "${short[@]}" trainer.default_local_dir="$tmp/stack1024"
check "the stack changes no number" diff <(numbers "$tmp/stack64") <(numbers "$tmp/stack1024")
# away from its folder, with and without $APPO_HOME
cp "$app" "$tmp/elsewhere"
(cd "$tmp" && echo "take 9, minus 5." | "$tmp/elsewhere" generate --greedy) >"$tmp/away" 2>&1
echo "take 9, minus 5." | "$app" generate --greedy >"$tmp/home" 2>&1
check "the program finds its policy from elsewhere" cmp "$tmp/away" "$tmp/home"
expect "APPO_HOME" 1 '/nowhere/policy: no such folder' env APPO_HOME=/nowhere "$tmp/elsewhere" generate --prompt hi

# ---- what leads out of its folder, or is no text ----
printf 'rollout:\n  n: 8\n\0\ntrainer:\n  seed: 77\n' >"$tmp/nul.yaml"
expect "a NUL in YAML" 2 'nul\.yaml:3: a NUL byte' "$app" debug --config "$tmp/nul.yaml" --print-config
for name in '' . .. ../.. a/b /tmp; do
    expect "experiment_name=$name" 2 'trainer.experiment_name=.*a name for a folder' "$app" debug --print-config trainer.experiment_name="$name"
    expect "project_name=$name" 2 'trainer.project_name=.*a name for a folder' "$app" debug --print-config trainer.project_name="$name"
done
expect "no folder" 2 'trainer.default_local_dir is empty' "$app" debug --print-config trainer.default_local_dir=
check "100 is not 1e+02" bash -c "! grep -E '[0-9]e\+0?[0-9]\b' '$tmp/stack64/appo/debug/metrics.jsonl'"

finish
