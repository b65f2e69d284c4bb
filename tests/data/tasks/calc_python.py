#!/usr/bin/env python3
"""calc_python.py: random expressions through the calculator (data/tasks/calc.c) and through this Python; both must
print the same text. By hand: make && tests/data/tasks/calc_python.py [COUNT] [SEED]. Answers that are "error: ..."
because of the calculator's limits are not compared."""
import math, os, random, subprocess, sys, tempfile

top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
count = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
FILTER = r'''
#include "data/tasks/calc.h"
#include <stdio.h>
#include <string.h>
int main(void)
{
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        struct str out = { 0 };
        calc_run(&out, line, strcspn(line, "\n"), &calc_default);
        puts(out.p);
        str_free(&out);
    }
}
'''


def integer():
    kind = rng.random()
    if kind < 0.3: return str(rng.randrange(0, 1000))
    if kind < 0.6: return str(rng.randrange(0, 10 ** rng.randrange(1, 36)))
    if kind < 0.8: return str((1 << rng.randrange(40, 120)) + rng.randrange(-3, 4))
    return str(rng.randrange(1 << 52, 1 << 56))


def real():
    kind = rng.random()
    if kind < 0.3: return "%.3f" % (rng.random() * 1000)
    if kind < 0.6: return repr(rng.random() * 10.0 ** rng.randrange(-30, 30))
    if kind < 0.8: return repr(2.0 ** rng.randrange(-300, 300))
    return repr(float(integer()) + rng.choice([0, 0.5, 0.25]))


def expression(depth):
    kind = rng.random()
    if depth == 0 or kind < 0.15: return integer() if rng.random() < 0.6 else real()
    if kind < 0.2: return "-" + expression(0)
    if kind < 0.3: return "%s(%s, %s)" % (rng.choice(["min", "max"]), expression(depth - 1), expression(depth - 1))
    if kind < 0.35: return "%s(%s)" % (rng.choice(["abs", "float", "int", "round"]), expression(depth - 1))
    if kind < 0.4: return "round(%s, %d)" % (expression(depth - 1), rng.randrange(0, 12))
    if kind < 0.45: return "(%s) ** %s" % (expression(depth - 1), rng.choice(["2", "3", "-1", "0.5", "-2", "0"]))
    return "(%s) %s (%s)" % (expression(depth - 1), rng.choice("+ - * / / / // %".split()), expression(depth - 1))


def python(text):
    try:
        value = eval(text, {"__builtins__": {}}, {"min": min, "max": max, "abs": abs, "float": float, "int": int,
                                                  "round": round})
    except ZeroDivisionError:
        return "error: zero division"
    except (OverflowError, ValueError):
        return "error"
    return "error" if isinstance(value, complex) else repr(value)


with tempfile.TemporaryDirectory() as d:
    with open(d + "/f.c", "w") as f: f.write(FILTER)
    subprocess.check_call(["gcc", "-std=gnu11", "-I" + top, d + "/f.c", top + "/build/cpu/libdata-tasks.a",
                           top + "/build/cpu/libbase.a", "-lm", "-o", d + "/f"])
    lines = [expression(rng.randrange(1, 4)) for _ in range(count)]
    got = subprocess.run([d + "/f"], input="\n".join(lines) + "\n", stdout=subprocess.PIPE, text=True,
                         check=True).stdout.split("\n")
compared = rejected = wrong = 0
for text, mine in zip(lines, got):
    if mine.startswith("error: ") and mine != "error: zero division":
        rejected += 1
        continue
    compared += 1
    want = python(text)
    if mine != want:
        wrong += 1
        if wrong < 20: print("%s: %s, Python %s" % (text, mine, want))
print("%d compared, %d rejected by the calculator's limits, %d differ" % (compared, rejected, wrong))
sys.exit(wrong > 0 or compared == 0)
