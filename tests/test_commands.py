"""Every command that a page gives is one: its program is known, and takes its options."""

import ast
import functools
import itertools
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from guards import COMPANY, REPOSITORY
from helpers.engine import Engine
from helpers.parsed import parsed
from helpers.programs import run
from helpers.project import Copy
from helpers.repository import ROOT, commit
from helpers.template import ASKED

PAGES = ["README.md", "CONTRIBUTING.md", "tests/README.md"]
PAGES += [f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")]
# Between them they have every part that a README can have.
PROJECTS: dict[str, dict[str, str]] = {
    "fastapi": REPOSITORY,
    "django": {"framework": "django", "ci": "gitlab", "image": "distroless"},
    "worker": {"framework": "worker", "builder": "depot", "image": "distroless"},
    "mcp": {"framework": "mcp", "ci": "none", "git_server": "https://git.corp"},
    "company": COMPANY | REPOSITORY,
}
# What cannot be asked here: the options of each command, from its documentation.
ELSEWHERE: dict[str, set[str]] = {
    ".ci/run": set(),
    "buildah build": {"--format", "--layers", "--tag"},
    "cosign sign": set(),
    "cosign verify": {"--certificate-oidc-issuer", "--certificate-identity"},
    "depot bake": {"--metadata-file"},
    "depot cache reset": set(),
    "depot init": set(),
    "docker debug": set(),
    "gh repo clone": set(),
    "gh repo list": {"--limit", "--json", "--jq"},
    "gh workflow run": set(),
    "glab repo clone": {"--group"},
    "glab schedule create": {"--ref", "--cron", "--description"},
    "gzip": {"-6"},
    "kubectl apply": {"--filename"},
    "kubectl create": {"--namespace", "--from-env-file"},
    "kubectl delete": {"--namespace", "--ignore-not-found"},
    "kubectl debug": {"--stdin", "--tty", "--image", "--target"},
    "kubectl get": {"--raw"},
    "kubectl kustomize": set(),
    "kubectl label": set(),
    "kubectl rollout restart": set(),
    "kubectl rollout status": {"--namespace"},
    "podman build": {"--format", "--tag"},
    "sed": {"-n"},
    "ssh-keyscan": set(),
    "tail": {"-n"},
    "xargs": {"-n"},
}
# What runs a command of its own behind its options, and how many words stand between.
NESTING = {
    "uv run": 0,
    "uvx": 0,
    "docker run": 1,
    "docker exec": 1,
    "docker compose run": 1,
    "docker compose exec": 1,
}
# The shell's own words: those of whole clauses, and those in front of a command.
BUILT_IN = {"for", "read", "done", "fi", "cd", "echo", "exit", "export", "printf"}
BEFORE_A_COMMAND = {"while", "if", "do", "then", "else", "!"}
GROUPS = {"docker": {"buildx", "compose", "image"}, "buildx": {"imagetools"}}
# Those of a project that has a cluster, of which a page of the template speaks.
SCRIPTS = {"deploy/render.sh", "deploy/commit.sh"}
ASKABLE = {"copier", "docker", "git", "python", "sh", "uv", "uvx"}


def blocks(page: str) -> list[str]:
    """Return the shell scripts of a page, and each command in its text."""
    fenced: list[str] = re.findall(r"^ *```sh\n(.+?)^ *```", page, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *```.+?^ *```", "", page, flags=re.MULTILINE | re.DOTALL)
    known = ASKABLE | {name.split()[0] for name in ELSEWHERE}
    spans: list[str] = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    return fenced + [span for span in spans if re.match(rf"({'|'.join(known)}) [\w.-]", span)]


def commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each command of a script, without the variables in front of it."""
    for line in script.replace("\\\n", "").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if re.fullmatch("[;&|()]+", word):
                if words and words[0] not in BUILT_IN:
                    yield words
                words = []
            elif not words and word in BEFORE_A_COMMAND:
                continue
            elif words or not re.match(r"\w+=", word):
                words.append(word)


@functools.cache
def options(*command: str) -> dict[str, bool] | None:
    """Return the options that a command's help lists, and whether each has a value."""
    program = [sys.executable, "-m", "copier"] if command[0] == "copier" else [command[0]]
    asked = run(*program, *command[1:], "--help", check=False)
    if asked.returncode or (command[1:] and f"{' '.join(command[1:])} " not in asked.stdout):
        return None
    found: dict[str, bool] = {}
    for column in re.findall(r"^\s+(-\S.*?)(?:\s{2,}|$)", asked.stdout, re.MULTILINE):
        words = re.split(r"[,= ]+", column)
        names = [word for word in words if word.startswith("-")]
        found |= dict.fromkeys(names, len(words) > len(names))
    return found


def taken(words: list[str], known: dict[str, bool], nesting: bool) -> tuple[list[str], list[str]]:
    """Return the options of a command that it does not know, and its other words."""
    unknown, others = [], []
    rest = iter(words)
    for word in rest:
        if word.startswith("-") and word != "-":
            name, equals, _ = word.partition("=")
            if name not in known:
                unknown.append(name)
            elif known[name] and not equals:
                next(rest, None)
        else:
            others.append(word)
            if nesting:
                others.extend(rest)
    return unknown, others


def called(words: list[str]) -> int:
    """Return how many words name the command: docker buildx bake has three."""
    if words[0] == "docker":
        depth = 2
        while words[depth - 1] in GROUPS["docker"] | GROUPS["buildx"] and len(words) > depth:
            depth += 1
        return depth
    return 2 if words[0] in {"uv", "copier"} else 1


def mistakes(words: list[str], folder: Path, programs: set[str]) -> Iterator[str]:
    """Yield what is wrong with a command in a folder, where its program is one of these."""
    program = words[0]
    for command in map(str.split, ELSEWHERE):
        if words[: len(command)] == command:
            allowed = dict.fromkeys(ELSEWHERE[" ".join(command)], False)
            yield from taken(words[len(command) :], allowed, False)[0]
            return
    if program not in ASKABLE:
        yield f"{program} is no program that is known here"
    elif program == "git" and program in programs and len(words) > 2:
        said = run(*words, cwd=folder, check=False).stderr
        if re.search("usage:|not a git command|unrecognized argument|unknown option", said):
            yield said.splitlines()[0]
    elif program == "sh" and not (folder / words[1]).is_file() and words[1] not in SCRIPTS:
        yield f"{words[1]} is not there"
    elif program == "python":
        yield from python_mistakes(words[1:], folder)
    elif program not in {"git", "sh"}:
        depth = called(words)
        nested = NESTING.get(" ".join(words[:depth]))
        if program not in programs and nested is None:
            return
        known = options(*words[:depth]) if program in programs else {}
        if known is None:
            yield f"{' '.join(words[:depth])} is no command"
            return
        unknown, others = taken(words[depth:], known, nested is not None)
        if program in programs:
            yield from unknown
            yield from other_mistakes(words, others, folder)
        if nested is not None:
            yield from nested_mistakes(program, others[nested:], folder, programs)


def nested_mistakes(
    program: str, words: list[str], folder: Path, programs: set[str]
) -> Iterator[str]:
    """Yield what is wrong with a command that another one runs."""
    installed = json.dumps(tomllib.loads((folder / "pyproject.toml").read_text()))
    if not words or words[0].startswith("$"):
        return
    if words[0] in {"python", "copier"}:
        yield from mistakes(words, folder, programs)
    elif program == "uv" and not re.search(rf'"{words[0]}\b', installed):
        yield f"{words[0]} is no dependency"
    elif program == "uv" and words[0] == "ruff" and options("ruff", words[1]) is None:
        yield f"{' '.join(words[:2])} is no command"
    elif program == "uvx":
        yield f"{words[0]} is no tool that is known here"


def python_mistakes(words: list[str], folder: Path) -> Iterator[str]:
    """Yield what is wrong with a call of Python: a module or a file that is not there."""
    if words[:1] == ["-m"]:
        if len(words) == 1 or words[1].isupper() or words[1].startswith("PACKAGE"):
            return
        path = folder / "src" / words[1].replace(".", "/")
        if not (path.with_suffix(".py").exists() or path.is_dir()):
            yield f"there is no module {words[1]}"
        elif words[1].endswith(".enqueue"):
            json.loads(words[3])
            if f"def {words[2]}(" not in (path.parent / "jobs.py").read_text():
                yield f"there is no job {words[2]}"
    elif words[:2] == ["-", "<"]:
        if not (folder / words[2]).is_file():
            yield f"{words[2]} is not there"
    elif words and words[0] != "-":
        text = (folder / words[0]).read_text() if (folder / words[0]).is_file() else ""
        for option in (word for word in words if word.startswith("--")):
            if f'"{option}"' not in text:
                yield f"{words[0]} has no {option}"


def other_mistakes(words: list[str], others: list[str], folder: Path) -> Iterator[str]:
    """Yield the answers and the services that a command names and that do not exist."""
    for before, answer in itertools.pairwise(words):
        if before == "--data" and answer.partition("=")[0] not in ASKED:
            yield f"there is no question {answer}"
    if words[:2] == ["docker", "compose"] and words[2:] and (folder / "compose.yaml").exists():
        services = parsed("compose.yaml", (folder / "compose.yaml").read_text())["services"]
        named = others[:1] if words[2] in {"run", "exec"} else others
        yield from (f"there is no service {name}" for name in named if name not in services)


def wrong(page: str, folder: Path, programs: set[str]) -> list[str]:
    """Return each mistake in the commands of a page, behind the command."""
    return [
        f"{' '.join(words)}: {mistake}"
        for block in blocks(page)
        for words in commands(block)
        for mistake in mistakes(words, folder, programs)
    ]


@pytest.fixture(scope="module", params=PROJECTS)
def project(
    request: pytest.FixtureRequest, copy: Copy, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("commands") / "project"
    project = copy(folder, **PROJECTS[request.param])
    commit(project)
    return project


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository in which a command of git may do what it likes, with our programs."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for name in ("benchmarks", "scripts", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".gitignore").write_text("benchmarks\nscripts\ntests\n")
    commit(folder)
    return folder


@pytest.mark.render
@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_can_be_typed(repository: Path, page: str) -> None:
    assert not wrong((ROOT / page).read_text(), repository, ASKABLE - {"docker"})


@pytest.mark.image
@pytest.mark.parametrize("page", PAGES)
def test_docker_takes_the_commands_of_a_page(engine: Engine, repository: Path, page: str) -> None:
    assert not wrong((ROOT / page).read_text(), repository, {"docker"})


@pytest.mark.render
def test_commands_of_a_projects_readme_can_be_typed(project: Path) -> None:
    page = (project / "README.md").read_text()
    assert len([words for block in blocks(page) for words in commands(block)]) > 20
    assert not wrong(page, project, ASKABLE - {"docker"})


@pytest.mark.image
def test_docker_takes_the_commands_of_a_projects_readme(engine: Engine, project: Path) -> None:
    assert not wrong((project / "README.md").read_text(), project, {"docker"})


@pytest.mark.render
def test_shell_can_read_what_a_page_gives(project: Path) -> None:
    pages = [(ROOT / page).read_text() for page in PAGES]
    for script in [
        b for page in [*pages, (project / "README.md").read_text()] for b in blocks(page)
    ]:
        assert run("bash", "-n", "-c", script).stderr == "", script


@pytest.mark.render
def test_examples_of_code_can_be_parsed(project: Path) -> None:
    parsers: dict[str, Callable[[str], object]] = {
        "yaml": lambda text: list(yaml.safe_load_all(text)),
        "toml": tomllib.loads,
        "json": json.loads,
        "python": lambda text: compile(text, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT),
    }
    pages = [(ROOT / page).read_text() for page in PAGES]
    for page in [*pages, (project / "README.md").read_text()]:
        for kind, text in re.findall(r"^```(\w+)\n(.+?)^```", page, re.MULTILINE | re.DOTALL):
            if kind in parsers:
                parsers[kind](text)
            else:
                assert kind in {"sh", "text", "dockerfile"}


@pytest.mark.render
def test_files_that_a_readme_names_are_there(project: Path) -> None:
    readme = (project / "README.md").read_text()
    names = re.findall(r"`([\w./-]+\.(?:py|sh|toml|lock|ya?ml|json|hcl)|src/|tests/)`", readme)
    assert len(names) > 10
    there = [path.relative_to(project).as_posix() for path in project.rglob("*")]
    # What Depot makes, and what only another answer brings.
    made = {"depot.json"}
    for name in {*names} - made:
        assert any(f"/{path}".endswith(f"/{name.rstrip('/')}") for path in there), name


@pytest.mark.render
def test_readme_has_each_setting_with_its_default(project: Path) -> None:
    (settings,) = project.glob("src/*/settings.py")
    fields = parsed(settings.name, settings.read_text())["Settings"]
    named = {
        name: value for name, value in fields.items() if f"    {name}: " in settings.read_text()
    }
    table = (project / "README.md").read_text().partition("## Configure")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", table, re.MULTILINE))
    assert {name.upper() for name in named} == rows.keys()
    for name, value in named.items():
        given = re.match(r"(?:Field\(default=|RedisDsn\()'?([^',)]*)", str(value))
        default = rows[name.upper()]
        if re.fullmatch("`[^`]+`", default):
            assert default[1:-1].lower() == (given[1] if given else str(value)).lower(), name


@pytest.mark.render
@pytest.mark.parametrize("name", ["fastapi", "django"])
def test_readme_verifies_as_the_pipeline_does(copy: Copy, tmp_path: Path, name: str) -> None:
    answers = PROJECTS[name] | {"repository": "acme/orders"}
    readme = (copy(tmp_path / "project", **answers) / "README.md").read_text()
    identity = {
        "fastapi": "https://github.com/acme/orders/.github/workflows/ci.yml@refs/heads/main",
        "django": "https://gitlab.com/acme/orders//.gitlab-ci.yml@refs/heads/main",
    }[name]
    issuer = {
        "fastapi": "https://token.actions.githubusercontent.com",
        "django": "https://gitlab.com",
    }[name]
    (verify,) = [c for b in blocks(readme) for c in commands(b) if c[:2] == ["cosign", "verify"]]
    _, _, *words, image = verify
    assert words == ["--certificate-oidc-issuer", issuer, "--certificate-identity", identity]
    host = {"fastapi": "ghcr.io", "django": "registry.gitlab.com"}[name]
    assert image == f"{host}/acme/orders@DIGEST"
