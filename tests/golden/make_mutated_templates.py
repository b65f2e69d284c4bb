"""make_mutated_templates.py WHEELS [COUNT]: chat/forms.json.gz: known, random and mutated chat templates.

Every template of model/chat/chat_forms_*.c, fixed and random conversations as transformers renders them with it, and
500 (COUNT) mutated templates with a hash of what Jinja prints for them. Read by
tests/engine/prompts/test_chat_forms.c: the program must write the same text or reject the template, and never write
another text. Needs transformers (its own rendering is used); WHEELS as in make_golden_chat.py."""
import gzip
import json
import os
import random
import re
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils as hf

import make_chat_forms as forms

HERE = os.path.dirname(os.path.abspath(__file__))
BOS = "<|begin_of_text|>"
TOOLS = [
    {"type": "function", "function": {"name": "search",
                                      "description": "Finds \"pages\", caf\u00e9 \u4e16\u754c <think>.", "parameters": {
        "type": "object", "properties": {"query": {"type": "string"},
                                         "k": {"type": "integer", "default": 3, "weight": 0.1}},
                                         "required": ["query"]}}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "none": None,
                                                                    "real": 1e22, "small": 1.5e-7, "one": 1.0}}},
]


def call(name, arguments, flat=False):
    f = {"name": name, "arguments": arguments}
    return f if flat else {"type": "function", "id": "call_1", "function": f}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def fixed():
    one, two = call("search", {"query": "caf\u00e9 \"x\"\n", "k": 2, "deep": [1, {"a": None, "b": True}],
                               "w": 2.5e-05}), call("now", {})
    text = call("search", "{\"query\": \"q\"}")
    conversations = [
        ([say("user", "What is 2 + 2?")], None, True), ([say("system", "Be brief."), say("user", "Why?")], None, True),
        ([say("system", ""), say("user", " padded \n")], None, True),
        ([say("user", "a"), say("assistant", "b"), say("user", "c"), say("assistant", "d")], None, False),
        ([say("user", "a"), say("assistant", "<think>\nhm\n</think>\n\nb"), say("user", "c"),
          say("assistant", "<think>\nso\n</think>\n\nd")], None, False),
        ([say("user", "a"), say("assistant", "<think>\nhm\n</think>\n\nb"), say("user", "c")], None, True),
        ([say("user", "q"), say("assistant", "\n\ntwo breaks\n")], None, False),
        ([say("user", "a"), say("system", "now in French"), say("user", "b <think> </think>")], None, True),
        ([say("user", "q")], TOOLS, True), ([say("system", "Use them."), say("user", "q <tool_call>")], TOOLS[:1],
                                            True),
        ([say("user", "q"), say("assistant", "", tool_calls=[one]), say("tool", "found \"it\"\n\u00e9"),
          say("assistant", "Here.")], TOOLS, False),
        ([say("user", "q"), say("assistant", "I look.", tool_calls=[one, two]), say("tool", "1"), say("tool", "2")],
         TOOLS, True),
        ([say("user", "q"), say("assistant", "", tool_calls=[text]), say("tool", "r"), say("user", "next")], None,
         True),
        ([say("user", "q"), say("assistant", None, tool_calls=[call("now", {}, True)])], None, False),
        ([say("user", "q"), say("assistant", "<think>\nlook\n</think>\n\n", tool_calls=[one]), say("tool", "r"),
          say("assistant", "no thought")], TOOLS, False),
        ([say("user", "q"), say("assistant", "", reasoning_content="\nlook\n", tool_calls=[two]), say("tool", "r"),
          say("assistant", "x", reasoning_content="y")], None, False),
        ([say("user", "q"), say("assistant", "a </think> b", reasoning_content="one"),
          say("user", "<tool_response>\nr\n</tool_response>"), say("assistant", "c")], None, False),
        ([say("developer", "d"), say("user", "q"), say("function", "f", name="g")], None, True),
        ([say("user", "q"), say("tool", "alone", tool_call_id="x")], None, True),
        ([say("user", "q")], None, "off"), ([say("user", "a"), say("assistant", "b"), say("user", "q")], TOOLS, "off"),
        ([say("assistant", "first"), say("user", "q"), say("assistant", "no <think> end")], None, False),
        ([say("system", "s"), say("assistant", "a"), say("assistant", "b</think>\n\nc<think>d</think>e")], None, False),
    ]
    return [{"messages": m, "tools": t, "reply": r is not False, "off": r == "off"} for m, t, r in conversations]


