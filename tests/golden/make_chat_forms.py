"""make_chat_forms.py WHEELS: model/chat/chat_forms.c: the chat templates that this program writes, word for word.
WHEELS as in make_golden_chat.py, which also uses forms() to make golden data with them. What TRL's package does not have is made from what it has, by the
words in which the published templates differ: Qwen3's three versions of 2025, QwQ, Qwen3-Thinking-2507, ChatML with bos_token."""
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
DEFAULT = ("{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n" + SYSTEM + "<|im_end|>\\n' }}{% endif %}")
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
        ("message.role + '\\n' + content + '<|im_end|>' + '\\n'", "message.role + '\\n' + message.content + '<|im_end|>' + '\\n'", 1),
        ("        {%- set reasoning_content = '' %}\n", "        {%- set content = message.content %}\n        {%- set reasoning_content = '' %}\n", 1),
        ("message.reasoning_content is string", "message.reasoning_content is defined and message.reasoning_content is not none", 1),
        ("""            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
""", """            {%- if '</think>' in message.content %}
                {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
                {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
""", 1),
        ("        {{- content }}\n        {{- '\\n</tool_response>' }}", "        {{- message.content }}\n        {{- '\\n</tool_response>' }}", 1))


def first_qwen3(t):
    """Qwen3's template of April 2025, written for engines without startswith and [::-1]."""
    return edit(
        earlier_qwen3(t),
        ("""{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
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
    {%- if ns.multi_step_tool and message.role == "user" and not(start_of_message == tool_start and end_of_message == tool_end) %}
""", 1),
        ("message.content.split('</think>')[-1].lstrip('\\n') %}", "(message.content.split('</think>')|last).lstrip('\\n') %}", 1),
        ("""{%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
""", """{%- set reasoning_content = (message.content.split('</think>')|first).rstrip('\\n') %}
                {%- set reasoning_content = (reasoning_content.split('<think>')|last).lstrip('\\n') %}
""", 1))


