# make                     build/cpu/appo            make BACKEND=cpu REAL=double    the gradient checker
# make SAN=1               with ASan and UBSan       make tests                      every test binary of this build
# make DEBUG=1             checks every operation's output: no NaN, log-probabilities at most 0, ... (kernels/check.h)
# make BACKEND=cuda        build/cuda/appo by nvcc   make BACKEND=simt REAL=bf16     the same kernels by the CPU shim
# A room is a library; a test links its own room and those below it, so that an upward dependency is a link error.
BACKEND ?= cpu
REAL    ?= float
SAN     ?= 0
DEBUG   ?= 0
variant  = $(if $(filter-out float,$(REAL)),-$(REAL))$(if $(filter 1,$(SAN)),-san)$(if $(filter 1,$(DEBUG)),-debug)
BUILD   ?= build/$(BACKEND)$(variant)
CC      ?= gcc
# ranks: MPI=1 links the MPI that pkg-config finds under MPI_PKG (Open MPI's ompi-c, else MPICH's mpich)
MPI_PKG ?= $(firstword $(foreach p,ompi-c mpich,$(shell pkg-config --exists $(p) 2>/dev/null && echo $(p))))
MPI     ?= $(if $(MPI_PKG),1,0)
# NCCL=1: device collectives of the CUDA build by NCCL, whose nccl.h and libnccl lie in NCCL_HOME, in the CUDA toolkit
# or where the compiler looks; the shim has its own
NCCL    ?= $(if $(filter simt,$(BACKEND))$(wildcard $(addsuffix /nccl.h,$(NCCL_DIRS))),1,0)
PKGS     = jansson libpcre2-8 yaml-0.1 sqlite3 zlib snappy libzstd
# WERROR=1: warnings end the build. The tests and .ci set it; a user's other compiler may warn of other things.
WERROR  ?= 0
# x86-64-v3 everywhere, so that two machines give the same bits; kernels/cpu/gemm.c chooses wider products at run time
ARCH    ?= $(if $(filter x86_64,$(shell uname -m)),-march=x86-64-v3)
CFLAGS  ?= -O3 -g
# files of one instruction set, whose functions are called only where the processor has it
ifeq ($(shell uname -m),x86_64)
isa.kernels/cpu/gemm_avx2 = -mavx2 -mfma
isa.kernels/cpu/gemm_avx512 = -mavx512f -mfma
isa.avx512 = -mavx512f -mavx512vl -mavx512bw -mavx512dq -mavx2 -mfma
isa.kernels/cpu/lanes_avx512 = $(isa.avx512)
isa.tests/kernels/test_vec_avx512 = $(isa.avx512)
endif
# -g1: lines and functions are what a report names, and whole debug information takes half as long again to compile
SANFLAGS = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g1
WARN     = -Wall -Wextra -Wshadow -Wdouble-promotion $(if $(filter 1,$(WERROR)),-Werror)
# What makes an overrun end the program instead of going on. HARDEN= and HARDEN_LD= for none.
HARDEN  ?= -fstack-protector-strong -fstack-clash-protection \
           $(if $(filter 1,$(SAN)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
HARDEN_LD ?= -Wl,-z,relro,-z,now
FLAGS   := -std=gnu11 $(CFLAGS) $(ARCH) -fopenmp -fno-math-errno -fno-trapping-math $(HARDEN) $(WARN) -I. -MMD -MP \
           $(if $(filter 1,$(SAN)),$(SANFLAGS)) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
ALLFLAGS = $(FLAGS) -DREAL_IS_$(REAL)
# C files do not depend on the backend, those of base/ and data/ not on the number type either: builds
# with the same flags share these objects. A folder's name holds a sum of the flags, so that others get their own.
flags   := $(shell printf '%s' '$(CC) $(filter-out -Werror,$(FLAGS))' | cksum | cut -d ' ' -f 1)
OBJ     := $(dir $(BUILD))obj/$(REAL)-$(flags)
COMMON  := $(dir $(BUILD))obj/any-$(flags)
LDLIBS   = $(HARDEN_LD) -Wl,--as-needed $(shell pkg-config --libs $(PKGS) 2>/dev/null) \
           $(if $(filter 1,$(MPI)),$(shell pkg-config --libs $(MPI_PKG) 2>/dev/null)) -lpthread -lm
# The linker puts a function of kernels/check_ops.c in front of each operation that the headers declare; where one is
# missing there, the program does not link.
ifeq ($(DEBUG),1)
CHECKS    = kernels/check.c kernels/check_ops.c
ops       = $(sort $(shell grep -ohw 'op_[a-z0-9_]*' kernels/ops*.h kernels/gemm.h))
LDLIBS   += $(addprefix -Wl$(comma)--wrap=,$(ops))
else
not.debug = tests/kernels/test_check.c
endif
comma    := ,

# The CUDA sources (kernels/cuda/*.cu) are compiled by nvcc for a GPU or, BACKEND=simt, by g++ with the shim of
# kernels/simt, which runs them on the CPU. The compiler contracts nothing to fused multiply-adds: code that two kernels
# share must give both the same bits.
NVCC    ?= nvcc
GPUS    ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a
NVWARN   = -Xcompiler=-Wall,-Wextra$(if $(filter 1,$(WERROR)),$(comma)-Werror -Werror all-warnings)
NVFLAGS  = -std=c++17 -O3 -g -lineinfo -fmad=false $(GPUS) $(NVWARN) -I. -DREAL_IS_$(REAL) \
           $(if $(CHECKS),-DAPPO_CHECKS) -MMD -MP
CXXFLAGS_SIMT = -std=c++17 -O2 -g $(ARCH) -fopenmp -ffp-contract=off -fno-math-errno $(WARN) -Wno-unknown-pragmas \
           -I. -Ikernels/simt/include -DREAL_IS_$(REAL) $(if $(CHECKS),-DAPPO_CHECKS) -MMD -MP
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(shell command -v $(NVCC)))
NCCL_DIRS = $(NCCL_HOME:%=%/include) $(CUDA_HOME)/include /usr/local/include /usr/include
ifeq ($(SAN),1)
CXXFLAGS_SIMT += $(SANFLAGS)
endif
ifeq ($(BACKEND),cuda)
LDLIBS  += -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublasLt -lcudart -lstdc++ \
           $(if $(filter 1,$(NCCL)),$(NCCL_HOME:%=-L%/lib -Wl$(comma)-rpath$(comma)%/lib) -lnccl)
else ifeq ($(BACKEND),simt)
LDLIBS  += -lstdc++
endif

# The rooms, from the bottom up; each is a library. needs.* are the rooms that one may call besides base; what those
# need comes along. A program that links every object of a room with these alone is part of `make tests`, so that an
# upward call does not link; `make layers` prints the order.
LAYERS = base data/parquet data/grade data/tasks data kernels $(if $(filter cpu,$(BACKEND)),,simt) kernels/bench \
         model/weights model model/tokenizer model/chat \
         engine/comm engine/learner engine/branch engine/tools engine/rollout engine/config engine/prompts \
         engine/session \
         engine/report engine/train engine/run eval/golden eval/bench eval/simulate cmd
needs.data             = data/parquet data/grade data/tasks
needs.kernels/bench    = kernels
needs.simt             = kernels
needs.data/tasks       = data/grade
needs.model/weights    = kernels
needs.model            = model/weights
needs.model/tokenizer  = model
needs.model/chat       = model/tokenizer
needs.engine/comm      = kernels
needs.engine/learner   = model engine/comm
needs.engine/branch    = kernels
needs.engine/tools     = model/chat data
needs.engine/rollout   = model engine/tools engine/comm
needs.engine/config    = engine/branch engine/tools data
needs.engine/prompts   = engine/config data
needs.engine/session   = engine/prompts engine/learner engine/rollout
needs.engine/report    = engine/tools
needs.engine/train     = engine/session engine/report
needs.engine/run       = engine/train
needs.eval/golden      = engine/train
needs.eval/bench       = engine/train kernels/bench
needs.eval/simulate    = engine/train
needs.cmd              = engine/run eval/golden eval/bench eval/simulate

name   = $(subst /,-,$(1))
below  = $(sort base $(1) $(foreach l,$(needs.$(1)),$(call below,$(l))))
# a room and all it may call, top to bottom, as the linker wants them
reverse = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
rooms  = $(filter $(call below,$(1)),$(call reverse,$(LAYERS)))

# sources of a room by name; the shim has the CUDA runtime and cuBLASLt of its own
src.kernels.cpu  = $(wildcard kernels/cpu/*.c) $(CHECKS)
src.kernels.cuda = $(wildcard kernels/cuda/*.cu) $(CHECKS)
src.kernels.simt = $(src.kernels.cuda) $(wildcard kernels/simt/simt_*.cpp)
src.simt.simt = $(wildcard tests/simt/cases*.cu)
src.kernels/bench.cpu = $(wildcard kernels/bench/*.c)
src.kernels/bench.cuda = $(wildcard kernels/bench/cuda/*.c)
src.kernels/bench.simt = $(src.kernels/bench.cuda)
comm.device = $(if $(filter cpu,$(BACKEND)),device_host.c,$(if $(filter 1,$(NCCL)),device_nccl.cu,no_nccl.c))
comm.not = $(if $(filter 1,$(MPI)),no_mpi.c,mpi.c) $(filter-out $(comm.device),device_host.c device_nccl.cu no_nccl.c)
src.engine/comm.$(BACKEND) = $(filter-out $(addprefix %/,$(comm.not)),$(wildcard engine/comm/*.c engine/comm/*.cu))
sources = $(if $(filter kernels simt kernels/bench engine/comm,$(1)),$(src.$(1).$(BACKEND)),$(wildcard $(1)/*.c))
# where the object of a source lies; with DEBUG=1 tests ask for APPO_CHECKS, so they have their own
own    = cmd/build.c engine/comm/%.c %.cu %.cpp $(if $(CHECKS),tests/%)
place  = $(if $(filter $(own),$(1)),$(BUILD),$(if $(filter base/% data/%,$(1)),$(COMMON),$(OBJ)))
object = $(foreach s,$(1),$(call place,$(s))/$(basename $(s)).o)
objs   = $(call object,$(call sources,$(1)))
lib  = $(BUILD)/lib$(call name,$(1)).a
libs = $(foreach l,$(call rooms,$(1)),$(call lib,$(l)))

# the C backend's own parts are tested with it alone, the shim itself only where it runs
not.simt := $(shell grep -l '"kernels/cpu/' tests/kernels/*.c)
not.cuda = $(not.simt) tests/simt/test_simt.c tests/simt/test_refusals.c
tests_of = $(filter-out $(not.$(BACKEND)) $(not.debug),$(wildcard tests/$(1)/test_*.c))
TESTS = $(foreach l,$(LAYERS),$(patsubst tests/%.c,$(BUILD)/tests/%,$(call tests_of,$(l))))

# helper programs of the field cases (tests/field): they may use every layer
FIELD = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/field/*.c))

all: $(BUILD)/appo
ROOMS = $(foreach l,$(LAYERS),$(BUILD)/rooms/$(call name,$(l)))
tests: $(TESTS) $(FIELD) $(ROOMS)
rooms: $(ROOMS)
field: $(FIELD)
# of the test programs named in WANT, those that this build has
which-tests:
	@echo $(filter $(WANT),$(TESTS))

$(BUILD)/appo: $(OBJ)/main.o $(call libs,cmd)
	$(CC) $(ALLFLAGS) $^ -o $@ $(LDLIBS)

define layer
$(call lib,$(1)): $(call objs,$(1))
	@mkdir -p $$(@D) && rm -f $$@
	@ar rcs $$@ $$^
$(BUILD)/tests/$(1)/test_%: $(call place,tests/%)/tests/$(1)/test_%.o $(call libs,$(1))
	@mkdir -p $$(@D)
	$$(CC) $$(ALLFLAGS) $$^ -o $$@ $$(LDLIBS) -lcmocka
$(BUILD)/rooms/$(call name,$(1)): $(call libs,$(1))
	@mkdir -p $$(@D)
	@echo 'int main(void) { return 0; }' | $$(CC) $$(ALLFLAGS) -MF /dev/null -x c - -x none -Wl,--whole-archive $$< \
	    -Wl,--no-whole-archive $$(wordlist 2,99,$$^) -o $$@ $$(LDLIBS)
endef
$(foreach l,$(LAYERS),$(eval $(call layer,$(l))))

# the rooms from the bottom up, each with those that it may call
layers:
	@$(foreach l,$(LAYERS),printf '%-16s %s\n' $(l) '$(filter-out $(l) base,$(filter $(call below,$(l)),$(LAYERS)))';)

$(FIELD): $(BUILD)/tests/field/%: $(call place,tests/%)/tests/field/%.o $(call libs,cmd)
	@mkdir -p $(@D)
	$(CC) $(ALLFLAGS) $^ -o $@ $(LDLIBS)

define compile
$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(CC) $$(ALLFLAGS) $$(isa.$$*) -c $$< -o $$@
# cmocka is for the tests alone: the program builds without it
$(1)/tests/%.o: ALLFLAGS += $(shell pkg-config --cflags cmocka 2>/dev/null) $(if $(CHECKS),-DAPPO_CHECKS)
endef
folders := $(sort $(BUILD) $(OBJ) $(COMMON))
$(foreach f,$(folders),$(eval $(call compile,$(f))))
# where the embedded policy is looked for when the program lies elsewhere
$(OBJ)/engine/session/session.o: ALLFLAGS += -DAPPO_SOURCE='"$(CURDIR)"'

# The commit that a build is of, "+" where files differ from it, for run.json; `make dist` writes it into a file.
ifneq ($(wildcard commit.txt),)
VERSION := $(shell cat commit.txt)
else
dirty   := $(shell git status --porcelain --untracked-files=no 2>/dev/null | head -c 1 | tr -c '\n' '+')
VERSION := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(dirty)
endif
$(BUILD)/cmd/build.o: ALLFLAGS += -DAPPO_SNAPPY='"$(shell pkg-config --modversion snappy 2>/dev/null)"'
$(BUILD)/cmd/build.o: ALLFLAGS += $(if $(filter-out cpu,$(BACKEND)),$(if $(filter 1,$(NCCL)),-DAPPO_NCCL))
ifeq ($(BACKEND),cuda)
$(BUILD)/cmd/build.o: ALLFLAGS += -DAPPO_NVCC='"$(shell $(NVCC) --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')"'
endif
$(BUILD)/engine/comm/device_nccl.o: NVFLAGS += $(NCCL_HOME:%=-I%/include)
$(BUILD)/engine/comm/mpi.o: ALLFLAGS += $(shell pkg-config --cflags $(MPI_PKG) 2>/dev/null)
# another MPI, or none, is another program
$(BUILD)/engine/comm/mpi.o $(BUILD)/engine/comm/no_mpi.o: $(BUILD)/mpi.txt
$(BUILD)/mpi.txt: ;
ifneq ($(MAKECMDGOALS),clean)
$(shell mkdir -p $(BUILD); echo '$(MPI) $(MPI_PKG)' | cmp -s - $(BUILD)/mpi.txt || \
        echo '$(MPI) $(MPI_PKG)' >$(BUILD)/mpi.txt)
endif
$(OBJ)/engine/run/version.o: ALLFLAGS += -DAPPO_VERSION='"$(VERSION)"'
$(OBJ)/engine/run/version.o: $(OBJ)/version.txt
$(OBJ)/version.txt: ;
ifneq ($(MAKECMDGOALS),clean)
$(shell mkdir -p $(OBJ); echo '$(VERSION)' | cmp -s - $(OBJ)/version.txt || echo '$(VERSION)' >$(OBJ)/version.txt)
endif

ifeq ($(BACKEND),simt)
# by way of assembly, where static shared memory moves from .tbss to a section with a name, so that the shim finds it
$(BUILD)/%.o: %.cu
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS_SIMT) -MF $(@:.o=.d) -MT $@ -x c++ -S $< -o $(@:.o=.s)
	@sed -i 's/\.section\t\.tbss,"awT",@nobits/.section\tsimt_shared,"awT",@progbits/' $(@:.o=.s)
	@$(CXX) -c $(@:.o=.s) -o $@
	@rm -f $(@:.o=.s)
$(BUILD)/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS_SIMT) -c $< -o $@
else
# what ptxas says of registers and spills stays beside the object; tests/spills.sh reads it
$(BUILD)/%.o: %.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVFLAGS) -Xptxas -v -c $< -o $@ 2>$(@:.o=.ptxas) || { cat $(@:.o=.ptxas) >&2; rm -f $@; false; }
endif

# make install PREFIX=/opt/appo DESTDIR=/tmp/package: the program, the embedded policy (found from bin/ by
# ../share/appo/policy, so that the tree may be moved) and the documents. The quotes are for blanks in both: without
# them uninstall with DESTDIR="/tmp/my package" removes /tmp/my
PREFIX  ?= /usr/local
bin      = $(DESTDIR)$(PREFIX)/bin
share    = $(DESTDIR)$(PREFIX)/share/appo
doc      = $(DESTDIR)$(PREFIX)/share/doc/appo
install: all
	install -d "$(bin)" "$(share)/policy" "$(doc)"
	install -m 755 $(BUILD)/appo "$(bin)/appo"
	install -m 644 $(wildcard policy/*) "$(share)/policy"
	install -m 644 README.md LICENSE $(wildcard CHANGELOG.md docs/*.md docs/*.svg) "$(doc)"
uninstall:
	rm -f "$(bin)/appo"
	rm -rf "$(share)" "$(doc)"

# every test; `./run.sh test SUITE ...` for some
check:
	tests/run_all.sh

# build/appo-VERSION.tar.gz: the files of HEAD and commit.txt
RELEASE := $(shell sed -n 's/^.define APPO_RELEASE "\(.*\)".*/\1/p' cmd/build.h)
dist:
	@mkdir -p build
	@git rev-parse --short=12 HEAD >build/commit.txt
	git archive --format=tar.gz --prefix=appo-$(RELEASE)/ --add-file=build/commit.txt -o build/appo-$(RELEASE).tar.gz HEAD

clean:
	rm -rf build

.PHONY: all tests rooms field which-tests layers install uninstall check dist clean
.PRECIOUS: $(addsuffix /%.o,$(folders))
-include $(shell find $(folders) -name '*.d' 2>/dev/null)
