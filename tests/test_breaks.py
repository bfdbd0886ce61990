"""Each of these spoils the template, and the test that is named beside it says so."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, git, release, run_tests
from edits import append, change
from futures import CI, DOCKERFILE, put, replace
from updates import NOW

pytestmark = pytest.mark.update

FUTURE = "test_futures.py::test_a_future_release_merges_with_all_edits[uv-slim]"


def keep_the_pin(tree: Path) -> None:
    change(tree, "copier.yml", "^  default: tested$", '  default: "{{ pins.uv }}"')


def repeat_a_stage(tree: Path) -> None:
    text = (tree / DOCKERFILE).read_text()
    stage = text[
        text.index("# --- app") : text.index("{% if image == 'distroless' %}\n# --- debian")
    ]
    again = stage.replace("# --- app: the project, and nothing that it depends on ---\n", "")
    put(tree, DOCKERFILE, "# --- app", again.replace("AS app", "AS other"))


def close_up(tree: Path) -> None:
    change(tree, DOCKERFILE, r"(AS uv\n)\n", r"\1")


def move_a_command(tree: Path) -> None:
    """Leave a stage's lines to another stage of the next release."""
    replace(
        tree, DOCKERFILE, "# Root owns the files", "FROM runtime AS last\n# Root owns the files"
    )


def forget_a_release(tree: Path) -> None:
    """Change the template after a release that nobody has named."""
    change(tree, "releases.toml", r"^.+\n\Z", "")
    append(tree, "template/.gitattributes", "*.svg binary\n")


BREAKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pin in a stored default": (keep_the_pin, FUTURE),
    "a stage twice": (
        repeat_a_stage,
        "test_mergeability.py::test_every_edit_of_a_merged_file_has_one_place[defaults]",
    ),
    "a stage split": (
        move_a_command,
        "test_mergeability.py::test_no_place_of_an_edit_moves_to_another_stage_or_job[v0.1.0]",
    ),
    "no line between a pin and an edit": (close_up, FUTURE),
    "a task": (
        lambda tree: append(tree, "copier.yml", "\n_tasks: [uv lock]\n"),
        "test_render.py::test_a_copy_needs_no_trust_and_changes_nothing_when_repeated",
    ),
    "a removed file": (
        lambda tree: (tree / "template" / ".gitattributes").unlink(),
        "test_releases.py::test_no_release_removes_a_file[v0.1.0]",
    ),
    "an update of what is yours": (
        lambda tree: change(tree, "copier.yml", r"^.+}/README\.md{.+\n", ""),
        "test_ownership.py::test_table_says_what_an_update_does[github]",
    ),
    "a pin that Renovate moves too": (
        lambda tree: replace(tree, "template/renovate.json.jinja", "'astral-sh/uv', ", ""),
        "test_ownership.py::test_renovate_is_told_the_same[github]",
    ),
    "a release without its commit": (
        forget_a_release,
        "test_releases.py::test_changelog_version_and_releases_agree",
    ),
    "silence about conflicts": (
        lambda tree: replace(
            tree, CI.replace("{{ workflow }}", "template-update"), "title+=", "quiet+="
        ),
        "test_template_update.py::test_conflicts_are_in_the_title[github]",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_fails_the_test_that_guards_it(tmp_path: Path, name: str) -> None:
    spoil, guard = BREAKS[name]
    tree = release(ROOT, tmp_path / "tree", NOW)
    git(tree, "tag", "--delete", NOW)
    spoil(tree)

    run = run_tests(tree, f"tests/{guard}")
    shutil.rmtree(tree)
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"FAILED tests/{guard}" in run.stdout
