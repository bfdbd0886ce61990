"""Every combination of answers renders to files that are right by rules, not by example."""

import dataclasses
import itertools
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import pytest
import yaml
from helpers.files import parse, texts
from helpers.programs import run
from helpers.project import Copy
from helpers.repository import ROOT
from helpers.template import (
    ASKED,
    CONFIG,
    FRAMEWORKS,
    PINS,
    QUESTIONS,
    SERVICES,
    choices,
    extension,
    template_files,
)
from jinja2_ansible_filters import AnsibleCoreFiltersExtension
from pytest_copie.plugin import Copie

pytestmark = pytest.mark.render


# The questions that meet in a file or a line of it; each group is combined whole.
GROUPS = [
    ("python_version", "uv_version", "image"),
    ("image", "apt_packages", "build_packages", "index_url"),
    ("ci", "registry", "git_server", "index_names"),
    ("ci", "builder", "repository", "depot_project"),
    ("ci", "builder", "index_url", "certificates"),
    ("ci", "deploy"),
]


def combinations() -> Iterator[dict[str, str]]:
    """Yield every choice of every question with some of the others, on the services in turn."""
    axes = {
        name: choices(question)
        for name, question in ASKED.items()
        if "choices" in question
        and name not in {"framework", "server", "database", "version_from", "checks"}
    }
    axes["uv_version"] = ["tested", PINS["uv_oldest"]]
    axes["repository"] = ["", "Acme/Orders.api"]
    axes["depot_project"] = ["", "a1b2c3d4e5"]
    axes["index_url"] = ["", "https://pypi.example.com/simple"]
    axes["index_names"] = ["", "acme-gpu other.index"]
    axes["registry"] = ["", "registry.example.com:5000/mirror"]
    axes["git_server"] = ["", "https://git.example.com", "ssh://git@git.example.com:2222"]
    services = itertools.cycle(SERVICES)
    axes["apt_packages"] = ["", "libpq5"]
    axes["build_packages"] = ["", "gcc libc6-dev"]
    assert {name for group in GROUPS for name in group} == {*axes}
    for names in GROUPS:
        for values in itertools.product(*(axes[name] for name in names)):
            answers = next(services) | dict(zip(names, values, strict=True))
            released = extension(answers["framework"]).get("python_versions", [])
            if released and answers.get("python_version", released[-1]) not in released:
                answers["python_version"] = released[-1]
            yield answers
    for database, registry in itertools.product(["postgres", "none"], axes["registry"]):
        yield {"framework": "django", "database": database, "registry": registry}
    for title in TITLES:
        yield {"project_name": title}
    yield {"port": "1024", "description": 'It\'s a "test" & more: [a] #1 100%, ünïcode 🚀'}
    yield {"package_name": "z" * 40, "port": "65535", "deploy": "kubernetes"}


TITLES = [
    "Orders API",
    "Bob's Orders",
    'The "best" orders',
    "Orders & Returns",
    "Ünïcode Öffice",
    "订单服务",
    "🚀 Launch",
    "2026 Plans",
    "JSON",
    "Class",
    "FastAPI",
    "Service: [beta] #1, 100% | yes",
    "x" * 60,
    "- no",
    "null",
]


@dataclasses.dataclass
class Rendered:
    """A project: the content of each file by its path, and the answers it came from."""

    files: dict[str, str]
    answers: dict[str, str]


def slug(answers: dict[str, str]) -> str:
    return " ".join(answers.values())


@pytest.fixture(scope="module", params=combinations(), ids=slug)
def rendered(request: pytest.FixtureRequest, copie_session: Copie, template: Path) -> Rendered:
    """Render one combination of answers."""
    result = copie_session.copy(request.param, template_dir=template)
    if result.exception:
        raise result.exception
    assert result.project_dir
    return Rendered(texts(result.project_dir), result.answers)


def test_files_parse(rendered: Rendered) -> None:
    parsed = {name for name, text in rendered.files.items() if parse(name, text)}
    assert {"pyproject.toml", "uv.lock", "compose.yaml", "renovate.json"} <= parsed


