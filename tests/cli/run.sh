#!/usr/bin/env bash
# run.sh: what the program and the front door say to bad input: the status, the message, and that nothing was started
# or left behind.
# Usage: tests/cli/run.sh build/cpu/appo
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
small=(data.val_per_family=1 data.train_batch_size=13 trainer.total_training_steps=0)

# ---- configuration: status 2, nothing started ----
expect "unknown key" 2 'rollout\.nn .*Did you mean .*rollout\.n' "$app" debug rollout.nn=3
expect "unknown key without likeness" 2 'qqqqqqqqqqqq .*no such option' "$app" debug qqqqqqqqqqqq=3
expect "ill-typed" 2 'rollout\.n=many .*not a whole number; valid: 1 to' "$app" debug rollout.n=many
expect "out of range" 2 'branch\.gamma=2 .*out of range; valid: 0 to 1' "$app" debug branch.gamma=2
expect "no such choice" 2 'algorithm\.preset=fast .*default, paper, official' "$app" debug algorithm.preset=fast
expect "contradiction" 2 'does not divide' "$app" debug actor.ppo_mini_batch_size=7
expect "no value" 2 '--seed needs a value' "$app" debug --seed
expect "no file" 2 'none\.yaml' "$app" debug --config none.yaml
printf 'rollout:\n  n: 8\n  nn: 9\n' >bad.yaml
expect "unknown key in a file, with its line" 2 'rollout\.nn \(bad\.yaml:3\)' "$app" debug --config bad.yaml
printf 'rollout: [\n' >broken.yaml
expect "broken YAML" 2 'broken\.yaml' "$app" debug --config broken.yaml
expect "unknown option" 2 '--frobnicate' "$app" debug --frobnicate
expect "unknown command" 2 'frobnicate' "$app" frobnicate
# one process alone: several of mpirun or srun are rejected before they start
for c in sft make-policy export tokenize score generate golden bench; do
    expect "$c as ranks" 2 "$c runs in one process, and 3 were started" env OMPI_COMM_WORLD_SIZE=3 "$app" $c x
done
expect "help as ranks" 0 'usage: appo generate' env PMI_SIZE=3 "$app" generate --help
check "nothing was written" test "$(find . -mindepth 1 ! -name '*.yaml' ! -name said | wc -l)" = 0
expect "print-config" 0 '^rollout\.n: 8 +# command line: ' "$app" debug rollout.n=8 --print-config
expect "print-config names a file's line" 0 '^rollout\.n: 12 +# ok\.yaml:1: ' \
    sh -c "echo 'rollout.n: 12' > ok.yaml; '$app' debug --config ok.yaml --print-config"
expect "print-config names the preset" 0 '^branch\.when: step +# preset official: ' \
    "$app" debug algorithm.preset=official --print-config
expect "other engines' keys" 0 'ignored, options of other engines: rollout\.name, rollout\.mode' \
    "$app" debug rollout.name=vllm rollout.mode=async --print-config
expect "all wrong keys at once" 2 'rollout\.nn .*no such option' "$app" debug rollout.nn=3 rollout.nnodes=2 rollout.n=x
for words in 'rollout\.nnodes=2 .*samplers of their own are not built' 'rollout\.n=x .*not a whole number' \
    '3 keys are rejected; nothing was started'; do
    check "also: $words" grep -qE "$words" said
done
expect "null is the default" 0 '^trainer\.total_training_steps: 40 ' \
    "$app" debug trainer.total_training_steps=null --print-config
expect "in a file, too" 0 '^trainer\.total_training_steps: 40 ' \
    sh -c "printf 'trainer:\n  total_training_steps: null\n' >null.yaml; '$app' debug --config null.yaml --print-config"
mkdir conf
printf 'defaults:\n  - ppo_trainer\n  - _self_\nrollout:\n  n: 12\n' >conf/mine.yaml
printf 'defaults:\n  - actor@actor_rollout_ref.actor: dp_actor\n' >conf/parts.yaml
expect "Hydra's way to name a file" 0 '^rollout\.n: 12 +# conf/mine\.yaml:5: ' \
    "$app" debug --config-path=conf --config-name mine --print-config
expect "and the arguments above it" 0 '^rollout\.n: 13 +# command line' \
    "$app" debug --config-path=conf --config-name mine.yaml rollout.n=13 --print-config
expect "which is not there" 2 'conf/none\.yaml.*--config FILE|--config FILE.*conf/none\.yaml' \
    "$app" debug --config-path=conf --config-name=none
