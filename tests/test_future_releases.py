"""What later releases may bring merges with what people edit: the layout of the files allows it."""

import os

import pytest
from helpers.edits import EDITS, fitting, together
from helpers.files import files
from helpers.future_releases import FUTURE_RELEASES
from helpers.updates import NOW, Answers, UpdateMatrix, update

pytestmark = pytest.mark.update

SHAPES: dict[str, Answers] = {
    "slim": {},
    "distroless": {
        "image": "distroless",
        "apt_packages": "libpq5",
        "build_packages": "gcc",
        "index_url": "https://pypi.corp/simple",
        "certificates": "company",
        "registry": "registry.corp/mirror",
        "git_server": "https://git.corp",
        "python_version": "3.12",
        "repository": "Acme/Orders.api",
        "deploy": "kubernetes",
    },
    "gitlab": {
        "ci": "gitlab",
        "framework": "django",
        "git_server": "ssh://git@git.corp",
        "deploy": "kubernetes",
    },
    "worker": {
        "framework": "worker",
        "builder": "depot",
        "depot_project": "a1b2c3d4e5",
        "deploy": "kubernetes",
    },
}

# A release and a person changed the same line: nobody can merge that but they.
SAME_LINE = {
    ("suite", "a digest of Python"): "Dockerfile",
    ("all pins", "a digest of Python"): "Dockerfile",
    ("patch of Python", "a digest of Python"): "Dockerfile",
    ("user", "another user"): "Dockerfile",
}

# What goes with a file that a release removes; the last test here is of it.
LOST = ("no file", "a section in .editorconfig")

# Each edit alone is for the run before a release; all edits at once meet each of them,
# too, but for the conflicts that are expected.
ALONE = ["slim", "distroless"] if os.environ.get("EVERY_UPDATE") == "1" else []


@pytest.mark.parametrize(
    ("future", "answers", "edit"),
    [
        pytest.param(future, SHAPES[shape], edit, id=f"{future} | {shape} | {edit}")
        for future in FUTURE_RELEASES
        for shape in SHAPES
        for edit in fitting(SHAPES[shape])
        if (future, edit) != LOST and (shape in ALONE or (future, edit) in SAME_LINE)
    ],
)
def test_a_future_release_merges_with_an_edit(
    update_matrix: UpdateMatrix, future: str, answers: Answers, edit: str
) -> None:
    conflict = SAME_LINE.get((future, edit))
    update_matrix.check(NOW, update_matrix.future(future), answers, EDITS[edit], conflict=conflict)


@pytest.mark.parametrize(
    "shape",
    # This much is enough for the oldest Copier.
    [
        pytest.param(shape, marks=[pytest.mark.render] if shape == "slim" else [])
        for shape in SHAPES
    ],
)
@pytest.mark.parametrize("future", FUTURE_RELEASES)
def test_a_future_release_merges_with_all_edits(
    update_matrix: UpdateMatrix, future: str, shape: str
) -> None:
    answers = SHAPES[shape]
    hurt = {edit for name, edit in SAME_LINE if name == future} | {LOST[1]}
    edits = [edit for edit in together(answers) if edit not in [EDITS[name] for name in hurt]]
    update_matrix.check(NOW, update_matrix.future(future), answers, *edits)


def test_another_name_of_a_file_is_for_new_projects(update_matrix: UpdateMatrix) -> None:
    """The tests above update a project that has the old one."""
    version = update_matrix.future("another name")
    assert {"compose.yml"} == {
        n for n in files(update_matrix.project(version, {})) if "compose.y" in n
    }
    with update_matrix.edited(NOW, {}, EDITS["a variable in compose"]) as project:
        update(project, version)
        assert {"compose.yaml"} == {name for name in files(project) if "compose.y" in name}


def test_a_file_that_a_release_removes_takes_its_edits_along(update_matrix: UpdateMatrix) -> None:
    """Copier says nothing of it, hence the rule that no release removes a file."""
    future, edit = LOST
    version = update_matrix.future(future)
    with update_matrix.edited(NOW, {}, EDITS[edit]) as project:
        update(project, version)
        assert not (project / ".editorconfig").exists()
