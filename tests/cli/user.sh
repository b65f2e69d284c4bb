#!/usr/bin/env bash
# user.sh: what a person sees of generate, eval, sft and score, and where the program runs.
# Usage: tests/cli/user.sh build/cpu/appo
set -uo pipefail
# shellcheck source=tests/cli/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export OMP_NUM_THREADS=2

# ---- where it runs ----
# a stack of 64 KiB, for the program's threads too
short=(debug --steps 1 data.val_per_family=1 trainer.threads=2)
numbers() { sed -E 's/"(timing_s|perf)[^,}]*,?//g' "$1/appo/debug/metrics.jsonl"; }
expect "a stack of 64 KiB" 0 . \
    bash -c 'ulimit -s 64; exec "$@"' - "$app" "${short[@]}" trainer.default_local_dir="$tmp/stack64"
expect "a stack of 1 MiB" 0 . \
    bash -c 'ulimit -s 1024; exec "$@"' - "$app" "${short[@]}" trainer.default_local_dir="$tmp/stack1024"
check "the stack changes no number" diff <(numbers "$tmp/stack64") <(numbers "$tmp/stack1024")
# away from its folder, with and without $APPO_HOME
cp "$app" "$tmp/elsewhere"
(cd "$tmp" && echo "take 9, minus 5." | "$tmp/elsewhere" generate --greedy) >"$tmp/away" 2>&1
echo "take 9, minus 5." | "$app" generate --greedy >"$tmp/home" 2>&1
check "the program finds its policy from elsewhere" cmp "$tmp/away" "$tmp/home"
expect "APPO_HOME" 1 '/nowhere/policy: no such folder' env APPO_HOME=/nowhere "$tmp/elsewhere" generate --prompt hi

# installed: the embedded policy is found beside bin/, also where the whole tree was moved; nothing stays behind, and
# nothing else goes: "my" is what a path with a blank in it begins with
make=(make -s -C "$top" BUILD="$(dirname "$app")")
case $("$app" version) in *clang*) make+=(CC=clang) ;; esac
mkdir "$tmp/my" && touch "$tmp/my/own"
check "make install" "${make[@]}" install DESTDIR="$tmp/my package" PREFIX=/opt/appo
cp -r "$tmp/my package/opt/appo" "$tmp/moved"
check "make uninstall, a blank in DESTDIR" "${make[@]}" uninstall DESTDIR="$tmp/my package" PREFIX=/opt/appo
check "leaves no file" test -z "$(find "$tmp/my package" -type f)"
check "and other files where they are" test -f "$tmp/my/own"
expect "an installed program's policy" 0 "^policy +$tmp/moved/share/appo/policy$" "$tmp/moved/bin/appo" doctor
echo "take 9, minus 5." | "$tmp/moved/bin/appo" generate --greedy >"$tmp/installed" 2>&1
check "and its answer" cmp "$tmp/installed" "$tmp/home"
check "make uninstall" "${make[@]}" uninstall PREFIX="$tmp/moved"
check "leaves no file" test -z "$(find "$tmp/moved" -type f)"
if git -C "$top" rev-parse 2>/dev/null; then
    check "make dist" make -s -C "$top" dist
    tar tzf "$top"/build/appo-[0-9]*.tar.gz | sort >"$tmp/packed"
    for file in Makefile run.sh main.c commit.txt policy/model.safetensors; do
        check "$file is packed" grep -qE "^appo-[0-9.]+/$file\$" "$tmp/packed"
    done
fi

# a machine without packages: one message that names the fix
mkdir "$tmp/bare" && for tool in bash \
    env dirname readlink id cat nproc; do ln -s "$(command -v $tool)" "$tmp/bare/$tool"; done
for command in train eval generate; do
    expect "$command without packages" 1 'run\.sh setup installs' \
        env PATH="$tmp/bare" APPO_BUILD="$tmp/nobuild" APPO_BACKEND=cpu bash "$top/run.sh" $command --help
done
expect "what setup would do" 0 'would run: .*gcc.*libsqlite3-dev( *)$' \
    env PATH="$tmp/bare" bash "$top/run.sh" setup --dry-run
expect "and for several ranks" 0 'would run: .*libsqlite3-dev libopenmpi-dev openmpi-bin( *)$' \
    env PATH="$tmp/bare" bash "$top/run.sh" setup --ranks --dry-run