def has(what, key):
    return re.search(r"\." + key + r" = (\w+)", what).group(1) if "." + key + " =" in what else ""


def fits(what, conversation):
    """The expected outcome: "same" text; "rejected", because the template would leave something out; "free": Jinja
    fails."""
    m = conversation["messages"]
    if any(x["role"] in ("developer", "function") for x in m) and not has(what, "any_role"):
        return "rejected"
    if any(x.get("reasoning_content") for x in m) and (not has(what, "think") or has(what, "keep") == "CHAT_KEEP_NONE"):
        return "rejected"
    if conversation["tools"] and not has(what, "tools"):
        return "rejected"
    for x in m:
        if x.get("tool_calls"):
            if not has(what, "calls"):
                return "rejected"
            if "LLAMA3" in has(what, "calls") and (len(x["tool_calls"]) != 1 or (x["content"] or "").strip()):
                return "rejected"
            if "LLAMA3" in has(what, "calls") and "function" not in x["tool_calls"][0]:
                return "free"
    if conversation["tools"] and "LLAMA3" in what and m[1 if m[0]["role"] == "system" else 0]["role"] != "user":
        return "rejected"
    return "free" if conversation["off"] and (has(what, "think") != "CHAT_THINK_FREE"
                                      or has(what, "keep") == "CHAT_KEEP_NONE") else "same"


def compiled(template):
    try:
        return hf._compile_jinja_template(template)
    except Exception:
        return None


def render(t, conversation):
    """The text by transformers, or None: Jinja fails. The date is the template's own."""
    messages = hf._normalize_chat_messages(conversation["messages"])
    more = {"enable_thinking": False} if conversation["off"] else {}
    try:
        return t.render(messages=messages, tools=conversation["tools"], documents=None,
                        add_generation_prompt=conversation["reply"],
                        bos_token=BOS, eos_token="<|im_end|>",
                        strftime_now=jinja2.Undefined(), **more)
    except Exception:
        return None


# ---- random conversations ----

PIECES = ["the", "Paris", "12", "4.5", " ", "  ", "\n", "\n\n", "\t", "'", "\"", "\\", "\u00e9", "\u4e16\u754c",
          "\U0001f600", "{", "}", "%}", "<", ">", "|", "&", "<think>", "</think>",
          "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "\u00a0", "\u3000", "x = 1;", "None"]


def text(r, tokens=True, n=9):
    return "".join(r.choice(PIECES) for _ in range(r.randrange(n))) if tokens else "".join(r.choice([p for p in PIECES
            if "<" not in p or len(p) < 3]) for _ in range(r.randrange(n)))


def value(r, depth=0):
    k = r.randrange(8 if depth < 3 else 6)
    if k < 6:
        return [None, True, r.randrange(-10**6, 10**12), r.choice([1, -1]) * 10 ** r.uniform(-12, 25), text(r),
                False][k]
    return [value(r, depth + 1) for _ in range(r.randrange(3))] if k == 6 else {text(r, n=3): value(r, depth + 1)
                                                                                for _ in range(r.randrange(3))}


def random_conversation(r, what):
    m, tools = [], None
    if r.random() < 0.5:
        m.append(say("system", text(r)))
    for _ in range(r.randrange(1, 4)):
        m.append(say(r.choice(["user"] * 9 + ["developer"]) if m and has(what, "any_role") else "user", text(r)))
        if r.random() < 0.3:
            break
        for _ in range(r.randrange(1, 3)):
            a = say("assistant", text(r))
            if r.random() < 0.3 and has(what, "think") and has(what, "keep") != "CHAT_KEEP_NONE":
                a["reasoning_content"] = text(r) or "x"
            if r.random() < 0.5 and has(what, "calls"):
                llama = "LLAMA3" in has(what, "calls")
                arguments = r.choice([{"query": text(r), "v": value(r)}, {}, text(r)])
                a["tool_calls"] = [call("search", arguments, not llama and r.random() < 0.3)
                                   for _ in range(1 if llama else r.randrange(1, 3))]
                if llama:
                    a["content"] = ""
            m.append(a)
            for _ in range(r.randrange(2) if "tool_calls" not in a else len(a["tool_calls"])):
                m.append(say("tool", text(r, tokens=False)))
    if has(what, "tools") and r.random() < 0.5 and m[1 if m[0]["role"] == "system" and len(m) > 1
                                                     else 0]["role"] == "user":
        tools = TOOLS[:r.randrange(1, 3)]
    return {"messages": m, "tools": tools, "reply": m[-1]["role"] != "assistant", "off": False}


# ---- mutations ----

TAG = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.S)
TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\w+|==|!=|>=|<=|[^\w\s]", re.S)
SWAPS = [("==", "!="), ("and", "or"), ("first", "last"), ("role", "content"), ("system", "user"), ("user", "assistant"),
         ("tool", "user"), ("true", "false"), ("trim", "upper"),
         ("tojson", "string"), ("lstrip", "rstrip"), ("startswith", "endswith"), ("0", "1"), ("1", "2"), ("+", "~"),
         ("not", ""), ("message", "messages[0]"), ("index0", "index"),
         ("is", "is not"), ("bos_token", "eos_token"), ("defined", "none"), ("messages", "messages[1:]"),
         ("content", "content | trim"), ("4", "2"), ("string", "mapping")]