expect "without a path" 2 'none without --config-path' "$app" debug --config-name=none
expect "put together from parts" 2 'parts\.yaml:2: .*--config FILE' "$app" debug --config conf/parts.yaml
rm -r conf
expect "help" 0 'debug' "$app" help
for command in debug train eval sft make-policy export plan tokenize score generate golden bench doctor keys version \
    help; do
    for words in "$command --help" "$command -h" "help $command"; do
        # shellcheck disable=SC2086
        expect "$words" 0 "^usage: appo $command" "$app" $words
    done
    check "$command: what is it for, and within 100 columns" test "$(wc -l <said)" -ge 3 -a "$(wc -L <said)" -le 100
done
expect "help of nothing" 2 'no command frob' "$app" help frob
expect "a near name" 2 'no command debgu\. Did you mean debug\?' "$app" debgu
expect "a near name of the front door" 2 'Did you mean \./run\.sh fetch-model\?' "$app" fetchmodel
expect "an argument first" 2 'The command comes first' "$app" trainer.seed=3
expect "no command" 2 '^usage: appo COMMAND' "$app"
version='^appo [0-9.]+, commit [0-9a-f+unkow]+, [a-z]+ backend, numbers stored as [a-z0-9]+, built by (gcc|clang)'
libraries='jansson [0-9.]+, pcre2 [0-9.]+, libyaml [0-9.]+, sqlite [0-9.]+, zlib [0-9.]+, snappy [0-9.]+, zstd [0-9.]+$'
for words in version --version -V; do
    expect "$words" 0 "$version" "$app" $words
    expect "$words: libraries" 0 "^libraries: $libraries" "$app" $words
done
expect "--version in help" 0 '^  version .*--version' "$app" --help
expect "the environment in help" 0 '^  APPO_NUMERICS ' "$app" help
for name in \
    $(grep -rohE 'getenv\("(APPO_[A-Z_]+)"' "$top"/{base,data,kernels,model,engine,cmd} "$top/main.c" --include='*.c' \
    --include='*.cu' | grep -oE 'APPO_[A-Z_]+' | sort -u) APPO_BACKEND APPO_REAL APPO_BUILD APPO_DEBUG; do
    check "$name is in the help" grep -q "^  $name " said
    check "$name is in README" grep -q "$name" "$top/README.md"
done
expect "doctor" 0 "^libraries +$libraries" "$app" doctor
for words in 'appo +[0-9.]+, commit' 'compiler +(gcc|clang)' 'processor ' 'memory +[0-9.]+ of [0-9.]+ GiB free' 'GPU ' \
    'disk +[0-9.]+ GiB' ' +loads: Llama'; do
    check "doctor: $words" grep -qE "^$words" said
done
check "doctor is short" test "$(wc -l <said)" -le 12
expect "seed without dashes" 2 'seed .*no such option\. Here it is trainer\.seed' "$app" debug seed=3
expect "an option of another program" 2 \
    '\-\-learning_rate: not understood here\. Did you mean actor\.optim\.lr=VALUE\? appo debug --help' \
    "$app" debug --learning_rate 1e-6
expect "keys with a word" 0 '^branch\.gamma +discount' "$app" keys gamma
check "and no others" test "$(grep -c gamma said)" -le 4
expect "one key" 0 '^  default: 3e-4; with model\.path: 1e-6$' "$app" keys actor_rollout_ref.actor.optim.lr
expect "the presets of a key" 0 '^  algorithm\.preset=official: step$' "$app" keys branch.when
check "of every key" sh -c \
    "for k in \$('$app' keys | cut -d ' ' -f 1); do '$app' keys \$k || exit 1; done >all && ! grep -q null all"
check "and much of each" test "$(wc -l <all)" -gt 500
expect "another name of a key" 0 'rollout\.n_agent: another name of rollout\.n' "$app" keys rollout.n_agent
expect "a key of other engines" 0 'model\.lora_rank: LoRA is not built; ignored at null or 0' \
    "$app" keys model.lora_rank
expect "one that is read with others" 0 'rollout\.max_model_len: here rollout\.max_len' \
    "$app" keys actor_rollout_ref.rollout.max_model_len
rate() { grep -o '"actor/lr": *[0-9.e-]*' out/appo/debug/metrics.jsonl | grep -o '[0-9.e-]*$' | tr '\n' ' '; }
expect "a warm-up by its share" 0 '^step:4 ' "$app" debug --steps 4 actor.optim.lr_warmup_steps_ratio=0.5 \
    actor.optim.lr=1e-3 data.val_per_family=1 trainer.val_before_train=false data.train_batch_size=13 rollout.n=4 \
    trainer.default_local_dir=out
