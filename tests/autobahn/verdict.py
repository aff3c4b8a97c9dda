"""Compares what the suite saw with expected.tsv, or makes that file: verdict.py REPORT EXPECTED [update|part]

part: only what was run is compared. Prints what differs, the classes, and in the last line the number of cases.
"""
import collections
import json
import sys

HEAD = "case\tbehavior\tbehaviorClose\tclose code\n"


def number(case):
    return [int(part) for part in case.split(".")]


def seen(report):
    with open(report + "/index.json") as file:
        cases = json.load(file)["gatelet"]
    return {
        case: (one["behavior"], one["behaviorClose"], str(one["remoteCloseCode"] or "-")) for case, one in cases.items()
    }


def expected(name):
    with open(name) as file:
        assert next(file) == HEAD, name
        lines = [line.rstrip("\n").split("\t") for line in file]
    wanted = {line[0]: tuple(line[1:]) for line in lines}
    assert len(wanted) == len(lines), "a case twice in " + name
    return wanted


def write(name, results):
    with open(name, "w") as file:
        file.write(HEAD)
        for case in sorted(results, key=number):
            file.write("\t".join((case,) + results[case]) + "\n")


def main(report, name, mode=""):
    results = seen(report)
    if mode == "update":
        write(name, results)
    wanted = expected(name)
    if mode == "part":
        wanted = {case: one for case, one in wanted.items() if case in results}
    wrong = [
        case for case in sorted(set(results) | set(wanted), key=number) if results.get(case) != wanted.get(case)
    ]
    for case in wrong:
        one, other = results.get(case, ("not run",)), wanted.get(case, ("not known",))
        print("FAILED  %s: %s; expected: %s" % (case, ", ".join(one), ", ".join(other)))
    classes = collections.defaultdict(collections.Counter)
    for case, (behavior, close, _) in results.items():
        classes[number(case)[0]][behavior if behavior == close else behavior + ", close " + close] += 1
    for one, kinds in sorted(classes.items()):
        print("class %2d: %s" % (one, "; ".join("%d %s" % (count, kind) for kind, count in kinds.most_common())))
    good = len(set(results) - set(wrong))
    print("%d passed, %d failed, 0 skipped" % (good, len(wrong)))
    return 0 if good and not wrong else 1


sys.exit(main(*sys.argv[1:]))
