"""check_export.py APPO [MODEL ...]: models that `export`, `sft` and checkpoints write, loaded by transformers.

Weights: each folder is exported as float32, in one file and in shards; transformers loads source and copy, and the
logits of random tokens must be the same bits. Tokenizers: AutoTokenizer loads those that the three commands write for
each folder or GGUF file with one; the ids of all its added tokens and of 1 MB of mixed text must equal this program's
ids for the source. Reading: log-probabilities of `score` against transformers' for several layouts of a model. Without
MODEL: the tiny models of tests/golden/models, and those of tests/field/tiny_model and tiny_gguf (they are beside APPO).
Prints "N passed, M failed", or one line with the reason why it was skipped."""
import glob
import json
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SHARD = {"whole": [], "sharded": ["max_shard_size=20KB"]}
TIED = ["tied_head_differs", "tied_head_only", "tied_head_same", "index_lists_tied_head", "inv_freq"]
results = []


def say(name, wrong):
    results.append(not wrong)
    if wrong:
        print(f"FAILED: {name}: {wrong}")


def run(*args, text=None):
    done = subprocess.run(args, input=text, capture_output=True, text=True)
    return done.stdout, done.stderr.strip() if done.returncode else None


def logits(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor(ids) % model.config.vocab_size).logits


def same_logits(appo, folder, how):
    with tempfile.TemporaryDirectory() as out:
        _, wrong = run(appo, "export", "model.path=" + folder, "out=" + os.path.join(out, "m"), "dtype=f32",
                       *SHARD[how])
        if wrong:
            return wrong
        shards = len([f for f in os.listdir(os.path.join(out, "m")) if f.endswith(".safetensors")])
        if (shards > 1) != (how == "sharded"):
            return f"{shards} files of weights"
        ids = np.random.default_rng(1).integers(0, 1 << 30, (3, 41))
        a, b = logits(folder, ids), logits(os.path.join(out, "m"), ids)
        return None if torch.equal(a, b) else f"logits differ by up to {(a - b).abs().max():g}"


LLAMA, QWEN3 = ['architectures=["LlamaForCausalLM"]', 'model_type="llama"'], ['architectures=["Qwen3ForCausalLM"]',
                                                                              'model_type="qwen3"', "head_dim=32"]
ROPE3 = ('{"rope_type":"llama3","rope_theta":50000.0,"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,'
         '"original_max_position_embeddings":256}')
# variant of tests/field/tiny_model and keys of config.json: what is read must give the log-probabilities of
# transformers
READ = [("base", []), ("base", LLAMA), ("base", QWEN3), ("sharded", QWEN3), ("inv_freq", LLAMA), ("old_buffers", LLAMA),
        ("tied_head_differs", []),
        ("tied_head_differs", QWEN3), ("tied_head_only", LLAMA), ("index_lists_tied_head", LLAMA),
        ("tied_head_same", QWEN3), ("base", ["tie_word_embeddings="]),
        ("base", ['hidden_act="swish"']), ("base", ["num_key_value_heads=null"]),
        ("base", [*LLAMA, "num_key_value_heads="]),
        ("base", ["use_sliding_window=true", "sliding_window=8", "max_window_layers=2"]),
        ("base", [*QWEN3, "use_sliding_window=true", "sliding_window=2048", "max_window_layers=0"]),
        ("base", ["use_sliding_window=true", "sliding_window=4", "max_window_layers=0",
                  'layer_types=["full_attention","full_attention"]']),
        ("base", [*LLAMA, 'rope_scaling={"rope_type":"linear","factor":2.0}']),
        ("base", [*LLAMA, "rope_parameters=" + ROPE3]),
        ("base", [*LLAMA, 'rope_scaling={"type":"yarn","factor":4.0,"original_max_position_embeddings":64}']),
        ("base", [*LLAMA, "is_llama_config=true", "rope_interleaved=false", "pretraining_tp=1", "mlp_bias=false",
                  "attention_bias=false", "partial_rotary_factor=1.0"])]


