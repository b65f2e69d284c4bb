/* help.c: one table of the commands, including those of run.sh, that --help, help and the nearest name read. Lines fit
 * 80 columns. */
#include "cmd/build.h"
#include "cmd/cmd.h"
#include "eval/simulate/options.h"
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct help {
    const char *name;
    const char *arguments;
    const char *what;
    const char *options;            /* lines "  name  meaning" */
    const char *examples;
    bool keys;                      /* takes key=value */
    bool front;                     /* of run.sh, which prints its own help */
} helps[] = {
    { "debug", "[--seed N] [--steps N] [--report FILE] [--from-scratch] [key=value ...]",
      "evaluate the embedded policy, train it with APPO on one machine, evaluate again",
      "  --seed N          trainer.seed\n"
      "  --steps N         trainer.total_training_steps\n"
      "  --report FILE     trainer.report: JSON of the run\n"
      "  --from-scratch    makes the policy from nothing first\n"
      "  --memory          also prints a table of all memory\n",
      "  appo debug\n"
      "  appo debug --seed 2 --steps 10 --report out.json\n"
      "  appo debug algorithm.adv_estimator=grpo\n", true, false },
    { "train", "[--config FILE] [key=value ...]",
      "train the policy of model.path on data.train_files or the embedded tasks",
      "  --config FILE     keys from YAML; several may be given, later ones win\n"
      "  --seed N          trainer.seed\n"
      "  --steps N         trainer.total_training_steps\n"
      "  --report FILE     trainer.report: JSON of the run\n"
      "  --from-scratch    without model.path: makes the policy from nothing first\n"
      "  --memory          also prints a table of all memory\n",
      "  appo train model.path=DIR data.train_files=train.parquet\n"
      "  appo train --config run.yaml trainer.seed=2\n", true, false },
    { "eval", "[data.val_files=FILE,...] [key=value ...]",
      "success on held-out prompts, of data.val_files or of every embedded family",
      "  --json            JSON on stdout in place of the table\n"
      "  --report FILE     trainer.report: the same JSON, beside the table\n",
      "  appo eval\n"
      "  appo eval model.path=DIR data.val_files=val.jsonl.gz rollout.val_kwargs.n=4\n", true, false },
    { "sft", "sft.save=DIR [model.path=DIR] [data.train_files=FILE,...] [key=value ...]",
      "supervised fine-tuning on conversations or on embedded demonstrations", "",
      "  appo sft model.path=DIR data.train_files=conversations.jsonl sft.save=OUT\n", true, false },
    { "make-policy", "DIR [key=value ...]", "make the embedded policy from nothing: tokenizer, skill, behaviour", "",
      "  appo make-policy policy\n", true, false },
    { "export", "model.path=DIR out=DIR [dtype=bf16|f32] [max_shard_size=5GB]",
      "write a model as a folder for transformers, vLLM and llama.cpp",
      "  out=DIR           folder to write; must not hold a model. DIR alone is the same\n"
      "  dtype=bf16|f32    type of the numbers written\n"
      "  max_shard_size=S  a new file of weights after so many bytes\n",
      "  appo export model.path=model.gguf out=folder dtype=bf16\n", false, false },
    { "plan", "model.path=DIR [gpu=h200] [ranks=8] [for=train|sft|sample] [key=value ...]",
      "the memory of a run in all its parts, for a model and a GPU",
      "  gpu=CARD          in bf16 on that card, on any machine: b200, h200, h20, h100, h100-nvl, a100,\n"
      "                    a100-40gb, l40s, a6000, 5090, 4090, 3090, a10, l4; with the largest batches\n"
      "  memory=SIZE       the same for a size, as in 80GiB\n"
      "  ranks=N           each of N ranks, a device each; keys that were not given and change speed\n"
      "                    only (actor.zero, actor.offload, ...) are set until it fits, as a run sets them\n"
      "  host=SIZE         memory of a host, for eight ranks\n"
      "  real=bf16|float   number type of a GPU's build\n"
      "  for=train         kind of run: train, sft, or sample (evaluations)\n"
      "  --simulate        instead of memory: the time of training steps of many ranks,\n"
      "                    by a cost model; with the options below\n"
      "  --calibrate FILE  its constants, from metrics.jsonl of runs or bench --json\n"
      "  --json FILE       its results as JSON\n"
      "  --svg FILE        a figure of throughput and idle share over the ranks\n",
      "  appo plan model.path=DIR gpu=h100 model.recompute=cheap\n"
      "  appo plan --simulate gpu=h200 model.path=DIR ranks=8,64,512 scale=weak\n"
      "  appo plan --simulate --calibrate run/metrics.jsonl ranks=1,2,4\n", true, false },
    { "tokenize", "[model.path=DIR] [--decode | --chat] [--special] [--time] <TEXT",
      "text to token ids and back, with a model's tokenizer and chat format",
      "  --decode          ids on stdin, text on stdout\n"
      "  --chat            messages in JSON on stdin, as the chat format writes them\n"
      "  --special         special tokens in the text are read, or written\n"
      "  --time            prints the time it took\n",
      "  echo 'hello' | appo tokenize model.path=DIR\n", false, false },
    { "score", "[model.path=DIR] [--top N] [key=value ...] <LINES",
      "log-probabilities, entropies and most likely tokens of given text or ids",
      "  --top N           so many of the most likely tokens at each place, 0 to 64\n"
      "  LINES             each {\"text\": ...}, {\"messages\": [...]} or {\"ids\": [...]}\n",
      "  echo '{\"text\": \"The sky is blue\"}' | appo score model.path=DIR --top 3\n"
      "  appo score model.path=DIR <lines.jsonl\n", true, false },
    { "generate", "[model.path=DIR] [--prompt TEXT] [options] [key=value ...] [<PROMPTS]",
      "a model's answers to prompts, or a conversation with it",
      "  --prompt TEXT     one prompt; without it a conversation at a terminal, else lines on stdin\n"
      "  --system TEXT     the system message\n"
      "  --greedy          the most likely token each time\n"
      "  --max N           at most so many tokens\n"
      "  --raw             no chat format around the text\n"
      "  --ids             token ids instead of text\n",
      "  appo generate model.path=DIR\n"
      "  appo generate model.path=DIR --greedy --prompt 'What is a prime?'\n"
      "  appo generate model.path=DIR <prompts.jsonl\n", true, false },
    { "golden", "DIR", "run recorded vectors of the official implementation through this one", "",
      "  appo golden tests/golden\n", false, false },
    { "bench", "[NAME ...] [--json FILE] [--sizes gpu|cpu|tiny] [--model NAME] [--limit SIZE]",
      "measure matrix products, decoding and training",
      "  list              prints all names\n"
      "  models            whole models; --model NAME for one\n"
      "  --json FILE       one object a line\n"
      "  --limit SIZE      memory that may be used\n"
      "  --table FILE      prints results of gpu-check\n",
      "  appo bench attn attn_back\n", false, false },
    { "doctor", "", "the machine, the build, and whether the embedded policy loads", "", "  appo doctor\n",
      false, false },
    { "keys", "[WORD]", "options with a word in their name or meaning; the whole text of one", "",
      "  appo keys branch\n"
      "  appo keys actor.optim.lr\n", false, false },
    { "version", "", "version, commit, compiler and libraries (also --version)", "", "", false, false },
    { "help", "[COMMAND]", "this text, or that of a command", "", "", false, false },
    { "setup", "[--tests] [--dry-run]", "installs missing packages", "", "", false, true },
    { "test", "[SUITE ...]", "builds and runs the tests", "", "", false, true },
    { "fetch-model", "NAME DIR", "brings a small real model", "", "", false, true },
    { "gpu-check", "[--out DIR]", "builds, tests and measures on a GPU", "", "", false, true },
    { "pack-deps", "DIR", "collects what a build needs", "", "", false, true },
};
enum { HELPS = sizeof helps / sizeof *helps };

