#!/usr/bin/env bash
# real_model.sh: a real model learns to use the calculator, on a CPU: supervised on conversations of mixed quality, then
# by reinforcement learning, with GRPO and with APPO. Everything twice: with a line break behind </result> and without,
# where SmolLM2's tokenizer joins `><`; both must give the same success (before supervised text was cut where rollouts
# cut it: 38.7 % and 0.0 %). By hand, some 25 minutes on two cores; what is done in DIR is not done again.
# Usage: tests/real_model.sh SMOL DIR [--steps N] [--variants "break plain"] [--questions-only]
#   SMOL        ./run.sh fetch-model smollm2-135m SMOL
#   --steps N   N steps in place of 45 and 14 and 4 questions to evaluate, to see that it runs (in a DIR of its own)
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { sed -n '2,8s/^# //p' "$0"; }
[ $# -ge 2 ] || { usage >&2; exit 2; }
smol=$(readlink -f "$1") dir=$2 steps='' variants="break plain" only=''
shift 2
while [ $# -gt 0 ]; do
    case $1 in
    --steps) steps=$2; shift ;;
    --variants) variants=$2; shift ;;
    --questions-only) only=1 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
app=build/cpu/appo
mkdir -p "$dir"
dir=$(readlink -f "$dir")

# Word problems and conversations about them: 30 % guess, 12 % compute with a wrong operator and believe the result.
# Random numbers of its own (every awk has others): Park and Miller's, which a double holds. After: what stands behind
# </result>.
questions() { # kind rows seed after
    awk -v kind="$1" -v rows="$2" -v seed="$3" -v after="$4" '
    function draw(n) { seed = seed * 16807 % 2147483647; return int(seed / 2147483647 * n) }
    function from(a, b) { return a + draw(b - a + 1) }
    function text(role, s) { return sprintf("{\"role\":\"%s\",\"content\":\"%s\"}", role, s) }
    function pose(   n, m, it) {
        n = name[1 + draw(16)]; do m = name[1 + draw(16)]; while (m == n)
        it = thing[1 + draw(8)]; a = from(12, 98); b = from(3, 60); c = from(2, 9); k = draw(5)
        if (k == 0) { q = n " has " a " " it ". " m " gives " n " " b " more, and then " n " buys " c " bags with " b \
            " " it " each. How many " it " does " n " have now?"
                      e = a "+" b "+" c "*" b; v = a + b + c * b; wrong = a "+" b "+" c "+" b; w = a + b + c + b }
        if (k == 1) { q = n " packs " a " boxes with " c " " it " each and gives " b " " it " to " m ". How many " it \
            " are left?"
                      e = a "*" c "-" b; v = a * c - b; wrong = a "+" c "-" b; w = a + c - b }
        if (k == 2) { q = "A bag of " it " costs " c " dollars. " n " buys " a " bags and " m " buys " b \
            " bags. How many dollars do they pay together?"
                      e = "(" a "+" b ")*" c; v = (a + b) * c; wrong = "(" a "+" b ")+" c; w = a + b + c }
        if (k == 3) { q = n " collects " a " " it " on each of " c " days and finds " b " more on the last day. " m \
            " takes " c " of them. How many " it " does " n " keep?"
                      e = a "*" c "+" b "-" c; v = a * c + b - c; wrong = a "+" c "+" b "-" c; w = a + b }
        if (k == 4) { q = n " and " m " have " a " and " b " " it ". They put them together and make " c \
            " equal copies of the pile. How many " it " are there in all the copies?"
                      e = "(" a "+" b ")*" c; v = (a + b) * c; wrong = "(" a "+" b ")+" c; w = a + b + c }
    }
    function answer(x) { return "<answer>\\\\boxed{" x "}</answer>" }
    function calculate(expr, value) {
        return "<think> I need to compute " expr ".</think><python>" expr "</python> <result>\\n" value \
            "\\n</result>" after "<think> The result is " value ".</think>" answer(value)
    }
    BEGIN {
        split("Ava Ben Cara Dev Elif Finn Gita Hugo Ines Jon Kemi Lars Mina Noor Omar Pia", name, " ")
        split("apples books coins pens cards shells stamps marbles", thing, " "); split("-10 -3 2 7 20", off, " ")
        task = "Solve the problem. Think between <think> and </think>. To calculate, write " \
                 "<python>expression</python>; the result comes back between <result> and </result>. " \
                 "Put the final number in <answer>\\\\boxed{}</answer>."
        for (i = 0; i < rows; i++) {
            pose(); flaw = draw(1000)
            says = flaw < 300 ? "<think> I can guess this.</think>" answer(v + off[1 + draw(5)]) : \
                flaw < 420 ? calculate(wrong, w) : calculate(e, v)
            asked = text("system", task) "," text("user", q)
            if (kind == "sft") printf "{\"messages\":[%s,%s]}\n", asked, text("assistant", says)
            else printf "{\"data_source\":\"words\",\"ability\":\"math\",\"prompt\":[%s]," \
                "\"reward_model\":{\"ground_truth\":\"%d\",\"style\":\"rule\"}}\n", asked, v
        }
    }'
}
questions sft 900 7 '\\n' >"$dir/sft.break.jsonl"
questions sft 900 7 '' >"$dir/sft.plain.jsonl"
questions rl 800 8 '' >"$dir/train.jsonl"
questions rl "$([ -z "$steps" ] && echo 150 || echo 4)" 9 '' >"$dir/val.jsonl"
[ -z "$only" ] || exit 0