def opens_thought(t):
    return edit(t, (SWITCH, "", 1), ("{{- '<|im_start|>assistant\\n' }}", "{{- '<|im_start|>assistant\\n<think>\\n' }}", 1))


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
    """Rows of model/chat/chat_forms.c: name, what the writer is to do, text."""
    with zipfile.ZipFile(wheel(wheels, "trl")) as z:
        def have(name):
            return z.read(f"trl/chat_templates/{name}.jinja").decode()
        qwen25, qwen25t, qwen3, qwen3t = have("qwen2_5"), have("qwen2_5_training"), have("qwen3"), have("qwen3_training")
        instruct, instruct_t, l3, l3t = have("qwen3_instruct_2507"), have("qwen3_instruct_2507_training"), have("llama3"), have("llama3_training")
        l31, l32 = have("llama3_1"), have("llama3_2")
    qwen25, qwen25t = (edit(t, (QWEN_SYSTEM, SYSTEM, 2)) for t in (qwen25, qwen25t))
    l31, l32 = (edit(t, ('"26 Jul 2024"', '"' + DATE + '"', 1)) for t in (l31, l32))
    plain = ".family = CHAT_CHATML, .any_role = true"
    q2 = ".family = CHAT_CHATML, .tools = true, .calls = CHAT_CALLS_QWEN2"
    q3 = ".family = CHAT_CHATML, .tools = true, .calls = CHAT_CALLS_QWEN3"
    free, opened = q3 + ", .think = CHAT_THINK_FREE, .keep = CHAT_KEEP_LAST", q3 + ", .think = CHAT_THINK_OPEN, .keep = CHAT_KEEP_LAST"
    l = ".family = CHAT_LLAMA3, .any_role = true, .bos = true"
    lt = l + ", .tools = true, .calls = CHAT_CALLS_LLAMA3"
    rows = []
    for system in ("", DEFAULT):
        for bos in (0, 1):
            # the four orders of what public templates put in front
            for k, front in enumerate([ADD + LOOP, LOOP] if not bos else [BOS + LOOP, ADD + BOS + LOOP, BOS + ADD + LOOP]):
                base = "smollm2" if system else "chatml"
                rows.append((base + (", bos" if bos else "") + (f" {k + 1}" if k else ""), plain + (", .bos = true" if bos else ""), front + system + TURN + REPLY))
    rows.append(("chatml 3", plain, LOOP + TURN.replace("'<|im_end|>' + '\\n'", "'<|im_end|>\\n'") + REPLY))
    for k, t in enumerate((TURN, TURN.replace("'<|im_end|>' + '\\n'", "'<|im_end|>\\n'"))):
        rows.append((f"chatml {k + 4}", plain, LOOP + t.replace("message['role']", "message.role").replace("message['content']", "message.content") + REPLY))
    rows += [
        ("qwen2.5", q2, qwen25), ("qwen2.5, training", q2, qwen25t), ("qwen2.5, no default", q2 + ", .gap = true", no_default(qwen25)),
        ("qwq 2", q2 + ", .think = CHAT_THINK_FREE, .keep = CHAT_KEEP_NONE, .gap = true", edit(qwq(qwen25), ("assistant\\n<think>\\n' }}", "assistant\\n' }}", 1))),
        ("qwq", q2 + ", .think = CHAT_THINK_OPEN, .keep = CHAT_KEEP_NONE, .gap = true", qwq(qwen25)),
        ("qwen3", free, qwen3), ("qwen3, May 2025", free, earlier_qwen3(qwen3)), ("qwen3, April 2025", free, first_qwen3(qwen3)),
        ("qwen3, training", q3 + ", .think = CHAT_THINK_FREE, .keep = CHAT_KEEP_ALL", qwen3t),
        ("qwen3-thinking", opened, opens_thought(qwen3)), ("qwen3-thinking, May 2025", opened, opens_thought(earlier_qwen3(qwen3))),
        ("qwen3-instruct", q3, instruct), ("qwen3-instruct, training", q3, instruct_t),
        ("llama3", l, l3), ("llama3, training", l, l3t), ("llama3.1", lt, l31), ("llama3.2", lt, l32),
    ]
    return rows


def literal(text):
    out, width = [], 110
    for line in re.split(r"(?<=\n)", text):
        line = re.sub(r"^ +(?=\{[%{#]-)", "", line)             # what a mark strips is not kept
        esc = "".join({"\n": "\\n", "\\": "\\\\", '"': '\\"', "\x01": "\\001", "\x02": "\\002"}.get(c, c) for c in line)
        while len(esc) > width:
            at = width
            while esc[at - 1] == "\\" or re.search(r"\\0?0?$", esc[:at]):
                at -= 1
            out.append(esc[:at])
            esc = esc[at:]
        if esc:
            out.append(esc)
    return out


def main():
    rows = forms(sys.argv[1])
    out = ["/* chat_forms.c: made by tests/golden/make_chat_forms.py: the chat templates that this program writes, each with what the writer",
           " * does for it. Comments and indentation that marks strip are left out. \\001 stands for the text of a default system message, \\002 for a date. */",
           '#include "model/chat/chat_in.h"', "#include <stddef.h>", "", "const struct chat_form chat_forms_known[] = {"]
    for name, what, text in rows:
        text = re.sub(r"\{#.*?-#\}\n|\{#.*?#\}\n", "", text, flags=re.S)      # comments print nothing here: marks on both sides
        lines = literal(text)
        out += [f'    {{ "{name}",', f'      {{ {what} }},']
        out += [f'      "{x}"' for x in lines]
        out[-1] += " },"
    out += ["    { NULL, { 0 }, NULL },", "};"]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "model", "chat_forms.c")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")
    print(f"{len(rows)} forms, {sum(len(t) for _, _, t in rows)} bytes")


if __name__ == "__main__":
    main()
