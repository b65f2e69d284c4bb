#!/usr/bin/env bash
# torture.sh: what a run loses under kills, damage, signals and other runs. By hand, not part of ./run.sh test: some
# minutes. Prints a line a part and ends with "N passed, M failed". Needs strace for the parts that kill at a chosen
# system call (without it they print that they were skipped).
# Usage: tests/torture.sh build/cpu/appo [PART ...]
#   parts: kills flips two signals renames errors cache; KILLS=100 FLIPS=14 SEED=1 in the environment
set -uo pipefail
. "$(dirname "$0")/cli/lib.sh"
shift
cd "$tmp" || exit 1
parts=("$@")
[ $# -gt 0 ] || parts=(kills flips two signals renames errors cache)
KILLS=${KILLS:-100} FLIPS=${FLIPS:-14}
RANDOM=${SEED:-1}
in=appo/debug steps=6
run=("$app" debug --steps $steps data.val_per_family=2 trainer.save_freq=1 trainer.test_freq=2 data.train_batch_size=4
    actor.ppo_mini_batch_size=2 rollout.n=8
     rollout.initial_rollouts=2 trainer.threads=1 trainer.logger=console,tensorboard)

# all that must be the same, as one list of checksums: metrics without times, the last checkpoint without wall_s (and
# the checksums of state.json), rollouts without ms
picture() {
    (cd "$1/$in" && {
        sed -E 's/"(timing_|perf\/)[^"]*":[^,}]*,?//g; s/,\}/}/g' metrics.jsonl | sha256sum
        for f in $(cd global_step_$steps && find . -type f ! -name manifest ! -name state.json | sort); do
            echo "$f $(sha256sum <"global_step_$steps/$f")"
        done
        # counts of the state; the clock, and where the metrics with their times end, are the run's own
        grep -vE '"(wall_s|bytes|hash)":' global_step_$steps/state.json | sha256sum
        for f in rollouts/*; do echo "$f $(zcat "$f" | sed -E 's/"ms":[0-9.e+-]+//g' | sha256sum)"; done
        cat latest_checkpointed_iteration.txt
    })
}
flip() { # FILE BIT
    local at=$(($2 / 8))
    printf "\\x$(printf %02x $((0x$(od -An -t x1 -j $at -N 1 "$1" | tr -d ' ') ^ 1 << ($2 % 8))))" |
        dd of="$1" bs=1 seek=$at conv=notrunc status=none
}
part() { [[ " ${parts[*]} " == *" $1 "* ]]; }
traced() { command -v strace >/dev/null || { echo "$1: not run, it needs strace"; false; }; }
pause() { sleep "0.$(printf %03d $((RANDOM % $1)))"; }

"${run[@]}" trainer.default_local_dir=ref >ref.out 2>&1 || { tail -n 3 ref.out; exit 1; }
picture ref >ref.picture

if part kills; then
    right=0 sent=0 late=0
    for ((i = 0; i < KILLS; i++)); do
        rm -rf k
        for ((try = 0; try < 3; try++)); do
            "${run[@]}" trainer.default_local_dir=k >k.out 2>&1 &
            pid=$!
            pause 700
            signals=(KILL KILL KILL TERM INT)
            if kill -"${signals[RANDOM % 5]}" $pid 2>/dev/null; then sent=$((sent + 1)); else late=$((late + 1)); fi
            wait $pid 2>/dev/null
            [ $((RANDOM % 2)) = 0 ] || break
        done
        "${run[@]}" trainer.default_local_dir=k >k.out 2>&1
        picture k >k.picture 2>&1
        if cmp -s ref.picture k.picture && [ -z "$(find k -name '*.tmp' -o -name .lock)" ]; then right=$((right + 1)); \
            else diff ref.picture k.picture | head -n 5; fi
    done
    echo "kills: $right of $KILLS runs, killed $sent times ($late came after the end), end with the same bytes"
    check "kills" test $right = "$KILLS"
fi

if part flips; then
    seen=0 all=0
    while read -r f; do
        size=$(stat -c %s "ref/$in/$f") noticed=0
        for ((i = 0; i < FLIPS; i++)); do
            rm -rf k && cp -r ref k
            flip "k/$in/$f" $((size > 0 ? ((RANDOM * 32768 + RANDOM) * 8 + i) % (size * 8) : 0))
            timeout 100 "${run[@]}" trainer.default_local_dir=k trainer.resume=auto --steps $((steps + 1)) >k.out 2>&1
            status=$?
            # rejected with the file's name, or said, and what is used is whole
            if grep -q "$(basename "$f")" k.out && { [ $status = 1 ] || grep -q '^warning: ' k.out; }; then
                noticed=$((noticed + 1))
            fi
        done
        echo "flips: $f: $noticed of $FLIPS noticed"
        seen=$((seen + noticed)) all=$((all + FLIPS))
    done < <(cd ref/$in && find global_step_$steps latest_checkpointed_iteration.txt metrics.jsonl -type f)
    check "flips: $seen of $all" test $seen = $all
fi

if part two; then
    right=0
    for ((i = 1; i <= 10; i++)); do
        rm -rf k
        "${run[@]}" trainer.default_local_dir=k >k.out 2>&1 &
        pid=$!
        until [ -s k/$in/.lock ] || ! kill -0 $pid 2>/dev/null; do sleep 0.005; done
        sleep "0.0$((i - 1))"
        "${run[@]}" trainer.default_local_dir=k trainer.seed=2 >second.out 2>&1
        second=$?
        wait $pid
        first=$?
        picture k >k.picture 2>&1
        if [ $first = 0 ] && [ $second = 1 ] && grep -q \
            "another process writes into this folder: pid $pid on" second.out && cmp -s ref.picture k.picture; then
            right=$((right + 1))
        fi
    done
    echo "two: in $right of 10 the second run names the first one's pid and ends; the first ends with the same bytes"
    check "two" test $right = 10
fi

if part signals; then
    declare -A \
        phase=([sampling]='rollouts of step' [update]='finishing step' [evaluation]='evaluation '
        [saving]='writing the checkpoint')
    for signal in HUP USR1 TERM; do
        declare -A hit=()
        right=0 tries=0 slowest=0
        while [ ${#hit[@]} -lt 4 ] && [ $tries -lt 150 ]; do
            tries=$((tries + 1))
            rm -rf k
            "${run[@]}" trainer.default_local_dir=k >k.out 2>k.err &
            pid=$!
            until [ -e k/$in/run.json ] || ! kill -0 $pid 2>/dev/null; do sleep 0.005; done
            pause 600
            kill -$signal $pid 2>/dev/null
            start=$(date +%s%N)
            wait $pid
            status=$?
            took=$((($(date +%s%N) - start) / 1000000))
            [ $took -le $slowest ] || slowest=$took
            what=
            for p in "${!phase[@]}"; do if grep -m 1 '^appo: ' k.err | grep -q "${phase[$p]}"; then what=$p; fi; done
            "${run[@]}" trainer.default_local_dir=k >k.out 2>&1
            picture k >k.picture 2>&1
            if { [ -z "$what" ] || [ $status = 130 ]; } && cmp -s ref.picture k.picture; then
                right=$((right + 1))
                [ -z "$what" ] || hit[$what]=$((${hit[$what]:-0} + 1))
            fi
        done
        where=$(for p in "${!hit[@]}"; do printf '%s %d, ' "$p" "${hit[$p]}"; done)
        echo "signals: $signal in $where$right of $tries" "end with the same bytes; the slowest stop took $slowest ms"
        check "signals: $signal" test $right = $tries -a ${#hit[@]} = 4
        unset hit
    done
fi

# kill -9 at the Kth rename or unlink of a run over an older one: the plain command then ends as if there had been no
# other, and the older one is whole somewhere
if part renames && traced renames; then
    other=("${run[@]}" trainer.seed=7)
    "${other[@]}" trainer.default_local_dir=old >k.out 2>&1
    oldest=$(sha256sum <old/$in/global_step_$steps/actor/optimizer.safetensors)
    for call in rename renameat2 mkdir unlink,rmdir,unlinkat; do
        right=0 tried=0
        for ((k = 1; k <= 40; k++)); do
            rm -rf k && cp -r old k
            strace -f -o /dev/null -e trace=$call -e inject=$call:signal=KILL:when=$k \
                "${run[@]}" trainer.default_local_dir=k trainer.resume=off >k.out 2>&1
            [ $? = 137 ] || break
            tried=$((tried + 1))
            "${run[@]}" trainer.default_local_dir=k >k.out 2>&1
            picture k >k.picture 2>&1
            if cmp -s ref.picture k.picture && [ \
                "$(sha256sum <"$(find k -path "*old-*/global_step_$steps/actor/optimizer.safetensors" | head -n 1)")" \
                = "$oldest" ]; then
                right=$((right + 1))
            fi
        done 2>/dev/null
        echo "renames: killed at $call, $tried places: $right right"
        check "renames: $call" test $right = $tried
    done
fi

# a system call fails: a message, status 1, and the same command ends with the same bytes
if part errors && traced errors; then
    for what in write:ENOSPC write:EIO fsync:EIO rename:EACCES; do
        right=0 tried=0 rejected=0
        for k in 1 2 3 5 8 13 21 34 55 89; do
            rm -rf k
            strace -f -o /dev/null -e trace="${what%:*}" -e inject="${what%:*}:error=${what#*:}:when=$k" \
                "${run[@]}" trainer.default_local_dir=k >k.out 2>k.err
            [ $? = 0 ] || rejected=$((rejected + 1))
            tried=$((tried + 1))
            "${run[@]}" trainer.default_local_dir=k >k.out 2>&1
            picture k >k.picture 2>&1
            if cmp -s ref.picture k.picture; then right=$((right + 1)); else diff ref.picture k.picture | head -n 3; fi
        done
        echo "errors: $what at 10 places: $rejected ended with an error, $right of $tried then end with the same bytes"
        check "errors: $what" test $right = $tried
    done
fi

if part cache; then
    awk 'BEGIN {
        srand(3)
        entry = "\"rank %d of rutiti\":\"Page 1: entry %d says %d\""
        for (i = 0; i < 300000; i++) printf "%s" entry, i ? "," : "{", i, i, int(1e6 * rand())
        printf "}"
    }' >cache.json
    printf '{"question":"what is the rank of the rival of rutiti?","answer":"Paris"}\n' >q.jsonl
    for threads in 1 16; do
        rm -rf "c$threads"
        start=$(date +%s%N)
        "$app" train --steps 2 data.train_files=q.jsonl data.train_batch_size=1 actor.ppo_mini_batch_size=1 \
            tools.search_cache=cache.json tools.search_miss=nearest tools.threads=$threads \
            tools.timeout=1 data.max_response_length=60 rollout.max_len=160 rollout.n=16 trainer.threads=1 \
            trainer.default_local_dir="c$threads" >c.out 2>&1 || tail -n 2 c.out
        ms=$((($(date +%s%N) - start) / 1000000))
        counted() { zcat "c$threads/$in"/rollouts/*.gz | grep -o "$1" | grep -c .; }
        echo "cache: 300000 entries, tools.threads=$threads: $ms ms, $(counted '"tool":"search"') searches," \
            "$(counted '"status":"timeout"') of them late"
    done
    one() { { zcat "$1/$in"/rollouts/*.gz | sed -E 's/"ms":[0-9.e+-]+//g'; sed -E \
        's/"(timing_|perf\/)[^"]*":[^,}]*,?//g; s/,\}/}/g' "$1/$in/metrics.jsonl"; } | sha256sum; }
    check "cache: the same bytes with 1 and 16 threads" test "$(one c1)" = "$(one c16)"
fi
finish
