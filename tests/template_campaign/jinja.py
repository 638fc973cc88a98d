#!/usr/bin/env python3
"""Random Jinja templates: what `cria debug template --jinja-text` writes against Debian's jinja2.

usage: jinja.py CRIA [SEED [COUNT]]     needs: python3-jinja2

Typed random expressions (so that most of them work) in random statements, over one set of
variables, set up as Hugging Face transformers does.  An error there must be an error here.  Prints
each difference as a JSON line; exit code 1 when there is one. Left alone: texts of objects (namespace,
loop, range), complex numbers, the filters wordwrap and striptags, encode()."""
import copy, json, random, subprocess, sys, warnings
from datetime import datetime
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

warnings.simplefilter("ignore")
NOW = datetime(2025, 7, 4, 12, 34, 56)

class Generation(Extension):
    tags = {"generation"}
    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_g"), [], [], body).set_lineno(line)
    def _g(self, caller):
        return caller()

def raise_exception(message):
    raise TemplateError(message)

def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda f: NOW.strftime(f)

VARS = {
    "s": "Hello World", "t": "  pad ded \n", "u": "ünïcödé ß Ǆ", "e": "", "c": "a,b,,c", "l": "one\ntwo\r\nthree\n",
    "q": "it's \"quoted\" \\ back", "h": "<b>&amp;</b>", "j": "日本語 🙂 é", "d": "42", "f": "3.50", "w": "ABC_def-9",
    "i": 7, "z": 0, "n": -3, "big": 9007199254740993, "x": 2.5, "y": -0.125, "huge": 1e20, "small": 1e-7, "one": 1.0,
    "yes": True, "no": False, "nil": None,
    "ints": [3, 1, 2, 3], "strs": ["b", "A", "c", "a"], "mix": [1, "a", None, True, 2.5], "none": [], "nest": [[1, 2], [3], []],
    "dict": {"b": 1, "a": "x", "C": None, "n": {"k": [1, {"z": "ü"}]}}, "empty": {},
    "messages": [{"role": "system", "content": "Be <brief>."}, {"role": "user", "content": "Hi\n"},
                 {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": "é"}}}]},
                 {"role": "tool", "content": "7", "name": "f"}, {"role": "user", "content": [{"type": "text", "text": "part"}, {"type": "image"}]}],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": ["string", "null"]}}, "required": ["x"]}}}],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
}
R = random.Random()
pick = R.choice
STRS = ["'a'", '"b"', "''", "' '", "'\\n'", "'\\t'", "'Hello'", "','", "'é'", "'o'", "'l'", "'\\u00e9\\x41'", "'%s|%d'", "'{}-{}'", "'a' 'b'", "'\\'x\\''", "'<|im_start|>'", "'<think>'", "'aXbXc'"]
INTS = ["0", "1", "2", "3", "-1", "10", "1_000", "255", "4"]
FLOATS = ["1.5", "0.1", "2.0", "1e3", "100.0", "3.14159", "0.5", "1e16", "1e-5", "123456.789"]

def string(d):
    if d <= 0: return pick(STRS + list("stuechjqldfw") * 2 + ["bos_token"])
    d -= 1
    return pick([
        lambda: f"{string(d)} + {string(d)}", lambda: f"{any_(d)} ~ {any_(d)}", lambda: f"({string(d)})",
        lambda: f"{string(d)}|{pick(['upper','lower','title','capitalize','trim','string','e','escape','safe','urlencode','reverse','forceescape','striptags','indent','wordwrap','list|join','first','last','tojson','xmlattr','pprint','filesizeformat'][:18])}",
        lambda: f"{string(d)}.{pick(['upper','lower','title','capitalize','strip','lstrip','rstrip','swapcase','casefold'])}()",
        lambda: f"{string(d)}.{pick(['strip','lstrip','rstrip'])}({pick(STRS + ['none_', 'nil'])})",
        lambda: f"{string(d)}.replace({string(0)}, {string(0)}{pick(['', ', 1', ', -1', ', 0'])})",
        lambda: f"{string(d)}|replace({string(0)}, {string(0)}{pick(['', ', 1', ', count=2'])})",
        lambda: f"{string(d)}[{index(d)}]", lambda: f"{string(d)}{slice_(d)}", lambda: f"{string(d)} * {pick(['2','0','-1','i','yes'])}",
        lambda: f"{list_(d)}|join({pick(['', string(0), 'd=' + string(0), string(0) + ', attribute=' + pick(STRS)])})",
        lambda: f"{string(0)}.join({list_(d)})",
        lambda: f"{any_(d)}|tojson{pick(['', '', '(indent=2)', '(indent=0)', '(4)'[:0] , '(indent=4)', '(sort_keys=true)', '(ensure_ascii=true)', '(separators=(`,`, `:`))', '(indent=1, sort_keys=True)', '(indent=none_)', '(indent=nil)'])}",
        lambda: f"{any_(d)}|string", lambda: f"{pick(STRS)} % {pick([any_(d), '(' + any_(d) + ', ' + any_(d) + ')'])}",
        lambda: f"{pick(['`%s`', '`%5d|`', '`%-6s|`', '`%.2f`', '`%05.1f`', '`%x`', '`%r`', '`%%`', '`%e`', '`%+d`', '`%g`', '`%c`', '`%(b)s`', '`%o`'])}{pick(['|format(', ' % (', ' % ['])}{any_(d)}"
                .replace("% [", "% (") + ")",
        lambda: f"{pick(['`{}`', '`{0} {0}`', '`{:>5}|`', '`{:.2f}`', '`{a}`', '`{:,}`', '`{!r}`', '`{:05d}`', '`{:<6}|`', '`{:^7}|`', '`{:*^7}`', '`{0[0]}`', '`{:x}`', '`{:e}`', '`{:%}`', '`{{}}`', '`{:+}`', '`{:s}`', '`{:g}`', '`{:b}`'])}.format({any_(d)}{pick(['', ', a=' + any_(d)])})",
        lambda: f"{string(d)}|default({string(0)}{pick(['', ', true', ', boolean=true'])})", lambda: f"missing|default({any_(d)})",
        lambda: f"({string(d)} if {boolean(d)} else {string(d)})", lambda: f"({string(d)} if {boolean(d)})",
        lambda: f"{string(d)}|{pick(['center(9)', 'truncate(5)', 'truncate(5, true)', 'truncate(4, end=``)', 'truncate(6, leeway=0)', 'indent(2)', 'indent(2, true)', 'indent(first=true)', 'indent(`> `)', 'indent(3, blank=true)', 'wordwrap(5)', 'striptags', 'urlize'][:11])}",
        lambda: f"{string(d)}.{pick(['ljust(8)', 'rjust(8, `*`)', 'center(9)', 'center(8, `-`)', 'zfill(6)', 'expandtabs(4)', 'removeprefix(`H`)', 'removesuffix(`d`)', 'replace(old=`a`, new=`b`)'][:8])}",
        lambda: f"{list_(d)}|{pick(['first', 'last', 'max', 'min', 'random'][:4])}", lambda: f"messages[{pick(INTS[:4])}].{pick(['role', 'content', 'nope'])}", lambda: f"messages[{pick(INTS[:4])}]['role']",
        lambda: f"{string(d)}.{pick(['partition', 'rpartition'])}({pick(STRS)})[{pick(['0','1','2','-1'])}]",
        lambda: f"strftime_now({pick(['`%Y-%m-%d`', '`%d %b %Y`', '`%B %A %H:%M:%S %p %j`', '`%y %m %-d %e %%`'])})",
        lambda: f"dict.{pick(['a', 'b', 'n.k', 'C', 'keys', 'zz'])}", lambda: f"dict[{pick(['`a`', '`n`', '`zz`', 'e'])}]", lambda: f"dict.get({pick(['`a`', '`zz`'])}{pick(['', ', ' + any_(d)])})",
        lambda: f"{string(d)}.encode('utf-8')|string" if R.random() < .1 else string(d), lambda: f"{string(d)}|attr('upper')()", lambda: f"{string(d)}|wordcount|string",
    ])()

def integer(d):
    if d <= 0: return pick(INTS + ["i", "z", "n", "i"] + ["big"] * (R.random() < .2))
    d -= 1
    return pick([
        lambda: f"{integer(d)} {pick(['+', '-', '*', '//', '%', '+', '-'])} {integer(d)}", lambda: f"({integer(d)})", lambda: f"{pick(['-', '+', '- -'])}{integer(d)}",
        lambda: f"{any_(d)}|{pick(['length', 'count'])}", lambda: f"{any_(d)}|int{pick(['', '(5)', '(default=9)', '(0, 16)', '(base=2)', '(-1, 10)'])}", lambda: f"{integer(d)}|abs",
        lambda: f"{string(d)}.{pick(['find', 'rfind', 'count', 'index'])}({string(0)}{pick(['', '', ', 1', ', 1, 4', ', -3'])})",
        lambda: f"{list_(d)}.{pick(['index', 'count'])}({any_(0)})", lambda: f"{list_(d)}|sum", lambda: f"{integer(d)} ** {pick(['2', '3', '0', '2 ** 2', '-1'])}",
        lambda: f"{list_(d)}|{pick(['first', 'last', 'max', 'min'])}", lambda: f"ints[{index(d)}]", lambda: f"{string(d)}|wordcount", lambda: f"{integer(d)} if {boolean(d)} else {integer(d)}",
        lambda: f"{number(d)}|round|int", lambda: f"{integer(d)}|default(1)", lambda: f"{integer(d)}.bit_length()" if R.random() < .1 else integer(d),
    ])()

def number(d):
    if d <= 0: return pick(FLOATS + ["x", "y", "one", "x", "huge", "small"])
    d -= 1
    return pick([
        lambda: f"{number(d)} {pick(['+', '-', '*', '/', '//', '%'])} {pick([number, integer])(d)}", lambda: f"{integer(d)} / {integer(d)}", lambda: f"{any_(d)}|float{pick(['', '(1.5)', '(default=2)'])}",
        lambda: f"{number(d)}|round{pick(['', '(1)', '(2)', '(1, `floor`)', '(0, `ceil`)', '(method=`ceil`)', '(-1)', '(precision=1)', '(3, `common`)'])}", lambda: f"{number(d)}|abs", lambda: f"-{number(d)}",
        lambda: f"{number(d)} ** {pick(['2', '0.5', '-1'])}", lambda: f"{number(d)}.is_integer()" if R.random() < .2 else number(d),
    ])()

TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "iterable", "sequence", "callable", "odd", "even", "upper", "lower", "escaped", "eq 3", "equalto('a')", "ne 1", "lt 3", "gt(2)", "ge 1", "le 7", "in [1, 'a']", "in(ints)", "divisibleby 3", "divisibleby(2)", "sameas none", "sameas(true)", "sameas 1", "filter", "test", "greaterthan 2", "lessthan 2", "==(1)"]

