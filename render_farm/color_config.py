# SPDX-License-Identifier: GPL-3.0-or-later
"""A studio's OCIO configuration: which one this machine's Blender would use, and what travels of it.

Blender takes, in this order, the file named by BLENDER_OCIO or OCIO, the one in the user's own data files,
and the one it comes with. The last is on every node; the others go into the bundle, with the tables
(LUTs) they name.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farm_protocol.errors import InvalidInput
from render_farm.asset_rules import AssetRules
from render_farm.blend_header import farm_version

FOLDER = "_ocio"
BUILT_IN = "ocio://"
MOST_BYTES = 16 << 20
"""Of the configuration itself."""
MOST_TABLES = 5_000
MOST_TABLE_BYTES = 4 << 30

_TABLES = frozenset(
    {".3dl", ".blut", ".ccc", ".cc", ".cdl", ".clf", ".csp", ".ctf", ".cub", ".cube", ".hdl", ".icc", ".icm"}
    | {".itx", ".look", ".lut", ".mga", ".m3d", ".spi1d", ".spi3d", ".spimtx", ".vf"}
)
_SEARCH_PATH = re.compile(r"^search_path:[ \t]*(.*)\n((?:[ \t]*-.*\n)*)", re.MULTILINE)
_SOURCE = re.compile(r"(\bsrc:[ \t]*)(\"[^\"\n]*\"|'[^'\n]*'|[^,}\n]+)")
_ENVIRONMENT = re.compile(r"^environment:[ \t]*\n((?:[ \t]+.*\n)*)", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)|%(\w+)%")


@dataclass(frozen=True, slots=True)
class ColorConfig:
    """What a bundle holds of a configuration: `main` its place there or its built-in name, `files` the
    sources of the files, `written` those of them that were written already.
    """

    main: str = ""
    files: dict[str, str] = field(default_factory=dict)
    written: tuple[str, ...] = ()


def find_config(variables: Mapping[str, str]) -> str:
    """The configuration Blender would use here: a path, `ocio://...`, or "" for Blender's own."""
    named = variables.get("BLENDER_OCIO") or variables.get("OCIO")
    if named:
        return named if named.startswith(BUILT_IN) else os.path.abspath(named)
    for folder in _user_folders(variables):
        config = folder / "colormanagement" / "config.ocio"
        if config.is_file():
            return str(config)
    return ""


def _user_folders(variables: Mapping[str, str]) -> Iterator[Path]:
    """Where Blender looks for the user's own data files, as far as it is told to."""
    release = f"{farm_version() // 100}.{farm_version() % 100}"
    if variables.get("BLENDER_USER_DATAFILES"):
        yield Path(variables["BLENDER_USER_DATAFILES"])
    elif variables.get("BLENDER_USER_RESOURCES"):
        yield Path(variables["BLENDER_USER_RESOURCES"]) / "datafiles"
    else:
        home = variables.get("XDG_CONFIG_HOME") or os.path.join(variables.get("HOME") or "/", ".config")
        yield Path(home) / "blender" / release / "datafiles"
    if variables.get("BLENDER_SYSTEM_DATAFILES"):
        yield Path(variables["BLENDER_SYSTEM_DATAFILES"])


def plan_config(named: str, folder: Path, taken: set[str], variables: Mapping[str, str]) -> ColorConfig:
    """Plan what travels of the configuration `named`; where its tables do not lie below it, it is written
    into `folder` with other names for them. Raises InvalidInput where it cannot be used.
    """
    if not named or named.startswith(BUILT_IN):
        return ColorConfig(named)
    config, top = Path(named), _free(taken)
    main = f"{top}/{config.name}"
    text = _read(config)
    tables = _tables(config, text, variables)
    if _plain(config, text, tables):
        below = {
            f"{top}/{table.relative_to(config.parent).as_posix()}": str(table) for table in tables.values()
        }
        return ColorConfig(main, {main: str(config), **below})
    return _gathered(config, text, top, tables, folder)


def _plain(config: Path, text: str, tables: Mapping[str, Path]) -> bool:
    """Whether the configuration finds all its tables wherever its folder lies."""
    names = (*tables, *_search_path(text))
    return all(table.is_relative_to(config.parent) for table in tables.values()) and not any(
        _VARIABLE.search(name) or name.startswith("/") or ".." in name for name in names
    )


