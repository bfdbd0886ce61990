"""An update brings what the template has learnt and leaves what people wrote."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import Copy, commit, git, releases
from copier import run_copy, run_update
from edits import EDITS, append, change
from plumbum import local
from updates import NOW, Workshop, content, files, unmerged, update

pytestmark = pytest.mark.render

COPIER = [sys.executable, "-m", "copier"]


@pytest.fixture
def project(copy: Copy, tmp_path: Path) -> Path:
    project = copy(tmp_path / "project")
    commit(project)
    return project


def test_update_to_the_same_release_changes_nothing(project: Path) -> None:
    update(project)
    assert git(project, "status", "--porcelain") == ""


def test_changed_answer_reaches_what_the_template_owns_and_nothing_else(project: Path) -> None:
    update(project, port="9000")
    changed = git(project, "diff", "--name-only").split()
    assert set(changed) == {".copier-answers.yml", "Dockerfile", "compose.yaml"}
    assert "ENV PORT=9000" in (project / "Dockerfile").read_text()


def test_deleted_files_of_the_users_stay_deleted(project: Path) -> None:
    for name in ("tests/test_quotes.py", "src/my_service/quotes.py", "README.md", "uv.lock"):
        (project / name).unlink()
    commit(project)
    update(project, port="9000")
    assert not git(project, "diff", "--name-only", "--diff-filter=A").split()
    assert not (project / "README.md").exists()


def test_copy_from_a_relative_path_can_be_updated(template: Path, tmp_path: Path) -> None:
    """The README copies from `.`, and the answers file must say where that was."""
    project = tmp_path / "project"
    copied = [*COPIER, "copy", "--quiet", "--defaults", ".", str(project)]
    subprocess.run(copied, cwd=template, check=True)
    commit(project)
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert Path(answers["_src_path"]) == template

    updated = [*COPIER, "update", "--quiet", "--defaults", "--data=port=9000"]
    subprocess.run(updated, cwd=project, check=True, env=os.environ)
    assert "ENV PORT=9000" in (project / "Dockerfile").read_text()


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("https://me:secret@git.example.com/t.git", "https://git.example.com/t.git"),
        ("git+https://secret@git.example.com/t", "git+https://git.example.com/t"),
        ("gh:acme/t", "https://github.com/acme/t.git"),
        ("gl:acme/group/t.git", "https://gitlab.com/acme/group/t.git"),
        ("git@git.example.com:acme/t.git", "git@git.example.com:acme/t.git"),
    ],
)
def test_address_of_the_template_has_no_login_and_no_short_form(
    template: Path, tmp_path: Path, given: str, stored: str
) -> None:
    """It is committed, and Renovate reads it; an update must find the template there."""
    long = given.replace("gh:", "https://github.com/").replace("gl:", "https://gitlab.com/")
    settings = tmp_path / "gitconfig"
    for url in {long.removeprefix("git+"), stored.removeprefix("git+")}:
        key = f"url.{template}.insteadOf"
        git(tmp_path, "config", "--file", str(settings), "--add", key, url)
    project = tmp_path / "project"
    answers = project / ".copier-answers.yml"
    # Copier gives git the environment that plumbum read.
    with local.env(GIT_CONFIG_GLOBAL=settings):
        run_copy(given, project, defaults=True, quiet=True)
        assert f"_src_path: {stored}\n" in answers.read_text()
        commit(project)
        run_update(project, data={"port": "9000"}, defaults=True, overwrite=True, quiet=True)
    assert f"_src_path: {stored}\n" in answers.read_text()
    assert "ENV PORT=9000" in (project / "Dockerfile").read_text()


TAKE_BACK = "git restore --source=HEAD --staged --worktree . && git clean --force -d"


@pytest.mark.parametrize(
    ("question", "value", "kept"),
    [
        ("framework", "another", "fastapi"),
        ("server", "granian", "uvicorn"),
        ("package_name", "billing", "my_service"),
    ],
)
def test_what_decided_the_source_cannot_change_with_an_update(
    settled: Path, question: str, value: str, kept: str
) -> None:
    """src and tests stay as they are, and would be those of another project."""
    run = subprocess.run(
        [*COPIER, "update", "--defaults", f"--data={question}={value}"],
        cwd=settled,
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert f"'{question}': must stay \"{kept}\"" in last
    assert f'got "{value}"' in last
    assert git(settled, "status", "--porcelain") == ""
    update(settled, port="9000", **{question: kept})
    assert "ENV PORT=9000" in (settled / "Dockerfile").read_text()


@pytest.fixture
def settled(template: Path, tmp_path: Path) -> Path:
    """Give a project of a template with one framework more, in a folder with an odd name."""
    tree = tmp_path / "template"
    git(template, "clone", "--quiet", str(template), str(tree))
    shutil.copytree(tree / "extensions" / "fastapi", tree / "extensions" / "another")
    change(tree, "copier.yml", r"^(    FastAPI: fastapi\n)", r"\1    Another: another\n")
    commit(tree)
    git(tree, "tag", "v10000.0.0")
    project = tmp_path / "it's a [folder]"
    run_copy(str(tree), project, defaults=True, quiet=True)
    commit(project)
    return project


def update_to(version: str, project: Path) -> subprocess.CompletedProcess[str]:
    """Update as a person does, on the command line."""
    command = [*COPIER, "update", "--defaults", f"--vcs-ref={version}"]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)


@pytest.mark.parametrize("edit", ["none", "another user"])
def test_an_update_can_be_taken_back(workshop: Workshop, edit: str) -> None:
    """As the message says that comes before it and after it, whether it conflicts or not."""
    with workshop.edited(NOW, {}, EDITS[edit]) as project:
        (project / ".env").write_text("SECRET=1\n")
        before = files(project)
        run = update_to(workshop.future("user"), project)
        assert run.stderr.count(TAKE_BACK) == 2
        assert git(project, "status", "--porcelain") != ""
        assert bool(unmerged(project)) == (edit == "another user")

        subprocess.run(["sh", "-c", TAKE_BACK], cwd=project, check=True, capture_output=True)
        assert files(project) == before
        assert git(project, "status", "--porcelain") == ""


def test_message_after_an_update_names_the_command_that_finds_conflicts(
    workshop: Workshop,
) -> None:
    version = workshop.future("user")
    with workshop.edited(NOW, {}, EDITS["another user"]) as project:
        run = update_to(version, project)
        assert f"Updated to {version}" in run.stderr
        (ask,) = [line.strip() for line in run.stderr.splitlines() if "--diff-filter=U" in line]
        assert git(project, *ask.split()[1:]) == "Dockerfile\n"


def test_message_after_an_update_names_an_answer_that_was_lost(copy: Copy, tmp_path: Path) -> None:
    """GitHub has no groups in groups, so that the address at GitLab is refused."""
    project = copy(tmp_path / "project", ci="gitlab", repository="acme/shop/api")
    commit(project)
    command = [*COPIER, "update", "--defaults", "--data=ci=github", "--data=port=9000"]
    run = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
    (lost,) = [line for line in run.stderr.splitlines() if "refused" in line]
    assert lost.strip() == 'repository was "acme/shop/api", which is refused now; it is "".'


PYTHON = ".".join(map(str, sys.version_info[:2]))


def check_up(project: Path) -> list[str]:
    """Run the commands with which the project's README checks it; give what each printed."""
    readme = (project / "README.md").read_text()
    block = readme.partition("To check")[2].split("```")[1].replace("\\\n", "")
    commands = [line.partition("  #")[0] for line in block.splitlines()[1:]]
    # Copier of this environment, and no index.
    replaced = {
        "uvx copier": f"{sys.executable} -m copier",
        "lock --check": "lock -q --check --offline",
    }
    said = []
    for command in commands:
        for old, new in replaced.items():
            command = command.replace(old, new)
        run = subprocess.run(["bash", "-c", command], cwd=project, capture_output=True, text=True)
        said.append(run.stdout + run.stderr)
    assert len(said) == 5
    return said