def boolean(d):
    if d <= 0: return pick(["yes", "no", "true", "False", "True", "false", "nil", "missing", "e", "s", "none", "add_generation_prompt"])
    d -= 1
    return pick([
        lambda: f"{any_(d)} {pick(['==', '!='])} {any_(d)}", lambda: f"{integer(d)} {pick(['<', '<=', '>', '>='])} {pick([integer, number])(d)}", lambda: f"{string(d)} {pick(['<', '>', '<=', 'in', 'not in', '=='])} {string(d)}",
        lambda: f"not {boolean(d)}", lambda: f"{boolean(d)} {pick(['and', 'or'])} {boolean(d)}", lambda: f"{any_(d)} is {pick(['', 'not '])}{pick(TESTS)}",
        lambda: f"{any_(0)} {pick(['in', 'not in'])} {pick([list_, dict_, string])(d)}", lambda: f"({boolean(d)})", lambda: f"{string(d)}.{pick(['startswith', 'endswith'])}({pick([string(0), '(' + string(0) + ', ' + string(0) + ')', string(0) + ', 1'])})",
        lambda: f"{string(d)}.is{pick(['digit', 'alpha', 'alnum', 'space', 'upper', 'lower', 'title', 'numeric', 'decimal', 'identifier', 'ascii'])}()", lambda: f"{integer(d)} < {integer(d)} {pick(['<', '<=', '>', '=='])} {integer(d)}",
    ])()

