#!/usr/bin/env bash
# nccl.sh: the CUDA build's collectives (engine/comm/device_nccl.cu) among ranks of the shim, whose NCCL is its own:
# results, faults, the choice of GPUs, and a short training with 1, 2 and 4 ranks. It builds build/simt; its argument is
# not used.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
mkdir -p build/simt
set -- build/simt
. tests/ranks/lib.sh
make -s -j"$(nproc)" BACKEND=simt build/simt/appo build/simt/tests/engine/comm/test_{ranks,device_ranks} || exit 1
export APPO_SIMT_ORDER=forward
program=$tests/engine/comm/test_ranks beside=$tests/engine/comm/test_device_ranks here=$(uname -n)

APPO_COMM=nccl expect "one rank with NCCL" 0 'collectives of 1 ranks: right' "$program" collectives 100003
APPO_COMM=nccl expect "one rank beside other work" 0 'beside of 1 ranks: right' "$beside" beside
for n in 2 4; do
    expect "collectives of $n ranks" 0 "collectives of $n ranks: right" \
        "${ranks[@]}" $n "$program" collectives 1000003
    expect "$n ranks beside other work" 0 "beside of $n ranks: right" "${ranks[@]}" $n "$beside" beside
    for i in 1 2; do "${ranks[@]}" $n "$beside" bits >"$tmp/bits$i" 2>&1; done
    check "bits of $n ranks are printed" grep -q '^bits [1-9]' "$tmp/bits1"
    check "bits of $n ranks repeat" cmp "$tmp/bits1" "$tmp/bits2"
done

# ---- GPUs ----
APPO_SIMT_GPU=devices=1 expect "fewer GPUs than ranks" 1 "3 ranks on $here, but they see 1 GPU: " \
    "${ranks[@]}" 3 "$beside" bits
APPO_SIMT_GPU=none expect "no GPU" 1 "2 ranks on $here, but no GPU that can be used there" \
    "${ranks[@]}" 2 "$beside" bits
CUDA_VISIBLE_DEVICES=5,2 expect "two visible GPUs" 0 'bits of 2 ranks: right' "${ranks[@]}" 2 "$beside" bits
CUDA_VISIBLE_DEVICES=5,2 expect "two visible GPUs, three ranks" 1 '3 ranks on .* see 2 GPUs' \
    "${ranks[@]}" 3 "$beside" bits
# as srun --gpus-per-task=1 does it
# shellcheck disable=SC2016
expect "a GPU of its own for each rank" 0 'bits of 2 ranks: right' "${ranks[@]}" 2 sh -c \
    'CUDA_VISIBLE_DEVICES=$((${OMPI_COMM_WORLD_RANK:-$PMI_RANK} + 3)) exec "$0" bits' "$beside"
APPO_COMM=mpi expect "another APPO_COMM" 1 'APPO_COMM=mpi: it is nccl, or unset' "$beside" bits

# ---- faults ----
for call in all-reduce.9 reduce.2 reduce-scatter.1 all-gather.2 broadcast.2; do
    APPO_SIMT_NCCL=fail=1.$call expect "NCCL fails at $call" 75 \
        "rank 1 on $here ends: NCCL: operation [0-9]+ .*: remote process exited.*: ${call%.*} ${call#*.} fails" \
        "${ranks[@]}" 2 "$beside" beside
done
APPO_SIMT_NCCL=fail=0.send.3 expect "NCCL fails at send.3" 75 \
    "rank 0 on $here ends: NCCL: operation [0-9]+ \(exchange.*: remote process exited.*: send 3 fails" \
    "${ranks[@]}" 2 "$program" collectives 100
expect "memory written under way" 75 'memory of a all-reduce was written while it was under way' \
    "${ranks[@]}" 2 "$beside" race
expect "sizes that differ" 75 'all-reduce of 5001 .*NCCL would wait for ever|operation [0-9]+ \(sum of 19.5 KiB\)' \
    "${ranks[@]}" 2 "$beside" trouble size
# a rank that is gone is not noticed by GPUs of one machine: the watch does
export APPO_SIMT_NCCL=silent TEST_TIMEOUT=3
expect "a rank is late" 75 "rank 2 on $here is late: behind operation [0-9]+ .*sampling" \
    "${ranks[@]}" 3 "$beside" trouble late
for signal in KILL STOP; do
    "${ranks[@]}" 3 "$beside" trouble none >"$tmp/trouble" 2>&1 &
    job=$!
    pid=''
    for _ in $(seq 500); do
        pid=$(sed -nE 's/^rank 1 pid ([0-9]+)$/\1/p' "$tmp/trouble" 2>/dev/null)
        [ -z "$pid" ] || break
        sleep 0.02
    done
    kill -$signal "$pid"
    wait $job
    status=$?
    check "a rank gets SIG$signal: status $status" [ "$status" = 75 -o "$status" = 137 ]
    check "a rank gets SIG$signal: it is named" grep -qE \
        "rank 1 on $here (ended without a word: killed|has been silent for [34] s: stopped)" "$tmp/trouble"
    kill -9 "$pid" 2>/dev/null
done
unset APPO_SIMT_NCCL TEST_TIMEOUT

# ---- training ----
# metrics without times: equal words, numbers to 1e-6 of the larger
near() {
    paste -d '\n' <(metrics "$1") <(metrics "$2") | awk '
        NR % 2 { split($0, a, " "); next }
        { split($0, b, " "); d = a[2] - b[2]; m = a[2] < 0 ? -a[2] : a[2]; if (d < 0) d = -d
          n++; if (a[1] != b[1] || d > 1e-6 * (m > 1 ? m : 1)) { print a[1], a[2], b[1], b[2]; bad = 1 } }
        END { exit bad || n < 40 }'
}
metrics() {
    tr ',{}' '\n' <"$(find "$1" -name metrics.jsonl)" | grep -E '^ *"[^"]+": *-?[0-9]' | tr -d '" ' | tr ':' ' ' |
        grep -vE '^(timing|perf|ranks|time)' | grep -vE '_s |seconds|throughput'
}
trains() { # NAME FOLDER RANKS [key=value]
    expect "$1" 0 '2 steps in .* [1-9][0-9]* trained' timeout 300 "$mpirun" "${mpi_options[@]}" -n "$3" \
        "$app" debug --seed 1 --steps 2 data.val_per_family=1 data.train_batch_size=13 actor.ppo_mini_batch_size=13 \
        rollout.n=4 rollout.initial_rollouts=2 trainer.default_local_dir="$tmp/$2" "${@:4}"
}
for n in 1 2 4; do trains "training with $n ranks" "r$n" $n; done
for zero in 1 2; do trains "training with zero $zero" "z$zero" 2 actor.zero=$zero; done
for r in r2 r4 z1 z2; do check "metrics of one rank and of $r" near "$tmp/r1" "$tmp/$r"; done
# the comparison would see a difference
sed -i 's/"actor.entropy":0.1[0-9]*/"actor\/entropy":0.12/' "$(find "$tmp/r2" -name metrics.jsonl)"
if near "$tmp/r1" "$tmp/r2" >"$tmp/said"; then bad "another entropy" "is not noticed"; else ok; fi
finish
