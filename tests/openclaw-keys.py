#!/usr/bin/env python3
"""Writes tests/it/config/openclaw-keys.tsv: each key of the `gateway` section that a published
version of OpenClaw declares, with the first and the last of these versions.

  tests/openclaw-keys.py [DIRECTORY]

Downloads the packages from npm into DIRECTORY (kept; default: a temporary one, about 1.4 GB
unpacked) and reads the declarations of the schema (zod) in their bundles; nothing of a package is
run. A test requires that gatelet knows each key. To be run when a new month's version is out.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

# The last version of each month.
VERSIONS = ["2026.1.30", "2026.2.26", "2026.3.31", "2026.4.29", "2026.5.28", "2026.6.35", "2026.7.35",
            "2026.8.2", "2026.9.6"]
TABLE = pathlib.Path(__file__).parent / "it/config/openclaw-keys.tsv"
OBJECT = r"(?:z\s*\.\s*)?(?:strictObject|object)\(\s*\{"
GATEWAY = re.compile(r"\bgateway(?:\s*:|\w*\s*=)\s*" + OBJECT, re.IGNORECASE)
SKIP = re.compile(r"(?:\s|/\*.*?\*/|//[^\n]*\n)*", re.DOTALL)
NAME = re.compile(r"[\"']?([A-Za-z_$][\w$]*)[\"']?\s*([:,}])")
STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`", re.DOTALL)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
REGEX = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\n\[])+/")


def closing(text, at):
    """Returns the position of the bracket that closes the one at `at`."""
    depth = 0
    while at < len(text):
        char = text[at]
        skipped = STRING.match(text, at) or COMMENT.match(text, at)
        if not skipped and char == "/" and text[max(0, at - 40):at].rstrip()[-1:] in "(,=!&|:":
            skipped = REGEX.match(text, at)
        if skipped:
            at = skipped.end()
            continue
        depth += (char in "({[") - (char in ")}]")
        if depth == 0:
            return at
        at += 1
    raise ValueError("a bracket is not closed")


def end_of_value(text, at, end):
    """Returns the position of the comma after the value at `at`, or `end`."""
    while at < end and text[at] != ",":
        at = closing(text, at) + 1 if text[at] in "({[" else at + 1
    return at


def keys(text, brace, prefix=""):
    """Yields the paths of the members of the object whose `{` is at `brace`, and of those inside."""
    end, at = closing(text, brace), brace + 1
    while (at := SKIP.match(text, at).end()) < end:
        name = NAME.match(text, at)
        if not name:  # a spread
            at = end_of_value(text, at, end) + 1
            continue
        path = prefix + name[1]
        yield path
        begin = name.end()
        at = end_of_value(text, begin, end) if name[2] == ":" else begin - 1
        inner = declaration(text, text[begin:at], begin)
        if inner is not None:
            yield from keys(text, inner, path + ".")
        at += 1


def declaration(text, value, begin):
    """Returns the position of the `{` of an object's declaration, which may stand elsewhere."""
    here = re.match(r"\s*" + OBJECT, value)
    if here:
        return begin + here.end() - 1
    named = re.match(r"\s*([A-Za-z_$][\w$]*)(?:\.|\s*$)", value)
    if named and named[1] != "z":
        there = re.search(r"\b" + re.escape(named[1]) + r"\s*=\s*" + OBJECT, text)
        if there:
            return there.end() - 1
    return None


def declared(package):
    """Returns the keys that the package declares: the largest declaration that is found."""
    found = set()
    for file in package.glob("dist/**/*.*js"):
        if not file.is_file() or file.stat().st_size > 8_000_000:
            continue
        text = file.read_text(errors="replace")
        if "trustedProxies" not in text or "controlUi" not in text:
            continue
        for match in GATEWAY.finditer(text):
            try:
                names = set(keys(text, match.end() - 1))
            except ValueError:
                continue
            if {"port", "controlUi"} <= names and len(names) > len(found):
                found = names
    return found


def main(directory):
    seen = {}
    for version in VERSIONS:
        target = directory / version
        if not target.exists():
            target.mkdir()
            subprocess.run(["npm", "pack", "--silent", f"openclaw@{version}"], cwd=target, check=True,
                           stdout=subprocess.DEVNULL)
            archive, = target.glob("*.tgz")
            subprocess.run(["tar", "xzf", archive.name], cwd=target, check=True)
            archive.unlink()
        found = declared(target / "package")
        print(f"{version}: {len(found)} keys")
        if not found:
            sys.exit(f"{version}: no declaration found; the bundle has another form")
        for key in found:
            seen.setdefault(key, []).append(version)
    lines = [f"{key}\t{seen[key][0]}\t{seen[key][-1]}\n" for key in sorted(seen)]
    TABLE.write_text("key\tfirst\tlast\n" + "".join(lines))


if len(sys.argv) > 1:
    main(pathlib.Path(sys.argv[1]))
else:
    with tempfile.TemporaryDirectory() as temporary:
        main(pathlib.Path(temporary))