def same_scores(appo, folder):
    ids = [(i * 37 + 11) % 400 for i in range(60)]
    out, wrong = run(appo, "score", "model.path=" + folder, "--top", "0", text=json.dumps({"ids": ids}))
    if wrong:
        return wrong
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        want = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    off = max(abs(got - want[i, ids[i + 1]].item()) for i, got in enumerate(json.loads(out)["logp"][1:]))
    # float32, 60 tokens, 2 layers: 6e-7 measured
    return None if off < 2e-6 else f"log-probabilities differ by up to {off:g}"


def mixed_text(added, size):
    """Words, numbers, code, white space, most scripts, combining marks, emoji with joiners, and added tokens whole, cut
    and doubled."""
    r = random.Random(3)
    words = ("the question answer What's DON'T we'LL river Search <search> result } ); == != http://a.b/c?d=e&f "
             "return\tif\n x_y 3.14 1,000 -7 0x1F").split(" ")
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x400), (0x400, 0x500), (0x5D0, 0x5EB), (0x621, 0x64B),
              (0x905, 0x940), (0xE01, 0xE30), (0x3041, 0x30FF),
              (0x4E00, 0x9FA5), (0xAC00, 0xD7A4), (0x1F300, 0x1F650), (0x300, 0x340), (0x2000, 0x2070),
              (0x1F1E6, 0x1F200)]
    out, n = [], 0
    while n < size:
        kind = r.randrange(12)
        if kind < 5:
            s = r.choice(words) + " "
        elif kind == 5:
            s = str(r.randrange(10 ** r.randrange(1, 12)))
        elif kind == 6:
            s = r.choice([" ", "  ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u3000"]) * r.randrange(1, 4)
        elif kind == 7 and added:
            t = r.choice(added)
            s = r.choice([t, t, t + t, t[1:], t[:-1], " " + t + "\n"])
        elif kind == 8:
            s = "e\u0301" + "\U0001f469\u200d\U0001f4bb" + "ﬁ"
        else:
            low, high = r.choice(ranges)
            s = "".join(chr(r.randrange(low, high)) for _ in range(r.randrange(1, 9)))
        out.append(s)
        n += len(s.encode())
    return "".join(out)


def own_ids(appo, path, text):
    out, wrong = run(appo, "tokenize", "--special", "model.path=" + path, text=text)
    return wrong or [int(x) for x in out.split()]


seen = set()                # tokenizers of a source whose 1 MB is done: mostly all three commands write the same file


def same_ids(appo, source, folder, name):
    tok = AutoTokenizer.from_pretrained(folder)
    added = json.load(open(os.path.join(folder, "tokenizer.json"), encoding="utf-8"))["added_tokens"]
    for a in added:
        own = own_ids(appo, source, a["content"])
        theirs = tok(a["content"], add_special_tokens=False).input_ids
        if own != theirs or theirs != [a["id"]] or tok.convert_tokens_to_ids(a["content"]) != a["id"]:
            return f"{a['content']} is {theirs} to transformers, {own} to appo, {a['id']} in the file"
    files = [open(f, "rb").read() for f in (os.path.join(folder, "tokenizer.json"),
                                            os.path.join(folder, "tokenizer_config.json")) if os.path.exists(f)]
    if (source, *files) in seen:
        print(f"{os.path.basename(source)}, {name}: {len(added)} added tokens are the same; the tokenizer is one that "
              f"was compared on text")
        return None
    seen.add((source, *files))
    text = mixed_text([a["content"] for a in added], 1 << 20)
    own, theirs = own_ids(appo, source, text), tok(text, add_special_tokens=False).input_ids
    if own != theirs:
        at = next((i for i, (x, y) in enumerate(zip(own, theirs)) if x != y), min(len(own), len(theirs)))
        return (f"{len(own)} ids, {len(theirs)} by transformers; the first that differs is number {at}: "
                f"{own[at:at + 5]}, {theirs[at:at + 5]}")
    print(f"{os.path.basename(source)}, {name}: {len(added)} added tokens and {len(own)} ids of {len(text.encode())} "
          f"bytes are the same")
    return None