def mutate(r, t):
    tags = list(TAG.finditer(t))
    tag = r.choice(tags)
    a, b = tag.span()
    inside = [m for m in TOKEN.finditer(t, a + 2, b - 2)]
    k = r.randrange(22)
    tok = r.choice(inside) if inside else None
    if k < 3 and tok:                                       # drop a token, double it, swap two
        if k == 0:
            return tok.start(), tok.end() - tok.start(), ""
        if k == 1:
            return tok.end(), 0, " " + tok.group()
        i = inside.index(tok)
        if i + 1 < len(inside):
            x, y = tok, inside[i + 1]
            return x.start(), y.end() - x.start(), y.group() + t[x.end():y.start()] + x.group()
    if k < 9:                                               # another word that changes the meaning
        old, new = r.choice(SWAPS)
        if r.random() < 0.5:
            old, new = new, old
        where = [m.start() for m in re.finditer(r"(?<!\w)" + re.escape(old) + r"(?!\w)", t)] if old else []
        if where:
            return r.choice(where), len(old), new
    if k < 11:                                              # a letter of a literal
        quoted = [m for m in TOKEN.finditer(t) if m.group()[0] in "'\"" and len(m.group()) > 2]
        m = r.choice(quoted)
        at = r.randrange(m.start() + 1, m.end() - 1)
        return at, r.randrange(2), r.choice("x \n<|")
    if k == 11:                                             # marks
        return (a + 2, 1, "") if t[a + 2] == "-" else (a + 2, 0, "-")
    if k == 12:
        return (b - 3, 1, "") if t[b - 3] == "-" else (b - 2, 0, r.choice(["-", "+", "-"]))
    if k == 13:                                             # a whole tag less, or twice
        return (a, b - a, "") if r.random() < 0.5 else (b, 0, t[a:b])
    if k == 14:                                             # text between tags
        return b, 0, r.choice(["\n", " ", "x", "\n\n", "{{ '' }}", "{{ eos_token }}"])
    if k == 15:                                             # a name, everywhere: recorded as a change of the whole
        return 0, len(t), re.sub(r"(?<!\w)message(?!\w)", "m", t)
    # changes without effect: spaces in a tag, quotes, escapes, comments, line breaks
    if k == 16:
        return (tok.end(), 0, r.choice(["\n", "   "])) if tok else (b, 0, "{# #}")
    if k == 17:
        quoted = [m for m in TOKEN.finditer(t) if re.fullmatch(r"'[^'\"\\]*'", m.group())]
        m = r.choice(quoted)
        return m.start(), len(m.group()), '"' + m.group()[1:-1] + '"'
    if k == 18:
        where = [m.start() for m in re.finditer(r"\\n", t)]
        return (r.choice(where), 2, r.choice(["\\x0a", "\\u000a", "\n"])) if where else (b, 0, "{##}")
    if k == 19:
        return b, 0, r.choice(["{#- a remark -#}", "{# a remark #}", "{#a#}\n"])
    if k == 20:
        return 0, len(t), t.replace("\n", r.choice(["\r\n", "\r"])) + r.choice(["", "\n"])
    old = r.choice([m.group() for m in re.finditer(r"\n +(?=\{[%{])", t)] or ["{%"])
    return t.index(old), len(old), old + " " if old != "{%" else "{% "


