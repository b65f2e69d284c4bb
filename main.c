/* main.c: the sub-commands. */
#include "cmd/cmd.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command { const char *name; int (*run)(int argc, char **argv); const char *help; } commands[] = {
    { "debug",       cmd_debug,       "evaluate the embedded policy, train it with APPO on one machine, evaluate again" },
    { "train",       cmd_train,       "train the policy of model.path on data.train_files or the embedded tasks" },
    { "eval",        cmd_eval,        "success on held-out questions, of data.val_files or of every embedded family" },
    { "sft",         cmd_sft,         "supervised fine-tuning on conversations or on embedded demonstrations" },
    { "make-policy", cmd_make_policy, "make the embedded policy from nothing: tokenizer, skill, behaviour" },
    { "export",      cmd_export,      "write a model as a folder for transformers, vLLM and llama.cpp" },
    { "plan",        cmd_plan,        "where every byte of a run would go, for a model and a GPU's memory" },
    { "tokenize",    cmd_tokenize,    "text to token ids and back, with a model's tokenizer and chat format" },
    { "score",       cmd_score,       "log-probabilities, entropies and likeliest tokens of given text or ids" },
    { "generate",    cmd_generate,    "a model's answers to prompts, or a conversation with it" },
    { "golden",      cmd_golden,      "run recorded vectors of the official implementation through this one" },
    { "bench",       cmd_bench,       "measure matrix products, decoding and training" },
    { "doctor",      cmd_doctor,      "what this machine has and what this build is" },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *f)
{
    fprintf(f, "usage: appo COMMAND [key=value ...]\n\n");
    for (int i = 0; i < COMMANDS; i++) fprintf(f, "  %-12s %s\n", commands[i].name, commands[i].help);
    fprintf(f, "\nappo COMMAND --help tells more; appo debug --print-config lists every key with its value, where it came from and what it means.\n");
}

/* libgomp's idle threads spin for milliseconds by default, which costs whole steps where cores are shared. It reads its settings before main, so they
 * are set and the program is started once more. 1,000 turns are about as long as a fork and join take. Six debug steps on two cores with four other
 * processes: 10 to 16 s with 20,000 turns, 5.3 to 5.9 s with 2,000, 5.7 to 6.3 s with none. */
static void set_spinning(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return;                                  /* no /proc: go on with the default */
    self[n] = 0;
    setenv("GOMP_SPINCOUNT", "1000", 1);
    execv(self, argv);
}

int main(int argc, char **argv)
{
    set_spinning(argv);
    if (argc >= 2)
        for (int i = 0; i < COMMANDS; i++)
            if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 2, argv + 2);
    bool help = argc >= 2 && (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
    if (argc >= 2 && !help) fprintf(stderr, "appo: no command %s\n\n", argv[1]);
    usage(help ? stdout : stderr);
    return help ? 0 : 2;
}