def written(appo, source, out):
    """(name, folder, error) of each command that writes a model."""
    conversation = os.path.join(out, "conversation.jsonl")
    with open(conversation, "w", encoding="utf-8") as f:
        print('{"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"world"}]}', file=f)
    to = {k: os.path.join(out, k) for k in ("export", "sft", "run")}
    yield "export", to["export"], run(appo, "export", "model.path=" + source, "out=" + to["export"])[1]
    yield "sft", to["sft"], run(appo, "sft", "model.path=" + source, "data.train_files=" + conversation,
                                "sft.save=" + to["sft"], "sft.steps=1")[1]
    wrong = run(appo, "train", "model.path=" + source, "rollout.max_len=256", "data.max_prompt_length=240",
                "data.max_response_length=4", "data.train_batch_size=2",
                "actor.ppo_mini_batch_size=2", "rollout.n=4", "rollout.initial_rollouts=2", "rollout.max_num_seqs=4",
                "trainer.total_training_steps=1", "data.val_per_family=1",
                "trainer.val_before_train=false", "trainer.test_freq=0", "trainer.default_local_dir=" + to["run"])[1]
    found = glob.glob(os.path.join(to["run"], "**", "huggingface"), recursive=True)
    yield "checkpoint", found[0] if found else "", wrong


def check_tokenizer(appo, source):
    with tempfile.TemporaryDirectory() as out:
        for name, folder, wrong in written(appo, source, out):
            say(f"{source}, {name}", wrong or same_ids(appo, source, folder, name))


def made_here(appo, out):
    """Folders with tied heads of all kinds, and folders and GGUF files with tokenizers: (folders for weights, sources
    for tokenizers)."""
    tools = os.path.join(os.path.dirname(appo), "tests", "field")
    os.chdir(os.path.join(HERE, "..", ".."))
    if not os.path.exists(os.path.join(tools, "tiny_model")):
        print(f"{tools}/tiny_model is not there (make field): its models were not checked")
        return [], []
    for i, (variant, keys) in enumerate(READ):
        folder, name = os.path.join(out, f"read{i}"), f"{variant} {' '.join(keys)}"
        say(name, run(os.path.join(tools, "tiny_model"), folder, variant, "tests/field/tiny_qwen", *keys)[1]
            or same_scores(appo, folder))
    folders, sources = [], [os.path.join(out, "base")]
    for v in ["base", *TIED]:
        say("tiny_model " + v, run(os.path.join(tools, "tiny_model"), os.path.join(out, v), v)[1])
        folders.append(os.path.join(out, v))
    for name in ("plain", "front", "holes", "front holes"):
        sources.append(os.path.join(out, name + ".gguf"))
        say("tiny_gguf " + name, run(os.path.join(tools, "tiny_gguf"), os.path.join(out, "base"), sources[-1],
                                     *name.split())[1])
    return folders, sources


def main():
    appo = os.path.abspath(sys.argv[1])
    models = os.path.join(HERE, "models")
    given = [os.path.abspath(x) for x in sys.argv[2:]]
    with tempfile.TemporaryDirectory() as out:
        folders, sources = [x for x in given if os.path.isdir(x)], given
        if not given:
            folders, sources = made_here(appo, out)
            folders += [os.path.join(models, name) for name in sorted(os.listdir(models))]
        for folder in folders:
            for how in SHARD:
                say(f"{folder}, {how}", same_logits(appo, folder, how))
        for source in sources:
            check_tokenizer(appo, source)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return not all(results)


try:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging
except ImportError as e:
    print(f"skipped: exported models were not loaded with transformers ({e})\n0 passed, 0 failed")
    sys.exit(0)
logging.set_verbosity_error()
logging.disable_progress_bar()
sys.exit(main())
