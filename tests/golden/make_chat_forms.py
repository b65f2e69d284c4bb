"""make_chat_forms.py WHEELS: model/chat/chat_forms_*.c: the chat templates that this program writes, word for word.

WHEELS as in make_golden_chat.py; make_mutated_templates.py also uses forms(), for golden data. Templates that TRL's
package does not have are made from those it has, by the words in which the published ones differ: Qwen3's three
versions of 2025, QwQ, Qwen3-Thinking-2507, ChatML with bos_token."""
import glob
import os
import re
import sys
import zipfile

SYSTEM, DATE = "\x01", "\x02"           # what a form leaves open: the text of a default system message, a date
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SMOL_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
BOS = "{{ bos_token }}"
ADD = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
LOOP = "{% for message in messages %}"
DEFAULT = ("{% if loop.first and messages[0]['role'] != 'system' %}"
           "{{ '<|im_start|>system\\n" + SYSTEM + "<|im_end|>\\n' }}{% endif %}")
TURN = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
REPLY = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
SWITCH = """
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}"""


def wheel(folder, name):
    return sorted(glob.glob(os.path.join(folder, name + "-*.whl")))[-1]


def edit(text, *pairs):
    for old, new, times in pairs:
        assert text.count(old) == times, (old, text.count(old))
        text = text.replace(old, new)
    return text


def earlier_qwen3(t):
    """Qwen3's template of May 2025: contents are taken as they are."""
    return edit(
        t, (' and message.content is string and not(message', ' and not(message', 1),
        ("""    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
""", "", 1),
        ("message.role + '\\n' + content + '<|im_end|>' + '\\n'",
         "message.role + '\\n' + message.content + '<|im_end|>' + '\\n'", 1),
        ("        {%- set reasoning_content = '' %}\n",
         "        {%- set content = message.content %}\n        {%- set reasoning_content = '' %}\n", 1),
        ("message.reasoning_content is string",
         "message.reasoning_content is defined and message.reasoning_content is not none", 1),
        ("""            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n')\
.split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
""", """            {%- if '</think>' in message.content %}
                {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
                {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n')\
.split('<think>')[-1].lstrip('\\n') %}
""", 1),
        ("        {{- content }}\n        {{- '\\n</tool_response>' }}",
         "        {{- message.content }}\n        {{- '\\n</tool_response>' }}", 1))


def first_qwen3(t):
    """Qwen3's template of April 2025, written for engines without startswith and [::-1]."""
    return edit(
        earlier_qwen3(t),
        ("""{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not(message.content.startswith('<tool_response>')\
 and message.content.endswith('</tool_response>')) %}
""", """{%- for forward_message in messages %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- set message = messages[index] %}
    {%- set tool_start = '<tool_response>' %}
    {%- set tool_start_length = tool_start|length %}
    {%- set start_of_message = message.content[:tool_start_length] %}
    {%- set tool_end = '</tool_response>' %}
    {%- set tool_end_length = tool_end|length %}
    {%- set start_pos = (message.content|length) - tool_end_length %}
    {%- if start_pos < 0 %}
        {%- set start_pos = 0 %}
    {%- endif %}
    {%- set end_of_message = message.content[start_pos:] %}
    {%- if ns.multi_step_tool and message.role == "user" and not(start_of_message == tool_start\
 and end_of_message == tool_end) %}
""", 1),
        ("message.content.split('</think>')[-1].lstrip('\\n') %}",
         "(message.content.split('</think>')|last).lstrip('\\n') %}", 1),
        ("""{%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n')\
.split('<think>')[-1].lstrip('\\n') %}
""", """{%- set reasoning_content = (message.content.split('</think>')|first).rstrip('\\n') %}
                {%- set reasoning_content = (reasoning_content.split('<think>')|last).lstrip('\\n') %}
""", 1))


def opens_thought(t):
    return edit(t, (SWITCH, "", 1),
                ("{{- '<|im_start|>assistant\\n' }}", "{{- '<|im_start|>assistant\\n<think>\\n' }}", 1))