check "is so many steps: $(rate)" test "$(rate)" = "0.0005 0.001 0.001 0.001 "
rm -rf out
expect "no such word" 1 'rollout\.nn: no option .*Did you mean rollout\.n' "$app" keys rollout.nn
expect "all keys" 0 '^trainer\.logger ' "$app" keys
expect "two words" 2 'one word' "$app" keys a b
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    script -qec "stty cols 80; '$app' debug rollout.n=9 --print-config" /dev/null </dev/null | tr -d '\r' >wide
    check "print-config fits a terminal" test "$(grep -c . wide)" -gt 200 -a \
        "$(grep -v '^ *# [^ ]*$' wide | grep -vE '^[a-z_.0-9]+: ' | wc -L)" -le 80
    expect "and reads back" 0 '^rollout\.n: 9 +# wide:' "$app" debug --config wide --print-config
fi

# ---- a model folder that is not whole: status 1, a message ----
policy=${APPO_HOME:-$top}/policy
# damaged NAME WORDS COMMAND: a copy of the policy in m, damaged by a shell command
damaged() {
    rm -rf m out
    if cp -r "$policy" m && (eval "$3") && ! diff -r "$policy" m >/dev/null; then
        expect "$1" 1 "$2" "$app" debug model.path=m "${small[@]}" trainer.default_local_dir=out
    else bad "$1" "the copy of $policy could not be made and damaged"; fi
}
weights=m/model.safetensors
expect "no model folder" 1 'none' "$app" debug model.path=none "${small[@]}"
damaged "no config.json" 'm/config\.json' 'rm m/config.json'
damaged "broken config.json" 'm/config\.json' 'echo "{" >m/config.json'
damaged "negative heads" 'm/config\.json.*num_attention_heads' \
    'sed -Ei "s/(\"num_attention_heads\" *: *)[0-9]+/\1-1/" m/config.json'
damaged "other shapes than the weights" 'm/model\.safetensors' \
    'sed -Ei "s/(\"intermediate_size\" *: *)[0-9]+/\164/" m/config.json'
damaged "no tokenizer" 'm/tokenizer\.json' 'rm m/tokenizer.json'
damaged "half a tokenizer" 'm/tokenizer\.json' 'truncate -s 1000 m/tokenizer.json'
damaged "no weights" 'm/model\.safetensors' 'rm $weights'
damaged "half the weights" 'm/model\.safetensors' 'truncate -s 100000 $weights'
damaged "empty weights" 'm/model\.safetensors' ': >$weights'
damaged "a header of 2^63 bytes" 'm/model\.safetensors' \
    'printf "\377\377\377\377\377\377\377\177" | dd of=$weights conv=notrunc status=none'
damaged "a damaged header" 'm/model\.safetensors' \
    'printf "\377\377" | dd of=$weights bs=1 seek=9 conv=notrunc status=none'
rm -rf m out

# ---- what is no file, and numbers that no file bears out ----
mkfifo pipe
link_to() { rm -f "m/$1" && ln -s "$2" "m/$1"; }
sizes() { sed -Ei "s/(\"(vocab_size|intermediate_size)\" *: *)[0-9]+/\116777216/" m/config.json; }
damaged "weights that are a pipe" 'm/model\.safetensors: is not a plain file' 'link_to model.safetensors "$tmp/pipe"'
damaged "a configuration that is a device" 'm/config\.json: is a device' 'link_to config.json /dev/zero'
damaged "a configuration from a pipe without end" 'm/config\.json' 'link_to config.json "$tmp/pipe"'
damaged "a tokenizer that is a device" 'm/tokenizer\.json: is a device' 'link_to tokenizer.json /dev/zero'
damaged "a tokenizer that is a folder" 'm/tokenizer\.json: is a folder' 'link_to tokenizer.json "$tmp"'
damaged "a tokenizer that unpacks to more and more" 'm/tokenizer\.json: unpacks to more than' \
    'head -c 100M /dev/zero | gzip >m/tokenizer.json'
rm -rf m && cp -r "$policy" m && sizes
expect "sizes that would take terabytes" 1 'm/model\.safetensors: tensor model.embed_tokens.weight has another shape' \
    sh -c "ulimit -v 4000000; '$app' score model.path=m </dev/null"
