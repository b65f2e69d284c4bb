"""compare_model.py APPO MODEL [TOKENS]: a real model in `appo score`, in `appo generate` and in transformers.

MODEL: a Hugging Face folder or a GGUF file, which transformers reads by itself; all in float32. Prints the differences
of log-probabilities over TOKENS (10000) tokens of this repository's own texts, and whether 20 greedy answers of up to
96 tokens have the same ids; exit status 1 where the mean difference is over 1e-4 or an answer differs."""
import glob
import json
import os
import subprocess
import sys

WINDOW, NEW = 512, 96
PROMPTS = [
    "Write a long story about a lighthouse keeper.", "Explain how a steam engine works, step by step.",
    "List the planets and one fact about each.",
    "Write a Python function that sorts a list of words by length.",
    "What is the difference between a virus and a bacterium?", "Describe a day in a medieval town.",
    "How do I bake bread at home?", "Translate to French and explain: the cat sleeps on the warm stone.",
    "Write a poem of five stanzas about the sea.",
    "What causes tides? Give a detailed answer.", "Compare C and Python for writing an operating system.",
    "Tell me about the history of the telescope.",
    "A train leaves at 9:40 and arrives at 13:05. How long is the journey? Show every step.",
    "Why is the sky blue? Explain it to a child.",
    "Give ten tips for learning a new language.", "Write a letter to a friend about a walk in the mountains.",
    "Explain recursion with three examples.",
    "How does photosynthesis work?", "What should I know before I buy a used bicycle?",
    "Summarise the plot of Romeo and Juliet.",
]


def run(appo, model, command, lines, *more):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([appo, command, "model.path=" + model, "rollout.max_len=2048", *more], input=text,
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"appo {command}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def load(model):
    """MODEL and its tokenizer as transformers reads them, not as appo does."""
    if os.path.isdir(model) and not os.path.exists(os.path.join(model, "config.json")):
        model = sorted(glob.glob(os.path.join(model, "*.gguf")))[0]
    where, file = (os.path.dirname(model) or ".", {"gguf_file": os.path.basename(
            model)}) if model.endswith(".gguf") else (model, {})
    return (AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, attn_implementation="eager",
                                                 **file).eval(),
            AutoTokenizer.from_pretrained(where, **file))


def windows(appo, model, tokens):
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    text = "".join(open(path, encoding="utf-8").read() for path in sorted(glob.glob(top + "/*.md")
                                                                          + glob.glob(top + "/docs/*.md")
                                                                          + glob.glob(top + "/engine/*/*.h")))
    done = subprocess.run([appo, "tokenize", "model.path=" + model], input=text[:6 * tokens], capture_output=True,
                          text=True, check=True)
    ids = [int(x) for x in done.stdout.split()]
    return [ids[at:at + WINDOW] for at in range(0, min(len(ids), tokens + tokens // WINDOW + 1), WINDOW)]


def compare_logp(appo, model, reference, tokens):
    ids = windows(appo, model, tokens)
    ours = run(appo, model, "score", [{"ids": w} for w in ids], "--top", "0")
    total = count = worst = 0
    for w, line in zip(ids, ours):
        with torch.no_grad():
            logp = torch.log_softmax(reference(torch.tensor([w])).logits[0, :-1], dim=-1)
        want = logp.gather(1, torch.tensor(w[1:])[:, None])[:, 0].double()
        off = (want - torch.tensor(line["logp"][1:], dtype=torch.float64)).abs()
        total, count, worst = total + off.sum().item(), count + len(off), max(worst, off.max().item())
    print(f"log-probabilities of {count} tokens: mean difference {total / count:.3g}, largest {worst:.3g}", flush=True)
    return total / count <= 1e-4


def compare_greedy(appo, model, reference, tokenizer):
    prompts = [tokenizer.apply_chat_template([{"role": "user", "content": q}], add_generation_prompt=True,
                                             return_dict=False) for q in PROMPTS]
    ours = run(appo, model, "generate", [{"ids": p} for p in prompts], "--greedy", "--ids", "--max", str(NEW))
    same, shortest = 0, NEW
    for text_of, prompt, line in zip(PROMPTS, prompts, ours):
        text = torch.tensor([prompt])
        with torch.no_grad():
            want = reference.generate(text, attention_mask=torch.ones_like(text), max_new_tokens=NEW,
                                      do_sample=False)[0, len(prompt):].tolist()
        if line["ids"] != want:
            print(f"differs after {len(os.path.commonprefix([line['ids'], want]))} tokens: {text_of}")
        same, shortest = same + (line["ids"] == want), min(shortest, len(want))
    print(f"greedy answers: {same} of {len(PROMPTS)} have the same ids, the shortest of {shortest} tokens")
    return same == len(PROMPTS)


def main():
    appo, model, tokens = os.path.abspath(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10000
    reference, tokenizer = load(model)
    return not (compare_logp(appo, model, reference, tokens) & compare_greedy(appo, model, reference, tokenizer))


if len(sys.argv) < 3:
    sys.exit(__doc__)
try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging
except ImportError as e:
    print(f"skipped: no comparison with transformers ({e})")
    sys.exit(0)
logging.set_verbosity_error()
logging.disable_progress_bar()
sys.exit(main())
