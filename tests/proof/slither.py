"""Static analysis by slither, started by scripts/prove: no finding of high or medium impact but the accepted ones.

slither compiles with the pinned solc, through one standard JSON of all sources; slither.toml says what is accepted.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.setup import analysers
from scripts.setup.cache import REPOSITORY
from scripts.solc import TOOLS, request, sources

ACCEPTED = Path(__file__).with_name("slither.toml")
_OUTPUTS = ["abi", "metadata", "devdoc", "userdoc", "evm.bytecode", "evm.deployedBytecode"]


@dataclass(frozen=True)
class Finding:
    """A finding of slither, and the expressions that it points at."""

    check: str
    impact: str
    words: str
    code: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """Findings that are none."""

    check: str
    code: str
    reason: str

    def accepts(self, finding: Finding) -> bool:
        if finding.check != self.check:
            return False
        return not self.code or any(re.search(self.code, each) for each in finding.code)


def rules() -> list[Rule]:
    """Raises: ValueError for a rule without a reason."""
    told = [Rule(**each) for each in tomllib.loads(ACCEPTED.read_text("utf-8"))["accepted"]]
    for each in told:
        if not each.reason.strip():
            raise ValueError(f"{ACCEPTED.name}: {each.check} {each.code} has no reason")
    return told


def findings(texts: dict[str, str]) -> list[Finding]:
    """All that slither finds of high or medium impact. Raises: RuntimeError if it could not look, with its words."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(request(texts, {"*": {"*": _OUTPUTS, "": ["ast"]}}, root=REPOSITORY)))
        options = ["--compile-force-framework", "solc-json", "--solc", str(TOOLS / "tools" / "solc")]
        options += ["--filter-paths", "node_modules", "--json", str(answered)]
        command = [str(analysers.tool("slither")), str(asked), *options]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        answer: dict[str, Any] = json.loads(answered.read_text()) if answered.exists() else {"success": False}
    if not answer["success"]:
        raise RuntimeError(f"slither failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return [_finding(each) for each in answer["results"].get("detectors", ()) if each["impact"] in {"High", "Medium"}]


def _finding(told: dict[str, Any]) -> Finding:
    code = tuple(each["name"] for each in told["elements"] if each["type"] == "node")
    return Finding(told["check"], told["impact"], told["description"].strip(), code)


def judged(found: Sequence[Finding]) -> tuple[list[Finding], list[Rule]]:
    """Findings that no rule accepts, and rules that accept none."""
    known = rules()
    open_ = [each for each in found if not any(rule.accepts(each) for rule in known)]
    return open_, [rule for rule in known if not any(rule.accepts(each) for each in found)]


def main() -> int:
    """Exit code: 0 nothing but what is accepted, 1 a finding or a stale rule."""
    argparse.ArgumentParser(prog="scripts/prove slither", description=__doc__).parse_args()
    try:
        found = findings(sources())
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    open_, stale = judged(found)
    for each in open_:
        print(f"{each.impact}: {each.check}: {each.words}\n")
    for rule in stale:
        print(f"error: {ACCEPTED.name}: nothing answers to {rule.check} {rule.code}")
    print(f"total: {len(found)} findings of high or medium impact, {len(found) - len(open_)} accepted with a reason")
    return 1 if open_ or stale else 0


if __name__ == "__main__":
    sys.exit(main())