def list_(d):
    if d <= 0: return pick(["ints", "strs", "mix", "none", "nest", "messages", "[1, 2]", "['x', 'y', 'x']", "[]", "(1, 'a')", "range(3)", "(1,)"])
    d -= 1
    at = lambda: pick(["'role'", "'content'", "'name'", "0", "'a.b'", "'function.name'"])
    return pick([
        lambda: f"[{any_(d)}, {any_(d)}]", lambda: f"({any_(d)}, {any_(d)})", lambda: f"{list_(d)} + {list_(d)}", lambda: f"{list_(d)}{slice_(d)}", lambda: f"{list_(d)}|list", lambda: f"{list_(d)}|reverse|list",
        lambda: f"{list_(d)}|sort{pick(['', '(reverse=true)', '(true)', '(case_sensitive=true)', '(attribute=' + at() + ')', '(attribute=`role,name`)'])}", lambda: f"{string(d)}|list", lambda: f"range({integer(0)}{pick(['', ', 5', ', 8, 2', ', 0, -1'])})|list",
        lambda: f"{string(d)}.{pick(['split', 'rsplit', 'splitlines', 'split', 'split'])}({pick(['', ''])})", lambda: f"{string(d)}.{pick(['split', 'rsplit'])}({string(0)}{pick(['', ', 1', ', maxsplit=1', ', 2'])})", lambda: f"{string(d)}.split(none_, 1)" if R.random() < .2 else f"{string(d)}.split(maxsplit=1)",
        lambda: f"messages|map(attribute={at()}{pick(['', ', default=0', ', default=``'])})|list", lambda: f"{list_(d)}|map({pick(['`upper`', '`string`', '`int`', '`length`', '`trim`', '`default`, 1', '`tojson`', '`replace`, `a`, `b`', '`float`', '`abs`', '`first`'])})|list",
        lambda: f"{list_(d)}|{pick(['select', 'reject'])}({pick(['', '`string`', '`defined`', '`eq`, 1', '`odd`', '`none`', '`in`, [1, `a`]', '`>`, 1', '`number`'])})|list",
        lambda: f"messages|{pick(['selectattr', 'rejectattr'])}({pick(['`role`, `eq`, `user`', '`tool_calls`', '`content`', '`name`, `defined`', '`role`, `in`, [`user`, `tool`]', '`content`, `string`', '`role`, `==`, `tool`', '`content`, `none`'])})|{pick(['list', 'map(attribute=`role`)|list', 'list|length'])}",
        lambda: f"{list_(d)}|unique{pick(['', '(true)', '(attribute=`role`)'])}|list", lambda: f"{dict_(d)}|{pick(['list', 'items|list', 'dictsort', 'dictsort(reverse=true)', 'dictsort(by=`value`)', 'dictsort(true)', 'length'])}", lambda: f"{dict_(d)}.{pick(['keys', 'values', 'items'])}()|list",
        lambda: f"{list_(d)}|batch(2{pick(['', ', 0'])})|list", lambda: f"{list_(d)}|slice(2{pick(['', ', 0'])})|list", lambda: f"messages|groupby('role')|map('first')|list", lambda: f"{list_(d)} * 2", lambda: f"messages|map(attribute='role')|unique|sort|join(',')",
        lambda: f"messages|groupby({at()}{pick(['', ', default=`?`'])})|map(attribute='grouper')|list",
    ])()