def test_check_up_finds_nothing_in_a_new_project(copy: Copy, tmp_path: Path) -> None:
    project = copy(tmp_path / "project", python_version=PYTHON)
    commit(project)
    release, rejected, marked, lock, recopied = check_up(project)
    assert "up-to-date" in release
    assert not rejected + marked + lock
    assert "identical" in recopied
    assert not re.search(r"conflict|create", recopied)
    assert git(project, "status", "--porcelain") == ""


def test_check_up_finds_what_is_amiss(workshop: Workshop) -> None:
    workshop.future("uv")
    with workshop.edited(NOW, {"python_version": PYTHON}, EDITS["a dependency"]) as project:
        (project / "compose.yaml").unlink()
        (project / "Dockerfile.rej").write_text("@@ -1 +1 @@\n")
        append(project, "Dockerfile", "<<<<<<< before updating\n")
        before = files(project)
        release, rejected, marked, lock, recopied = check_up(project)
        assert files(project) == before
    assert "latest version is 10000" in release
    assert rejected == "Dockerfile.rej\n"
    assert re.fullmatch(r"Dockerfile:\d+:<{7} before updating\n", marked)
    assert lock
    found = re.findall(r"(conflict|create)\S*\s+(\S+)", recopied)
    assert sorted(found) == [("conflict", "Dockerfile"), ("create", "compose.yaml")]


