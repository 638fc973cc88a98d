#!/usr/bin/env python3
"""Random JSON schemas, documents and patterns: `cria debug schema` beside python3-jsonschema and node's RegExp.

usage: schema.py CRIA [SEED [COUNT]]     needs: python3-jsonschema, node

What is accepted must be valid. What is valid, in the schema's order of keys and in a form that
schema.h does not except, must be accepted unless the schema is refused. Patterns must agree both
ways."""
import copy, json, random, subprocess, sys
from jsonschema import Draft202012Validator as V

R = random.Random()
pick = R.choice
PAT = ["^a+$", "b", "^[a-c]{1,3}$", "x|y", "^$", "\\d", "^.{2}$"]

def schema(d):
    kind = pick(["string", "integer", "number", "boolean", "null", "array", "object", "enum", "const", "any", "many", "combo"] if d > 0 else ["string", "integer", "number", "boolean", "null", "enum", "const"])
    s = {}
    if kind == "string":
        s = {"type": "string"}
        if R.random() < .4: s["minLength"] = R.randint(0, 3)
        if R.random() < .4: s["maxLength"] = R.randint(s.get("minLength", 0), 5)
        if R.random() < .3: s["pattern"] = pick(PAT)
    elif kind in ("integer", "number"):
        s = {"type": kind}
        for k in ("minimum", "exclusiveMinimum"):
            if R.random() < .3: s[k] = pick([R.randint(-30, 5), -1.5, 0, 0.25] if kind == "number" else [R.randint(-1200, 5), 0])
        for k in ("maximum", "exclusiveMaximum"):
            if R.random() < .3: s[k] = pick([R.randint(5, 40), 10.5, 99] if kind == "number" else [R.randint(5, 1300), 99])
        if R.random() < .25: s["multipleOf"] = pick([2, 3, 5, 7, 10] if kind == "integer" else [0.5, 2, 0.25, 3])
    elif kind in ("boolean", "null"): s = {"type": kind}
    elif kind == "enum": s = {"enum": R.sample([1, "a", None, True, 2.5, "bb", [1], {"k": 1}, 0, ""], R.randint(1, 4))}
    elif kind == "const": s = {"const": pick([1, "a\"b", None, False, [1, "x"], {"k": {"z": 1}}, "é", -0.5])}
    elif kind == "many": s = {"type": R.sample(["string", "integer", "null", "boolean", "array"], 2)}
    elif kind == "array":
        s = {"type": "array"}
        if R.random() < .7: s["items"] = schema(d - 1) if R.random() < .9 else False
        if R.random() < .35: s["prefixItems"] = [schema(d - 1) for _ in range(R.randint(1, 3))]
        if R.random() < .4: s["minItems"] = R.randint(0, 3)
        if R.random() < .4: s["maxItems"] = R.randint(s.get("minItems", 0), 4)
        if R.random() < .1: s["contains"] = schema(0)
        if R.random() < .1: s["uniqueItems"] = True; s["items"] = {"enum": [1, 2, "a"]}
    elif kind == "object":
        names = R.sample(["a", "b", "c", "dd", "é"], R.randint(0, 4))
        s = {"type": "object", "properties": {n: schema(d - 1) for n in names}}
        if R.random() < .6: s["required"] = R.sample(names, R.randint(0, len(names))) + (["zz"] if R.random() < .1 else [])
        if R.random() < .5: s["additionalProperties"] = False if R.random() < .6 else schema(0)
        if R.random() < .15: s["minProperties"] = R.randint(0, 2)
        if R.random() < .15: s["maxProperties"] = R.randint(1, 4)
        if R.random() < .15: s["patternProperties"] = {pick(["^x", "^[a-b]$", "d"]): schema(0)}
        if R.random() < .1: s["propertyNames"] = {"pattern": "^[a-z]+$"} if R.random() < .5 else {"maxLength": 2}
        if R.random() < .1 and len(names) > 1: s["dependentRequired"] = {names[0]: [names[1]]}
    elif kind == "combo":
        k = pick(["anyOf", "oneOf", "allOf"])
        s = {k: [schema(d - 1) for _ in range(R.randint(1, 3))]}
    return s

def value(d): return pick([lambda: R.randint(-40, 60), lambda: pick(["", "a", "aa", "b", "abc", "xy", "é", "5", "aab", "bb"]), lambda: None, lambda: bool(R.randint(0, 1)), lambda: pick([0.5, -1.5, 2.5, 10.25, 0.01, 98.99, 3.0]),
                          lambda: [value(d - 1) for _ in range(R.randint(0, 3))] if d > 0 else 1, lambda: {k: value(d - 1) for k in R.sample(["a", "b", "c", "dd", "é", "x1", "zz"], R.randint(0, 3))} if d > 0 else 2])()