def fnv(h, data):
    for c in data:
        h = ((h ^ c) * 0x100000001b3) % 2**64
    return h


def fingerprint(t, conversations):
    h = 0xcbf29ce484222325
    for conversation in conversations:
        x = render(t, conversation) if t else None
        h = fnv(h, b"\x01" if x is None else x.encode("utf-8", "surrogatepass") + b"\x00")
    return f"{h:016x}"


def filled(text):
    for mark, words in ((forms.SYSTEM, forms.SMOL_SYSTEM if "loop.first and messages" in text else forms.QWEN_SYSTEM),
                        (forms.DATE, "26 Jul 2024")):
        text = text.replace(mark, words)
    return text


def main():
    rows, conversations, r = forms.forms(sys.argv[1]), fixed(), random.Random(8)
    out = {"transformers": transformers.__version__, "jinja2": jinja2.__version__, "conversations": conversations,
           "forms": [],
           "random": [], "mutated": []}
    for name, what, t in rows:
        t = filled(t)
        c, cases = compiled(t), []
        for conversation in conversations:
            fate, x = fits(what, conversation), render(c, conversation)
            if fate == "same" and x is None:
                fate = "free"                               # content null with Qwen3's earlier templates
            cases.append(x if fate == "same" else fate == "free")
        out["forms"].append({"name": name, "template": t, "cases": cases})
    while len(out["random"]) < 200:
        i = len(out["random"]) % len(rows)
        conversation = random_conversation(r, rows[i][1])
        x = render(compiled(out["forms"][i]["template"]), conversation)
        if x is not None:
            out["random"].append({"form": i, **conversation, "text": x})
    seen, count = set(), int(sys.argv[2]) if len(sys.argv) > 2 else 500
    while len(out["mutated"]) < count:
        i = r.randrange(len(rows))
        form = out["forms"][i]
        t = form["template"]
        at, cut, put = mutate(r, t)
        new = t[:at] + put + t[at + cut:]
        if (i, new) in seen or new == t:
            continue
        seen.add((i, new))
        use = [k for k, x in enumerate(form["cases"]) if isinstance(x, str)]
        a, b = 0, 0                                         # the equal text before and after is not kept
        while a < min(len(t), len(new)) and t[a] == new[a]:
            a += 1
        while b < min(len(t), len(new)) - a and t[-1 - b] == new[-1 - b]:
            b += 1
        h = fingerprint(compiled(new), [conversations[k] for k in use])
        out["mutated"].append({"form": i, "at": len(t[:a].encode()), "cut": len(t[a:len(t) - b].encode()),
                               "put": new[a:len(new) - b], "hash": h})
    same = sum(m["hash"] == fingerprint(compiled(out["forms"][m["form"]]["template"]),
                                        [conversations[k] for k, x in enumerate(out["forms"][m["form"]]["cases"])
                                         if isinstance(x, str)])
               for m in out["mutated"])
    with gzip.GzipFile(os.path.join(HERE, "chat", "forms.json.gz"), "wb", mtime=0) as f:
        f.write(json.dumps(out, ensure_ascii=True, separators=(",", ":")).encode())
    print(f"{len(rows)} forms, {len(conversations)} conversations each, {len(out['random'])} random, {count} mutated, "
          f"{same} "
          f"of them render these conversations alike")


if __name__ == "__main__":
    main()
