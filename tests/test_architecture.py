"""The shape of the project as a test: who imports what, who prints, what every file says about itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from protocol.effects import Effect
from protocol.messages import Message, Signable
from protocol.roles.role import Role
from protocol.timers import Timer
from tests.support.source_tree import PACKAGES, REPOSITORY, name_of, parsed, product_modules, tracked

OURS = {*PACKAGES, "scripts", "tests"}

# Modules of the standard library that the core may use: no clock, no chance, no disk, no network, no threads.
_PURE = """
    __future__ abc base64 bisect collections copy dataclasses datetime decimal enum fractions functools hashlib
    heapq hmac io itertools json math operator re string struct types typing unicodedata
"""
PURE_STANDARD_LIBRARY = set(_PURE.split())
CORE_EXTERNALS = {"cbor2", "coincurve", "eth_abi", "eth_account", "eth_utils"}

# Each library of the left column stays where the right column says, so that replacing it touches one place.
HOMES = {
    "anycorn": ("node/api",),
    "cryptography": ("node/wallet/sealing.py", "p2p"),
    "cyclopts": ("node/cli",),
    "docker": ("executor/containers", "executor/images.py"),
    "httpx": ("node", "tests"),
    "libp2p": ("p2p",),
    "llguidance": ("executor/runner/grammar.py",),
    "multiaddr": ("p2p",),
    "peft": ("executor/runner",),
    "prometheus_client": ("node/api/metrics.py",),
    "pynvml": ("executor/cards/nvml.py",),
    "safetensors": ("executor/runner",),
    "solcx": ("scripts",),
    "sqlite3": ("node",),
    "starlette": ("node/api",),
    "tokenizers": ("node/daemon/text.py", "executor/runner"),
    "torch": ("executor/runner",),
    "transformers": ("executor/runner",),
    "web3": ("chain",),
}

PRINTERS = ("node/cli/ui/output.py", "executor/runner/", "scripts/")
VAGUE_NAMES = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}


def python_modules() -> list[Path]:
    return [path for path in tracked("*.py") if name_of(path).split("/")[0] in OURS]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every absolute import, those inside functions too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


def calls(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every call."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of every text, but for wire names and the values of enumerations."""
    stated = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef):
            is_enum = any(ast.unparse(base).endswith("Enum") for base in node.bases)
            stated |= {id(part) for each in [*node.decorator_list, *node.body * is_enum] for part in ast.walk(each)}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in stated:
            yield node.lineno, node.value


def is_within(path: Path, places: tuple[str, ...]) -> bool:
    return any(name_of(path) == place or name_of(path).startswith(place.rstrip("/") + "/") for place in places)