expect "and for the tests" 0 'would run: .*libcmocka-dev libopenmpi-dev openmpi-bin' \
    env PATH="$tmp/bare" bash "$top/run.sh" setup --tests --dry-run

# ---- what leads out of its folder, or is no text ----
printf 'rollout:\n  n: 8\n\0\ntrainer:\n  seed: 77\n' >"$tmp/nul.yaml"
expect "a NUL in YAML" 2 'nul\.yaml:3: a NUL byte' "$app" debug --config "$tmp/nul.yaml" --print-config
for name in '' . .. ../.. a/b /tmp; do
    expect "experiment_name=$name" 2 'trainer.experiment_name=.*a name for a folder' \
        "$app" debug --print-config trainer.experiment_name="$name"
    expect "project_name=$name" 2 'trainer.project_name=.*a name for a folder' \
        "$app" debug --print-config trainer.project_name="$name"
done
expect "no folder" 2 'trainer.default_local_dir is empty' "$app" debug --print-config trainer.default_local_dir=
check "100 is not 1e+02" bash -c "! grep -E '[0-9]e\+0?[0-9]\b' '$tmp/stack64/appo/debug/metrics.jsonl'"

# ---- generate ----
for i in $(seq 1 40); do echo "{\"prompt\": \"take $((i + 2)), minus 1, times 3.\"}"; done >"$tmp/forty.jsonl"
for n in 1 7 64; do "$app" generate rollout.max_num_seqs=$n <"$tmp/forty.jsonl" >"$tmp/forty.$n"; done
"$app" generate <"$tmp/forty.jsonl" >"$tmp/forty.all"
printf '17 * 23 = ?\n%.0s' 1 2 3 | "$app" generate >"$tmp/thrice"
check "equal prompts get answers of their own" test "$(sort -u "$tmp/thrice" | grep -c 'boxed{')" -gt 1
check "lines at once change no answer" bash -c \
    "for n in 7 64 all; do cmp $tmp/forty.1 $tmp/forty.\$n || exit 1; done; [ \$(wc -l <$tmp/forty.all) = 40 ]"
expect "what came before a bad line is answered" 1 '"text":.*finish|line 2: ' \
    bash -c "(head -n 1 $tmp/forty.jsonl; echo bad) | $app generate"
if command -v script >/dev/null; then
    on_terminal() { # INPUT COMMAND: what a terminal shows
        printf '%b' "$1" >"$tmp/typed"
        TERM=xterm timeout 60 script -qec "$2" /dev/null <"$tmp/typed" >"$tmp/seen" 2>&1
    }
    on_terminal '/help\ntake 9, minus 5, times 9.\n/nonsense\n/system be brief\n/reset\n//x\n/quit\n' \
        "$app generate --greedy"
    for words in 'The embedded policy' 'common divisor of|next of ' 'forget the conversation' 'boxed.36' \
        'there is no /nonsense' 'with this system message' $'\033'; do
        expect "a conversation: $words" 0 "$words" cat "$tmp/seen"
    done
    on_terminal 'take 9, minus 5, times 9.\n' "NO_COLOR=1 $app generate --greedy"
    check "NO_COLOR" bash -c "! grep -q \$'\033' $tmp/seen"
fi

for option in prompt system max; do
    expect "generate --$option without a value" 2 "^appo: --$option needs a value" "$app" generate --$option
done
expect "an option of another command" 2 '--top: not understood here' "$app" generate --top

# ---- what README.md and docs/ say ----
expect "a run with a model has its own folder" 0 '^trainer.experiment_name: "train"' \
    "$app" train --print-config model.path="$top/policy"
