"""benchmarks/fleet.py finds what an update must not do, and names it."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import close_up
from helpers.edits import EDITS
from helpers.files import append, change, replace
from helpers.future_releases import FUTURE_RELEASES
from helpers.programs import run
from helpers.repository import ROOT, commit, git, release, releases
from helpers.updates import NOW, make, unmerged

pytestmark = pytest.mark.render


def fleet(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the program of a checkout, in memory where these tests are."""
    in_memory = {"TMPDIR": tempfile.gettempdir()}
    return run(
        sys.executable, "benchmarks/fleet.py", *options, cwd=tree, env=in_memory, check=False
    )


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """Return the cells of each row that was printed, by the first of them."""
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {first: rest for first, *rest in cells}


def test_a_fleet_of_all_releases_is_updated_without_a_loss(tmp_path: Path) -> None:
    kept = tmp_path / "fleet.json"
    done = fleet(ROOT, "--projects=6", "--seed=1", f"--json={kept}")
    assert done.returncode == 0, done.stdout + done.stderr
    projects = json.loads(kept.read_text())["projects"]
    assert len(projects) == 6
    assert {project["release"] for project in projects} == {*releases()}
    assert len({str(project["answers"]) for project in projects}) == 6
    edits = sum(len(project["edits"]) for project in projects)
    assert edits > 6
    shown = rows(done)
    assert shown["edits in them"] == [str(edits)]
    assert shown["edits lost"] == shown["answers lost"] == ["0"]
    assert shown["projects that could not be compared"] == shown["files that do not parse"] == ["0"]


DRAW = "import sys; from fleet import drawn; print(drawn(20, int(sys.argv[1]), ['v0.1.0'], []))"


def test_the_same_seed_draws_the_same_fleet() -> None:
    first, again, other = (
        run(sys.executable, "-c", DRAW, seed, cwd=ROOT / "benchmarks").stdout for seed in "112"
    )
    assert first == again != other


def test_a_lost_edit_fails_the_fleet() -> None:
    """The imagined release removes the file."""
    edit = "a section in .editorconfig"
    done = fleet(ROOT, "--projects=2", "--future=no file", f"--edit={edit}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert rows(done)["edits lost"] == ["2"]
    assert done.stdout.count(f"lost the edit {edit!r}") == 2


def test_a_line_that_both_sides_changed_is_listed_and_does_not_fail_the_fleet(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "kept"
    options = ["--projects=2", "--future=suite", "--edit=a digest of Python", f"--keep={kept}"]
    done = fleet(ROOT, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = rows(done)
    edit, projects, own, other, cause = shown["`Dockerfile`"]
    assert (edit, projects, cause) == ("a digest of Python", "2", "both changed it")
    assert "@sha256:" in own
    assert "-slim-forky" in other
    assert shown["conflicts, of a line that both changed"] == ["2"]
    assert shown["edits lost"] == ["0"]
    for project in (kept / "projects").iterdir():
        assert unmerged(project) == {"Dockerfile"}


def refuse_descriptions(tree: Path) -> None:
    replace(tree, "copier.yml", '"A {{ extension.title }} service."', '"An example"')
    change(
        tree,
        "copier.yml",
        r"if not 0 < description \| length <= 200",
        "if description[:3] != 'An '",
    )


# What spoils the template, how the fleet is asked, and what it says.
SPOILED: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "a conflict of two neighbours": (
        close_up,
        ["--future=uv", "--edit=a digest of Python"],
        "a conflict in Dockerfile, of 'a digest of Python', where no line was changed by both",
    ),
    "an answer lost": (
        refuse_descriptions,
        ["--edit=a label"],
        "lost the answer to description",
    ),
    "a release that wants trust": (
        lambda tree: append(tree, "copier.yml", "\n_tasks: [uv lock]\n"),
        ["--edit=a label"],
        "copier update failed",
    ),
    "a file that does not parse": (
        lambda tree: append(tree, "template/compose.yaml.jinja", "volumes: [\n"),
        ["--edit=a label"],
        "compose.yaml does not parse",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_template_fails_the_fleet(tmp_path: Path, name: str) -> None:
    spoil, options, said = SPOILED[name]
    tree = release(ROOT, tmp_path / "tree", NOW)
    git(tree, "tag", "--delete", NOW)
    spoil(tree)
    done = fleet(tree, "--projects=1", *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stdout


@pytest.mark.parametrize(
    "wrong", ["--projects=0", "--jobs=x", "--edit=nothing", "--future=never", "--keep=."]
)
def test_a_wrong_option_is_refused_by_name(wrong: str) -> None:
    done = fleet(ROOT, wrong)
    assert done.returncode == 2
    option, _, value = wrong.partition("=")
    last = done.stderr.splitlines()[-1]
    assert f"argument {option}" in last
    assert value in last


def test_commands_for_many_repositories(template: Path, tmp_path: Path) -> None:
    """One of two projects is behind, has drifted and will conflict."""
    tree = tmp_path / "template"
    git(template, "clone", "--quiet", str(template), str(tree))
    FUTURE_RELEASES["user"](tree)
    commit(tree)
    git(tree, "tag", "v10000.0.0")
    folder = tmp_path / "repositories"
    make(tree, folder / "billing", "v10000.0.0", {})
    make(tree, folder / "orders", NOW, {})
    EDITS["another user"].apply(folder / "orders")
    (folder / "orders" / ".gitattributes").unlink()
    commit(folder / "orders")
    (folder / "notes").mkdir()

    page = (ROOT / "docs" / "updates.md").read_text().partition("### Across your own")[2]
    blocks = [text.partition("```")[0] for text in page.split("```sh\n")[1:]]
    copier = f"{sys.executable} -m copier"
    behind, conflicts, drift = (
        run("bash", "-c", text.replace("uvx copier", copier), cwd=folder).stdout
        for text in blocks[:3]
    )
    found = {}
    for line in behind.splitlines():
        name, _, said = line.partition(" ")
        found[name] = json.loads(said)["update_available"]
    assert found == {"billing": False, "orders": True}
    assert conflicts == "orders: a conflict in Dockerfile\n"
    newest, _, older = drift.partition("orders:\n")
    assert newest == "billing:\n"
    assert re.findall(r"^ (\S+) +\|", older, re.MULTILINE) == [".gitattributes", "Dockerfile"]
    for name in ("billing", "orders"):
        assert git(folder / name, "status", "--porcelain") == ""
        assert len(git(folder / name, "worktree", "list").splitlines()) == 1