static const struct { const char *name, *what; } environment[] = {
    { "APPO_HOME", "folder that holds policy/; default: found beside the program" },
    { "APPO_ISA", "matrix products of the C backend: avx512, avx2 or portable" },
    { "APPO_NUMERICS", "GPU: exact (same bits in sampling and training) or fast" },
    { "APPO_ATTN", "GPU: attention by mma or wgmma" },
    { "APPO_GEMM", "GPU: choice of cuBLASLt's algorithm for a product: first or timed" },
    { "APPO_COMM", "nccl: NCCL for one rank too, to test it" },
    { "NPROC", "run.sh: processes of train, debug and eval, one a GPU (docs/ranks.md)" },
    { "MPIRUN", "run.sh: the mpirun to call" },
    { "MPIRUN_ARGS", "run.sh: more arguments for mpirun, such as --hostfile FILE" },
    { "APPO_RESTART_PAUSE", "run.sh: seconds before a lost run starts again; default 5" },
    { "APPO_BACKEND", "run.sh: cpu, cuda or simt (CUDA on the CPU, for tests)" },
    { "APPO_REAL", "run.sh: number type: float, bf16 or double" },
    { "APPO_BUILD", "run.sh: folder of builds; default: build/" },
    { "APPO_DEBUG", "run.sh: 1: checks every operation's output" },
    { "DEPS", "run.sh: a folder that pack-deps made" },
    { "OMP_NUM_THREADS", "threads of the C backend, if trainer.threads=0" },
};