check "README.md: 120 columns" bash -c "! grep -qE '^.{121}' '$top/README.md'"
for key in \
    $(grep -ohE '`(data|model|tools|actor|rollout|branch|advantage|reward|sft|trainer|algorithm)\.[a-z_.0-9]*[a-z0-9]' \
    "$top"/README.md "$top"/docs/*.md | tr -d '`' |
    grep -vE '\.(c|h|sh|md)$|^model\.vocab$|^rollout\.tools$' | sort -u); do
    expect "docs: $key is a key" 0 "$key" "$app" keys "$key"
done
for command in \
    $(grep -ohE '\./run\.sh [a-z][a-z-]*|`appo [a-z][a-z-]*' "$top"/README.md \
    "$top"/docs/*.md | sed 's/.* //' | sort -u); do
    expect "docs: $command is a command" 0 '^usage: ' "$app" help "$command"
done

# ---- eval ----
few=(data.val_per_family=4 rollout.val_kwargs.n=2)
expect "eval: heads and intervals" 0 '^source +success % \(95 %\) +greedy % \(95 %\) +tool calls +tokens$' \
    "$app" eval "${few[@]}" trainer.validation_data_dir="$tmp/val" --report "$tmp/val.json"
cp "$tmp/said" "$tmp/said.kept"
expect "eval: intervals" 0 '^all +[0-9.]+ \([0-9.]+-[0-9.]+\) +[0-9.]+ \([0-9.]+-[0-9.]+\) +[0-9.]+ +[0-9.]+$' cat \
    "$tmp/said.kept"
check "eval: 80 columns" bash -c "! grep -qE '^.{80}' $tmp/said.kept"
expect "eval: the report" 0 '"success_95"' cat "$tmp/val.json"
expect "eval --json" 0 '^ "success": ' "$app" eval "${few[@]}" --json
"$app" eval "${few[@]}" --json >"$tmp/alone.json" 2>/dev/null
check "eval --json is JSON alone" \
    bash -c "[ \$(head -c 1 $tmp/alone.json) = '{' ] && [ \$(tail -n 1 $tmp/alone.json) = '}' ]"
check "eval keeps every answer" test "$(wc -l <"$tmp/val/0.jsonl")" = 156
expect "eval: verl's fields" 0 '"input":.*"output":.*"gts":.*"score":.*"step":0' head -n 1 "$tmp/val/0.jsonl"
# stopped, killed, cut in the midst of a line; then the same bytes
mkdir "$tmp/cut" && cp "$tmp/val/0.of" "$tmp/cut" && shuf --random-source="$app" \
    "$tmp/val/0.jsonl" | head -c 20000 >"$tmp/cut/0.jsonl"
expect "eval goes on" 0 '52 prompts' \
    "$app" eval "${few[@]}" trainer.validation_data_dir="$tmp/cut" --report "$tmp/cut.json"
check "eval goes on to the same answers" cmp "$tmp/val/0.jsonl" "$tmp/cut/0.jsonl"
check "eval asked only what was missing" bash -c "grep -qE '\"answers_known_before\": [1-9]' $tmp/cut.json"
check "eval goes on to the same sums" \
    diff <(grep -vE 'wall_s|known|generated|trainer\.' "$tmp/val.json") <(grep -vE 'wall_s|known|generated|trainer\.' \
    "$tmp/cut.json")
expect "eval: another seed is another evaluation" 0 'is of other weights, prompts or settings' \
    "$app" eval "${few[@]}" trainer.seed=2 trainer.validation_data_dir="$tmp/cut"
check "and moves the old one aside" cmp "$tmp/val/0.jsonl" "$tmp/cut/0.jsonl.old-1"
(timeout -s TERM 0.7 "$app" eval data.val_per_family=400 \
    trainer.validation_data_dir="$tmp/term" >"$tmp/term.out" 2>&1; echo "status $?" >>"$tmp/term.out")
expect "eval: TERM" 0 'stopping; the answers so far stay' cat "$tmp/term.out"

# ---- recorded searches ----
# every entry has the words that the policy looks for; the number of threads changes nothing
words=$(printf '%s ' ka ru ti mo le na page guard who rival rank)
awk -v w="$words" \
    'BEGIN { for (i = 0; i < 2000; i++) printf "%s\"entry %d\": \"Page 1: %s\"", i ? "," : "{", i, w; print "}" }' \
    >"$tmp/cache.json"
for i in 1 2 3 4; do echo \
    "{\"question\": \"what is the rank of the rival of motivo$i?\", \"answer\": \"Paris\"}"; done >"$tmp/search.jsonl"
search=(train --steps 1 data.train_files="$tmp/search.jsonl" data.train_batch_size=4 actor.ppo_mini_batch_size=4
    tools.search_cache="$tmp/cache.json" data.max_response_length=60
    rollout.max_len=160 rollout.n=8 rollout.initial_rollouts=4 trainer.threads=1 tools.timeout=0.001)
for miss in error nearest; do
    for n in 1 16; do
        "$app" "${search[@]}" tools.search_miss=$miss tools.threads=$n \
            trainer.default_local_dir="$tmp/$miss$n" >/dev/null 2>&1
    done
    check "search_miss=$miss: the same numbers with 1 and 16 threads" \
        diff <(numbers "$tmp/${miss}1") <(numbers "$tmp/${miss}16")
    check "search_miss=$miss: the same weights" cmp \
        "$tmp/${miss}1/appo/debug/global_step_1/actor/huggingface/model.safetensors" \
        "$tmp/${miss}16/appo/debug/global_step_1/actor/huggingface/model.safetensors"
    expect "search_miss=$miss: misses are counted, nothing is late" 0 \
        '"tools/timeouts":0,"tools/search_hits":0,"tools/search_misses":[1-9]' cat \
        "$tmp/${miss}1/appo/debug/metrics.jsonl"
done
expect "what was not recorded is reported" 0 'no recorded result for this query' \
    bash -c "zcat $tmp/error1/appo/debug/rollouts/1.jsonl.gz"
check "and not where the nearest stands in" \
    bash -c "! zcat $tmp/nearest1/appo/debug/rollouts/1.jsonl.gz | grep -q 'status\":\"ok\"'"

# ---- sft ----
tune=(sft sft.steps=80 sft.batch_size=4 trainer.save_freq=5 sft.warmup_steps=2 trainer.threads=1)
"$app" "${tune[@]}" sft.save="$tmp/one" --json --report "$tmp/one.json" >"$tmp/one.out"
check "sft in one go, JSON on stdout and in a file" cmp "$tmp/one.out" "$tmp/one.json"
expect "sft: the report" 0 '"loss": [0-9]' cat "$tmp/one.json"
check "sft leaves no checkpoint behind" test ! -e "$tmp/one/sft"
expect "sft: metrics" 0 '"step":80,"data":{"train/loss":' cat "$tmp/one/metrics.jsonl"
signals=(TERM KILL INT)
known() { cat "$tmp/two/metrics.jsonl" 2>/dev/null | wc -l; }
# a signal a few steps after each start, however fast the machine is
for i in 0 1 2 3 4 5; do
    "$app" "${tune[@]}" sft.save="$tmp/two" >"$tmp/two.$i" 2>&1 &
    pid=$! until=$(($(known) + 3))
    while [ "$(known)" -lt $until ] && kill -0 $pid 2>/dev/null; do sleep 0.005; done
    kill -"${signals[i % 3]}" $pid
    wait $pid
done 2>/dev/null
"$app" "${tune[@]}" sft.save="$tmp/two" >"$tmp/two.last" 2>&1
status=$?
check "sft after $i interruptions is done" test $status = 0
cat "$tmp"/two.* >"$tmp/two_said"
expect "sft goes on" 0 'continues after step [0-9]+ of 80' cat "$tmp/two_said"
expect "sft says where it stopped" 0 'finishing step [0-9]+ and writing a checkpoint' cat "$tmp/two_said"
check "sft goes on to the same model" cmp "$tmp/one/model.safetensors" "$tmp/two/model.safetensors"
check "sft goes on to the same metrics" \
    diff <(sed 's/,"timing.*//' "$tmp/one/metrics.jsonl") <(sed 's/,"timing.*//' "$tmp/two/metrics.jsonl")
expect "sft again" 0 'nothing is left to do' "$app" "${tune[@]}" sft.save="$tmp/two"
timeout -s TERM 2 "$app" "${tune[@]}" sft.save="$tmp/three" sft.steps=4000 >"$tmp/three.out" 2>&1
expect "sft with another rate does not go on" 1 'was made with sft.lr=0.003, now it is 0.001: give the old value' \
    "$app" "${tune[@]}" sft.save="$tmp/three" sft.steps=4000 sft.lr=1e-3
at=$(compgen -G "$tmp/three/sft/global_step_*" | head -n 1)
printf '\001' | dd of="$at/actor/optimizer.safetensors" bs=1 seek=5000 conv=notrunc status=none
expect "sft: a damaged checkpoint" 1 'none of its checkpoints is whole' \
    "$app" "${tune[@]}" sft.save="$tmp/three" sft.steps=4000
expect "sft anew" 0 'sft of an earlier run is .*sft.old-1' "$app" "${tune[@]}" sft.save="$tmp/three" trainer.resume=off

finish