def no_default(t):
    """Qwen2.5 without a default system message, as some trainers leave it."""
    return edit(
        t, ("""    {%- else %}
        {{- '""" + SYSTEM + """' }}
    {%- endif %}""", "    {%- endif %}", 1), ("""    {%- else %}
        {{- '<|im_start|>system\\n""" + SYSTEM + """<|im_end|>\\n' }}
    {%- endif %}""", "    {%- endif %}", 1))


def qwq(t):
    """QwQ-32B, from Qwen2.5: no default system message, no thought in any turn."""
    return edit(
        t, ("{{- '" + SYSTEM + "' }}", "{{- '' }}", 1), ("""    {%- else %}
        {{- '<|im_start|>system\\n""" + SYSTEM + """<|im_end|>\\n' }}
    {%- endif %}""", "    {%- endif %}", 1),
        (""" or (message.role == "assistant" and not message.tool_calls) %}""", " %}", 1),
        ("""    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
""", """    {%- elif message.role == "assistant" and not message.tool_calls %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + content }}
""", 1), ("{{- '<|im_start|>assistant\\n' }}", "{{- '<|im_start|>assistant\\n<think>\\n' }}", 1))


def forms(wheels):
    """The known templates: name, struct chat_variant of what it writes, text."""
    with zipfile.ZipFile(wheel(wheels, "trl")) as z:
        def have(name):
            return z.read(f"trl/chat_templates/{name}.jinja").decode()
        qwen25, qwen25t = have("qwen2_5"), have("qwen2_5_training")
        qwen3, qwen3t = have("qwen3"), have("qwen3_training")
        instruct, instruct_t = have("qwen3_instruct_2507"), have("qwen3_instruct_2507_training")
        l3, l3t = have("llama3"), have("llama3_training")
        l31, l32 = have("llama3_1"), have("llama3_2")
    qwen25, qwen25t = (edit(t, (QWEN_SYSTEM, SYSTEM, 2)) for t in (qwen25, qwen25t))
    l31, l32 = (edit(t, ('"26 Jul 2024"', '"' + DATE + '"', 1)) for t in (l31, l32))
    plain = ".family = CHAT_CHATML, .any_role = true"
    q2 = ".family = CHAT_CHATML, .tools = true, .calls = CHAT_CALLS_QWEN2"
    q3 = ".family = CHAT_CHATML, .tools = true, .calls = CHAT_CALLS_QWEN3"
    free = q3 + ", .think = CHAT_THINK_FREE, .keep = CHAT_KEEP_LAST"
    opened = q3 + ", .think = CHAT_THINK_OPEN, .keep = CHAT_KEEP_LAST"
    l = ".family = CHAT_LLAMA3, .any_role = true, .bos = true"
    lt = l + ", .tools = true, .calls = CHAT_CALLS_LLAMA3"
    rows = []
    for system in ("", DEFAULT):
        for bos in (0, 1):
            # the four orders of what public templates put in front
            fronts = [BOS + LOOP, ADD + BOS + LOOP, BOS + ADD + LOOP] if bos else [ADD + LOOP, LOOP]
            for k, front in enumerate(fronts):
                name = ("smollm2" if system else "chatml") + (", bos" if bos else "") + (f" {k + 1}" if k else "")
                rows.append((name, plain + (", .bos = true" if bos else ""), front + system + TURN + REPLY))
    rows.append(("chatml 3", plain, LOOP + TURN.replace("'<|im_end|>' + '\\n'", "'<|im_end|>\\n'") + REPLY))
    for k, t in enumerate((TURN, TURN.replace("'<|im_end|>' + '\\n'", "'<|im_end|>\\n'"))):
        t = t.replace("message['role']", "message.role").replace("message['content']", "message.content")
        rows.append((f"chatml {k + 4}", plain, LOOP + t + REPLY))
    rows += [
        ("qwen2.5", q2, qwen25), ("qwen2.5, training", q2, qwen25t),
        ("qwen2.5, no default", q2 + ", .gap = true", no_default(qwen25)),
        ("qwq 2", q2 + ", .think = CHAT_THINK_FREE, .keep = CHAT_KEEP_NONE, .gap = true",
         edit(qwq(qwen25), ("assistant\\n<think>\\n' }}", "assistant\\n' }}", 1))),
        ("qwq", q2 + ", .think = CHAT_THINK_OPEN, .keep = CHAT_KEEP_NONE, .gap = true", qwq(qwen25)),
        ("qwen3", free, qwen3), ("qwen3, May 2025", free, earlier_qwen3(qwen3)),
        ("qwen3, April 2025", free, first_qwen3(qwen3)),
        ("qwen3, training", q3 + ", .think = CHAT_THINK_FREE, .keep = CHAT_KEEP_ALL", qwen3t),
        ("qwen3-thinking", opened, opens_thought(qwen3)),
        ("qwen3-thinking, May 2025", opened, opens_thought(earlier_qwen3(qwen3))),
        ("qwen3-instruct", q3, instruct), ("qwen3-instruct, training", q3, instruct_t),
        ("llama3", l, l3), ("llama3, training", l, l3t), ("llama3.1", lt, l31), ("llama3.2", lt, l32),
    ]
    return rows


