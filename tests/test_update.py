"""An update brings what the template has learnt and leaves what people wrote."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from copier import run_copy, run_update
from helpers.edits import EDITS
from helpers.files import append, change, files
from helpers.future_releases import FUTURE_RELEASES
from helpers.programs import run
from helpers.project import PYTHON, Copy, copier
from helpers.repository import commit, git, releases
from helpers.template import ASKED
from helpers.updates import NOW, UpdateMatrix, content, unmerged, update
from plumbum import ProcessExecutionError, local

pytestmark = pytest.mark.render


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
    copier("copy", "--quiet", "--defaults", ".", project, cwd=template)
    commit(project)
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert Path(answers["_src_path"]) == template

    copier("update", "--quiet", "--defaults", "--data=port=9000", cwd=project)
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


@pytest.mark.parametrize("tagged", [True, False])
def test_what_was_copied_from_a_commit_reaches_the_first_release(
    template: Path, tmp_path: Path, tagged: bool
) -> None:
    """A clone may have no tags: Copier takes its commit for the version then."""
    clone, project = tmp_path / "clone", tmp_path / "project"
    tags = [] if tagged else ["--no-tags"]
    git(template, "clone", "--quiet", *tags, str(template), str(clone))
    copied = copier("copy", "--defaults", ".", project, cwd=clone)
    made_of = yaml.safe_load((project / ".copier-answers.yml").read_text())["_commit"]
    assert (made_of == NOW) == tagged
    assert (f"made from {made_of}, which is not a release" in copied.stderr) == (not tagged)
    commit(project)
    FUTURE_RELEASES["user"](clone)
    commit(clone)
    git(clone, "tag", "v10000.0.0")
    update(project)
    assert "_commit: v10000.0.0\n" in (project / ".copier-answers.yml").read_text()
    assert "USER 65532" in (project / "Dockerfile").read_text()


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
    data = f"--data={question}={value}"
    done = copier("update", "--defaults", data, cwd=settled, check=False)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert f"'{question}': must stay \"{kept}\"" in last
    assert f'got "{value}"' in last
    assert git(settled, "status", "--porcelain") == ""
    update(settled, port="9000", **{question: kept})
    assert "ENV PORT=9000" in (settled / "Dockerfile").read_text()


@pytest.fixture
def settled(template: Path, tmp_path: Path) -> Path:
    """Return a project of a template with one framework more, in a folder with an odd name."""
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


def update_to(version: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Update as a person does, on the command line."""
    return copier("update", "--defaults", f"--vcs-ref={version}", *options, cwd=folder)


def printed(done: subprocess.CompletedProcess[str], part: str) -> list[str]:
    """Return the commands in what Copier printed that have a part."""
    lines = done.stderr.splitlines()
    return [line.strip() for line in lines if line.startswith("  git ") and part in line]


def shell(command: str, folder: Path) -> str:
    """Run a command as it was printed, and return what it prints."""
    return run("sh", "-c", command, cwd=folder).stdout


@pytest.mark.parametrize("edit", ["none", "another user"])
def test_an_update_can_be_taken_back(update_matrix: UpdateMatrix, edit: str) -> None:
    """As the messages before it and after it say, whether it conflicts or not."""
    with update_matrix.edited(NOW, {}, EDITS[edit]) as project:
        (project / ".env").write_text("SECRET=1\n")
        before = files(project)
        done = update_to(update_matrix.future("user"), project)
        (before_it, after_it) = printed(done, "clean --force")
        assert before_it == after_it
        assert git(project, "status", "--porcelain") != ""
        assert bool(unmerged(project)) == (edit == "another user")

        shell(after_it, project)
        assert files(project) == before
        assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize("where", [".", "services/it's a", "services"])