def _read(config: Path) -> str:
    try:
        if not config.is_file():
            raise InvalidInput(f"The OCIO configuration {config} is not there: unset OCIO, or put it back.")
        if config.suffix.lower() == ".ocioz":
            return ""
        if config.stat().st_size > MOST_BYTES:
            raise InvalidInput(f"The OCIO configuration {config} is larger than {MOST_BYTES >> 20} MiB.")
        return config.read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise InvalidInput(f"The OCIO configuration {config} cannot be read: {error.strerror}.") from error


def _free(taken: set[str]) -> str:
    used = {name.split("/", 1)[0] for name in taken}
    top = FOLDER
    while top in used:
        top += "_"
    return top


def _search_path(text: str) -> list[str]:
    """The folders tables are looked for in, as written."""
    entries: list[str] = []
    for inline, listed in _SEARCH_PATH.findall(text):
        entries += inline.strip().strip("\"'").split(":")
        entries += [line.strip().removeprefix("-").strip().strip("\"'") for line in listed.splitlines()]
    return [entry for entry in entries if entry]


def _tables(config: Path, text: str, variables: Mapping[str, str]) -> dict[str, Path]:
    """The tables the configuration names and has, by what it calls them; colour spaces are a `src`, too.

    Raises InvalidInput where one may not leave this machine, or would be another one elsewhere.
    """
    known = {**_defaults(text), **variables}
    places = [config.parent / _filled(entry, known) for entry in _search_path(text)] or [config.parent]
    rules, found = AssetRules(config.parent), {}
    for written in dict.fromkeys(match[1].strip().strip("\"'") for match in _SOURCE.findall(text)):
        source = _filled(written, known)
        there = (Path(os.path.normpath(place / source)) for place in places)
        table = next((path for path in there if path.is_file()), None)
        if table is not None:
            found[written] = _allowed(config, table, rules)
        elif any(name in variables for name in _names(written)):
            raise InvalidInput(_says_variable(config, written))
    if len(found) > MOST_TABLES or sum(table.stat().st_size for table in found.values()) > MOST_TABLE_BYTES:
        raise InvalidInput(f"The OCIO configuration {config} has more tables than a scene may carry.")
    return found


def _allowed(config: Path, table: Path, rules: AssetRules) -> Path:
    reason = rules.refusal(table, _TABLES)
    if reason:
        raise InvalidInput(f"The OCIO configuration {config} needs {table}, which stays here: {reason}.")
    return table


def _says_variable(config: Path, written: str) -> str:
    return (
        f"The OCIO configuration {config} reads {written}, and nodes do not have that variable: write its "
        f"value into a copy of the configuration, and name that in OCIO."
    )


def _defaults(text: str) -> dict[str, str]:
    """What the configuration itself gives its variables."""
    lines = (line.strip() for part in _ENVIRONMENT.findall(text) for line in part.splitlines())
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def _names(text: str) -> list[str]:
    return [next(filter(None, groups)) for groups in _VARIABLE.findall(text)]


def _filled(text: str, known: Mapping[str, str]) -> str:
    """`text` with its variables filled in, as far as they are known."""
    return _VARIABLE.sub(lambda match: known.get(next(filter(None, match.groups())), match[0]), text)


def _gathered(config: Path, text: str, top: str, tables: Mapping[str, Path], folder: Path) -> ColorConfig:
    """A copy of the configuration that names its tables where they lie in the bundle."""
    names = {written: f"{number}-{table.name}" for number, (written, table) in enumerate(tables.items())}
    text = _SEARCH_PATH.sub("", text)
    text = _SOURCE.sub(lambda match: match[1] + _renamed(match[2], names), text)
    version, rest = text.split("\n", 1) if "\n" in text else (text, "")
    main = f"{top}/{config.name}"
    target = folder / main
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"{version}\n\nsearch_path: tables\n{rest}", "utf-8", "surrogateescape")
    files = {f"{top}/tables/{names[written]}": str(table) for written, table in tables.items()}
    return ColorConfig(main, {main: str(config), **files}, (main,))


def _renamed(written: str, names: Mapping[str, str]) -> str:
    name = names.get(written.strip().strip("\"'"))
    return written if name is None else f'"{name}"'
