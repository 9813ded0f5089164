#!/usr/bin/env python3
"""Makes tests/golden/chat.json: chat templates with what Jinja2 makes of them, set up as Hugging Face's library does.

    python3 -m venv /tmp/v && /tmp/v/bin/pip install jinja2==3.1.6
    /tmp/v/bin/python tests/golden/make_chat.py

The templates were written for this project in the manner of published ones.
"""
import datetime
import json
import pathlib

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1767225600 + 3 * 86400 + 3661  # 2026-01-04 01:01:01 UTC


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(form)
    return env


CHATML = """{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

TOOLS = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\nYou may call:\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step=true, last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning is string %}
            {%- set reasoning = message.reasoning %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query and (loop.last or (not loop.last and reasoning)) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

HEADERS = """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools is not none and messages | length != 0 %}
    {%- set first_user_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("One tool call at a time") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' + (tool_call.arguments | tojson) + "}<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""

INST = """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant!') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles!') }}{% endif %}{% endfor %}"""

TURNS = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}
{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}
"""

LINES = """{% for message in messages %}
{% if message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
  {% generation %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
  {% endgeneration %}
{% else %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

MACROS = """{%- macro render(item, prefix='- ', deep=false) -%}
{{ prefix }}{{ item.name }}{% if deep %} (deep){% endif %}

{%- endmacro -%}
{%- macro type_of(p) %}
    {%- if p.type == "array" %}{{- "list[" + type_of(p['items']) + "]" }}
    {%- elif p.enum is defined %}{{- '"' + p.enum | join('" | "') + '"' }}
    {%- elif p.type == "object" %}{% for k, v in p.properties|dictsort %}{{ k ~ ": " ~ type_of(v) }}{{ ", " if not loop.last else "" }}{% endfor %}
    {%- else %}{{- p.type }}{%- endif %}
{%- endmacro %}
{%- for tool in tools %}
{{ render(tool.function) }} {{ render(tool.function, prefix='* ', deep=true) }}
{{ type_of(tool.function.parameters) }}
{%- for name, value in tool.function.parameters.properties.items() %}
  {{ loop.index }}/{{ loop.length }} {{ name }}: {{ value.description | default("none given") }}
{%- endfor %}
{%- endfor %}"""

CHAT = [{"role": "user", "content": "Hi  "}, {"role": "assistant", "content": "Hello <b>\u00e9\u4f60\n"}, {"role": "user", "content": "\nHow are you?"}]
SYSTEM = [{"role": "system", "content": " Be brief. "}] + CHAT
TOOL = [{"type": "function", "function": {"name": "weather", "description": "Says \"it\" \u2603 <&>", "parameters": {"type": "object", "properties": {
    "city": {"type": "string", "description": "where"}, "days": {"type": "array", "items": {"type": "integer"}}, "unit": {"enum": ["C", "F"]}}, "required": ["city"], "x": [], "y": {}, "z": [1.5, None, True]}}}]
TOOL_CHAT = [{"role": "user", "content": "Weather?"},
             {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "K\u00f6ln", "n": 1.0, "big": 1e20, "s": 1e-7}}}]},
             {"role": "tool", "content": "rain"}, {"role": "tool", "content": "wind"}, {"role": "assistant", "content": "<think>\nso\n</think>\n\nTake a coat."}]