def test_an_update_is_taken_back_in_its_project_alone(
    update_matrix: UpdateMatrix, where: str
) -> None:
    """A repository may hold more than one, and work of others in it."""
    with update_matrix.edited(NOW, {}) as repository:
        services = repository / "services"
        services.mkdir()
        for name in ("it's a", "b"):
            shutil.copytree(update_matrix.project(NOW, {}), services / name, symlinks=True)
            shutil.rmtree(services / name / ".git")
        commit(repository)
        (services / "b" / "new.py").write_text("# a day of work\n")
        append(services / "b", "Dockerfile", "# another\n")
        append(repository, "Dockerfile", "# a third\n")
        git(repository, "add", "Dockerfile")
        before, status = files(repository), git(repository, "status", "--porcelain")

        done = update_to(update_matrix.future("file"), repository, "services/it's a")
        assert (services / "it's a" / ".hadolint.yaml").exists()
        shell(printed(done, "clean --force")[0], repository / where)
        assert files(repository) == before
        assert git(repository, "status", "--porcelain") == status


@pytest.mark.parametrize(
    ("options", "untracked", "left"),
    [
        ([], "normal", "Dockerfile"),
        (["--conflict=rej"], "normal", "Dockerfile.rej"),
        ([], "no", "Dockerfile.rej"),
    ],
    ids=["inline", "rej", "untracked files are hidden"],
)
def test_message_after_an_update_has_the_commands_that_find_conflicts(
    update_matrix: UpdateMatrix, tmp_path: Path, options: list[str], untracked: str, left: str
) -> None:
    version = update_matrix.future("user")
    with update_matrix.edited(NOW, {}, EDITS["another user"]) as project:
        git(project, "config", "status.showUntrackedFiles", untracked)
        done = update_to(version, project, *options)
        assert f"Updated to {version}" in done.stderr
        commands = printed(done, "diff-filter=U") + printed(done, "*.rej")
        assert "".join(shell(command, tmp_path) for command in commands) == f"{left}\n"


def test_message_after_an_update_names_a_file_that_was_moved(update_matrix: UpdateMatrix) -> None:
    """For Copier it was deleted; back in its place, it is updated with the edits in it."""
    version = update_matrix.future("user")
    with update_matrix.edited(NOW, {}, EDITS["a label"]) as project:
        (project / "docker").mkdir()
        git(project, "mv", "Dockerfile", "docker/Dockerfile")
        commit(project)
        done = update_to(version, project)
        (missing,) = [line for line in done.stderr.splitlines() if "not in its place" in line]
        assert missing.startswith("Dockerfile ")

        shell(printed(done, "clean --force")[1], project)
        git(project, "mv", "docker/Dockerfile", "Dockerfile")
        commit(project)
        done = update_to(version, project)
        assert "not in its place" not in done.stderr
        assert "USER 65532" in (project / "Dockerfile").read_text()
        assert EDITS["a label"].is_there(project)


def test_recopy_leaves_alone_what_is_yours(update_matrix: UpdateMatrix) -> None:
    """It is the way on where the old release is gone, and takes the edits out of shared files."""
    edits = [EDITS[name] for name in ("a dependency", "files of their own", "a label")]
    with update_matrix.edited(NOW, {}, *edits) as project:
        (project / "README.md").write_text("# Mine\n")
        (project / "tests" / "test_quotes.py").unlink()
        append(project, "src/my_service/app.py", "# Mine\n")
        answers = project / ".copier-answers.yml"
        answers.write_text(answers.read_text().replace(NOW, "v9.9.9"))
        commit(project)
        with pytest.raises((ValueError, ProcessExecutionError), match=r"v9\.9\.9"):
            update(project)
        git(project, "checkout", "--quiet", ".")
        again = ["recopy", "--quiet", "--defaults", "--overwrite", f"--vcs-ref={NOW}"]
        copier(*again, cwd=project)
        changed = git(project, "status", "--porcelain").split()
        assert changed == ["M", ".copier-answers.yml", "M", "Dockerfile"]


def test_message_after_an_update_names_an_answer_that_was_lost(copy: Copy, tmp_path: Path) -> None:
    """GitHub has no groups in groups, so that the address at GitLab is refused."""
    project = copy(tmp_path / "project", ci="gitlab", repository="acme/shop/api")
    commit(project)
    data = ["--data=ci=github", "--data=port=9000"]
    done = copier("update", "--defaults", *data, cwd=project)
    (lost,) = [line.strip() for line in done.stderr.splitlines() if "allowed" in line]
    assert lost == 'repository was "acme/shop/api", which is no longer allowed; it is "" now.'


