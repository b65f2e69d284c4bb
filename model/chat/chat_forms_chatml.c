/* chat_forms_chatml.c: made by tests/golden/make_chat_forms.py: known chat templates, each with what
 * it writes. Comments are left out; indentation that marks strip stands outside of the literals. \001
 * stands for the text of a default system message, \002 for a date. */
#include "model/chat/chat_in.h"
#include <stddef.h>

static const char chatml[] =
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char chatml_2[] =
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char chatml_bos[] =
    "{{ bos_token }}{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char chatml_bos_2[] =
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}"
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char chatml_bos_3[] =
    "{{ bos_token }}{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char smollm2[] =
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\n\001<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char smollm2_2[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\n\001<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char smollm2_bos[] =
    "{{ bos_token }}{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\n\001<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char smollm2_bos_2[] =
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}"
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\n\001<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char smollm2_bos_3[] =
    "{{ bos_token }}{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\n\001<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char chatml_3[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char chatml_4[] =
    "{% for message in messages %}{{'<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char chatml_5[] =
    "{% for message in messages %}{{'<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const struct chat_form chat_forms_chatml[] = {
    { "chatml", { .family = CHAT_CHATML, .any_role = true }, chatml },
    { "chatml 2", { .family = CHAT_CHATML, .any_role = true }, chatml_2 },
    { "chatml, bos", { .family = CHAT_CHATML, .any_role = true, .bos = true }, chatml_bos },
    { "chatml, bos 2", { .family = CHAT_CHATML, .any_role = true, .bos = true }, chatml_bos_2 },
    { "chatml, bos 3", { .family = CHAT_CHATML, .any_role = true, .bos = true }, chatml_bos_3 },
    { "smollm2", { .family = CHAT_CHATML, .any_role = true }, smollm2 },
    { "smollm2 2", { .family = CHAT_CHATML, .any_role = true }, smollm2_2 },
    { "smollm2, bos", { .family = CHAT_CHATML, .any_role = true, .bos = true }, smollm2_bos },
    { "smollm2, bos 2", { .family = CHAT_CHATML, .any_role = true, .bos = true }, smollm2_bos_2 },
    { "smollm2, bos 3", { .family = CHAT_CHATML, .any_role = true, .bos = true }, smollm2_bos_3 },
    { "chatml 3", { .family = CHAT_CHATML, .any_role = true }, chatml_3 },
    { "chatml 4", { .family = CHAT_CHATML, .any_role = true }, chatml_4 },
    { "chatml 5", { .family = CHAT_CHATML, .any_role = true }, chatml_5 },
    { NULL, { 0 }, NULL },
};