def dict_(d):
    if d <= 0: return pick(["dict", "empty", "messages[0]", "{'k': 1}", "{}", "tools[0].function", "{1: 'a', 'b': none}", "{'x': 1, 'x': 2}"])
    d -= 1
    return pick([lambda: f"{{{string(0)}: {any_(d)}, 'k2': {any_(d)}}}", lambda: f"dict.n", lambda: f"dict(a={any_(d)})" if R.random() < .2 else "{'q': [" + any_(d) + "]}", lambda: f"{dict_(d)}|items|list", lambda: "tools[0]",
                 lambda: "namespace(a=1)" if R.random() < .1 else "messages[2].tool_calls[0]"])()

def index(d): return pick(["0", "-1", "1", "2", "i", "99", "-9", "'a'", "yes"] + ["0"] * 4)
def slice_(d):
    p = lambda: pick(["", "1", "-1", "2", "0", "i", "-2", "99", "nil"])
    return f"[{p()}:{p()}{pick(['', '', ':' + pick(['', '2', '-1', '-2', '1'])])}]"

def any_(d):
    if R.random() < .05: return pick(["missing", "nil", "missing.x" if R.random() < .3 else "dict.zz", "yes", "none_", "loop"])
    return pick([string, string, integer, integer, number, boolean, list_, dict_])(d)