def assert_none(faults: list[str], rule: str) -> None:
    assert not faults, f"{rule}:\n  " + "\n  ".join(faults)


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_of_the_wheel_is_under_contract() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]
    assert set(settings["importlinter"]["root_packages"]) == set(PACKAGES)
    assert set(settings["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)
    found = {name_of(path).split("/")[0] for path in tracked("*/__init__.py") if name_of(path).count("/") == 1}
    assert found == OURS, "a new top-level package takes its place in the contracts of pyproject.toml and in this test"


def test_core_imports_only_what_is_pure() -> None:
    allowed = PURE_STANDARD_LIBRARY | CORE_EXTERNALS | {"protocol"}
    faults = [
        f"{name_of(path)}:{line} imports {module}"
        for path in product_modules()
        if is_within(path, ("protocol",))
        for line, module in imports(path)
        if module not in allowed
    ]
    assert_none(faults, "protocol/ takes time, chance and input as arguments")


def test_core_opens_nothing_and_reads_no_clock() -> None:
    impure = re.compile(r"(^|\.)(open|input|print|now|utcnow|today|getenv|eval|exec|__import__)$")
    faults = [
        f"{name_of(path)}:{line} calls {call}"
        for path in product_modules()
        if is_within(path, ("protocol",))
        for line, call in calls(path)
        if impure.search(call)
    ]
    assert_none(faults, "protocol/ does no input or output and has no clock")


def test_core_names_no_effect_timer_message_or_role_by_a_text() -> None:
    words = {cls.__name__ for union in (Effect, Timer, Message, Signable) for cls in get_args(union)} | set(Role)
    faults = [
        f"{name_of(path)}:{line} {text!r}"
        for path in product_modules()
        if is_within(path, ("protocol",))
        for line, text in texts(path)
        if text in words
    ]
    assert_none(faults, "a text is not checked: use the class, or a member of Role")


def test_core_takes_no_timer_apart() -> None:
    parts = re.compile(r"\b(timer|name|moment)(\.\w+)?\.(startswith|endswith|partition|rpartition|split|removeprefix)$")
    faults = [
        f"{name_of(path)}:{line} {call}"
        for path in product_modules()
        if is_within(path, ("protocol",))
        for line, call in calls(path)
        if parts.search(call)
    ]
    assert_none(faults, "a timer is a class of protocol/timers.py with fields")


@pytest.mark.parametrize("library", sorted(HOMES))
def test_library_stays_at_home(library: str) -> None:
    faults = [
        f"{name_of(path)}:{line}"
        for path in product_modules()
        if not is_within(path, HOMES[library])
        for line, module in imports(path)
        if module == library
    ]
    assert_none(faults, f"{library} is imported only in {', '.join(HOMES[library])}")


def test_runner_imports_nothing_of_the_project() -> None:
    faults = [
        f"{name_of(path)}:{line} imports {module}"
        for path in product_modules()
        if is_within(path, ("executor/runner",))
        for line, module in imports(path)
        if module in OURS and not _names_runner(path, line)
    ]
    assert_none(faults, "the runner is copied into an image without the project")


def _names_runner(path: Path, line: int) -> bool:
    return "executor.runner" in path.read_text().splitlines()[line - 1]


def test_only_the_output_module_prints() -> None:
    faults = [
        f"{name_of(path)}:{line}"
        for path in product_modules()
        if not is_within(path, PRINTERS)
        for line, call in calls(path)
        if call in {"print", "sys.stdout.write", "sys.stderr.write"}
    ]
    assert_none(faults, "words for a person go through node/cli/ui/output.py")


def test_command_line_imports_nothing_heavy() -> None:
    if not (REPOSITORY / "node" / "cli" / "__init__.py").is_file():
        return
    heavy = ["anycorn", "docker", "eth_account", "libp2p", "rich", "starlette", "tokenizers", "trio", "web3"]
    code = f"import sys, node.cli; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], "a command must answer in half a second: import these where they are used"


def test_a_class_name_stands_once_in_the_product() -> None:
    found: dict[str, list[str]] = {}
    for path in [*product_modules(), *tracked("scripts/*.py")]:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(f"{name_of(path)}:{node.lineno}")
    twice = {name: places for name, places in found.items() if len(places) > 1}
    assert_none([f"{name}: {', '.join(places)}" for name, places in twice.items()], "one name, one meaning")


def test_every_module_says_what_it_is() -> None:
    faults = [
        name_of(path)
        for path in python_modules()
        if ast.get_docstring(parsed(path)) is None and path.read_text().strip()
    ]
    assert_none(faults, "each module opens with a docstring")


def test_modules_are_named_by_a_noun() -> None:
    faults = [name_of(path) for path in python_modules() if VAGUE_NAMES.intersection(path.with_suffix("").parts)]
    assert_none(faults, "a name that could mean anything hides what is inside")


def test_no_file_names_a_developers_machine() -> None:
    # Put together here so that this file does not match itself.
    homes = re.compile(rb"(?<![\w.${}~-])/(?:%s)/[\w.-]+" % b"|".join([b"home", b"Users", b"root", b"work"]))
    faults = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for match in homes.finditer(content):
            line = content.count(b"\n", 0, match.start()) + 1
            faults.append(f"{name_of(path)}:{line} {match.group().decode(errors='replace')}")
    assert_none(faults, "paths are relative to the repository, or come from the configuration")


# Words that hide who does something, and how often all code and documents use them. The number only ever falls.
HIDDEN_SUBJECTS = re.compile(rb"\b(?:no(?:)body|who(?:)ever|for (?:)ever)\b", re.IGNORECASE)
HIDDEN_SUBJECTS_LEFT = 59

TOP_LEVEL = {*OURS, "contracts", "docs", "hardhat-local", "web"}
PATH_IN_PROSE = re.compile(r"`((?:[\w.-]+/)+[\w.-]*)`")
FILE_IN_PROSE = re.compile(r"`([\w.-]+\.(?:py|sol|md))`")
LINK = re.compile(r"\]\(([^)\s:]*?)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
DECISION_FIELDS = ["Decision", "Why", "Cost", "Code"]


def pages(*patterns: str) -> list[Path]:
    return [path for path in tracked(*patterns) if path.suffix == ".md"]


def anchors(page: Path) -> list[str]:
    """The anchors of a page's headings, as a browser of repositories makes them."""
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(page.read_text())]


def test_words_that_hide_a_subject_get_fewer() -> None:
    found = {name_of(path): len(HIDDEN_SUBJECTS.findall(path.read_bytes())) for path in tracked()}
    worst = sorted(((count, name) for name, count in found.items() if count), reverse=True)[:5]
    assert sum(found.values()) <= HIDDEN_SUBJECTS_LEFT, f"name the role or the bound instead; most stand in {worst}"


def test_paths_named_in_documents_exist() -> None:
    there = {name_of(path) for path in tracked()}
    folders = {parent.as_posix() for name in there for parent in Path(name).parents}
    files = {Path(name).name for name in there}
    faults = []
    for page in pages("*.md"):
        text = page.read_text()
        paths = (each for each in PATH_IN_PROSE.findall(text) if each.split("/")[0] in TOP_LEVEL)
        faults += [f"{name_of(page)}: {each}" for each in paths if each.rstrip("/") not in there | folders]
        faults += [f"{name_of(page)}: {each}" for each in FILE_IN_PROSE.findall(text) if each not in files]
    assert_none(faults, "a document names a file or folder that does not exist")


def test_links_between_documents_lead_somewhere() -> None:
    faults = []
    for page in pages("*.md"):
        for target, anchor in LINK.findall(page.read_text()):
            other = (page.parent / target).resolve() if target else page
            if not other.exists() or (anchor and anchor not in anchors(other)):
                faults.append(f"{name_of(page)}: {target}#{anchor}")
    assert_none(faults, "a document links to a page or heading that does not exist")


def decisions() -> dict[Path, dict[str, list[str]]]:
    """By page: each decision's title, and the names of its fields in their order."""
    found = {}
    for page in pages("docs/decisions/*.md"):
        parts = re.split(r"^### (.+)$", page.read_text(), flags=re.MULTILINE)[1:]
        fields = (re.findall(r"^- \*\*(\w+):\*\* \S", body, re.MULTILINE) for body in parts[1::2])
        found[page] = dict(zip(parts[::2], fields, strict=True))
    return found


def test_a_decision_says_why_what_it_costs_and_where_its_code_is() -> None:
    faults = [
        f"{name_of(page)}: {title}: {fields}"
        for page, titles in decisions().items()
        for title, fields in titles.items()
        if fields != DECISION_FIELDS
    ]
    assert_none(faults, f"a decision has the fields {', '.join(DECISION_FIELDS)}")


def test_the_index_lists_every_decision() -> None:
    index = (REPOSITORY / "docs/decisions.md").read_text()
    lines = (
        f"  - [{title}](decisions/{page.name}#{anchor})"
        for page in decisions()
        for title, anchor in zip(decisions()[page], anchors(page)[1:], strict=True)
    )
    assert_none([line for line in lines if line not in index], "put these lines into docs/decisions.md")


def test_documents_stay_short() -> None:
    architecture = (REPOSITORY / "ARCHITECTURE.md").read_text()
    assert len(architecture.splitlines()) <= 250
    assert len(architecture.split()) <= 2_500
    sizes = {name_of(page): len(page.read_text().split()) for page in decisions()}
    assert_none([f"{name}: {size} words" for name, size in sizes.items() if size > 1_500], "split a long page")


def test_a_line_of_the_changelog_is_one_short_sentence() -> None:
    lines = (REPOSITORY / "CHANGELOG.md").read_text().splitlines()
    faults = [line for line in lines if line.startswith("  ") or (line.startswith("- ") and len(line.split()) > 26)]
    assert_none(faults, "a line of the changelog is one sentence of at most 25 words")


def test_no_test_module_imports_another() -> None:
    of_tests = re.compile(r"(^|\.)(test_\w+)$")
    faults = [
        f"{name_of(path)}:{node.lineno} imports {node.module}"
        for path in tracked("tests/*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and node.module and of_tests.search(node.module)
    ]
    assert_none(faults, "what several tests share lives in tests/support")
