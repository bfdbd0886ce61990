"""A schedule on either host proposes a release: its own script, on repositories of this machine."""

import base64
import http.server
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import run_copy
from helpers.edits import EDITS
from helpers.files import change, files, loaded
from helpers.future_releases import FUTURE_RELEASES
from helpers.programs import make_program, run
from helpers.project import Copy
from helpers.repository import commit, git
from helpers.updates import NOW, config

pytestmark = pytest.mark.update

NEXT = "v9999.1.0"
BRANCH = f"template-update/{NEXT}"


@dataclass
class Repository:
    """A project on a host, the remote that it is pushed to, and what the host was asked."""

    host: str
    project: Path
    remote: Path
    programs: Path

    @property
    def asked(self) -> list[str]:
        """The arguments of gh on GitHub, the options of a push on GitLab, each on a line."""
        log = self.programs / "asked"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def title(self) -> str:
        """The title of the pull or merge request that was asked for."""
        if self.host == "github":
            return self.asked[self.asked.index("--title") + 1]
        assert self.asked[0] == "merge_request.create"
        return self.asked[1].removeprefix("merge_request.title=")

    @property
    def step(self) -> dict[str, Any]:
        """The step of GitHub's workflow that proposes."""
        workflow = loaded(self.project, ".github/workflows/template-update.yml")
        steps = workflow["jobs"]["update"]["steps"]
        (step,) = [step for step in steps if step["name"] == "Propose"]
        return dict(step)

    @property
    def script(self) -> list[str]:
        """What the host runs, and the shell that runs it."""
        if self.host == "github":
            return ["bash", "-e", "-c", self.step["run"]]
        (script,) = loaded(self.project, ".gitlab-ci.yml")["template-update"]["script"]
        return ["sh", "-e", "-c", script]

    def propose(
        self, token: str = "secret", check: bool = True, **given: str
    ) -> subprocess.CompletedProcess[str]:
        """Check out the main branch again and run the host's script in it."""
        checkout = self.project.with_name("checkout")
        shutil.rmtree(checkout, ignore_errors=True)
        git(self.remote, "clone", "--quiet", str(self.remote), str(checkout))
        environment = {
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "GH_TOKEN": token,
            "TEMPLATE_UPDATE_TOKEN": token,
            "CI_SERVER_URL": f"file://{self.remote.parent}",
            "CI_SERVER_HOST": "git.example.com",
            "CI_PROJECT_PATH": self.remote.stem,
            "GITLAB_USER_NAME": "Ada",
            "GITLAB_USER_EMAIL": "ada@example.com",
            **given,
        }
        # The script names the author.
        script = ["env", "--unset=GIT_AUTHOR_NAME", "--unset=GIT_AUTHOR_EMAIL", *self.script]
        return run(*script, cwd=checkout, env=environment, check=check)


