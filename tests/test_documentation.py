"""What the documentation names is there."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from helpers.programs import run
from helpers.repository import ROOT
from helpers.template import ASKED

pytestmark = pytest.mark.render

TESTS = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))


def test_every_rule_of_the_dockerfile_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "dockerfile.md").read_text()
    rules = re.findall(r"^\| [A-Z]\d+ \|.*$", text, re.MULTILINE)
    assert len(rules) > 20
    for rule in rules:
        for name in re.findall(r"`(test_\w+)`", rule):
            assert f"def {name}(" in TESTS, rule
    unproven = [rule.split()[1] for rule in rules if "`test_" not in rule]
    # What only makes a build faster shows in the figure alone.
    assert unproven == ["L9"]


# What the README calls a figure of the benchmark, and the benchmark itself.
FIGURES = {
    "pushed after a one-line edit": "pushed after a code edit",
    "pushed after one more dependency": "pushed after one more dependency",
    "two clean builds give the same layers": "two clean builds give the same layers",
    "from an empty node to the first answer": "empty node to first answer",
    "start to the first answer": "start to first answer",
    "CPU until then": "CPU to first answer",
    "rebuild after an edit": "rebuild after a code edit",
    "clean build": "clean build, uv's cache warm",
    "image, gzip": "image, gzip",
}
LAYOUTS = {
    "reference Dockerfile": "reference",
    "here": "here, slim",
    "here, `distroless`": "here, distroless",
}


def cells(text: str, first: str) -> dict[str, dict[str, str]]:
    """Return the table that begins with a cell: what its rows have, by the names of the columns."""
    table = text[text.index(f"| {first} |") :].partition("\n\n")[0]
    (_, *names), _, *rows = (
        [c.strip() for c in r.strip("| ").split(" | ")] for r in table.splitlines()
    )
    return {title: dict(zip(names, row, strict=True)) for title, *row in rows}


def documented(program: str, kept: str, folder: Path) -> str:
    """Return the tables of a benchmark's kept run, once they and the drawing are what docs has."""
    drawing = folder / f"{kept}.svg"
    command = [sys.executable, f"benchmarks/{program}.py", f"--from=docs/{kept}.json"]
    command.append(f"--svg={drawing}")
    tables = run(*command, cwd=ROOT).stdout
    assert drawing.read_text() == (ROOT / "docs" / f"{kept}.svg").read_text()
    assert tables.strip() in (ROOT / "docs" / "dockerfile.md").read_text()
    return tables


def test_documented_figures_are_the_measured_ones(tmp_path: Path) -> None:
    """benchmark.json is what a run kept; the tables and the drawing come from it alone."""
    measured = cells(documented("image", "benchmark", tmp_path), "figure")
    readme = cells((ROOT / "README.md").read_text(), "the same FastAPI service on Python 3.14")
    assert readme == {
        said: {
            # Without the part of the reference, which stands in brackets.
            column: measured[title][layout].partition(" (")[0]
            for column, layout in LAYOUTS.items()
        }
        for said, title in FIGURES.items()
    }


def test_documented_growth_is_the_measured_one(tmp_path: Path) -> None:
    documented("growth", "growth", tmp_path)


def test_readme_has_a_row_for_each_question_with_its_default() -> None:
    for name, question in ASKED.items():
        existing = question.get("when") == "{{ framework == 'existing' }}"
        page = (ROOT / ("docs/existing.md" if existing else "README.md")).read_text()
        (default,) = re.findall(rf"^\| `{name}` \| (.+?) \|", page, re.MULTILINE)
        if existing:
            continue
        if "{" not in question["default"]:
            assert default == (f"`{question['default']}`" if question["default"] else "empty")


def test_own_workflow_and_template_use_the_same_actions() -> None:
    pins = yaml.safe_load((ROOT / "copier.yml").read_text())["pins"]["default"]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    for name, commit in re.findall(r"uses: ([\w./-]+)@(.+)", workflow):
        assert pins["actions"][name] == commit
    assert re.findall(r'version: "(.+)"', workflow) == [pins["uv"]]