# once NAME COMMAND...: its output in NAME.log, unless it is there from before
once() {
    local log=$dir/$1.log
    shift
    [ -f "$log.done" ] && return
    echo "$*" >&2
    local from=$SECONDS
    "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
    echo $((SECONDS - from)) >"$log.done"
}
table=$dir/table.txt
printf '%-7s %-8s %9s %9s %9s %9s\n' variant stage 'success %' 'greedy %' tokens seconds >"$table"
line() { printf '%-7s %-8s %9s %9s %9s %9s\n' "$@" >>"$table"; }
last() { # metrics.jsonl key: the last value there is, times 100
    grep -oE "\"$2\":[0-9.e+-]+" "$1" | tail -n 1 | cut -d: -f2- | awk '{ printf "%.1f", 100 * $1 }'
}
for v in $variants; do
    cold=$dir/cold.$v
    common=(data.train_files="$dir/train.jsonl" data.val_files="$dir/val.jsonl" data.max_prompt_length=256
        data.max_response_length=128 rollout.max_len=384 reward.kind=exact
        rollout.max_num_seqs=64 data.train_batch_size=12 actor.ppo_mini_batch_size=6 trainer.seed=1 model.path="$cold")
    once "sft.$v" "$app" sft model.path="$smol" data.train_files="$dir/sft.$v.jsonl" sft.lr=1e-4 \
        sft.steps="${steps:-45}" sft.batch_size=20 sft.warmup_steps=5 data.max_length=512 \
        trainer.seed=1 sft.save="$cold"
    once "eval.$v" "$app" eval "${common[@]}"
    read -r _ success greedy _ < <(grep '^all ' "$dir/eval.$v.log" | sed 's/([^)]*)//g')
    line "$v" cold "$success" "$greedy" - "$(cat "$dir/sft.$v.log.done")"
    for how in grpo appo; do
        rule=(algorithm.adv_estimator=grpo rollout.n=8)
        [ $how = grpo ] || rule=(rollout.n=12 rollout.initial_rollouts=4 branch.points=2)
        once "$how.$v" "$app" train "${common[@]}" actor.optim.lr=1e-5 \
            "${rule[@]}" trainer.total_training_steps="${steps:-14}" trainer.default_local_dir="$dir/$how.$v"
        m=$(find "$dir/$how.$v" -name metrics.jsonl | head -n 1)
        line "$v" $how "$(last "$m" 'val-core/all/acc/mean@[0-9]+')" "$(last "$m" 'val-aux/all/greedy/mean@1')" \
            "$(grep -oE '"perf/generated_tokens":[0-9]+' "$m" | awk -F: '{ s += $2 } END { print s }')" \
            "$(cat "$dir/$how.$v.log.done")"
    done
done
cat "$table"
