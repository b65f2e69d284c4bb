"""check_export.py APPO [FOLDER ...]: what `appo export` writes must be, to transformers, the very model it was made from: each model is exported as float32, in
one file and in shards, both folders are loaded by transformers, and the logits of random tokens must be the same bits. Without arguments after APPO: the tiny
models of tests/golden/models. Prints "N passed, M failed", or one line that says why it was skipped."""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SHARD = {"whole": [], "sharded": ["max_shard_size=20KB"]}


def logits(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor(ids) % model.config.vocab_size).logits


def check(appo, folder, how):
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run([appo, "export", "model.path=" + folder, "out=" + os.path.join(out, "m"), "dtype=f32", *SHARD[how]], capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip()
        shards = len([f for f in os.listdir(os.path.join(out, "m")) if f.endswith(".safetensors")])
        if (shards > 1) != (how == "sharded"):
            return f"{shards} files of weights"
        ids = np.random.default_rng(1).integers(0, 1 << 30, (3, 41))
        a, b = logits(folder, ids), logits(os.path.join(out, "m"), ids)
        return None if torch.equal(a, b) else f"logits differ by up to {(a - b).abs().max():g}"


def main():
    appo = os.path.abspath(sys.argv[1])
    models = os.path.join(HERE, "models")
    folders = sys.argv[2:] or [os.path.join(models, name) for name in sorted(os.listdir(models))]
    failed = 0
    for folder in folders:
        for how in SHARD:
            wrong = check(appo, folder, how)
            if wrong:
                failed += 1
                print(f"{folder}, {how}: {wrong}")
    print(f"{len(folders) * len(SHARD) - failed} passed, {failed} failed")
    return failed > 0


try:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging
except ImportError as e:
    print(f"skipped: exported models were not loaded with transformers ({e})\n0 passed, 0 failed")
    sys.exit(0)
logging.set_verbosity_error()
logging.disable_progress_bar()
sys.exit(main())