expect "and an export of them" 1 'm/model\.safetensors: tensor model.embed_tokens.weight' \
    "$app" export model.path=m out=exported
check "leaves nothing" test ! -e exported
rm -rf m && cp -r "$policy" m && ln -s /dev/zero m/vocab.json
expect "export of what has no end" 1 'm/vocab\.json: is not a plain file' "$app" export model.path=m out=exported
check "leaves nothing either" test ! -e exported
rm -rf m
expect "a pipe for questions" 1 'pipe: holds no rows' "$app" eval data.val_files=pipe
expect "a device for questions" 1 '/dev/zero: is a device' "$app" eval data.val_files=/dev/zero
expect "a pipe for a configuration" 0 'rollout\.n: 8' \
    sh -c "echo 'rollout.n: 8' | '$app' debug --config /dev/stdin --print-config"
expect "a folder on stdin" 1 'Is a directory' sh -c "'$app' score </"
expect "a folder of ids" 1 'Is a directory' sh -c "'$app' tokenize --decode </"
for words in '1 000000000000000000002' '12\0003' '+3' '0x1' '99999999999' '510'; do
    expect "no id: $words" 1 'stdin: word [12]: .* is not an id from 0 to 509' \
        sh -c "printf '$words' | '$app' tokenize --decode"
done

# ---- plan --simulate ----
simulate=("$app" plan --simulate gpu=h200 ranks=2,4 steps=1)
expect "no cost model" 1 'what a pass takes is not known: give gpu=h100, h200 or a100' "$app" plan --simulate
expect "numbers of ranks that fall" 2 'ranks=4,2: each number must be larger' "$app" plan --simulate ranks=4,2
expect "a card without rates" 2 'gpu=4090: stated rates are listed for h100, h200 and a100' "$app" plan --simulate \
    gpu=4090
expect "a rule that is none" 2 'rules=best: some of order, longest, steal, known' "$app" plan --simulate rules=best
expect "an option that is none" 2 'sigmas.*no such option' "$app" plan --simulate gpu=h200 sigmas=2
expect "a file to calibrate by that is none" 1 'nowhere\.jsonl: ' "$app" plan --simulate --calibrate nowhere.jsonl
expect "a response longer than the limit" 1 'response=161 is more than data\.max_response_length=160' \
    "$app" plan --simulate gpu=h200 response=161
expect "its options in help" 0 '^  cost\.NAME=NUMBER' "$app" plan --help
expect "a table, JSON and a figure" 0 '^rule steal: ' "${simulate[@]}" rules=order,steal --json sim.json --svg sim.svg
check "its lines fit 100 columns" test "$(wc -L <said)" -le 100
check "JSON of four results" test "$(grep -c '"step_s"' sim.json)" = 4
check "a figure of two lines in two panels" test "$(grep -c '<polyline' sim.svg)" = 4
"${simulate[@]}" rules=steal >first 2>&1
"${simulate[@]}" rules=steal >second 2>&1
check "the same again" cmp first second
expect "a figure that cannot be written" 1 'none/sim\.svg: cannot be written' "${simulate[@]}" --svg none/sim.svg

# ---- full disks, streams that are closed ----
for command in help "debug --print-config" plan "plan --simulate gpu=h100 ranks=8" "bench list" \
    "golden $top/tests/golden"; do
    expect "a full disk for $command" 1 \
        'stdout: could not be written: (No space left|write error, the disk may be full)' \
        sh -c "'$app' $command >/dev/full"
done
expect "a full disk for score" 1 'stdout: No space left' sh -c "echo '{\"ids\":[1,2]}' | '$app' score >/dev/full"
expect "a full disk for generate" 1 'stdout: No space left' \
    sh -c "'$app' generate --greedy --max 2 --prompt a >/dev/full"
for room in 1 600; do               # blocks of 512 bytes: not even the tokenizer; the first of two files of weights
    expect "an export with room for $room" 1 'exported/.*could not be written whole: File too large' \
        sh -c "ulimit -f $room; '$app' export out=exported dtype=f32 max_shard_size=2000KB"
    check "leaves nothing" test ! -e exported
done
expect "sft without room" 1 'tuned/.*could not be written whole: File too large' \
    sh -c "ulimit -f 100; '$app' sft sft.save=tuned sft.steps=1 sft.batch_size=2"
check "leaves nothing" test ! -e tuned
expect "export with stdout closed" 1 'stdout: could not be written: Bad file descriptor' \
    sh -c "'$app' export out=exported >&-"
