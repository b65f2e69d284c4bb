"""compare_tokenizers.py APPO FOLDER [BYTES]: `APPO tokenize` against Hugging Face's tokenizers, both on one thread.

On BYTES (1048576) of mixed text: this repository's sources, prose, numbers, white space, many scripts, emoji, hard
strings. FOLDER/NAME/tokenizer.json as make_golden_tokenizer.py writes them, or any model's. Prints a line a tokenizer;
exit status 1 where ids differ. Speed: bytes by the seconds of encoding alone; for tokenizers, the better of the whole
text and its lines one by one."""
import glob
import json
import os
import random
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402
from make_golden_tokenizer import ALPHABET, HARD, random_texts  # noqa: E402


def sources():
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    for path in sorted(glob.glob(top + "/*/*.[ch]") + glob.glob(top + "/*/*.py") + glob.glob(top + "/docs/*.md")
                       + glob.glob(top + "/*.md")):
        with open(path, encoding="utf-8", errors="replace") as f:
            yield f.read()


def mixed(size, rng):
    """Half sources and prose, half the rest, in pieces of about 2 KB."""
    text = "".join(sources())
    while len(text) < size:
        text += text
    parts, total = [], 0
    for at in range(0, len(text), 2000):
        piece = text[at:at + 2000]
        piece += rng.choice(["", "\n\n", " ", "\r\n"]).join(rng.sample(HARD, 12)) + "".join(random_texts(rng))[:900]
        piece += " ".join(str(rng.randrange(10 ** rng.randrange(1, 18)))
                          for _ in range(20)) + rng.choice(" \n\t") * rng.randrange(1, 30)
        parts.append(piece)
        total += len(piece.encode())
        if total >= size:
            break
    return "".join(parts).encode()[:size].decode(errors="ignore")


def ours(appo, folder, text):
    """ids, bytes that come back, best seconds of five."""
    seconds = []
    for _ in range(5):
        r = subprocess.run([appo, "tokenize", "model.path=" + folder, "--time"], input=text.encode(),
                           capture_output=True, check=True)
        seconds.append(float(re.search(rb"ids, ([0-9.]+) s", r.stderr)[1]))
    back = subprocess.run([appo, "tokenize", "model.path=" + folder, "--decode"], input=r.stdout, capture_output=True,
                          check=True).stdout
    return [int(x) for x in r.stdout.split()], back, min(seconds)


def theirs(folder, text):
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        j = json.load(f)
    # look-alikes of special tokens are ordinary text
    t = tokenizers.Tokenizer.from_str(json.dumps({**j, "added_tokens": []}))
    seconds, lines = [], text.splitlines(keepends=True)
    for _ in range(3):
        start = time.perf_counter()
        ids = t.encode(text, add_special_tokens=False).ids
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        t.encode_batch_fast(lines, add_special_tokens=False)        # other ids, but faster than one long text
        seconds.append(time.perf_counter() - start)
    norm = (t.normalizer.normalize_str(text) if t.normalizer else text).encode()
    # a byte without a token is left out
    return ids, bytes(b for b in norm if ALPHABET[b] in j["model"]["vocab"]), min(seconds)


def main():
    appo, top = sys.argv[1:3]
    text = mixed(int(sys.argv[3]) if len(sys.argv) > 3 else 1 << 20, random.Random(7))
    size, bad = len(text.encode()), 0
    for path in sorted(glob.glob(os.path.join(top, "*", "tokenizer.json"))):
        folder = os.path.dirname(path)
        a, back, sa = ours(appo, folder, text)
        b, norm, sb = theirs(folder, text)
        same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        equal = a == b
        bad += not equal
        verdict = "100 % equal" if equal else (f"first difference at id {same} of {len(b)}: {a[same:same + 4]} for "
                                               f"{b[same:same + 4]}")
        print(f"{os.path.basename(folder)}: {size} bytes, {len(a)} ids, {verdict}, text "
              f"{'comes back' if back == norm else 'does not come back'}, "
              f"{size / sa / 1e6:.1f} MB/s, tokenizers {tokenizers.__version__} {size / sb / 1e6:.1f} MB/s, ratio "
              f"{sb / sa:.1f}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
