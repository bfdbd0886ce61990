"""The scheduled workflow proposes a release: its own steps, on repositories of this machine."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import GIT_ENV, Copy, commit, git
from copier import run_copy
from edits import EDITS
from futures import FUTURES
from updates import NOW, config, files

pytestmark = pytest.mark.render

NEXT = "v9999.1.0"
BRANCH = f"template-update/{NEXT}"


@dataclass
class Repository:
    """A project, the remote that it is pushed to, and what gh was asked."""

    project: Path
    remote: Path
    programs: Path

    @property
    def asked(self) -> list[str]:
        """The lines with which gh was called, one argument a line."""
        log = self.programs / "asked"
        return log.read_text().splitlines() if log.exists() else []

    def propose(self, token: str = "secret") -> subprocess.CompletedProcess[str]:
        """Check out the main branch anew and run the commands of the workflow's steps in it."""
        checkout = self.project.with_name("checkout")
        shutil.rmtree(checkout, ignore_errors=True)
        git(self.remote, "clone", "--quiet", str(self.remote), str(checkout))
        workflow = yaml.safe_load((checkout / ".github/workflows/template-update.yml").read_text())
        (script,) = [step["run"] for step in workflow["jobs"]["update"]["steps"] if "run" in step]
        environment = {
            **{n: value for n, value in GIT_ENV.items() if not n.startswith("GIT_AUTHOR")},
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "GH_TOKEN": token,
        }
        # As GitHub runs it.
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Repository:
    """Give a repository of a project whose template has a newer release, which has another user."""
    newer = tmp_path / "template"
    git(template, "clone", "--quiet", str(template), str(newer))
    project = tmp_path / "project"
    run_copy(str(newer), project, vcs_ref=NOW, defaults=True, quiet=True)
    FUTURES["user"](newer)
    FUTURES["file"](newer)
    commit(newer)
    git(newer, "tag", NEXT)

    programs = tmp_path / "programs"
    programs.mkdir()
    pin = config(NOW)["pins"]["default"]["copier"]
    for name, script in {
        "uvx": f'[ "$1" = copier@{pin} ] && shift && exec {sys.executable} -m copier "$@"',
        "gh": f"printf '%s\\n' \"$@\" >>{programs}/asked",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    remote = tmp_path / "remote"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    found = Repository(project, remote, programs)
    push(found)
    return found


def push(repository: Repository) -> None:
    """Commit the project as it is to the remote's main branch."""
    commit(repository.project)
    git(repository.project, "push", "--quiet", str(repository.remote), "main")


def test_a_newer_release_becomes_a_pull_request(repository: Repository) -> None:
    run = repository.propose()

    assert run.returncode == 0, run.stderr
    assert repository.asked[:2] == ["auth", "setup-git"]
    assert f"--head\n{BRANCH}\n--title\nUpdate the template to {NEXT}\n" in "\n".join(
        repository.asked
    )
    changed = git(repository.remote, "diff", "--name-only", "main", BRANCH).split()
    assert changed == [".copier-answers.yml", ".hadolint.yaml", "Dockerfile"]
    assert git(repository.remote, "log", "-1", "--format=%an", BRANCH) == "github-actions[bot]\n"


def test_conflicts_are_in_the_title(repository: Repository) -> None:
    EDITS["another user"].apply(repository.project)
    push(repository)
    run = repository.propose()

    assert run.returncode == 0, run.stderr
    assert f"Update the template to {NEXT}, with conflicts in Dockerfile" in repository.asked
    assert "<<<<<<<" in git(repository.remote, "show", f"{BRANCH}:Dockerfile")


def test_a_second_run_leaves_the_branch_to_people(repository: Repository) -> None:
    repository.propose()
    before = git(repository.remote, "rev-parse", BRANCH), repository.asked.count("pr")
    run = repository.propose()

    assert run.returncode == 0, run.stderr
    assert (git(repository.remote, "rev-parse", BRANCH), repository.asked.count("pr")) == before


def test_without_the_secret_it_only_says_that_there_is_a_release(repository: Repository) -> None:
    run = repository.propose(token="")

    assert run.returncode == 0, run.stderr
    assert "::warning::" in run.stdout
    assert "TEMPLATE_UPDATE_TOKEN" in run.stdout
    assert not repository.asked
    assert git(repository.remote, "branch", "--list").split() == ["*", "main"]


def test_the_newest_release_has_nothing_to_propose(repository: Repository) -> None:
    repository.propose()
    git(repository.remote, "branch", "--force", "main", BRANCH)
    before = repository.asked
    run = repository.propose()

    assert run.returncode == 0, run.stderr
    assert "::warning::" not in run.stdout
    assert repository.asked == before


def test_a_template_that_cannot_be_reached_fails_the_run(repository: Repository) -> None:
    shutil.rmtree(repository.project.with_name("template"))
    assert repository.propose().returncode not in (0, 2)


def test_the_job_holds_no_permission_but_to_read(copy: Copy, tmp_path: Path) -> None:
    project = copy(tmp_path / "project")
    text = files(project)[".github/workflows/template-update.yml"]
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["update"]["permissions"] == {"contents": "read"}