def document(s, d=4):
    "a document near the schema, keys in its order"
    if s is True or s is False or d < 0 or R.random() < .05: return value(1)
    for k in ("anyOf", "oneOf", "allOf"):
        if k in s: return document(pick(s[k]), d - 1)
    if "const" in s: return copy.deepcopy(s["const"])
    if "enum" in s: return copy.deepcopy(pick(s["enum"]))
    t = s.get("type")
    if isinstance(t, list): t = pick(t)
    if t == "string": return pick(["", "a", "aa", "b", "ab", "abc", "xy", "é", "5", "aaaa", "a5", "x\"\\", "bbbbb", "\n"])
    if t == "integer":
        m = s.get("multipleOf", 1); return m * R.randint(-40, 60) if R.random() < .5 else R.randint(-1300, 1400)
    if t == "number":
        return pick([R.randint(-40, 60), R.randint(-400, 600) / 10, R.randint(-40, 60) * s.get("multipleOf", 1), R.randint(0, 99) / 100, -1.5, 10.5])
    if t == "boolean": return bool(R.randint(0, 1))
    if t == "null": return None
    if t == "array":
        out = [document(x, d - 1) for x in s.get("prefixItems", [])]
        return out[:R.randint(0, 9)] + [document(s.get("items", {}), d - 1) for _ in range(R.randint(0, 3))]
    if t == "object":
        out = {}
        for k, x in s["properties"].items():
            if k in s.get("required", []) and R.random() < .95 or R.random() < .6: out[k] = document(x, d - 1)
        if R.random() < .3: out[pick(["x1", "zz", "d", "q"])] = value(0)
        return out
    return value(1)

ATOM = ["a", "b", ".", "\\d", "\\w", "\\s", "[ab]", "[^a]", "[a-c1-3]", "\\.", "(?:ab|c)", "(a|b)", "\\W", "\\D", "x", "1", "[\\d_]", "\\u0061", "\\x62", "-", "é", "[^\\w]", "\\/", "[.]", "$", "^", "\\b"]
def regex(d=2):
    out = ""
    for _ in range(R.randint(1, 4)):
        a = pick(ATOM) if d <= 0 or R.random() < .75 else "(" + pick(["", "?:"]) + regex(d - 1) + ")"
        if a not in "^$" and a != "\\b": a += pick(["", "", "", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{1,}", "*?", "+?"])
        out += a
    if R.random() < .15: out += "|" + regex(d - 1) if d > 0 else "|b"
    return out
def anchored():
    r = regex(); return pick(["^%s$", "^%s", "%s$", "%s", "^(?:%s)$"]) % r

def run(cria, lines):
    p = subprocess.run([cria, "debug", "schema"], input="".join(json.dumps(x) + "\n" for x in lines).encode(), stdout=subprocess.PIPE, timeout=900)
    return [json.loads(x) for x in p.stdout.decode().splitlines()]

def patterns(cria, count):
    ps = [anchored() for _ in range(count)]
    texts = ["".join(pick("aabbc123x-_. é\n/") for _ in range(R.randint(0, 6))) for _ in range(14)] + ["", "a", "b", "ab", "1"]
    js = "const [p,t]=JSON.parse(require('fs').readFileSync(0,'utf8'));console.log(JSON.stringify(p.map(x=>{try{const r=new RegExp(x,'u');return t.map(s=>r.test(s))}catch(e){return null}})))"
    want = json.loads(subprocess.run(["node", "-e", js], input=json.dumps([ps, texts]).encode(), stdout=subprocess.PIPE).stdout)
    lines = [{"schema": {"type": "string", "pattern": p}, "text": json.dumps(t, ensure_ascii=False)} for p in ps for t in texts]
    got = run(cria, lines)
    bad = n = refused = 0
    for i, p in enumerate(ps):
        for k, t in enumerate(texts):
            g = got[i * len(texts) + k]
            if want[i] is None:
                if "error" not in g and k == 0: bad += 1; print(json.dumps({"pattern": p, "bad_regexp": True, "got": g}))
                continue
            if "error" in g: refused += k == 0; continue
            n += 1
            if g["accepted"] != want[i][k]: bad += 1; print(json.dumps({"pattern": p, "text": t, "want": want[i][k]}, ensure_ascii=False))
    print(f"{len(ps)} patterns ({refused} refused), {n} texts, {bad} differences", file=sys.stderr)
    return bad

def schemas(cria, count):
    cases = []
    for _ in range(count):
        s = schema(3)
        for _ in range(6):
            v = document(s)
            cases.append((s, v, V(s).is_valid(v)))
    got = run(cria, [{"schema": s, "text": json.dumps(v, ensure_ascii=False, separators=pick([(",", ":"), (", ", ": ")]))} for s, v, _ in cases])
    bad = refused = n_valid = 0
    for (s, v, ok), g in zip(cases, got):
        if "error" in g: refused += 1; continue
        n_valid += ok
        if g["accepted"] == ok: continue
        bad += 1
        print(json.dumps({"schema": s, "value": v, "valid": ok}, ensure_ascii=False))
    print(f"{len(cases)} documents of {count} schemas, {refused} of refused schemas, {n_valid} valid, {bad} differences", file=sys.stderr)
    return bad

cria, seed, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1, int(sys.argv[3]) if len(sys.argv) > 3 else 1000
R.seed(seed)
sys.exit((patterns(cria, count) + schemas(cria, count)) > 0)