def test_message_after_an_update_loses_no_answer_that_has_no_quotes(project: Path) -> None:
    change(project, ".copier-answers.yml", "^port: '8000'", "port: 9000")
    commit(project)
    done = update_to(NOW, project)
    assert "allowed" not in done.stderr
    assert "port: '9000'" in (project / ".copier-answers.yml").read_text()


@pytest.mark.parametrize("name", ["prot", "workflow"])
@pytest.mark.parametrize("operation", ["copy", "update"])
def test_a_name_that_is_no_question_is_refused(
    template: Path, project: Path, tmp_path: Path, operation: str, name: str
) -> None:
    """Misspelt, or computed: the value would be neither used nor kept."""
    new = tmp_path / "new"
    where = [template, new] if operation == "copy" else [project]
    done = copier(operation, "--defaults", f"--data={name}=9000", *where, check=False)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert f"{name} is not a question; it must be one of " in last
    assert {*last.partition("one of ")[2].split(", ")} == {*ASKED}
    assert not new.exists()
    assert git(project, "status", "--porcelain") == ""


def test_answers_of_another_name_are_not_in_the_way(
    template: Path, project: Path, tmp_path: Path
) -> None:
    """An older release, or a person, may have left them in the file."""
    append(project, ".copier-answers.yml", "grace: 30\n")
    commit(project)
    update_to(NOW, project, "--data=port=9000")
    assert "ENV PORT=9000" in (project / "Dockerfile").read_text()
    data = f"--data-file={project}/.copier-answers.yml"
    copier("copy", "--defaults", data, template, tmp_path / "new")
    assert "ENV PORT=9000" in (tmp_path / "new" / "Dockerfile").read_text()


OTHER = ".copier-answers.orders.yml"


def test_another_answers_file_is_named_wherever_answers_are(template: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    run_copy(str(template), project, answers_file=OTHER, defaults=True, quiet=True)
    commit(project)
    for name, text in files(project).items():
        assert b".copier-answers.yml" not in text, name
    commands = re.findall(r"^uvx copier .+", (project / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert f" --answers-file {OTHER} " in command
    options = ["--answers-file", OTHER, "--data=port=9000"]
    done = copier("update", "--defaults", *options, cwd=project)
    assert "allowed" not in done.stderr
    changed = git(project, "diff", "--name-only").split()
    assert changed == [OTHER, "Dockerfile", "compose.yaml"]


def check_up(project: Path) -> list[str]:
    """Run the commands with which the project's README checks it; return what each printed."""
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
        done = run("bash", "-c", command, cwd=project, check=False)
        said.append(done.stdout + done.stderr)
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


def test_check_up_finds_what_is_amiss(update_matrix: UpdateMatrix) -> None:
    update_matrix.future("uv")
    with update_matrix.edited(NOW, {"python_version": PYTHON}, EDITS["a dependency"]) as project:
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
def test_database_beside_it_is_for_who_was_asked(update_matrix: UpdateMatrix, version: str) -> None:
    """Source that is older need not know the driver; its owner may have taken it since."""

    def services(project: Path) -> set[str]:
        return {*yaml.safe_load((project / "compose.yaml").read_text())["services"]}

    beside = {"postgres", "migrate"}
    with update_matrix.edited(version, {"framework": "django"}) as project:
        update(project, NOW)
        assert not services(project) & beside
        assert "DATABASE_URL" not in (project / "compose.yaml").read_text()
        commit(project)
        update(project, NOW, database="postgres")
        assert services(project) >= beside
        commit(project)
        update(project, update_matrix.future("all pins"))
        assert not unmerged(project)
        assert services(project) >= beside


def test_database_of_a_new_project_can_be_left_to_its_setting(update_matrix: UpdateMatrix) -> None:
    with update_matrix.edited(NOW, {"framework": "django"}) as project:
        update(project, NOW, database="none")
        assert not unmerged(project)
        fresh = update_matrix.project(NOW, {"framework": "django", "database": "none"})
        for name in ("compose.yaml", "Dockerfile", ".copier-answers.yml"):
            assert (project / name).read_text() == (fresh / name).read_text()
