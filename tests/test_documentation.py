"""The documentation is true: what it names exists, and its figures are the measured ones."""

import itertools
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from helpers.files import write
from helpers.programs import run
from helpers.project import Copy
from helpers.repository import ROOT, commit
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
    "pushed after adding a dependency": "pushed after one more dependency",
    "two clean builds give identical layers": "two clean builds give the same layers",
    "empty node to first response": "empty node to first answer",
    "container start to first response": "start to first answer",
    "CPU time to first response": "CPU to first answer",
    "rebuild after a one-line edit": "rebuild after a code edit",
    "clean build": "clean build, uv's cache warm",
    "image size, gzip": "image, gzip",
}
LAYOUTS = {
    "reference Dockerfile": "reference",
    "this template": "here, slim",
    "this template, `distroless`": "here, distroless",
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


def test_each_question_has_a_row_with_its_default() -> None:
    for name, question in ASKED.items():
        existing = question.get("when") == "{{ framework == 'existing' }}"
        page = (ROOT / "docs" / ("existing.md" if existing else "questions.md")).read_text()
        (default,) = re.findall(rf"^\| `{name}` \| (.+?) \|", page, re.MULTILINE)
        if existing:
            continue
        if "{" not in question["default"]:
            assert default == (f"`{question['default']}`" if question["default"] else "empty")


PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "tests" / "README.md",
]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: a host derives them from its headings."""
    text = re.sub(r"^```.+?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_test_and_program_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in TESTS, name
    for path in re.findall(r"(?<![\w/])((?:tests|benchmarks)/[\w/]+(?:\.(?:py|md))?)\b", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_paragraph_is_one_line(page: Path) -> None:
    text = re.sub(r"^ *```.+?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for before, line in itertools.pairwise(text.splitlines()):
        assert not (before and re.match(r"\s*(?![-|#]|\d+\. )\S", line)), line


def test_changelog_has_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    changelog = re.search(r"^## \[(.+)\] - \d", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version
    assert changelog
    assert version[1] == changelog[1]


def test_prose_linter_reads_what_people_read(tmp_path: Path) -> None:
    """Pages, comments, docstrings, questions and messages, and no code."""
    for name in ("scripts/lint_prose.py", "docs/prose/terms.toml", "docs/prose/dictionary.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    files = {
        "page.md": f"Scan `holes` for known holes.\n\n{'Word and ' * 21}end.\n",
        "module.py.jinja": '"""Give the {{ path }} of a holez."""\n\nholes = 1  # uv\'s\n',
        "questions.yml": (
            "_message_after: |\n  {% if deaf %}\n  Deaf to it.\n    deaf to code\n  {% endif %}\n"
            "name:\n  help: What is no name?\n  deaf: to what  # anew\n"
        ),
        "run.sh": "deaf to code\n# Runs as closed as it can.\n",
    }
    write(tmp_path, files)
    commit(tmp_path)
    done = run(sys.executable, "scripts/lint_prose.py", *files, cwd=tmp_path, check=False)
    found = [line.split(": ")[:2] for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert found == [
        ["module.py.jinja:1", "Give the"],
        ["module.py.jinja:1", "holez"],
        ["page.md:1", "holes"],
        ["page.md:3", "Word and Word and Word and Word and Word and Word and [...]"],
        ["questions.yml:3", "Deaf to"],
        ["questions.yml:7", "What is no"],
        ["questions.yml:8", "anew"],
        ["run.sh:2", "as closed"],
    ]


def test_places_for_edits_are_in_the_dockerfile() -> None:
    page = (ROOT / "docs" / "existing.md").read_text()
    places = re.findall(r"(?:above|the line) `([^`]+)`", page)
    assert len(places) == 3
    for place in places:
        assert place in (ROOT / "docs" / "example.md").read_text(), place


def test_example_is_what_the_template_renders(copy: Copy, tmp_path: Path) -> None:
    project = copy(tmp_path / "my-service")
    rendered = run(sys.executable, "scripts/example.py", project, cwd=ROOT).stdout
    written = (ROOT / "docs" / "example.md").read_text()
    assert written == rendered, "run `uv run python scripts/example.py` and look at its diff"


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("bug.yml", "github-issue-forms"),
        ("proposal.yml", "github-issue-forms"),
        ("config.yml", "github-issue-config"),
    ],
)
def test_issue_forms_are_valid(name: str, schema: str) -> None:
    form = ROOT / ".github" / "ISSUE_TEMPLATE" / name
    run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", form)


def test_bug_form_asks_for_the_answers_and_the_versions() -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text())
    fields = {field["id"]: field for field in form["body"] if "id" in field}
    required = {name for name, field in fields.items() if field.get("validations")}
    assert required == {"happened", "answers", "versions"}
    assert fields["answers"]["attributes"]["label"] == ".copier-answers.yml"
    for command in ("uvx copier --version", "uv --version", "docker version"):
        assert command in fields["versions"]["attributes"]["description"]


def test_own_workflow_and_template_use_the_same_actions() -> None:
    pins = yaml.safe_load((ROOT / "copier.yml").read_text())["pins"]["default"]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    for name, pin in re.findall(r"uses: ([\w./-]+)@(.+)", workflow):
        assert pins["actions"][name] == pin
    assert re.findall(r'version: "(.+)"', workflow) == [pins["uv"]]