FAMILIES = {                            # file: names of its templates begin with
    "chatml": ("chatml", "smollm2"), "qwen2": ("qwen2.5", "qwq"), "qwen3": ("qwen3",), "llama3": ("llama3",)
}
WIDTH = 120
ESCAPES = {"\n": "\\n", "\\": "\\\\", '"': '\\"', SYSTEM: "\\001", DATE: "\\002"}


def pieces(text, width):
    """text cut into pieces of at most width columns, behind a tag where there is one, else behind a space."""
    while len(text) > width:
        ends = [m.end() for m in re.finditer(r"[%}]\}(?=\{)", text[:width + 1]) if m.end() <= width]
        at = ends[-1] if ends else text.rfind(" ", 0, width) + 1
        assert at > 0, text
        yield text[:at]
        text = text[at:]
    yield text


def literal(text):
    """A template as C string literals, a line each, indented as the template's lines are."""
    for line in re.split(r"(?<=\n)", text):
        if not line:
            continue
        stripped = re.sub(r"^ +(?=\{[%{#]-)", "", line)     # what a mark strips stays outside of the literal
        indent = " " * (4 + len(line) - len(stripped))
        escaped = "".join(ESCAPES.get(c, c) for c in stripped)
        for piece in pieces(escaped, WIDTH - 3 - len(indent)):
            yield f'{indent}"{piece}"'


def row(name, what, text):
    """Lines of a table's row."""
    one = f"    {{ {name}, {what}, {text} }},"
    if len(one) <= WIDTH:
        return [one]
    cut = what.rfind(",", 0, WIDTH - 10) + 1 if len(what) > WIDTH - 10 else len(what)
    rest = [f"       {what[cut:]}"] if what[cut:] else []
    lines = [f"    {{ {name},", f"      {what[:cut]}", *rest]
    return lines[:-1] + [lines[-1] + ",", f"      {text} }},"]


def identifier(name):
    return re.sub(r"\W+", "_", name).lower()


def family_file(family, rows):
    out = [f"/* chat_forms_{family}.c: made by tests/golden/make_chat_forms.py: known chat templates, each with what",
           " * it writes. Comments are left out; indentation that marks strip stands outside of the literals. \\001",
           " * stands for the text of a default system message, \\002 for a date. */",
           '#include "model/chat/chat_in.h"', "#include <stddef.h>", ""]
    for name, _, text in rows:
        # comments print nothing: they have marks on both sides
        text = re.sub(r"\{#.*?-#\}\n|\{#.*?#\}\n", "", text, flags=re.S)
        out += [f"static const char {identifier(name)}[] =", *literal(text)]
        out[-1] += ";"
        out.append("")
    out.append(f"const struct chat_form chat_forms_{family}[] = {{")
    for name, what, _ in rows:
        out += row(f'"{name}"', f"{{ {what} }}", identifier(name))
    return "\n".join(out + ["    { NULL, { 0 }, NULL },", "};"]) + "\n"


def main():
    rows = forms(sys.argv[1])
    here = os.path.dirname(os.path.abspath(__file__))
    for family, names in FAMILIES.items():
        path = os.path.join(here, "..", "..", "model", "chat", f"chat_forms_{family}.c")
        with open(path, "w", encoding="utf-8") as f:
            f.write(family_file(family, [r for r in rows if r[0].startswith(names)]))
    print(f"{len(rows)} forms, {sum(len(t) for _, _, t in rows)} bytes")


if __name__ == "__main__":
    main()