check "writes no words into the weights" sh -c "echo '{\"ids\":[1,2]}' | '$app' score model.path=exported"
check "and nothing beside the model" test -z "$(find exported -name '*.tmp')"
rm -rf exported
expect "an export into a folder by its name alone" 0 . "$app" export exported
check "is one" test -s exported/config.json
expect "and not into two" 2 'other: not understood' "$app" export exported other
expect "sft into out" 2 'out .*Here it is sft\.save' "$app" sft out=tuned
rm -rf exported
expect "a report in place of a folder" 1 'm: is a folder, a file is to be written' \
    sh -c "mkdir m && '$app' debug ${small[*]} trainer.default_local_dir=out --report m"
rm -rf m out

# ---- places that cannot be written: said before work starts ----
: >file
expect "a file where a folder should be" 1 'file' "$app" debug "${small[@]}" trainer.default_local_dir=file
expect "a report that cannot be written" 1 'none/report' \
    "$app" debug "${small[@]}" trainer.default_local_dir=out --report none/report.json
expect "golden without files" 1 'golden' "$app" golden "$tmp/out"

# ---- score: text in, numbers out, in the order of the lines ----
says() { # NAME STATUS REGEX INPUT COMMAND...: the same with a text on stdin
    printf '%b' "$4" >in
    local name=$1 want=$2 words=$3
    shift 4
    expect "$name" "$want" "$words" sh -c '"$@" <in' sh "$@"
}
lines='{"ids":[1,2,3]}\n{"text":"take 59, minus 49"}\n\n'
lines+='{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"<think> so</think>"}]}\n{"ids":[]}\n'
says "score" 0 '"logp": \[null, -[0-9.]+, -[0-9.]+\], "entropy": \[null, ' "$lines" "$app" score
printf '%b' "$lines$lines$lines" >in
check "score in large batches" sh -c "'$app' score <in >large"
check "score in small batches" \
    sh -c "'$app' score actor.ppo_max_token_len_per_gpu=160 trainer.threads=1 <in >small_batches"
check "batches change nothing" cmp large small_batches
check "a line for each" test "$(wc -l <large)" = 12
says "score --top" 0 '"top": \[null, \[\[[0-9]+, -[0-9.]+\]\]\]' '{"ids":[1,2]}\n' "$app" score --top 1
says "score nothing" 0 '^$' '\n' sh -c "'$app' score; echo"
says "score: what came before a bad line is printed" 1 '"ids": \[1, 2, 3\]' "$lines"'{"none":1}\n' "$app" score
says "score: a line without a key" 1 'line 6: one of "ids", "text", "messages" is needed' "$lines"'{"none":1}\n' \
    "$app" score
says "score: an id too large" 1 'line 1: "ids"\[1\] is not a token id from 0 to 509' '{"ids":[1,510]}\n' "$app" score
says "score: not ids" 1 'line 1: "ids"\[0\] is not' '{"ids":["a"]}\n' "$app" score
says "score: two keys" 1 'line 1: has both "ids" and "text"' '{"ids":[],"text":""}\n' "$app" score
says "score: a byte order mark, and what nobody reads" 0 '"ids": \[1, 2\]' \
    '\xef\xbb\xbf{"ids":[1,2],"x":NaN,"y":[123456789012345678901234],"z":"\\u0000","z":"\\ud800"}\n' "$app" score
says "score: a text with a zero" 0 '"ids": \[111, 14, 112\]' '{"text":"a\\u0000b"}\n' "$app" score
says "score: an odd id" 1 'line 1: "ids".1. is not a token id' '{"ids":[1,123456789012345678901234]}\n' "$app" score
says "score: a key twice" 1 'line 1: column [0-9]+: "ids" is there twice' '{"ids":[1], "ids":[2]}\n' "$app" score
says "score: garbage" 1 'line 1: column' 'garbage\n' "$app" score
says "score: NUL bytes" 1 'line 1: column' '{"ids":[1]}\0\0\n' "$app" score
says "score: a role nobody knows" 1 'line 1: .*no role "king"' '{"messages":[{"role":"king","content":""}]}\n' \
    "$app" score
says "score: too long" 1 'line 1: 513 tokens, more than the model' "{\"ids\":[$(seq -s, 513 | sed 's/[0-9]*/1/g')]}\n" \
    "$app" score
