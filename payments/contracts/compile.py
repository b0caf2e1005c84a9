# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile the contracts into `artifacts/`, or check that what is there is what the sources give.

    python -m payments.contracts.compile [--check]

Needs node and `npm ci` in this folder. Settings are those of foundry.toml. The forge tests run the artifacts.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ARTIFACTS = HERE / "artifacts"
NAMES = ("RenderToken", "RenderMarket", "StakeVault", "Disputes")
LIBRARY = "@openzeppelin/"
SECONDS = 600
_IMPORT = re.compile(r'^import .*?"([^"]+)";', re.MULTILINE | re.DOTALL)


def artifacts() -> dict[str, str]:
    """File name to content: name, compiler, ABI and creation bytecode as JSON that is the same every time.

    Raises RuntimeError with the compiler's words where the sources do not compile.
    """
    found = _compiled({"language": "Solidity", "sources": _sources(), "settings": _settings()})
    wrong = [said["formattedMessage"] for said in found.get("errors", []) if not _is_librarys(said)]
    if wrong:
        raise RuntimeError("\n".join(wrong))
    return {f"{name}.json": _artifact(name, found["contracts"][f"src/{name}.sol"][name]) for name in NAMES}


def differences(made: dict[str, str]) -> list[str]:
    """The artifacts that are missing, left over, or not what was made."""
    there = {path.name: path.read_text() for path in ARTIFACTS.glob("*.json")}
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


def main(arguments: list[str]) -> int:
    """The command: 0, or 1 with a sentence."""
    try:
        made = artifacts()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"The contracts were not compiled: {error}", file=sys.stderr)
        return 1
    if arguments != ["--check"]:
        _write(made)
        return 0
    wrong = differences(made)
    if wrong:
        print(f"Not what the sources give: {', '.join(wrong)}. Run `make contracts`.", file=sys.stderr)
    return 1 if wrong else 0


def _write(made: dict[str, str]) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    for name in differences(made):
        if name in made:
            (ARTIFACTS / name).write_text(made[name])
        else:
            (ARTIFACTS / name).unlink()


def _is_librarys(said: dict[str, Any]) -> bool:
    """Warnings about a library's own code are its authors' to weigh; ours count as errors."""
    place = said.get("sourceLocation", {}).get("file", "")
    return bool(said["severity"] != "error" and place.startswith(LIBRARY))


def _artifact(name: str, contract: dict[str, Any]) -> str:
    parts = {
        "contractName": name,
        "compiler": _pinned("solc"),
        "abi": contract["abi"],
        "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
    }
    return json.dumps(parts, indent=1, sort_keys=True) + "\n"


def _pinned(package: str) -> str:
    packages = json.loads((HERE / "package.json").read_text())
    version: str = {**packages["dependencies"], **packages["devDependencies"]}[package]
    return f"{package} {version}"


def _settings() -> dict[str, Any]:
    profiles = tomllib.loads((HERE / "foundry.toml").read_text())["profile"]
    profile = profiles["default"] | profiles["deploy"]
    return {
        "optimizer": {"enabled": profile["optimizer"], "runs": profile["optimizer_runs"]},
        "viaIR": profile["via_ir"],
        "evmVersion": profile["evm_version"],
        "metadata": {"bytecodeHash": profile["bytecode_hash"], "appendCBOR": profile["cbor_metadata"]},
        "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
    }


def _sources() -> dict[str, dict[str, str]]:
    """All sources by the names they are imported under."""
    found: dict[str, dict[str, str]] = {}
    waiting = [f"src/{name}.sol" for name in NAMES]
    while waiting:
        name = waiting.pop()
        if name not in found:
            content = _file(name).read_text()
            found[name] = {"content": content}
            waiting += _imports(name, content)
    return dict(sorted(found.items()))


def _file(name: str) -> Path:
    return HERE / "node_modules" / name if name.startswith(LIBRARY) else HERE / name


def _imports(name: str, content: str) -> Iterator[str]:
    for imported in _IMPORT.findall(content):
        yield imported if imported.startswith(LIBRARY) else _beside(name, imported)


def _beside(name: str, imported: str) -> str:
    parts = name.split("/")[:-1]
    for part in imported.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _compiled(order: dict[str, Any]) -> dict[str, Any]:
    command = ["node", str(HERE / "tools" / "solc.mjs"), "--standard-json"]
    done = subprocess.run(
        command, input=json.dumps(order), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"the compiler ended with {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
