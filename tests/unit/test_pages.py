# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages name files that exist, beside each room's code all of its modules, and all calls of the API."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ("farm_protocol", "frame_splitter", "gpu_worker", "payments", "render_farm", "verification")
TREES = (*PROGRAM, "benchmarks", "docs", "samples", "tests")
UNREAD = {"node_modules", "__pycache__"}
FILES = [
    path.relative_to(ROOT)
    for tree in TREES
    for path in (ROOT / tree).rglob("*")
    if path.is_file() and not UNREAD & set(path.parts)
]
FOLDERS = {folder for path in FILES for folder in path.parents}
ENDINGS = {str(Path(*path.parts[first:])) for path in FILES for first in range(len(path.parts))}
ROOMS = [path for path in FILES if path.name == "README.md" and path.parts[0] in PROGRAM]
PAGES = [Path("README.md"), *(path for path in FILES if path.match("docs/*.md")), *ROOMS]
NAMED = re.compile(r"`([\w./-]+\.(?:py|lua|sol)|[\w.-]+/[\w./-]+\.md)`|`((?:%s)/[\w./-]*)`" % "|".join(TREES))  # noqa: UP031
STRANGERS = {"redis.py"}
"""A file that security.md imagines in a stranger's folder."""

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([\w-]+))?\)")


def text(page: Path) -> str:
    return (ROOT / page).read_text()


def headings(page: Path) -> set[str]:
    """The names under which a page's headings are linked to."""
    titles = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def exists(name: str) -> bool:
    """Whether a path from the root exists, or a file's path ends as the name does."""
    return name in ENDINGS or Path(name) in FOLDERS


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_path_that_a_page_names_exists(page: Path):
    named = [file or folder for file, folder in NAMED.findall(text(page))]
    assert [name for name in named if not exists(name) and name not in STRANGERS] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_leads_somewhere(page: Path):
    for link, heading in LINK.findall(text(page)):
        target = (ROOT / page.parent / link).resolve() if link else ROOT / page
        assert target.exists(), link
        assert not heading or heading in headings(target.relative_to(ROOT)), f"{link}#{heading}"


def test_every_page_that_the_code_names_exists():
    code = [path for path in FILES if path.suffix in (".py", ".lua", ".sol")]
    named = {name for path in code for name in re.findall(r"\b[\w/]+/[\w-]+\.md\b", text(path))}
    assert "docs/http.md" in named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_the_first_column_of_a_rooms_tables_is_in_that_room(room: Path):
    for name in re.findall(r"^\| `([\w./]+\.(?:py|lua))` \|", text(room), re.MULTILINE):
        assert list((ROOT / room.parent).rglob(name)), name


def calls_of_the_code() -> set[tuple[str, str]]:
    found = set()
    for path in (ROOT / "render_farm/coordinator/api").glob("*.py"):
        module = importlib.import_module(f"render_farm.coordinator.api.{path.stem}")
        for route in module.router.routes if hasattr(module, "router") else ():
            found |= {(method, route.path.removeprefix("/api/v1")) for method in route.methods}
    return {(method, shape(path)) for method, path in found if path not in ("/docs", "/openapi.json")}


def shape(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def calls_of_the_page() -> set[tuple[str, str]]:
    """The calls in the table's second column; `/pause` after `POST /jobs/{job}/cancel` is beside it."""
    found = set()
    for cell in re.findall(r"^\| [\w/]+ \| (`[^|]*) \|", text(Path("docs/http.md")), re.MULTILINE):
        method, before = "", ""
        for call in re.findall(r"`([^`]*)`", cell):
            verb, _, path = call.rpartition(" ")
            path = re.split(r"[\[?]", path)[0]
            method, before = (verb, path) if verb else (method, f"{before.rpartition('/')[0]}{path}")
            found.add((method, shape(before)))
    return found


def test_the_page_about_http_has_all_calls():
    assert calls_of_the_page() == calls_of_the_code()