def test_no_mark_of_the_template_is_left(rendered: Rendered) -> None:
    for name, text in rendered.files.items():
        # GitHub's expressions and Go's templates have braces of their own.
        assert not re.search(
            r"\{%|\{#|#\}|(?<!\$)\{\{(?!\.|join |json |println |range |if |end)", text
        ), name
        assert "placeholder" not in text, name


def test_whitespace_is_clean(rendered: Rendered) -> None:
    for name, text in rendered.files.items():
        if not text and name.endswith("/__init__.py"):
            continue
        assert text.endswith("\n"), name
        assert not text.endswith("\n\n"), name
        assert not text.startswith("\n"), name
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), name
        assert "\n" * (4 if name.endswith(".py") else 3) not in text, name


def test_description_arrives_whole(rendered: Rendered) -> None:
    project = rendered.files
    described = tomllib.loads(project["pyproject.toml"])["project"]["description"]
    assert described == rendered.answers["description"]
    assert project["README.md"].startswith(f"# {rendered.answers['project_name']}\n\n{described}\n")


def test_stored_answers_are_the_asked_ones(rendered: Rendered) -> None:
    """No pin is stored: a stored value never moves again."""
    stored = yaml.safe_load(rendered.files[".copier-answers.yml"])
    names = {name for name in stored if not name.startswith("_")}
    # Some are asked only after certain answers.
    assert {name for name, question in ASKED.items() if "when" not in question} <= names
    assert names <= set(ASKED)
    assert stored["uv_version"] == rendered.answers["uv_version"]


def test_versions_tell_one_story(rendered: Rendered) -> None:
    project = rendered.files
    python = rendered.answers["python_version"]
    asked = rendered.answers["uv_version"]
    uv = PINS["uv"] if asked == "tested" else asked
    needed = tomllib.loads(project["pyproject.toml"])["tool"]["uv"]["required-version"]
    assert needed == f">={PINS['uv_oldest']}"
    assert [*map(int, uv.split("."))] >= [*map(int, PINS["uv_oldest"].split("."))]

    assert project[".python-version"] == f"{python}\n"
    assert tomllib.loads(project["pyproject.toml"])["project"]["requires-python"] == f">={python}"
    assert tomllib.loads(project["uv.lock"])["requires-python"] == f">={python}"
    assert re.findall(r"^FROM (?:\S+/)?python:(\S+)", project["Dockerfile"], re.MULTILINE) == [
        f"{python}-slim-{PINS['suite']}"
    ]
    assert re.findall(r"astral-sh/uv:(\S+)", project["Dockerfile"]) == [uv]
    for pipeline in pipelines(project).values():
        # One for setup-uv, the other for pip.
        assert set(re.findall(r'(?: version: "|uv==)([\d.]+)', pipeline)) == {uv}


def test_lock_is_of_the_project_and_of_what_it_depends_on(rendered: Rendered) -> None:
    project = tomllib.loads(rendered.files["pyproject.toml"])
    packages = tomllib.loads(rendered.files["uv.lock"])["package"]
    (own,) = [package for package in packages if package["source"] == {"editable": "."}]
    assert (own["name"], own["version"]) == (project["project"]["name"], "0.1.0")
    asked = project["project"]["dependencies"], project["dependency-groups"]["dev"]
    locked = own["dependencies"], own["dev-dependencies"]["dev"]
    for requirements, names in zip(asked, locked, strict=True):
        wanted = {re.split(r"[\[;<>=! ]", requirement)[0] for requirement in requirements}
        assert {name["name"] for name in names} == wanted