says "score: no batch for it" 1 'line 1: 161 tokens, .*raise actor.ppo_max_token_len_per_gpu=160' \
    "{\"ids\":[$(seq -s, 161 | sed 's/[0-9]*/1/g')]}\n" "$app" score actor.ppo_max_token_len_per_gpu=160
head -c 2000 /dev/urandom | tr -d '\n' | fold -b -w 200 >noise
expect "score: ten lines of noise" 1 'line 1: ' sh -c "'$app' score <noise"
expect "score --top many" 2 'from 0 to 64' "$app" score --top 65

# ---- generate ----
expect "generate" 0 '^</result><think> done</think><answer>\\boxed\{324\}</answer>$' \
    "$app" generate --greedy --prompt "take 18, times 2, times 9."
check "generate --ids is the same" sh -c \
    "'$app' generate --greedy --ids --prompt 'take 18, times 2, times 9.' | '$app' tokenize --decode --special |
        grep -q 'boxed{324}</answer><|end|>'"
says "generate from lines" 0 '60.*boxed\{60\}.*"finish":"stop"' '{"prompt":"take 59, minus 49, times 6."}\n' \
    "$app" generate --greedy
says "generate: plain lines" 0 'boxed\{324\}' 'take 18, times 2, times 9.\n' "$app" generate --greedy
says "generate: the limit" 0 '"finish":"length"' '{"prompt":"take 59, minus 49, times 6."}\n' \
    "$app" generate --greedy --max 2
printf '{"prompt":"take %s, minus 49, times 6."}\n' 59 60 61 62 63 >in
check "generate, one by one" sh -c "'$app' generate rollout.max_num_seqs=1 <in >one_by_one"
check "generate, together" sh -c "'$app' generate <in >together"
check "what decodes beside a prompt changes nothing" cmp one_by_one together
says "generate: a bad line" 1 'line 2: column' '{"prompt":"7"}\n{"prompt":\n' "$app" generate --greedy --max 2
says "generate: no room" 1 'line 1: a prompt of [0-9]+ tokens leaves no room in rollout\.max_len=8' \
    'take 59, minus 49, times 6.\n' "$app" generate rollout.max_len=8 data.max_prompt_length=4
