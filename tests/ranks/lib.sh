# lib.sh: for the scripts beside it, which test several ranks of the program or of a test program. Sourced as
# `. "$(dirname "$0")/lib.sh"`; a script is called with the build's folder (build/cpu) as its argument. It brings ok,
# bad, check, expect and finish of tests/cli/lib.sh, $app, $tests (the folder of the test programs), $tmp, and ranks.
build=$(readlink -f "$1")
# shellcheck source=tests/cli/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cli/lib.sh" "$build/appo"
tests=$build/tests

# the mpirun of the MPI that was built with: Open MPI unless MPI_PKG=mpich
case ${MPI_PKG:-} in
mpich*) mpirun=$(command -v mpirun.mpich || command -v mpiexec.hydra || command -v mpirun) ;;
*) mpirun=$(command -v mpirun.openmpi || command -v mpirun) ;;
esac
# Open MPI starts more ranks than cores, and any as root, only with these.
mpi_options=()
if "$mpirun" --version 2>&1 | grep -qE 'Open MPI|OpenRTE|PRRTE'; then
    mpi_options=(--oversubscribe --bind-to none)
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMP_NUM_THREADS=1

# "${ranks[@]}" N COMMAND...: COMMAND as N ranks, for at most 100 seconds
ranks=(timeout -k 5 100 "$mpirun" "${mpi_options[@]}" -n)
