#!/usr/bin/env python3
"""What a built file is made of, as a CycloneDX 1.6 document on standard output.

    targets/sbom.py TRIPLE FILE RUSTC ZIG       RUSTC as `rustc -V` says it, ZIG the version of zig

Packages whose code cargo compiles into the file for that target: no build scripts, macros and tests. The same input gives the
same bytes: no time, no path, no name of a machine."""

import hashlib
import json
import re
import subprocess
import sys
import uuid


def main(triple, file, rustc, zig):
    with open(file, "rb") as opened:
        sha256 = hashlib.sha256(opened.read()).hexdigest()
    packages, uses = tree(triple)
    checksums = locked()
    components = []
    for (name, version), licence in sorted(packages.items()):
        component = {"type": "library", "bom-ref": purl(name, version), "name": name, "version": version}
        component["licenses"] = licences(licence)
        component["purl"] = purl(name, version)
        if name == "gatelet":
            component["type"] = "application"
            component["hashes"] = [{"alg": "SHA-256", "content": sha256}]
            component["properties"] = [{"name": "gatelet:target", "value": triple}]
            gatelet = component
        else:
            # hash of the .crate file on crates.io; our other packages are not published
            if (name, version) in checksums:
                component["hashes"] = [{"alg": "SHA-256", "content": checksums[name, version]}]
            components.append(component)
    compiler = rustc.split()[1]
    std = {"type": "library", "bom-ref": "rust-std", "name": "rust-std", "version": compiler}
    std["description"] = "Rust's standard library, with the packages of its own Cargo.lock: " + rustc
    c = {"type": "library", "bom-ref": "libc", "name": "mingw-w64" if "windows" in triple else "musl"}
    c["description"] = f"the C library that zig {zig} brings"
    graph = {purl(*user): sorted(purl(*one) for one in used) for user, used in uses.items()}
    graph[gatelet["bom-ref"]] += ["rust-std"]
    graph["rust-std"] = ["libc"]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'sha256:' + sha256)}",
        "version": 1,
        "metadata": {"component": gatelet},
        "components": components + [std, c],
        "dependencies": [{"ref": ref, "dependsOn": used} for ref, used in sorted(graph.items())] + [{"ref": "libc"}],
    }


def tree(triple):
    """The licence of each package, and which it uses: (name, version) -> ..."""
    # `cargo metadata` merges the dependencies of all platforms; `cargo tree` shows those of one
    words = ["cargo", "tree", "--locked", "--edges=normal,no-proc-macro", "--target", triple, "--prefix=depth", "--format={p}|{l}"]
    packages, uses, above = {}, {}, []
    for line in subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines():
        depth, name, version, licence = re.fullmatch(r"(\d+)(\S+) v(\S+)(?: \(.*\))?\|(.*?)(?: \(\*\))?", line).groups()
        del above[int(depth) :]
        if above:
            uses[above[-1]].add((name, version))
        above.append((name, version))
        packages[name, version] = licence
        uses.setdefault((name, version), set())
    return packages, uses


def locked():
    """The checksum of each package of crates.io: (name, version) -> SHA-256"""
    with open("Cargo.lock", encoding="utf-8") as opened:
        found = re.findall(r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"', opened.read())
    return {(name, version): checksum for name, version, checksum in found}


def purl(name, version):
    return f"pkg:cargo/{name}@{version}"


def licences(expression):
    if re.search(r"[ /]", expression):
        return [{"expression": expression.replace("/", " OR ")}]
    return [{"license": {"id": expression}}]


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    json.dump(main(*sys.argv[1:]), sys.stdout, indent=1)
    print()