def pipelines(project: dict[str, str]) -> dict[str, str]:
    """Return the file of each pipeline by the name of its host."""
    files = {"github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}
    return {host: project[path] for host, path in files.items() if path in project}


def test_ci_is_what_was_asked_for(rendered: Rendered) -> None:
    project, answers = rendered.files, rendered.answers
    assert set(pipelines(project)) == {answers["ci"]} - {"none"}
    depot = answers["ci"] == "github" and answers["builder"] == "depot"
    # Renovate leaves every action to the template, used or not.
    spoken = {n for n, text in project.items() if "depot" in text.lower()} - {"renovate.json"}
    assert spoken <= {".copier-answers.yml"} or depot
    assert (".github/workflows/ci.yml" in spoken) == depot
    assert ("depot.json" in project) == (depot and answers["depot_project"] != "")


def test_a_cluster_gets_objects_where_it_was_asked_for(rendered: Rendered) -> None:
    project, answers = rendered.files, rendered.answers
    asked = answers["deploy"] == "kubernetes"
    assert bool([name for name in project if name.startswith("deploy/")]) == asked
    assert ("## Deploy\n" in project["README.md"]) == asked
    on_github = asked and answers["ci"] == "github"
    assert (".github/workflows/kubernetes.yml" in project) == on_github


def test_pipelines_run_what_the_readme_says(on_hosts: dict[str, dict[str, str]]) -> None:
    for host, project in on_hosts.items():
        deliver = project["README.md"].partition("## Deliver")[2]
        block, ask = re.findall(r"```sh\n(.+?)```", deliver.partition("\n## ")[0], re.DOTALL)
        commands = [command for line in block.splitlines() for command in line.split(" && ")]
        assert len(commands) > 5
        for command in commands:
            # The pipeline has the name of the image in a variable.
            run = command.replace(" my-service", ' "$IMAGE"')
            assert run in pipelines(project)[host], command
        for command in ("cosign verify --certificate-oidc-issuer ", "sh scripts/verify.sh "):
            assert command in ask
            assert command in pipelines(project)[host]


def test_readme_speaks_of_its_own_framework_alone(rendered: Rendered) -> None:
    titles = {name: extension(name)["title"] for name in FRAMEWORKS}
    own = titles.pop(rendered.answers["framework"])
    # The title is the user's.
    _, _, readme = rendered.files["README.md"].partition("\n")
    assert own in readme
    assert not [title for title in titles.values() if title in readme]


def test_every_action_and_image_is_pinned_and_left_to_the_template(rendered: Rendered) -> None:
    project = rendered.files
    rules = json.loads(project["renovate.json"])["packageRules"]
    left_alone = {
        n for rule in rules if rule.get("enabled") is False for n in rule["matchDepNames"]
    }
    pinned = {}
    for pipeline in pipelines(project).values():
        for action in re.findall(r"uses: (.+)", pipeline):
            name, _, pinned[name] = action.partition("@")
            assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pinned[name]), action
    for text in (*pipelines(project).values(), project["compose.yaml"]):
        for image in re.findall(r"(?:image|- name): ((?:\S+/)?(?:docker|aquasec).+)", text):
            match = re.fullmatch(r"(.+):([\w.-]+@sha256:[0-9a-f]{64})", image)
            assert match, image
            pinned[match[1]] = match[2]
    assert pinned
    assert set(pinned) <= left_alone