@pytest.fixture(params=["github", "gitlab"])
def repository(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Repository:
    """Return a repository of a project whose template has a newer release, with another user."""
    newer = tmp_path / "template"
    git(template, "clone", "--quiet", str(template), str(newer))
    project = tmp_path / "project"
    # A parameter may name another answers file than Copier's own.
    host, *kept = request.param.split()
    run_copy(
        str(newer),
        project,
        {"ci": host},
        answers_file=kept[0] if kept else None,
        vcs_ref=NOW,
        defaults=True,
        quiet=True,
    )
    FUTURE_RELEASES["user"](newer)
    FUTURE_RELEASES["file"](newer)
    commit(newer)
    git(newer, "tag", NEXT)

    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    git(remote, "config", "receive.advertisePushOptions", "true")
    programs = tmp_path / "programs"
    pin = config(NOW)["pins"]["default"]["copier"]
    options = "$(env | sed -n 's/^GIT_PUSH_OPTION_[0-9]=//p' | sort)"
    uvx = f'[ "$3" = copier@{pin} ] && shift 3 && exec {sys.executable} -m copier "$@"'
    make_program(programs, "uvx", uvx)
    # Of the pull requests it counts those that were made here.
    count = f'[ "$2" = list ] && {{ grep --count "^create$" {programs}/asked; exit; }}'
    make_program(programs, "gh", f"{count}\nprintf '%s\\n' \"$@\" >>{programs}/asked")
    hook = f'[ -z "{options}" ] || echo "{options}" >>{programs}/asked'
    make_program(remote / "hooks", "pre-receive", hook)

    found = Repository(host, project, remote, programs)
    push(found)
    return found


def push(repository: Repository) -> None:
    """Commit the project as it is to the remote's main branch."""
    commit(repository.project)
    git(repository.project, "push", "--quiet", str(repository.remote), "main")


def test_a_newer_release_is_proposed(repository: Repository) -> None:
    repository.propose()

    assert repository.title == f"Update the template to {NEXT}"
    changed = git(repository.remote, "diff", "--name-only", "main", BRANCH).split()
    assert changed == [".copier-answers.yml", ".hadolint.yaml", "Dockerfile"]
    author = {"github": "github-actions[bot]", "gitlab": "Ada"}[repository.host]
    assert git(repository.remote, "log", "-1", "--format=%an", BRANCH) == f"{author}\n"


def test_conflicts_are_in_the_title(repository: Repository) -> None:
    EDITS["another user"].apply(repository.project)
    push(repository)
    repository.propose()

    assert repository.title == f"Update the template to {NEXT}, with conflicts in Dockerfile"
    assert "<<<<<<<" in git(repository.remote, "show", f"{BRANCH}:Dockerfile")


def test_a_part_that_was_rejected_is_in_the_title(repository: Repository, tmp_path: Path) -> None:
    """Where git hides untracked files, Copier finds none and leaves it as it is."""
    EDITS["another user"].apply(repository.project)
    push(repository)
    settings = tmp_path / "gitconfig"
    git(tmp_path, "config", "--file", str(settings), "status.showUntrackedFiles", "no")
    repository.propose(GIT_CONFIG_GLOBAL=str(settings))

    assert repository.title == f"Update the template to {NEXT}, with conflicts in Dockerfile.rej"
    assert "USER" in git(repository.remote, "show", f"{BRANCH}:Dockerfile.rej")


@pytest.mark.parametrize(
    "repository", ["github .copier-answers.a.yml", "gitlab .copier-answers.a.yml"], indirect=True
)
def test_answers_may_be_in_another_file(repository: Repository) -> None:
    repository.propose()

    assert repository.title == f"Update the template to {NEXT}"
    changed = git(repository.remote, "diff", "--name-only", "main", BRANCH).split()
    assert changed == [".copier-answers.a.yml", ".hadolint.yaml", "Dockerfile"]


def test_a_second_run_leaves_the_branch_to_people(repository: Repository) -> None:
    repository.propose()
    before = git(repository.remote, "rev-parse", BRANCH), repository.title
    repository.propose()

    assert (git(repository.remote, "rev-parse", BRANCH), repository.title) == before
    assert len([line for line in repository.asked if "Update the template" in line]) == 1


@pytest.mark.parametrize("repository", ["github"], indirect=True)
def test_a_pull_request_that_failed_is_made_by_the_next_run(repository: Repository) -> None:
    """A branch alone proposes nothing to anybody."""
    gh = repository.programs / "gh"
    works = gh.read_text()
    gh.write_text(works.replace("printf", '[ "$1" = pr ] && exit 1\nprintf'))
    assert repository.propose(check=False).returncode == 1
    branch = git(repository.remote, "rev-parse", BRANCH)
    gh.write_text(works)
    repository.propose()
    assert repository.title == f"Update the template to {NEXT}"
    assert git(repository.remote, "rev-parse", BRANCH) == branch


def test_the_newest_release_has_nothing_to_propose(repository: Repository) -> None:
    repository.propose()
    git(repository.remote, "branch", "--force", "main", BRANCH)
    before = repository.asked
    done = repository.propose()

    assert "::warning::" not in done.stdout
    assert repository.asked[len(before) :] in ([], ["auth", "setup-git"])


@pytest.mark.parametrize("repository", ["github"], indirect=True)
def test_without_the_secret_it_only_says_that_there_is_a_release(repository: Repository) -> None:
    done = repository.propose(token="")

    assert "::warning::" in done.stdout
    assert "TEMPLATE_UPDATE_TOKEN" in done.stdout
    assert not repository.asked
    assert git(repository.remote, "branch", "--list").split() == ["*", "main"]


@pytest.mark.parametrize("repository", ["github"], indirect=True)
def test_gh_logs_git_in(repository: Repository) -> None:
    repository.propose()
    assert repository.asked[:2] == ["auth", "setup-git"]
    assert repository.asked[repository.asked.index("--head") + 1] == BRANCH


@pytest.mark.parametrize("repository", ["github"], indirect=True)
def test_the_token_serves_a_template_by_its_ssh_address(repository: Repository) -> None:
    settings = {n: v for n, v in repository.step["env"].items() if n.startswith("GIT_CONFIG_")}
    command = ["git", "ls-remote", "--get-url", "git@github.com:acme/template.git"]
    assert run(*command, env=settings).stdout == "https://github.com/acme/template.git\n"


def test_copier_that_cannot_be_fetched_fails_the_run(repository: Repository) -> None:
    """uvx ends with 2 then, as Copier does where there is a newer release."""
    (repository.programs / "uvx").write_text("#!/bin/sh\nexit 2\n")
    done = repository.propose("" if repository.host == "github" else "secret", check=False)
    assert done.returncode != 0
    assert "::warning::" not in done.stdout
    assert not repository.asked


class Asking(http.server.BaseHTTPRequestHandler):
    """A host that asks who it is, keeps the answer and refuses."""

    def do_GET(self) -> None:
        given = self.headers["Authorization"]
        self.server.given.append(given)  # type: ignore[attr-defined]
        self.send_response(403 if given else 401)
        self.send_header("WWW-Authenticate", 'Basic realm="GitLab"')
        self.end_headers()


@pytest.mark.parametrize("repository", ["gitlab"], indirect=True)
def test_gitlab_is_shown_the_token_of_the_schedule(repository: Repository, tmp_path: Path) -> None:
    """For the template and for the project, and not what the runner has for the job.

    A host that refuses the token fails the job.
    """
    runner = tmp_path / "runner"
    helper = "!printf 'username=gitlab-ci-token\\npassword=job\\n'; :"
    git(tmp_path, "config", "--file", str(runner), "credential.helper", helper)
    with http.server.HTTPServer(("127.0.0.1", 0), Asking) as host:
        given = host.given = []  # type: ignore[attr-defined]
        threading.Thread(target=host.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{host.server_port}"
        settings = {
            "CI_SERVER_URL": url,
            "CI_SERVER_HOST": "127.0.0.1",
            "GIT_CONFIG_GLOBAL": str(runner),
        }
        login = base64.b64encode(b"template-update:secret").decode()
        runs = [repository.propose(check=False, **settings)]
        assert set(given) == {None, f"Basic {login}"}
        for address in (f"{url}/acme/template.git", "git@127.0.0.1:acme/template.git"):
            given.clear()
            template = r"^_src_path: .+", f"_src_path: {address}"
            change(repository.project, ".copier-answers.yml", *template)
            push(repository)
            runs.append(repository.propose(check=False, **settings))
            assert set(given) == {None, f"Basic {login}"}
        host.shutdown()
    assert all(done.returncode not in (0, 2) for done in runs)
    assert not repository.asked


def test_a_template_that_cannot_be_reached_fails_the_run(repository: Repository) -> None:
    shutil.rmtree(repository.project.with_name("template"))
    assert repository.propose(check=False).returncode not in (0, 2)
    # It may be private, so gh was asked first.
    assert repository.asked == {"github": ["auth", "setup-git"], "gitlab": []}[repository.host]


def test_the_job_holds_no_permission_but_to_read(copy: Copy, tmp_path: Path) -> None:
    project = copy(tmp_path / "project")
    text = files(project)[".github/workflows/template-update.yml"]
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["update"]["permissions"] == {"contents": "read"}