JOB = """
  mine:
    name: Mine
    needs: check
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    steps:
      - name: Mine
        run: echo mine
"""
STEP = """
      - name: Mine
        run: echo mine
"""
# What a person adds to the workflow, behind or before which lines of it.
ADDED = {
    "a job at the end": ("", "", JOB),
    "a job between": ("", "\n  image:\n", JOB),
    "a step behind the tests": ("        run: uv run --locked pytest\n", "", STEP),
    "a step behind uv": ("          enable-cache: false\n", "", STEP),
}


@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("version", releases())
def test_what_people_added_to_the_workflow_stays(
    template: Path, tmp_path: Path, version: str, added: str
) -> None:
    behind, before, text = ADDED[added]
    project = tmp_path / "project"
    run_copy(str(template), project, vcs_ref=version, defaults=True, quiet=True)
    workflow = project / ".github" / "workflows" / "ci.yml"
    old = workflow.read_text()
    place = old.index(behind) + len(behind) if behind else old.index(before) if before else len(old)
    workflow.write_text(old[:place] + text + old[place:])
    commit(project)
    update(project)

    assert git(project, "diff", "--name-only", "--diff-filter=U") == ""
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    mine = {"name": "Mine", "run": "echo mine"}
    if text == JOB:
        assert jobs["mine"]["steps"] == [mine]
    else:
        check = jobs["check"]["steps"]
        before_mine = check[check.index(mine) - 1]
        assert ("uv" in before_mine["name"]) == ("enable-cache" in behind)
    assert len(jobs) == (7 if text == JOB else 6)


@pytest.mark.parametrize(
    "version", [v for v in releases() if "\ndatabase:\n" not in content(v, "copier.yml")]
)
def test_database_beside_it_is_for_who_was_asked(workshop: Workshop, version: str) -> None:
    """Source that is older need not know the driver; its owner may have taken it since."""

    def services(project: Path) -> set[str]:
        return {*yaml.safe_load((project / "compose.yaml").read_text())["services"]}

    beside = {"postgres", "migrate"}
    with workshop.edited(version, {"framework": "django"}) as project:
        update(project, NOW)
        assert not services(project) & beside
        assert "DATABASE_URL" not in (project / "compose.yaml").read_text()
        commit(project)
        update(project, NOW, database="postgres")
        assert services(project) >= beside
        commit(project)
        update(project, workshop.future("all pins"))
        assert not unmerged(project)
        assert services(project) >= beside


def test_database_of_a_new_project_can_be_left_to_its_setting(workshop: Workshop) -> None:
    with workshop.edited(NOW, {"framework": "django"}) as project:
        update(project, NOW, database="none")
        assert not unmerged(project)
        fresh = workshop.project(NOW, {"framework": "django", "database": "none"})
        for name in ("compose.yaml", "Dockerfile", ".copier-answers.yml"):
            assert (project / name).read_text() == (fresh / name).read_text()