def jobs(project: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the jobs of a project's pipeline by the names that they have on GitHub."""
    ((host, text),) = pipelines(project).items()
    pipeline = yaml.safe_load(text)
    if host == "github":
        return dict(pipeline["jobs"])
    # GitLab keeps the word `image` for itself.
    names = {"build": "image"}
    return {names.get(name, name): job for name, job in pipeline.items() if "stage" in job}


Hosts = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def on_hosts(copy: Copy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return the files of a project on each host."""
    folder = tmp_path_factory.mktemp("hosts")
    return {host: texts(copy(folder / host, ci=host)) for host in ("github", "gitlab")}


@pytest.fixture(scope="session")
def hosts(on_hosts: dict[str, dict[str, str]]) -> Hosts:
    """Return the jobs of each host's pipeline."""
    return {host: jobs(project) for host, project in on_hosts.items()}


@pytest.fixture(scope="session")
def gitlab(on_hosts: dict[str, dict[str, str]]) -> Any:
    """Return the whole of GitLab's pipeline."""
    return yaml.safe_load(on_hosts["gitlab"][".gitlab-ci.yml"])


def test_both_hosts_have_the_same_jobs(hosts: Hosts) -> None:
    github = hosts["github"]
    assert list(github) == list(hosts["gitlab"])
    for name, job in hosts["gitlab"].items():
        # On GitHub a job also waits for those that it has values from.
        waits = {need.replace("build", "image") for need in job.get("needs", [])}
        assert waits <= waited_for(github[name]), name


def waited_for(job: dict[str, Any]) -> set[str]:
    needs = job.get("needs", [])
    return {needs} if isinstance(needs, str) else set(needs)


def lines(job: dict[str, Any]) -> set[str]:
    """Return what a job runs, line by line."""
    scripts = job.get("script") or [step.get("run", "") for step in job["steps"]]
    return {line.strip() for script in scripts for line in script.splitlines()}


def commands(job: dict[str, Any]) -> set[str]:
    """Return what a job runs, line by line, its variables without a name."""
    return {re.sub(r"\$\w+", "$", line) for line in lines(job)}


def test_both_hosts_check_and_test_by_the_same_commands(hosts: Hosts) -> None:
    # Only what takes a host's values in, or hands them on, is its own.
    own = r"^(echo|digest=|FIRST=|CI_COMMIT_REF_NAME=|for |done|if |fi|apk|\. )|tag=|tags\+?=|--tag"
    own += "|^docker compose logs$|^exit$"
    for name in hosts["github"]:
        differ = commands(hosts["github"][name]) ^ commands(hosts["gitlab"][name])
        assert not [line for line in differ if line and not re.search(own, line)], name


@pytest.mark.parametrize("host", ["github", "gitlab"])
@pytest.mark.parametrize(
    ("ref", "tag", "names"),
    [
        ("main", False, ["main", "sha-c0ffee"]),
        ("fix/one+two", False, ["fix-one-two", "sha-c0ffee"]),
        ("v1.2.0+3", True, ["v1.2.0-3"]),
    ],
)
def test_names_of_a_release(hosts: Hosts, host: str, ref: str, tag: bool, names: list[str]) -> None:
    """As a registry can take them; that of the commit is the branch's, which a tag builds again."""
    release = hosts[host]["release"]
    lines = release.get("script") or [step.get("run", "") for step in release["steps"]]
    stub = 'docker() { echo "$@"; }\n'
    environment = {
        **{"IMAGE": "acme/orders", "DIGEST": "sha256:0"},
        **{"GITHUB_REF_NAME": ref, "GITHUB_SHA": "c0ffee", "GITHUB_REF_TYPE": "branch"},
        **{"CI_COMMIT_REF_NAME": ref, "CI_COMMIT_SHA": "c0ffee", "CI_COMMIT_TAG": ""},
        **({"GITHUB_REF_TYPE": "tag", "CI_COMMIT_TAG": ref} if tag else {}),
    }
    shell = {"github": "bash", "gitlab": "sh"}[host]
    printed = run(shell, "-e", "-c", stub + "\n".join(lines), env=environment).stdout
    named = re.findall(r"--tag acme/orders:(\S+) acme/orders@sha256:0$", printed, re.M)
    assert sorted(named) == names


def test_every_stage_that_asks_debian_is_built_anew_in_a_pipeline(rendered: Rendered) -> None:
    """Or the layers of the first build, from a cache, are not those of the second."""
    stages = re.split(r"^FROM \S+ AS ", rendered.files["Dockerfile"], flags=re.MULTILINE)
    asking = {stage.split()[0] for stage in stages if "apt-get install" in stage}
    anew = re.findall(r"no-cache-filter = .+: (\[.+\])", rendered.files["docker-bake.hcl"])
    assert asking == {stage for stages in anew for stage in json.loads(stages)}


def test_engine_of_gitlabs_jobs_keeps_what_the_registry_gets(gitlab: Any) -> None:
    """With the driver that GitLab.com's runners ask for, no cache and no attestation is pushed."""
    assert gitlab[".docker"]["variables"]["DOCKER_DRIVER"] == "overlayfs"


def test_no_fork_runs_with_the_registry_and_variables_of_its_parent(gitlab: Any) -> None:
    """GitLab lets a member of the parent start that; GitHub's own rules keep secrets from it."""
    source = "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID"
    refused = {"if": f"{source} != null && {source} != $CI_PROJECT_ID", "when": "never"}
    assert gitlab["workflow"]["rules"][0] == refused


def test_every_line_of_a_pipeline_has_a_neighbourhood_of_its_own(rendered: Rendered) -> None:
    """Otherwise an update could move an edit into another job, without a conflict."""
    for text in (*pipelines(rendered.files).values(), rendered.files["compose.yaml"]):
        lines = text.splitlines()
        around = [tuple(lines[max(0, i - 3) : i + 4]) for i in range(len(lines))]
        assert len(set(around)) == len(around)


def test_port_is_the_same_everywhere(copy: Copy, tmp_path: Path) -> None:
    for name, text in texts(copy(tmp_path / "project", port="9123")).items():
        assert name == "uv.lock" or "8000" not in text, name


def test_health_path_is_one_string(rendered: Rendered) -> None:
    project = rendered.files
    paths = {
        match
        for name in project
        if name != "uv.lock"
        for match in re.findall(r"/(?:health|live|ready)[a-z]*\b(?!\.)", project[name])
    }
    # What has no port has a heartbeat, which is one string as well.
    heartbeat = extension(rendered.answers["framework"]).get("heartbeat")
    assert paths == (set() if heartbeat else {"/healthz", "/readyz"})
    assert (heartbeat or "/healthz") in project["Dockerfile"]


def test_dockerfile_is_short_and_asks_only_for_what_dockerignore_lets_through(
    rendered: Rendered,
) -> None:
    project = rendered.files
    dockerfile = project["Dockerfile"]
    allowed = {line[1:] for line in project[".dockerignore"].splitlines() if line[:1] == "!"}
    copied = set(re.findall(r"^COPY (?!.*--from)(?:--\S+ )*(\S+?)/? ", dockerfile, re.MULTILINE))
    bound = set(re.findall(r"type=bind,source=([^,\s]+)", dockerfile))

    assert copied | bound == allowed
    # distroless says in addition what it leaves out of Python.
    limit = {"slim": 80, "distroless": 95}[rendered.answers["image"]]
    # A secret is mounted twice and checked; a package is installed, found and its users kept.
    secrets = dockerfile.count("--mount=type=secret") // 2
    limit += 3 * secrets + 7 * bool(secrets) + 5 * bool(rendered.answers["git_server"])
    limit += 17 * bool(rendered.answers["apt_packages"])
    limit += 5 * bool(rendered.answers["build_packages"])
    # A stage that collects files, and its tree.
    limit += 16 * ("collected" in extension(rendered.answers["framework"]))
    assert len(dockerfile.splitlines()) < limit


def test_no_shell_line_of_the_image_is_longer_than_120_columns(rendered: Rendered) -> None:
    for name, text in rendered.files.items():
        if name == "Dockerfile" or name.startswith("scripts/"):
            # The one for certificates is where 0.2.0 has it, since people add mounts above it.
            kept = ("    CMD [", "    { cat /etc/ssl/certs")
            shell = [line for line in text.splitlines() if not line.startswith(kept)]
            assert max(map(len, shell)) <= 120, name


def test_no_line_is_longer_than_the_projects_own_limit(rendered: Rendered) -> None:
    for name, text in rendered.files.items():
        # Django writes the migrations, in its own style.
        if name.endswith(".py") and "/migrations/" not in name:
            assert max(map(len, text.splitlines()), default=0) <= 100, name


def test_a_copy_needs_no_trust_and_changes_nothing_when_repeated(
    copy: Copy, tmp_path: Path
) -> None:
    """Copier refuses tasks, extensions and migrations unless it is told to trust them."""
    project = copy(tmp_path / "project")
    before = texts(project)
    copy(project)
    assert texts(project) == before
    assert not {"_tasks", "_migrations", "_jinja_extensions"} & set(CONFIG)


def test_every_key_of_a_question_is_one_that_copier_knows() -> None:
    """Copier skips a misspelt key in silence."""
    known = {"type", "help", "choices", "multiselect", "default", "placeholder", "secret"}
    known |= {"multiline", "qmark", "validator", "when", "ask"}
    for name, question in QUESTIONS.items():
        assert set(question) <= known, name
    for name, question in ASKED.items():
        assert question["help"].strip(), name


def test_every_variable_is_declared() -> None:
    environment = jinja2.Environment(extensions=[AnsibleCoreFiltersExtension])
    # What Copier gives, and the loop variable of the files that an extension brings.
    declared = {*QUESTIONS, "_copier_conf", "_copier_answers", "_copier_operation", "file"}
    for path in template_files():
        # Copier's own tag makes a file for each value.
        loop = re.sub(r"{% yield (\w+) from", r"{% for \1 in", str(path.relative_to(ROOT)))
        sources = [loop.replace("{% endyield %}", "{% endfor %}")]
        if path.suffix == ".jinja":
            sources.append(path.read_text())
        for source in sources:
            used = jinja2.meta.find_undeclared_variables(environment.parse(source))
            assert used <= declared, path


def test_file_names_are_safe_on_windows() -> None:
    for path in template_files():
        name = path.relative_to(ROOT).as_posix()
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]', name), name
        assert not any(part.endswith((".", " ")) for part in name.split("/")), name
        assert len(name) < 140, name
        assert not path.is_symlink(), name


# What both pipelines could lose alike, so that comparing them shows nothing.


def test_each_job_waits_for_the_one_above_it(hosts: Hosts) -> None:
    """So that what is released was verified, and what is published was built twice."""
    for host, pipeline in hosts.items():
        for before, after in itertools.pairwise(pipeline):
            waits = {need.replace("build", "image") for need in waited_for(pipeline[after])}
            assert before in waits, f"{after} on {host}"


def test_both_hosts_build_each_architecture_on_its_own_kind(hosts: Hosts) -> None:
    assert hosts["github"]["image"]["strategy"]["matrix"]["include"] == [
        {"arch": "amd64", "runner": "ubuntu-24.04"},
        {"arch": "arm64", "runner": "ubuntu-24.04-arm"},
    ]
    assert hosts["github"]["image"]["runs-on"] == "${{ matrix.runner }}"
    # And builds it again there.
    again = hosts["github"]["reproduce"]
    assert again["strategy"]["matrix"] == {"arch": ["amd64", "arm64"]}
    runners = "matrix.arch == 'arm64' && 'ubuntu-24.04-arm' || 'ubuntu-24.04'"
    assert again["runs-on"] == f"${{{{ {runners} }}}}"
    for name in ("image", "reproduce"):
        assert hosts["gitlab"][name]["parallel"] == {"matrix": [{"ARCH": ["amd64", "arm64"]}]}
        assert hosts["gitlab"][name]["tags"] == ["saas-linux-small-$ARCH"]


def test_each_architecture_is_compared_with_its_own_first_build(hosts: Hosts) -> None:
    (first,) = (
        step["env"]["FIRST"]
        for step in hosts["github"]["reproduce"]["steps"]
        if "FIRST" in step.get("env", {})
    )
    outputs = "needs.image.outputs"
    chosen = f"matrix.arch == 'arm64' && {outputs}.first-arm64 || {outputs}.first-amd64"
    assert first == f"${{{{ {chosen} }}}}"
    for arch in ("amd64", "arm64"):
        assert hosts["github"]["image"]["outputs"][f"first-{arch}"] == (
            f"${{{{ steps.digest.outputs.manifest-{arch} || steps.layers.outputs.{arch} }}}}"
        )
    assert 'FIRST=$(printenv "FIRST_$ARCH")' in lines(hosts["gitlab"]["reproduce"])


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_each_check_is_run_and_what_is_verified_was_signed(hosts: Hosts, host: str) -> None:
    run = {name: lines(job) for name, job in hosts[host].items()}
    tools = ["ruff format --check", "ruff check", "mypy", "pytest"]
    assert {"uv lock --check", *(f"uv run --locked {tool}" for tool in tools)} <= run["check"]
    assert 'cosign sign --yes "$IMAGE@$DIGEST"' in run["publish"]
    # By this pipeline alone: anybody can sign an image, in a name of their own.
    signer = '--certificate-oidc-issuer "$ISSUER" --certificate-identity "$IDENTITY"'
    assert f'cosign verify {signer} "$IMAGE@$DIGEST"' in run["verify"]


def test_a_signature_is_that_of_this_pipeline(hosts: Hosts) -> None:
    steps = [step for step in hosts["github"]["verify"]["steps"] if "ISSUER" in step.get("env", {})]
    assert [step["env"] for step in steps] == [
        {
            "ISSUER": "https://token.actions.githubusercontent.com",
            "IDENTITY": "${{ github.server_url }}/${{ github.workflow_ref }}",
        }
    ]
    assert hosts["gitlab"]["verify"]["variables"] == {
        "ISSUER": "$CI_SERVER_URL",
        "IDENTITY": "$CI_PROJECT_URL//.gitlab-ci.yml@$REF",
    }


@pytest.mark.parametrize("event", ["push", "schedule", "workflow_dispatch", "pull_request"])
def test_all_but_a_pull_request_is_released(
    on_hosts: dict[str, dict[str, str]], hosts: Hosts, event: str
) -> None:
    """A schedule brings the fixes of the base image, which no commit brings."""
    # YAML reads the key `on` as true.
    assert event in yaml.safe_load(pipelines(on_hosts["github"])["github"])[True]
    github = hosts["github"]
    target = github["image"]["env"]["TARGET"]
    assert target == "${{ github.event_name == 'pull_request' && 'image' || 'release' }}"
    (pull,) = (step for step in github["image"]["steps"] if step.get("id") == "digest")
    for condition in (pull["if"], github["publish"]["if"]):
        assert condition == "github.event_name != 'pull_request'"


# What no runner of the tests enforces.


@pytest.mark.parametrize("builder", ["buildx", "depot"])
def test_githubs_jobs_may_do_what_is_documented(copy: Copy, tmp_path: Path, builder: str) -> None:
    project = texts(copy(tmp_path / "project", builder=builder))
    assert yaml.safe_load(pipelines(project)["github"])["permissions"] == {}
    page = (ROOT / "docs" / "delivery.md").read_text().partition("## What each job may do\n")[2]
    table = page.partition("\n## ")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    for name, job in jobs(project).items():
        always, _, with_depot = documented.pop(name).partition("; with Depot")
        allowed = always + with_depot * (builder == "depot")
        given = {f"{scope}: {access}" for scope, access in job["permissions"].items()}
        assert given == set(re.findall(r"`([a-z-]+: \w+)`", allowed)), name
    assert not documented


def test_each_job_has_a_timeout_and_one_may_sign(hosts: Hosts, gitlab: Any) -> None:
    for name, job in hosts["github"].items():
        assert job["timeout-minutes"] <= 20, name
    for name, job in hosts["gitlab"].items():
        # As GitLab does: what a job does not say, the one that it extends says.
        while "timeout" not in job:
            job = gitlab[job["extends"]]
        assert job["timeout"] in {"10m", "20m"}, name
    assert [name for name, job in hosts["gitlab"].items() if "id_tokens" in job] == ["publish"]


def test_a_forks_pull_request_does_not_log_in(hosts: Hosts) -> None:
    github = hosts["github"].values()
    *of_a_fork, publish = (job for job in github if "publish" not in waited_for(job))
    assert publish["if"] == "github.event_name != 'pull_request'"
    steps = [step for job in of_a_fork for step in job["steps"]]
    (login,) = [s for s in steps if s.get("uses", "").startswith("docker/login-action@")]
    assert login["if"] == "github.event.pull_request.head.repo.fork != true"