says "generate: nothing to go on from" 1 'line 1: an empty prompt' '{"ids":[]}\n' "$app" generate
says "generate --raw has no chat" 1 'line 1: --raw' '{"prompt":"a"}\n' "$app" generate --raw
expect "generate --max of nothing" 2 '--max none' "$app" generate --prompt a --max none
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    # the second answer, of shared keys and values, is that to the whole conversation written anew
    tr -d '\n' >in <<'TEXT'
{"messages":[{"role":"user","content":"take 18, times 2, times 9."},
{"role":"assistant","content":"<think> compute</think><python>18*2*9</python> <result>\n324\n</result>
<think> done</think><answer>\\boxed{324}</answer>"},
{"role":"user","content":"take 59, minus 49, times 6."}]}
TEXT
    second=$("$app" generate --greedy <in | sed 's/^{"text":"//; s/","finish.*//; s/\\\\/\\/g')
    printf 'take 18, times 2, times 9.\ntake 59, minus 49, times 6.\n\004' >in
    expect "a conversation" 0 '^> .*<think> compute' script -qec "NO_COLOR=1 '$app' generate --greedy" /dev/null <in
    check "its second turn" grep -qF -- "> $second" said
fi

# ---- questions and conversations from files ----
printf '%s\n' '{"question":"take 18, times 2, times 9.","answer":"324","data_source":"sums"}' \
    '{"question":"take 59, minus 49, times 6.","answer":60,"data_source":"sums"}' >set.jsonl
files=(data.train_files=set.jsonl data.train_batch_size=2 actor.ppo_mini_batch_size=2 trainer.default_local_dir=out)
expect "eval on a file" 0 '^sums +[0-9.]+ ' "$app" eval data.val_files=set.jsonl
expect "train on a file" 0 '2 training prompts, 2 for evaluation; 3 steps of 2 are 3 epochs' \
    "$app" train "${files[@]}" data.val_files=set.jsonl trainer.total_epochs=3
check "metrics by source" grep -q '"val-core/sums/acc/mean@1":' out/appo/debug/metrics.jsonl
check "where it was in the data" grep -q '"epoch": 3' out/appo/debug/global_step_3/state.json
rm -rf out
expect "no such file" 1 'none\.jsonl' "$app" train "${files[@]}" data.train_files=none.jsonl
expect "a missing column" 1 \
    'set\.jsonl:1: no column "solution", which data\.answer_key names, .*there are question, answer, data_source' \
    "$app" train "${files[@]}" data.answer_key=solution
printf '{"text":"a"}\n' >other.jsonl
expect "a missing question" 1 'other\.jsonl:1: no prompt: one of "prompt"' \
    "$app" train "${files[@]}" data.train_files=other.jsonl
expect "a prompt over the limit" 1 'set\.jsonl:1: a prompt of .*data\.max_prompt_length=8.*data\.truncation=filter' \
    "$app" train "${files[@]}" data.max_prompt_length=8
expect "no truncation of that name" 2 'data\.truncation=up .*error, filter, left, right, middle' \
    "$app" train "${files[@]}" data.truncation=up
: >empty.jsonl
expect "an empty file" 1 'empty\.jsonl: holds no rows' "$app" train "${files[@]}" data.train_files=empty.jsonl
expect "noise as questions" 1 'noise:1: |noise: is neither JSON lines' "$app" train "${files[@]}" data.train_files=noise
expect "calls that this chat format has no place for" 1 'tools\.format=hermes: this model.s chat format has no place' \
    "$app" train "${files[@]}" tools.format=hermes
expect "no form of calls of that name" 2 'tools\.format=xml .*tags, auto, hermes, llama3_json' \
    "$app" train "${files[@]}" tools.format=xml
expect "what the embedded policy's chat format has" 0 '^sums +[0-9.]+ ' \
    "$app" eval data.val_files=set.jsonl tools.format=auto
printf '%s\n' '[{"question":"take 18, times 2, times 9.","answer":"so\n#### 324","data_source":"sums"},' \
    '{"question":"take 59, minus 49, times 6.","answer":60.0,"id":NaN,"data_source":"sums"}]' >set.json
expect "an array, answers as GSM8K's and as numbers" 0 '^sums +[0-9.]+( \([^)]*\))? +100\.0 ' \
    "$app" eval data.val_files=set.json
expect "what the reference is, in a line" 0 \
    'data\.val_files: set\.json: 1 of 2 answers end as GSM8K.s do: the text after the last ####' \
    "$app" eval data.val_files=set.json
mkdir -p shards/data
cp set.jsonl shards/train-00001-of-00002.jsonl
gzip -c set.jsonl >shards/train-00000-of-00002.jsonl.gz
expect "a folder" 0 'data\.val_files: shards: 2 files: train-00000-of-00002\.jsonl\.gz, train-00001-of-00002\.jsonl$' \
    "$app" eval data.val_files=shards
expect "a pattern" 0 '^4 prompts' "$app" eval 'data.val_files=shards/train-*-of-*'
expect "a list with blanks" 0 '^4 prompts' "$app" eval data.val_files="set.json, set.jsonl "
rm shards/train*
expect "an empty folder" 1 'data\.val_files: shards: is a folder without .*it has folders: data' \
    "$app" eval data.val_files=shards
printf '<!DOCTYPE html>\n<html>' >page.parquet
expect "a page under a wrong name" 1 'page\.parquet: is an HTML page, not data' "$app" eval data.val_files=page.parquet
expect "no search cache" 1 'none\.json' "$app" train "${files[@]}" tools.search_cache=none.json
check "nothing was left behind" test ! -e out
done='{"role":"assistant","content":"<think> done</think>"}'
echo "{\"messages\":[{\"role\":\"user\",\"content\":\"hello?\"},$done]}" >chat.jsonl
sft=(sft.save=tuned data.train_files=chat.jsonl sft.batch_size=2 sft.steps=40 sft.warmup_steps=0 sft.lr=1e-3)
expect "sft on conversations" 0 '1 conversations, [0-9]+ tokens, [0-9]+ of them with loss; 40 steps of 2' \
    "$app" sft "${sft[@]}"
expect "what it has learned" 0 '^<think> done</think>$' "$app" generate model.path=tuned --greedy --prompt "hello?"
expect "sft without the column" 1 'set\.jsonl:1: no column "messages", which data\.prompt_key names' \
    "$app" sft "${sft[@]}" sft.save=no data.train_files=set.jsonl data.prompt_key=messages
expect "sft on an empty file" 1 'empty\.jsonl: holds no rows' \
    "$app" sft "${sft[@]}" sft.save=no data.train_files=empty.jsonl
expect "sft, too long" 1 'chat\.jsonl:1: a conversation of [0-9]+ tokens' \
    "$app" sft "${sft[@]}" sft.save=no data.max_length=4
expect "sft without a place" 1 'sft\.save' "$app" sft sft.save= data.train_files=chat.jsonl

# ---- each estimator and each loss, two steps by the command line ----
# run NAME KEY=VALUE...: what the last line of its metrics.jsonl says, in $line
run() {
    local name=$1
    shift
    expect "$name" 0 'metrics\.jsonl' "$app" debug --seed 1 --steps 2 trainer.val_before_train=false \
        data.val_per_family=1 data.train_batch_size=8 actor.ppo_mini_batch_size=4 actor.optim.lr=4e-3 \
        actor.optim.lr_warmup_steps=0 rollout.n=6 trainer.experiment_name="$name" "$@"
    line=$(tail -n 1 "checkpoints/appo/$name/metrics.jsonl")
}
# holds NAME METRIC CONDITION: an awk expression in x
holds() {
    local x
    x=$(grep -oE "\"$2\":[^,}]*" <<<"$line" | cut -d: -f 2)
    check "$1: $2 is $x, want $3" awk -v "x=$x" "BEGIN { exit !(x != \"\" && ($3)) }"
}
declare -A norms
own() { # no other run has this gradient
    local norm
    norm=$(grep -oE '"actor/grad_norm":[^,}]*' <<<"$line")
    check "$1: the gradient of ${norms[$norm]:-itself}" test -z "${norms[$norm]:-}"
    norms[$norm]=$1
}
for kind in grpo grpo_passk reinforce_plus_plus reinforce_plus_plus_baseline rloo opo; do
    run "$kind" algorithm.adv_estimator=$kind
    own "$kind"
    holds "$kind" actor/grad_norm 'x > 0'
    case $kind in
    # only a best rollout has an advantage, a positive one
    grpo_passk) holds "$kind" critic/advantages/min 'x == 0' && holds "$kind" critic/advantages/max 'x > 0' ;;
    # whitened over the tokens of the step
    reinforce_*) holds "$kind" critic/advantages/mean 'x < 1e-5 && x > -1e-5' ;;
    # rewards are from -0.5 to 1
    rloo) holds "$kind" critic/advantages/max 'x > 0.2 && x <= 1.5' && holds "$kind" critic/advantages/min 'x < 0' ;;
    esac
