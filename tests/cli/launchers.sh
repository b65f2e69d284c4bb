#!/usr/bin/env bash
# launchers.sh: what eight public launch scripts give, and every key of verl's generated configuration at its default.
# launchers/NAME.keys has a line a key: the verdict (accepted, ignored, rejected), a tab, key=value. All at once:
# exactly those marked are rejected, each by name; without them the configuration loads, and exactly so many are named
# as ignored as are marked.
# Usage: tests/cli/launchers.sh build/cpu/appo [--table]
set -uo pipefail
. "$(dirname "$0")/lib.sh"
lists=$top/tests/cli/launchers
cd "$tmp" || exit 1

# those of one verdict, from a list
of() { grep -P "^$1\t" "$2" | cut -f 2-; }
# how many keys the line names: a name is one, "pattern (N)" and "and N more" are N
named() {
    sed -n 's/^ignored, options of other engines: //p' said |
        awk '{ n = 0; more = 0
            if (match($0, / and [0-9]+ more$/)) { more = substr($0, RSTART + 5) + 0; $0 = substr($0, 1, RSTART - 1) }
               k = split($0, a, ", "); for (i = 1; i <= k; i++) n += match(a[i], /\([0-9]+\)$/) ? \
                   substr(a[i], RSTART + 1) + 0 : 1; print n + more }'
}

table='script|keys|accepted|ignored|rejected'
for list in "$lists"/*.keys; do
    name=$(basename "$list" .keys)
    mapfile -t all < <(grep -vE '^#' "$list" | cut -f 2-)
    mapfile -t rejected < <(of rejected "$list")
    mapfile -t others < <(of '(accepted|ignored)' "$list")
    ignored=$(of ignored "$list" | wc -l)
    table+=$'\n'"$name|${#all[@]}|$(of accepted "$list" | wc -l)|$ignored|${#rejected[@]}"
    "$app" train "${all[@]}" --print-config >out 2>said
    status=$?
    check "$name: rejected as a whole, if a key is" test $status = $((${#rejected[@]} ? 2 : 0))
    for key in "${rejected[@]}"; do
        plain=${key#actor_rollout_ref.}
        check "$name: $key is rejected by name" grep -qE "^appo: (actor_rollout_ref\.)?${plain%%=*}=.*: .+" said
        grep -E "^appo: (actor_rollout_ref\.)?${plain%%=*}=" said >>reasons
    done
    lines=$(grep -E '^appo: ' said | grep -cvE 'keys are rejected; nothing was started$')
    check "$name: nothing else is rejected" test "$lines" = ${#rejected[@]}
    # a critic is what verl has without an estimator
    [ "$name" != verl_generated_ppo_trainer ] || others+=(algorithm.adv_estimator=grpo)
    "$app" train "${others[@]}" --print-config >out 2>said
    status=$?
    check "$name: the rest loads" test $status = 0
    check "$name: $(named) of $ignored ignored keys are named" test "$(named)" = "$ignored"
    check "$name: nothing is a file or folder of that name" test \
        "$(find . -mindepth 1 ! -name out ! -name said ! -name reasons | wc -l)" = 0
done
# verl's whole configuration as a file, interpolations and all: the same two keys are rejected, each with its line,
# and without them it loads
grep -vE '^#' "$lists/verl_generated_ppo_trainer.keys" | cut -f 2- |
    sed -E '/=(null|\{\}|\[.*\])$/{s/=/: /;b}; s/"/\\"/g; s/=(.*)$/: "\1"/' >whole.yaml
"$app" train --config whole.yaml --print-config >out 2>said
check "verl's file: rejected" test $? = 2
two='algorithm\.adv_estimator|rollout\.tensor_model_parallel_size'
check "by name and line" test "$(grep -cE "^appo: ($two)=.* \(whole\.yaml:[0-9]+\): " said)" = 2
expect "verl's file, for one GPU" 0 \
    '^rollout\.val_kwargs\.temperature: 0 +# rollout.val_kwargs.do_sample, .*whole\.yaml:' \
    "$app" train --config-path=. --config-name=whole --print-config \
    algorithm.adv_estimator=grpo actor_rollout_ref.rollout.tensor_model_parallel_size=1
check "its folder has both names" grep -qE '^trainer\.default_local_dir: "checkpoints/verl_examples/gsm8k" ' said
check "eight scripts and verl's own configuration" test "$(find "$lists" -name '*.keys' | wc -l)" = 9
if [ "${2:-}" = --table ]; then
    column -s '|' -t <<<"$table"
    sort reasons | sed -E 's/^appo: //' | uniq -c
fi
finish
