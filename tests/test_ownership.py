"""Who owns what: the table that people read, what an update does, and what Renovate is told."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.edits import EDITS
from helpers.files import change, files, texts
from helpers.programs import run
from helpers.project import Copy
from helpers.repository import ROOT, commit
from helpers.template import ASKED, FRAMEWORKS, choices
from helpers.updates import is_yours, yours

RENOVATE = "44.121.2"


def rows(text: str) -> dict[str, set[str]]:
    """Return what the table names in code, by its owner."""
    table = text.partition("| owner | files and lines |")[2].partition("\n\n")[0]
    found = {}
    for line in table.splitlines()[2:]:
        _, owner, what, *_ = line.split("|")
        found[owner.strip()] = set(re.findall("`(.+?)`", what))
    return found


DEPOT = {"ci": "github", "builder": "depot", "depot_project": "a1b2c3d4e5"}


@pytest.fixture(
    scope="module",
    params=[*({"ci": ci} for ci in choices(ASKED["ci"])), DEPOT, {"deploy": "kubernetes"}],
    ids=lambda answers: " ".join(answers.values()),
)
def project(
    request: pytest.FixtureRequest, copy: Copy, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return copy(tmp_path_factory.mktemp("owned") / "project", **request.param)


@pytest.mark.render
def test_table_says_what_an_update_does(project: Path) -> None:
    table = rows((project / "README.md").read_text())
    assert table.keys() == {"the template", "shared", "Renovate", "you"}
    assert table["you"] == set(yours())
    merged = {name for name in files(project) if not is_yours(name)}
    # A folder stands for the files in it.
    folders = {name for name in table["shared"] if name.endswith("/")}
    below = {name for name in merged if name.startswith(tuple(folders))}
    assert table["shared"] - folders | {".copier-answers.yml"} == merged - below
    assert bool(folders) == bool(below)


@pytest.mark.render
def test_page_and_project_have_the_same_owners() -> None:
    page = rows((ROOT / "docs" / "updates.md").read_text())
    readme = (ROOT / "template" / "README.md.jinja").read_text()
    named = readme.replace("{{ _copier_conf.answers_file }}", ".copier-answers.yml")
    assert rows(named) == page


@pytest.mark.render
def test_renovate_is_told_the_same(project: Path) -> None:
    """The template's lines are disabled, Python's digest and dependencies are not."""
    disabled: dict[str, list[str] | None] = {}
    for rule in json.loads((project / "renovate.json").read_text())["packageRules"]:
        assert rule["enabled"] is False
        assert set(rule) <= {"description", "enabled", "matchDepNames", "matchUpdateTypes"}
        for name in rule["matchDepNames"]:
            disabled[name] = rule.get("matchUpdateTypes")

    written = texts(project)
    merged = "".join(text for name, text in written.items() if not is_yours(name))
    # Whatever carries a version in the files that updates merge, as Renovate names it.
    images = set(re.findall(r"^FROM ([\w./-]+):", written["Dockerfile"], re.M))
    actions = set(re.findall(r"uses: (.+)@", merged))
    others = {"ubuntu"} if "runs-on: ubuntu-" in merged else set()
    others |= {"astral-sh/uv"} if "astral-sh/setup-uv@" in merged else set()
    assert images | actions | others <= disabled.keys()
    # The digest behind the tag, and what makes the tag precise, stay with Renovate.
    assert disabled["python"] == ["major", "minor", "patch"]
    (frontend,) = re.findall(r"^# syntax=(\S+):1$", written["Dockerfile"], re.M)
    assert frontend not in disabled
    renovates = written["README.md"].partition("| Renovate |")[2].splitlines()[0]
    assert f"the digests behind the tags of Python and `{frontend}`" in renovates
    assert {name for name, types in disabled.items() if types} == {"python"}
    assert "docker:pinDigests" in written["renovate.json"]
    locked = r'^name = "(.+)"\nversion = .+\nsource = { registry'
    assert not disabled.keys() & set(re.findall(locked, written["uv.lock"], re.M))


@pytest.mark.render
def test_renovate_finds_every_pin_of_the_template() -> None:
    """But the Debian release, which nobody numbers, the oldest uv, which never rises, and a day."""
    text = (ROOT / "copier.yml").read_text()
    found = set()
    for manager in json.loads((ROOT / "renovate.json").read_text())["customManagers"]:
        assert all(
            re.search(pattern.strip("/"), "copier.yml")
            for pattern in manager["managerFilePatterns"]
        )
        for pattern in manager["matchStrings"]:
            for match in re.finditer(pattern.replace("(?<", "(?P<"), text):
                groups = match.groupdict()
                assert groups.get("datasource") or manager["datasourceTemplate"]
                found.add(
                    (groups.get("currentDigest") or groups["currentValue"], groups["currentValue"])
                )
    pins = yaml.safe_load(text)["pins"]["default"]
    moving = {(pins["uv"], pins["uv"]), (pins["copier"], pins["copier"])}
    moving |= {tuple(pin.split(" # ")) for pin in pins["actions"].values()}
    moving |= {tuple(reversed(pin.split("@"))) for pin in pins["images"].values()}
    assert found == moving
    unmoved = {"suite", "uv_oldest", "copier_before"}
    assert pins.keys() == {"uv", "copier", "actions", "images"} | unmoved


@pytest.fixture(scope="module")
def validator() -> list[str]:
    """Install Renovate's validator and the Node.js that it needs; they stay for the next run."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "copier-uv-docker"
    node, renovate = cache / "node-24", cache / f"renovate-{RENOVATE}"
    quiet = ["--no-fund", "--no-audit", "--loglevel=error"]
    for folder, package in [(node, "node@24"), (renovate, f"renovate@{RENOVATE}")]:
        if not (folder / "package-lock.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            # Renovate's scripts compile what the validator does without; those of node fetch it.
            scripts = ["--ignore-scripts"] if folder == renovate else []
            run("npm", "install", *quiet, *scripts, "--engine-strict=false", package, cwd=folder)
    programs = renovate / "node_modules" / ".bin"
    return [
        str(node / "node_modules" / ".bin" / "node"),
        str(programs / "renovate-config-validator"),
    ]


def validated(validator: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the validator on the renovate.json of a folder."""
    return run(*validator, "--strict", "--no-global", "renovate.json", cwd=folder, check=False)


@pytest.mark.project
def test_renovate_accepts_the_templates_own_configuration(validator: list[str]) -> None:
    done = validated(validator, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.project
@pytest.mark.parametrize("right", [True, False])
def test_renovate_accepts_the_configuration_and_no_wrong_one(
    validator: list[str], copy: Copy, tmp_path: Path, right: bool
) -> None:
    project = copy(tmp_path / "project")
    if not right:
        change(project, "renovate.json", '"enabled": false\n    },', '"enabled": "no"\n    },')
    EDITS["lines in the small files"].apply(project)
    done = validated(validator, project)
    assert (done.returncode == 0) == right, done.stdout + done.stderr


@pytest.mark.project
def test_renovate_finds_a_release_in_each_framework(
    validator: list[str], copy: Copy, tmp_path: Path
) -> None:
    """By its own lookup, in a project of each framework whose lock has an older version."""
    root = tmp_path / "repository"
    for framework in FRAMEWORKS:
        project = copy(root / framework, framework=framework)
        change(project, "uv.lock", r'(^name = "pydantic-settings"\nversion = )".+"', r'\1"2.1.0"')
        change(project, "pyproject.toml", r"(pydantic-settings>=).+?\"", r'\g<1>2.1.0"')
    settings = json.loads((project / "renovate.json").read_text())
    # Where these are looked up is not the package index.
    settings["ignoreDeps"] = ["python", "uv"]
    (root / "renovate.json").write_text(json.dumps(settings))
    commit(root)
    node, program = validator
    asked = {
        "RENOVATE_BASE_DIR": str(tmp_path / "renovate"),
        "RENOVATE_ENABLED_MANAGERS": '["pep621"]',
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
    }
    renovate = Path(program).with_name("renovate")
    lookup = ["--platform=local", "--dry-run=lookup"]
    printed = run(node, renovate, *lookup, cwd=root, env=asked).stdout

    records = [json.loads(line) for line in printed.splitlines()]
    (found,) = (r["config"]["pep621"] for r in records if r["msg"] == "packageFiles with updates")
    assert {file["packageFile"] for file in found} == {f"{f}/pyproject.toml" for f in FRAMEWORKS}
    for file in found:
        updated = {dep["depName"] for dep in file["deps"] if dep["updates"]}
        assert "pydantic-settings" in updated, file
        unseen = [dep for dep in file["deps"] if dep.get("skipReason") == "unspecified-version"]
        assert not unseen
    assert "renovate/lock-file-maintenance" in printed