bool help_knows(const char *command, int n, const char *option)
{
    for (int i = 0; i < HELPS; i++)
        if ((int)strlen(helps[i].name) == n && !strncmp(helps[i].name, command, (size_t)n))
            return strstr(helps[i].options, option) != NULL;
    return false;
}

static const struct help *find(const char *name)
{
    for (int i = 0; i < HELPS; i++)
        if (!strcmp(helps[i].name, name)) return &helps[i];
    return NULL;
}

void help_all(FILE *f)
{
    fprintf(f, "usage: appo COMMAND [key=value ...] [--config FILE] [options]\n\n");
    for (int i = 0; i < HELPS; i++)
        if (!helps[i].front) fprintf(f, "  %-12s %s\n", helps[i].name, helps[i].what);
    fprintf(f, "\nappo COMMAND --help explains one. appo keys WORD finds options; --print-config after a command\n"
               "prints all of them with their values and sources, as YAML that reads back.\n\n"
               "environment:\n");
    for (size_t i = 0; i < sizeof environment / sizeof *environment; i++)
        fprintf(f, "  %-18s %s\n", environment[i].name, environment[i].what);
}

bool help_one(const char *name, FILE *f)
{
    const struct help *h = find(name);
    if (!h) return false;
    if (h->front) {
        fprintf(f, "usage: ./run.sh %s %s: %s; ./run.sh %s --help tells more\n", h->name, h->arguments, h->what,
                h->name);
        return true;
    }
    fprintf(f, "usage: appo %s%s%s\n\n%s\n", h->name, *h->arguments ? " " : "", h->arguments, h->what);
    if (*h->options || h->keys) fprintf(f, "\noptions:\n%s", h->options);
    if (h->keys) fprintf(f, "  key=value         any option of `appo keys`; --config FILE reads them from YAML\n"
                            "  --print-config    prints every option with its value, source and meaning\n");
    if (!strcmp(h->name, "plan")) {
        fprintf(f, "\noptions of plan --simulate:\n");
        sim_options_help(f);
    }
    if (*h->examples) fprintf(f, "\nexamples:\n%s", h->examples);
    return true;
}

/* The command with the nearest name, of which at most a third of the letters differ; NULL: none. */
static const struct help *nearest(const char *name)
{
    const struct help *best = NULL;
    int least = (int)strlen(name) / 3 + 1;
    if (least < 2) least = 2;
    for (int i = 0; i < HELPS; i++) {
        int d = config_distance(name, helps[i].name);
        if (d > least || (best && d == least)) continue;
        least = d;
        best = &helps[i];
    }
    return best;
}

void help_unknown(const char *name, FILE *f)
{
    const struct help *h = nearest(name);
    fprintf(f, "appo: no command %s.", name);
    if (h) fprintf(f, " Did you mean %s%s?", h->front ? "./run.sh " : "", h->name);
    else if (strchr(name, '=')) fprintf(f, " The command comes first, as in appo debug %s.", name);
    fprintf(f, " appo help lists them\n");
}

int terminal_width(FILE *f)
{
    struct winsize w;
    if (!isatty(fileno(f))) return 0;
    return ioctl(fileno(f), TIOCGWINSZ, &w) == 0 && w.ws_col >= 40 ? w.ws_col : 80;
}

int cmd_help(int argc, char **argv)
{
    if (argc == 0) help_all(stdout);
    else if (argc > 1 || !help_one(argv[0], stdout)) {
        help_unknown(argv[argc > 1], stderr);
        return 2;
    }
    return 0;
}

int cmd_version(int argc, char **argv)
{
    (void)argv;
    if (argc) {
        fprintf(stderr, "appo: version takes nothing\n");
        return 2;
    }
    build_name(stdout);
    printf(", built by %s\nlibraries: ", build_compiler());
    build_libraries(stdout);
    printf("\nranks: by ");
    build_ranks(stdout);
    puts("");
    return 0;
}

int cmd_keys(int argc, char **argv)
{
    if (argc > 1 || (argc && argv[0][0] == '-')) {
        fprintf(stderr, "appo: keys takes one word; appo keys --help tells more\n");
        return 2;
    }
    return config_explain(argc ? argv[0] : "", stdout, terminal_width(stdout)) ? 0 : 1;
}