VARIABLES = [
    {"messages": CHAT, "add_generation_prompt": True}, {"messages": SYSTEM, "add_generation_prompt": False}, {"messages": CHAT[:1], "add_generation_prompt": True, "enable_thinking": False},
    {"messages": TOOL_CHAT, "tools": TOOL, "add_generation_prompt": True}, {"messages": SYSTEM, "tools": TOOL, "add_generation_prompt": True, "date_string": "1 May 2025"}, {"messages": CHAT[1:], "add_generation_prompt": True},
    {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, {"messages": CHAT + [{"role": "assistant", "content": "x</think>y", "reasoning": "z"}]},
]
VARIABLES = [{"bos_token": "<s>", "eos_token": "</s>", **v} for v in VARIABLES]

SMALL = [
    "{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ -7 // 2 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 1e3 }} {{ 0.1 + 0.2 }} {{ 1.0 }} {{ 1e16 }} {{ 1e-5 }} {{ 123456789.123 }}",
    "{{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 2 ** -1 }} {{ not 1 == 2 }} {{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 1 == 1.0 }} {{ true == 1 }}",
    "{{ 'a' ~ 1 ~ none ~ true ~ 1.5 }} {{ 'a' 'b' }} {{ 'a' * 3 }} {{ [1] + [2] }} {{ 'x' in 'xyz' }} {{ 2 not in [1, 3] }} {{ 'a' in {'a': 1} }}",
    "{{ [1, 'a', none, true, 1.5, {'k': 'v'}] }} {{ {'a': [1], \"b'\": 'it\\'s \"x\"'} }} {{ 'q\"' }} {{ ['q\"', \"q'\"] }} {{ (1, 2) | list }}",
    "{{ x }}|{{ x | default('d') }}|{{ '' | default('d', true) }}|{{ x is defined }}|{{ x is not defined }}|{{ none is none }}|{{ y is undefined and true }}",
    "{{ 'Hello'[1:3] }} {{ 'Hello'[::-1] }} {{ 'Hello'[-3:] }} {{ 'Hello'[10:] }}| {{ [1,2,3,4][1::2] }} {{ [1,2,3][:-1] }} {{ [1,2,3][-1] }} {{ 'h\u00e9llo'[1] }} {{ [1,2,3][::-2] }}",
    "{{ '  x '|trim }}|{{ 'aXb'|upper }}|{{ 'AxB'|lower }}|{{ 'hello wORLD'|title }}|{{ 'hELLO'|capitalize }}|{{ 'a,b'.split(',') }}|{{ ' a  b '.split() }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}",
    "{{ 'xxaxx'.strip('x') }}|{{ 'xxaxx'.lstrip('x') }}|{{ 'xxaxx'.rstrip('x') }}|{{ 'abc'.startswith('ab') }}|{{ 'abc'.endswith(('x', 'c')) }}|{{ 'abab'.replace('a', 'c', 1) }}|{{ 'abab'|replace('b', '') }}|{{ 'abab'.count('ab') }}|{{ 'abc'.find('c') }}",
    "{{ [3,1,2]|sort }} {{ ['b','A','c']|sort }} {{ [3,1,2]|sort(reverse=true) }} {{ [1,2,1]|unique|list }} {{ [1,2,3]|reverse|list }} {{ [1,2,3]|first }} {{ [1,2,3]|last }} {{ []|first }}|",
    "{{ [1,2,3]|join('-') }} {{ ['a','b']|join }} {{ ['a']|length }} {{ 'h\u00e9'|length }} {{ {'a':1}|length }} {{ {'a':1,'b':2}|items|list }} {{ {'b':1,'a':2}|dictsort }}",
    "{{ [{'a':1},{'a':2},{'b':3}]|selectattr('a','defined')|list }} {{ [{'a':1},{'a':2}]|map(attribute='a')|join(',') }} {{ [1,2,3]|select('odd')|list }} {{ [1,2,3]|reject('equalto', 2)|list }} {{ ['a','b']|map('upper')|list }} {{ [{'r':'x'},{'r':'y'}]|rejectattr('r','equalto','x')|list }}",
    "{{ '12'|int }} {{ '1x'|int }} {{ '3.7'|int }} {{ 3.9|int }} {{ 'x'|int(5) }} {{ '2.5'|float }} {{ (-3)|abs }} {{ 5|string ~ '!' }}",
    "{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent(1, false, true) }}|{{ 'a\\n'|indent(2) }}|",
    "{{ {'a': 1, 'b': [1, 2, {}], 'c': 'x<>&\\'\"\u00e9\\n\\t\\u0001'}|tojson }}", "{{ {'a': 1, 'b': [1, 2, {}], 'd': []}|tojson(indent=2) }}", "{{ 1.0|tojson }} {{ none|tojson }} {{ true|tojson }} {{ 'x'|tojson }} {{ 1e22|tojson }}",
    "{% for i in range(3) %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %} {% for i in range(5, 0, -2) %}{{ i }}{% endfor %} {% for i in [] %}x{% else %}empty{% endfor %}",
    "{% for i in range(10) if i is even %}{{ loop.index }}:{{ i }} {% endfor %}{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for a in ['x','y','z'] %}{{ loop.previtem }}<{{ a }}>{{ loop.nextitem }} {% endfor %}{% for i in 'ab' %}{% for j in 'cd' %}{{ loop.depth }}{{ i }}{{ j }} {% endfor %}{% endfor %}",
    "{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{% endfor %}{{ a }}{% if true %}{% set a = 3 %}{% endif %}{{ a }}{% set a, b = 4, 5 %}{{ a }}{{ b }}{% set t %}x{{ a }}y{% endset %}{{ t }}",
    "{% set ns = namespace(a=1, b='x') %}{% for i in [1,2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c }}|",
    "{{ 'a' if x else 'b' }}{{ 'a' if false }}|{{ 'y' if 1 and not 0 or x else 'n' }}", "{{ 1 if 1 else 2 if 0 else 3 }}", "a  {#- comment -#}  b {# c #}\n d", "{% raw %}{{ x }}{% endraw %}|{%- raw -%} {% if %} {%- endraw -%} z",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%+ if true %}b{% endif %}\nc", "  {% if true %}  {% if true %}x{% endif %}\n{% endif %}\ny", "{{ 'a' }}\n{{ 'b' }}\n\n{% if true %}\n\nx{% endif %}", "x {{- 'y' -}} z {%- if true -%} w {%- endif +%}\nv",
    "line\r\n{% if true %}\r\nx\r\n{% endif %}\r\n", "\t{% if true %}a\n\t {% endif %}b", "{{ '}}' }} {{ '%}' }} {{ {'a': {'b': 1}}['a']['b'] }} {{ {'a': {'b': 1}}.a.b }} {{ {}.a }}|",
    "{{ 5 is odd }}{{ 4 is even }}{{ 'a' is string }}{{ 1 is number }}{{ {} is mapping }}{{ [] is sequence }}{{ 1 is iterable }}{{ 6 is divisibleby 3 }}{{ 1 is eq 1 }}{{ true is boolean }}{{ 1 is boolean }}{{ 'a' is in ['a'] }}{{ true is true }}{{ 'ab' is lower }}{{ 1 is integer }}{{ 1.5 is float }}",
    "{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %B %Y, %H:%M') }}", "{{ {'a': 1}.get('a') }}{{ {'a': 1}.get('b') }}{{ {'a': 1}.get('b', 7) }}{{ {'a': 1}.keys()|list }}{{ {'a': 1}.values()|list }}", "{{ ', '.join(['a', 'b']) }} {{ 'A-b'.title() }} {{ 'x'.upper() }} {{ '12'.isdigit() }} {{ ' '.isspace() }} {{ 'a\\nb'.splitlines() }}",
    "{{ messages[0]['role'] }} {{ messages[-1].content }} {{ messages|length }} {{ (messages|last)['role'] }} {{ messages[0].nothing }}|", "{% macro f(a, b=2) %}{{ a }}{{ b }}{% if caller %}{% endif %}{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=4, a=5) }}{{ f() }}|",
    "{{ \"\\u00e9\\x41\\t\\\\ \\q\" }}", "{{ true and 'x' }} {{ false or 'y' }} {{ '' or none }} {{ 0 and 1 }}", "{% if x is defined and x %}a{% elif messages %}b{% else %}c{% endif %}", "{{ 'abc' > 'abb' }} {{ [1,2] == [1,2] }} {{ {'a':1} == {'a':1.0} }} {{ 1 != 2 }}", "{{ 10 | string | length }}{{ - 3 | abs }}",
    # Errors.
    "{{ x.y }}", "{{ messages.foo.bar }}", "{{ 1 + 'a' }}", "{{ 1 / 0 }}", "{% for i in 5 %}{% endfor %}", "{{ raise_exception('no') }}", "{% if %}", "{{ 'a }}", "{% for x in y %}", "{% endif %}", "{{ a b }}", "{% if true %}{% endfor %}", "{{ (1 }}", "{{ [1, 2 }}", "{{ 1 < 'a' }}", "{% set x.y = 1 %}", "{% set a, b = 1 %}", "{{ 'a'['b']['c'] }}", "{# open",
    "{{ undefined_function() }}", "{{ 'x'|no_such_filter }}", "{{ 1 is no_such_test }}", "{% break %}",
]


def main():
    env = environment()
    cases = []

    def add(source, variables):
        try:
            result = env.from_string(source).render(**variables)
        except Exception:  # any refusal counts; its words are ours to choose
            result = None
        cases.append({"template": source, "variables": variables, "result": result})
    for source in (CHATML, TOOLS, HEADERS, INST, TURNS, LINES, MACROS):
        for variables in VARIABLES:
            add(source, variables)
    for source in SMALL:
        add(source, VARIABLES[0])
    path = pathlib.Path(__file__).parent / "chat.json"
    path.write_text(json.dumps({"now": NOW, "cases": cases}, indent=0), encoding="utf-8")
    print(f"{len(cases)} cases, {sum(c['result'] is None for c in cases)} of them errors, {path.stat().st_size} bytes")


main()
