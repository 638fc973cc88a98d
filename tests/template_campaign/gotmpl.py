#!/usr/bin/env python3
"""Random Go templates: what `cria debug template --go-text` writes beside Go's text/template.

usage: gotmpl.py CRIA [SEED [COUNT]]     needs: golang-go

An error there must be an error here. Prints each difference as a JSON line.
Left alone: %[n] in printf, %x of floats, texts cut inside a character."""
import json, os, random, subprocess, sys

R = random.Random()
pick = R.choice
MESSAGES = [{"role": "user", "content": "Hi <b>\n"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"index": 1, "name": "f", "arguments": {"z": 1, "a": [1.5, None, "x"], "m": {"k": True}}}}]},
            {"role": "tool", "content": "é\"7"}, {"role": "user", "content": "end"}]
SYSTEM = "Be \"brief\"."

def num(d):
    if d <= 0: return pick(["0", "1", "2", "-1", "3", "0x10", "1_0", "$i", "'a'", "1"])
    return pick([lambda: f"(len {any_(d - 1)})", lambda: num(0), lambda: "(len .Messages)", lambda: "(len .System)"])()
def string(d):
    if d <= 0: return pick(['"a"', '""', "`raw\\n`", '"\\u00e9\\n"', ".System", "$s", "$.System", ".Missing", '"x y"'])
    d -= 1
    return pick([lambda: f"(printf {pick(['`%s`', '`%v|%q`', '`%d`', '`%5s|`', '`%-5v|`', '`%t`', '`%x`', '`%05d`', '`%.2f`', '`%c`', '`%+v`', '`%T`', '`%%`', '`%U`', '`%6.1f`', '`%o`', '`%e`', '`%[2]v`', '`%s %s`'])} {any_(d)}{pick(['', ' ' + any_(d)])})", lambda: f"(print {any_(d)} {any_(d)})", lambda: f"(println {any_(d)})",
                 lambda: f"(index .Messages {num(0)}).{pick(['Role', 'Content', 'Thinking', 'Nope'])}", lambda: f"(slice {string(d)} {num(0)}{pick(['', ' ' + num(0)])})", lambda: f"({any_(d)} | printf {pick(['`%v`', '`%s`', '`%d`'])})", lambda: f"(json {any_(d)})", lambda: f"({pick(['html', 'js', 'urlquery'])} {string(d)})"])()
def boolean(d):
    if d <= 0: return pick(["true", "false", ".Missing", ".System", "$b", ".Messages", ".Think", "0", '""'])
    d -= 1
    return pick([lambda: f"({pick(['eq', 'ne'])} {string(d)} {string(d)})", lambda: f"(eq {num(d)} {num(d)}{pick(['', ' 1'])})", lambda: f"({pick(['lt', 'le', 'gt', 'ge'])} {pick([num(d) + ' ' + num(d), string(d) + ' ' + string(d), any_(0) + ' ' + any_(0)])})", lambda: f"(not {boolean(d)})",
                 lambda: f"({pick(['and', 'or'])} {boolean(d)} {any_(d)}{pick(['', ' ' + boolean(0)])})", lambda: f"(eq {any_(0)} {any_(0)})"])()
def any_(d):
    return pick([string, string, num, boolean, lambda d: pick([".", "nil", ".Messages", "1.5", "2.0", "1e3", "(index .Messages 1).ToolCalls", "(index (index .Messages 1).ToolCalls 0).Function.Arguments", "$m", "(slice .Messages 1 2)", ".Messages.Role", ".System.X", "(index .Messages 0)"][3 if R.random() < .6 else 0:])])(d)
def action(x): return pick(["{{ %s }}"] * 5 + ["{{- %s }}", "{{ %s -}}", "{{- %s -}}", "{{%s}}"]) % x
def text(): return pick(["x", " ", "\n", "a b\n", "  ", "{", "}", "é", "%"])
def body(d, loop=False): return "".join(pick([text, lambda: action(any_(min(d, 2))), lambda: stmt(d, loop)] + [lambda: action(pick([".Role", ".Content", "$m.Role", "$i"]))] * (2 * loop))() for _ in range(R.randint(1, 3)))
def stmt(d, loop=False):
    if d <= 0: return action(any_(1))
    d -= 1
    end = action("end")
    return pick([
        lambda: action("if " + pick(["", "", "$v := "]) + boolean(d)) + body(d, loop) + (action("else if " + boolean(d)) + body(d, loop) if R.random() < .4 else "") + (action("else") + body(d, loop) if R.random() < .5 else "") + end,
        lambda: action("range " + pick(["", "$i, $m := ", "$m := "]) + pick([".Messages", "$.Messages", "(slice $.Messages 1 3)", "(index $.Messages 1).ToolCalls", ".Missing", "3", "(index (index $.Messages 1).ToolCalls 0).Function.Arguments"])) + body(d, True) + (action(pick(["break", "continue"])) if R.random() < .2 else "") + (action("else") + body(d) if R.random() < .3 else "") + end,
        lambda: action("with " + pick(["", "$w := "]) + any_(d)) + action(".") + body(d, loop) + (action("else") + body(d, loop) if R.random() < .4 else "") + end,
        lambda: action(f"{pick(['$s', '$b', '$x', '$i'])} {pick([':=', '='])} {any_(d)}"), lambda: action("/* c */").replace("{{ /*", "{{/*").replace("*/ }}", "*/}}"), lambda: action(any_(d) + " | " + pick(["print", "len", "printf `%v`", "json", "not", "eq 1", "html", "printf `%q` ", "index .Messages"])),
        lambda: action("define \"t\"") + action(".") + action("$") + end + action(pick(["template \"t\"", "template \"t\" .System", "template \"t\" 1", "template \"u\""])), lambda: action("block \"b\" .System") + "[" + action(".") + "]" + end, lambda: action(any_(d)),
    ])()

def main():
    cria, seed, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1, int(sys.argv[3]) if len(sys.argv) > 3 else 5000
    R.seed(seed)
    ts = ["{{ $s := `S` }}{{ $b := true }}{{ $i := 1 }}{{ $m := index .Messages 0 }}" + body(3) for _ in range(count)]
    data = {"system": SYSTEM, "messages": [{"role": "system", "content": SYSTEM}] + MESSAGES}
    lines = lambda o: "".join(json.dumps({"template_text": t, **o}) + "\n" for t in ts).encode()
    oracle = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gotmpl.go")
    want = subprocess.run(["go", "run", oracle], input=lines(data), stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    got = subprocess.run([cria, "debug", "template", "--go-text"], input=lines(data), stdout=subprocess.PIPE).stdout.decode().splitlines()
    assert len(got) == len(want) == count, (len(got), len(want))
    bad = errors = 0
    for t, w, g in zip(ts, map(json.loads, want), map(json.loads, got)):
        errors += "error" in w
        if "Tools:" in w.get("text", ""): continue  # all of the data: no template prints it
        if ("error" in w) == ("error" in g) and w.get("text") == g.get("text") or "error" in w and "error" in g: continue
        bad += 1
        print(json.dumps({"template_text": t, **w, "got": g}, ensure_ascii=False))
    print(f"{count} templates, {errors} of them errors, {bad} differences", file=sys.stderr)
    sys.exit(bad > 0)

main()