done
for mode in vanilla gspo cispo gppo aepo; do
    run "$mode" algorithm.adv_estimator=rloo actor.policy_loss.loss_mode=$mode actor.ppo_epochs=2
    own "$mode"
    case $mode in
    gspo) holds "$mode" actor/pg_clipfrac 'x > 0.2' ;;   # its clip is a thousandth of PPO's
    esac
done
run quantile algorithm.adv_estimator=rloo actor.top_entropy_quantile=0.2 actor.ppo_epochs=2
own quantile
expect "gspo brings its aggregation" 0 '^actor\.loss_agg_mode: seq-mean-token-mean +# default for .*loss_mode=gspo' \
    "$app" debug actor.policy_loss.loss_mode=gspo --print-config
expect "remax" 2 'remax .*needs a greedy rollout' "$app" debug algorithm.adv_estimator=remax
expect "gae" 2 'gae .*needs a critic' "$app" debug algorithm.adv_estimator=gae

# ---- the front door ----
front=$top/run.sh
mkdir fake
printf '#!/bin/sh\nexit 1\n' >fake/pkg-config
chmod +x fake/pkg-config
expect "setup says what it would do" 0 'would run: .*apt-get install .*libjansson-dev' \
    env PATH="$tmp/fake:$PATH" "$front" setup --dry-run
expect "setup with everything there" 0 'everything needed' "$front" setup --dry-run
expect "setup --bogus" 2 'bogus' "$front" setup --bogus
expect "an unknown suite" 2 "no test suite 'nosuch'" "$front" test nosuch
expect "paths stay relative to the caller" 2 'bad\.yaml:3' "$front" debug --config bad.yaml
expect "help" 0 'setup' "$front" help
for command in setup test pack-deps fetch-model gpu-check; do
    expect "$command --help" 0 "^usage: \./run\.sh $command" "$front" $command --help
    expect "help $command" 0 "^usage: \./run\.sh $command" "$front" help $command
done
check "and none of them did anything" test ! -e --help
expect "the program's help from the front door" 0 '^usage: appo golden DIR' \
    env APPO_BUILD="$top/build" "$front" golden --help
ln -s "$front" link
expect "through a link" 0 'everything needed' ./link setup
finish