def printed(d):
    e = any_(d)
    return pick(["{{ %s }}"] * 6 + ["{{- %s }}", "{{ %s -}}", "{{- %s -}}", "{{%s}}", "{{+ %s }}"]) % e

def text(): return pick(["x", " ", "\n", "a b\n", "  ", "\n\n  ", "é", "#", "{", "}", "%", "\t", "\r\n", "end.\n"])

def tag(x): return pick(["{%% %s %%}"] * 5 + ["{%%- %s %%}", "{%% %s -%%}", "{%%- %s -%%}", "{%%+ %s %%}", "{%%%s%%}", "{%% %s +%%}", "\n  {%% %s %%}\n", "  {%%- %s -%%}  \n"]) % x

LOOP = ["loop.index", "loop.index0", "loop.first", "loop.last", "loop.length", "loop.revindex", "loop.revindex0", "loop.previtem", "loop.nextitem", "loop.cycle('a', 'b')", "loop.changed(v)", "loop.depth", "loop.depth0", "loop.previtem is defined", "loop.nextitem is undefined", "loop.nextitem|default('end')"]

def body(d, loop=False):
    return "".join(pick([text, lambda: printed(min(d, 2)), lambda: stmt(d, loop)] + [lambda: "{{ %s }}" % pick(LOOP)] * (2 * loop))() for _ in range(R.randint(1, 3)))

