"""The layout of what updates merge: git finds the place of an edit again by the lines around it."""

import pytest
from helpers.files import files, sections
from helpers.project import WORKFLOW
from helpers.repository import releases
from helpers.updates import NOW, Answers, Questions, UpdateMatrix, is_yours, stored

pytestmark = pytest.mark.render

# `git apply` compares this many lines before and after an edit.
CONTEXT = 3

QUESTIONS = Questions.of(NOW)


def shapes() -> dict[str, Answers]:
    """Return answers that between them show every line of what updates merge."""
    packages = {"apt_packages": "libpq5", "build_packages": "gcc", "repository": "Acme/Orders.api"}
    services = QUESTIONS.services()
    services = {name: answers | {"deploy": "kubernetes"} for name, answers in services.items()}
    found = {**QUESTIONS.variants(), **services}
    return found | {
        f"{name}, packages": answers | packages
        for name, answers in found.items()
        if "image" in answers or not answers
    }


def ambiguous(text: str) -> list[list[int]]:
    """Return the lines, from 1, before which an edit has the same surroundings as before another.

    After a release that moves them, `git apply` may put that edit where the other is, and say
    nothing: https://github.com/git/git/blob/v2.51.0/apply.c, find_pos.
    """
    lines = text.splitlines()
    places: dict[tuple[str, ...], list[int]] = {}
    for n in range(len(lines) + 1):
        # The ends of a file are surroundings too.
        before = ["start", *lines][max(0, n + 1 - CONTEXT) : n + 1]
        after = [*lines, "end"][n : n + CONTEXT]
        places.setdefault((*before, "", *after), []).append(n + 1)
    return [numbers for numbers in places.values() if len(numbers) > 1]


def moved(old: str, new: str, heading: str) -> list[str]:
    """Return the sections in which an edit of the old text could end though it was in another."""

    def places(text: str) -> dict[tuple[str, ...], set[str]]:
        found: dict[tuple[str, ...], set[str]] = {}
        lines = text.splitlines()
        names = [name for name, part in sections(text, heading).items() for _ in part.splitlines()]
        for n in range(len(lines) - 2 * CONTEXT + 1):
            window = tuple(lines[n : n + 2 * CONTEXT])
            found.setdefault(window, set()).add(names[n + CONTEXT])
        return found

    before, after = places(old), places(new)
    return sorted(
        f"{' '.join(names)} -> {' '.join(after[window])}"
        for window, names in before.items()
        if window in after and after[window] - names
    )


@pytest.mark.parametrize("answers", shapes().values(), ids=shapes())
def test_every_edit_of_a_merged_file_has_one_place(
    update_matrix: UpdateMatrix, answers: Answers
) -> None:
    project = update_matrix.project(NOW, answers)
    for name, text in files(project).items():
        if not is_yours(name):
            found = ambiguous(text.decode())
            assert not found, (
                f"{name}: lines {found[0]} have the same {CONTEXT} lines on both sides, so an "
                "update could move an edit from one to another; give one a comment of its own"
            )


@pytest.mark.parametrize("version", releases())
def test_no_place_of_an_edit_moves_to_another_stage_or_job(
    update_matrix: UpdateMatrix, version: str
) -> None:
    for answers in Questions.of(version).variants().values():
        old, new = (files(update_matrix.project(v, answers)) for v in (version, NOW))
        for name, heading in {
            "Dockerfile": r"(?:# --- |FROM \S+ AS )(\w+)",
            WORKFLOW: r"  (\w+):$",
            ".gitlab-ci.yml": r"(\w+):$",
            "compose.yaml": r"  (\w+):$",
        }.items():
            if name in old:
                assert not moved(old[name].decode(), new[name].decode(), heading), name


@pytest.mark.parametrize("version", releases())
def test_no_file_that_updates_merge_was_removed_or_renamed(
    update_matrix: UpdateMatrix, version: str
) -> None:
    """Copier would delete it with the edits in it, and report no conflict."""
    for answers in Questions.of(version).variants().values():
        old = update_matrix.project(version, answers)
        merged = {name for name in files(old) if not is_yours(name)}
        assert merged <= files(update_matrix.project(NOW, stored(old))).keys()
