"""The questions, the pins and the frameworks of the working tree."""

from pathlib import Path
from typing import Any

import yaml

from helpers.repository import ROOT, git

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text())
QUESTIONS = {name: value for name, value in CONFIG.items() if not name.startswith("_")}
ASKED = {name: q for name, q in QUESTIONS.items() if q.get("when") is not False}
PINS = QUESTIONS["pins"]["default"]


def choices(question: dict[str, Any]) -> list[str]:
    """Return the values that a question with choices takes."""
    offered = question["choices"]
    return list(offered.values() if isinstance(offered, dict) else offered)


def extension(framework: str) -> dict[str, Any]:
    """Return what the template knows of a framework."""
    facts: dict[str, Any] = yaml.safe_load(
        (ROOT / "extensions" / framework / "extension.yml").read_text()
    )
    return facts


# Those that bring files; tests/test_existing.py is for the one that brings none.
FRAMEWORKS = [name for name in choices(ASKED["framework"]) if name != "existing"]
# Every framework on every server that it can have.
SERVICES = [
    {"framework": framework, "server": server}
    for framework in FRAMEWORKS
    for server in extension(framework)["servers"]
]

# The defaults that copier.yml computes from a lock or from old answers, where there are none.
WITHOUT_A_LOCK = {"framework": "fastapi", "python_version": "3.14", "database": "postgres"}
DEFAULT_PYTHON = WITHOUT_A_LOCK["python_version"]


def template_files() -> list[Path]:
    """Return each file of the template and its extensions, committed or not."""
    listed = git(ROOT, "ls-files", "-z", "-co", "--exclude-standard", "template", "extensions")
    return [ROOT / name for name in filter(None, listed.split("\0")) if (ROOT / name).is_file()]
