"""From every release, whatever people answered and edited, an update is clean."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from helpers.edits import EDITS, fitting, together
from helpers.programs import run
from helpers.repository import ROOT, git, releases
from helpers.updates import NOW, Answers, Questions, UpdateMatrix, content

# Each edit alone from the first release, in what most people have and in what nobody has;
# EVERY_UPDATE=1 does all releases and variants.
ALONE = [
    (version, variant) for version in [*releases()][:1] for variant in ("defaults", "all changed")
]

PAST = [
    pytest.param(version, answers, edit, id=f"{version} | {variant} | {edit}")
    for version in releases()
    for variant, answers in Questions.of(version).variants().items()
    if (version, variant) in ALONE or os.environ.get("EVERY_UPDATE") == "1"
    for edit in fitting(answers)
]


def whole(version: str) -> dict[str, Answers]:
    """Return the answers from which all edits together are updated."""
    questions = Questions.of(version)
    found = questions.services()
    return found if version == NOW else questions.variants() | found


TOGETHER = [
    pytest.param(
        version,
        answers,
        id=f"{version} | {variant}",
        # This much is enough for the oldest Copier.
        marks=[pytest.mark.render] if variant == "defaults" else [],
    )
    for version in [*releases(), NOW]
    for variant, answers in whole(version).items()
]


@pytest.mark.update
@pytest.mark.parametrize(("version", "answers", "edit"), PAST)
def test_update_keeps_an_edit_where_it_was(
    update_matrix: UpdateMatrix, version: str, answers: Answers, edit: str
) -> None:
    update_matrix.check(version, NOW, answers, EDITS[edit])


@pytest.mark.update
@pytest.mark.parametrize(("version", "answers"), TOGETHER)
def test_update_keeps_all_edits_at_once(
    update_matrix: UpdateMatrix, version: str, answers: Answers
) -> None:
    edits = [edit for edit in together(answers) if edit is not EDITS["a digest of Python"]]
    new = update_matrix.future("all pins") if version == NOW else NOW
    update_matrix.check(version, new, answers, *edits)


def project_version() -> str:
    """Return the version that pyproject.toml says."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def changelog(text: str) -> list[str]:
    """Return the versions that a changelog lists as released, the newest first."""
    return re.findall(r"^## \[(\d.*)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)


@pytest.mark.render
def test_changelog_version_and_releases_agree() -> None:
    listed = changelog((ROOT / "CHANGELOG.md").read_text())
    assert listed[0] == project_version()
    named = [version.removeprefix("v") for version in releases()][::-1]
    # A release cannot name its own commit; the first change of the template after it does.
    assert named in (listed, listed[1:])
    if named != listed:
        line = f'version = "{project_version()}"'
        made_of = git(ROOT, "log", "--format=%H", "--max-count=1", f"-S{line}", "pyproject.toml")
        what = ["copier.yml", "template", "extensions"]
        changed = git(ROOT, "diff", "--name-only", made_of.strip() or "HEAD", "--", *what)
        assert not changed, f"releases.toml lacks {project_version()}"


@pytest.mark.render
def test_tags_are_made_again_as_documented(tmp_path: Path) -> None:
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    git(ROOT, "clone", "--quiet", "--bare", "--no-tags", str(ROOT), str(remote))
    git(tmp_path, "clone", "--quiet", "--no-tags", str(remote), str(clone))
    release = (ROOT / "CONTRIBUTING.md").read_text().partition("## Release\n")[2]
    (script,) = re.findall(r"```sh\n(.+?)```", release.partition("\n## ")[0], re.DOTALL)
    run("sh", "-e", "-c", script, cwd=clone)
    found = git(remote, "tag", "--list", "--format=%(objectname) %(refname:short)").splitlines()
    assert sorted(found) == sorted(f"{made_of} {name}" for name, made_of in releases().items())


@pytest.mark.render
@pytest.mark.parametrize("version", releases())
def test_a_release_holds_what_it_says(version: str) -> None:
    number = version.removeprefix("v")
    assert tomllib.loads(content(version, "pyproject.toml"))["project"]["version"] == number
    assert changelog(content(version, "CHANGELOG.md"))[0] == number
    if git(ROOT, "tag", "--list", version):
        tree = git(ROOT, "rev-parse", f"{version}^{{tree}}", f"{releases()[version]}^{{tree}}")
        assert len(set(tree.split())) == 1