def stmt(d, loop=False):
    if d <= 0: return printed(1)
    d -= 1
    v = lambda: pick(["v", "v2", "s", "i"])
    return pick([
        lambda: tag("if " + boolean(d)) + body(d, loop) + (tag("elif " + boolean(d)) + body(d, loop) if R.random() < .4 else "") + (tag("else") + body(d, loop) if R.random() < .5 else "") + tag("endif"),
        lambda: tag(f"for v in {pick([list_(d), list_(d), string(0), dict_(0)])}{pick(['', '', '', ' if ' + boolean(d), ' if v', ' if loop.first'[:0]])}") + body(d, True) + (tag("else") + body(d) if R.random() < .3 else "") + tag("endfor"),
        lambda: tag(f"for k, v in {pick(['dict.items()', 'dict|items', 'dict|dictsort', '[(1, 2), (3, 4)]', 'messages[0].items()', 'nest'])}") + "{{ k }}={{ v }};" + body(d, True) + tag("endfor"),
        lambda: tag(f"for v in {list_(0)}") + body(d, True) + tag("if " + pick(["loop.index > 1", "v is string", boolean(1)])) + tag(pick(["break", "continue"])) + tag("endif") + body(d, True) + tag("endfor"),
        lambda: tag(f"set {v()} = {any_(d + 1)}") + "{{ v }}{{ s }}", lambda: tag("set v, v2 = " + pick(["1, 2", "ints[:2]", "('a', 'b')", "dict.items()|first", "ints"])) + "{{ v }}-{{ v2 }}",
        lambda: tag(f"set v{pick(['', '', ' | upper', ' | trim', ' | replace(`a`, `b`)'])}") + body(d) + tag("endset") + "[{{ v }}]{{ v is string }}",
        lambda: tag("set ns = namespace(%s)" % pick(["a=1", "a='x', b=[]", "", "dict", "{'a': 3}"])) + tag(f"for v in {list_(0)}") + tag("set ns.a = " + pick(["v", "loop.index", "ns.a ~ 'x'", "ns.a + 1"])) + tag("endfor") + "{{ ns.a }}{{ ns.b }}",
        lambda: tag(f"macro m(p, q={any_(0)}, r='R')") + pick(["{{ p }}|{{ q }}|{{ r }}", "{{ p }}{{ varargs }}{{ kwargs }}", "{{ p is defined }}{{ q }}", "{{ p }}{{ caller() if caller }}", "{{ m.name }}{{ m.arguments }}"]) + tag("endmacro") + "{{ m(%s) }}" % pick(["", "1", "1, 2", "1, q=3", "r='z', p=0", "1, 2, 3, 4", "s=1", any_(d), "*ints", "**{'p': 5}", "1, r=" + any_(0)]),
        lambda: tag("macro m(p)") + "<{{ caller(%s) }}{{ p }}>" % pick(["", "1", "p"]) + tag("endmacro") + tag(pick(["call m(2)", "call(w) m('p')", "call(w=5) m(i)"])) + body(d) + "{{ w }}" + tag("endcall"),
        lambda: tag("filter " + pick(["upper", "trim", "indent(2)", "replace('a', 'b')", "upper | trim", "length"])) + body(d, loop) + tag("endfilter"),
        lambda: tag("with " + pick(["v = 1", "v = 1, v2 = s", "s = 'in'", ""])) + body(d) + "{{ v }}{{ s }}" + tag("endwith"), lambda: tag("raw") + "{{ x }}{% if %}" + tag("endraw"), lambda: pick(["{# c #}", "{#- c -#}", "  {# c #}\n", "{# {{ x }} #}", "\n{#- a\nb #}\n"]),
        lambda: tag("for v in nest recursive") + "[{{ v if v is not iterable else loop(v) }}]" + tag("endfor"), lambda: tag("generation") + body(d) + tag("endgeneration"), lambda: tag("do ns") if R.random() < .05 else tag("set _ = " + any_(d)),
        lambda: tag("for v in " + list_(0)) + tag("for v2 in " + list_(0)) + "{{ loop.index }}" + body(d, True) + tag("endfor") + "{{ loop.index }}" + tag("endfor"), lambda: tag("block b1") + body(d) + tag("endblock") if R.random() < .1 else body(d),
        lambda: "{%- set out = [] -%}" + tag("for m in messages") + pick(["{{ m.role }}: {{ m.content }}", "{{ m['content'] | trim }}", "{{ m.content if m.content is string else m.content | tojson }}", "{{ m.tool_calls }}", "{{ m.get('name', '-') }}", "{% for k in m %}{{ k }},{% endfor %}"]) + tag("endfor"),
    ])()

def template():
    return "".join(pick([text, lambda: printed(3), lambda: printed(2), lambda: stmt(3), lambda: stmt(2)])() for _ in range(R.randint(1, 3))).replace("`", "'")

def reference(t):
    try:
        return "text", env.from_string(t).render(**copy.deepcopy(VARS))
    except RecursionError: return None, None
    except Exception as x:
        return "error", f"{type(x).__name__}: {x}"

def main():
    cria, seed, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1, int(sys.argv[3]) if len(sys.argv) > 3 else 5000
    R.seed(seed)
    cases = []
    while len(cases) < count:
        t = template()
        kind, out = reference(t)
        if kind and " at 0x" not in (out or "") and len(out) < 20000: cases.append((t, kind, out))
    lines = "".join(json.dumps({"template_text": t, "vars": VARS}) + "\n" for t, _, _ in cases)
    got = subprocess.run([cria, "debug", "template", "--jinja-text", "--now", "2025-07-04T12:34:56"], input=lines.encode(), stdout=subprocess.PIPE, timeout=600)
    answers = [json.loads(x) for x in got.stdout.decode().splitlines()]
    assert len(answers) == len(cases), f"{len(answers)} answers of {len(cases)}, exit {got.returncode}"
    bad = errors = 0
    for (t, kind, out), a in zip(cases, answers):
        errors += kind == "error"
        if (kind == "error") == ("error" in a) and (kind == "error" or a["text"] == out): continue
        bad += 1
        print(json.dumps({"template_text": t, kind: out, "got": a}, ensure_ascii=False))
    print(f"{count} templates, {errors} of them errors, {bad} differences", file=sys.stderr)
    sys.exit(bad > 0)

main()
