"""What the documentation names is there."""

import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from test_render import ASKED

pytestmark = pytest.mark.render

TESTS = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))


def test_every_rule_of_the_dockerfile_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "dockerfile.md").read_text()
    rules = re.findall(r"^\| [A-Z]\d+ \|.*$", text, re.MULTILINE)
    assert len(rules) > 20
    for rule in rules:
        for name in re.findall(r"`(test_\w+)`", rule):
            assert f"def {name}(" in TESTS, rule
    unproven = [rule.split()[1] for rule in rules if "`test_" not in rule and "as S1" not in rule]
    # What only makes a build faster shows in the figure alone.
    assert unproven == ["L8", "L9"]


def test_documented_figures_are_the_measured_ones() -> None:
    """benchmark.json is what a run kept; the table and the drawing come from it alone."""
    command = [sys.executable, "benchmarks/image.py", "--from=docs/benchmark.json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    page = (ROOT / "docs" / "dockerfile.md").read_text()
    assert run.stdout.strip() in page

    readme = (ROOT / "README.md").read_text()
    table = r"^\| the same FastAPI service.*\n\| -.*\n((?:\|.*\n)+)"
    (rows,) = re.findall(table, readme, re.MULTILINE)
    for figure in re.findall(r"[\d.]+ (?:s|kB|MB)\b", rows):
        assert figure in run.stdout, figure


def test_readme_has_a_row_for_each_question_with_its_default() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, question in ASKED.items():
        (default,) = re.findall(rf"^\| `{name}` \| (.+?) \|", readme, re.MULTILINE)
        if "{" not in question["default"]:
            assert default == (f"`{question['default']}`" if question["default"] else "empty")


def test_changelog_has_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    changelog = re.search(r"^## \[(.+)\] - \d", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version
    assert changelog
    assert version[1] == changelog[1]


def test_own_workflow_and_template_use_the_same_actions() -> None:
    pins = yaml.safe_load((ROOT / "copier.yml").read_text())["pins"]["default"]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    for name, commit in re.findall(r"uses: ([\w./-]+)@(.+)", workflow):
        assert pins["actions"][name] == commit
    assert re.findall(r'version: "(.+)"', workflow) == [pins["uv"]]
