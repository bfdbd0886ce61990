"""Each host's pipeline, run to its end here, delivers what it tested and stops at what is wrong."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from helpers import pipelines
from helpers.engine import HARDENED, Engine, docker
from helpers.files import loaded
from helpers.git_server import TOKEN, GitServer, https_server, ssh_server
from helpers.image import BASES
from helpers.listeners import free_port
from helpers.package_index import ON_THIS_NETWORK, PASSWORD, Index
from helpers.pipelines import (
    NOT_RUN,
    SCANNER,
    Host,
    missing_tools,
    push_to_mirror,
    registry,
    run_github,
    run_gitlab,
)
from helpers.programs import run, skip_or_fail
from helpers.project import PYTHON, WORKFLOW, Copy
from helpers.repository import ROOT, commit, git

pytestmark = pytest.mark.pipeline

RUNNERS = {"github": run_github, "gitlab": run_gitlab}
# GitLab keeps the word `image` for itself.
IMAGE_JOB = {"github": "image", "gitlab": "build"}

Project = Callable[..., Path]


@pytest.fixture(scope="session")
def tools(engine: Engine) -> None:
    """Skip what runs pipelines where a program is missing, or fail where REQUIRE_ENGINE=1."""
    if missing := missing_tools():
        skip_or_fail(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def scanner(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[None]:
    """Use BuildKit's scanner for SBOMs, or what stands for it."""
    users = tmp_path_factory.getbasetemp().parent / "scanner"
    with pipelines.scanner(engine, users, worker_id):
        yield


@pytest.fixture(scope="session", params=RUNNERS)
def host(
    request: pytest.FixtureRequest, tools: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """Yield each host in turn, with a registry of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    with registry(folder) as served:
        yield Host(request.param, RUNNERS[request.param], folder, served)


@pytest.fixture
def project(copy: Copy, host: Host, tmp_path: Path) -> Iterator[Project]:
    """Make projects for a host; what their runs left is removed at the end."""
    made = []

    def make(name: str, **answers: str) -> Path:
        project = tmp_path / f"{host.name}-{name}"
        given = {"ci": host.name, "python_version": PYTHON, "port": str(free_port())}
        copy(project, repository=f"acme/{project.name}", **given, **answers)
        made.append(project)
        commit(project)
        return project

    yield make
    for project in made:
        host.clean(project)


@pytest.fixture
def git_server(
    request: pytest.FixtureRequest,
    host: Host,
    index: Index,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GitServer]:
    """Yield a git server that opens to a token on the parameter's host, else to a key."""
    folder = tmp_path_factory.mktemp("git")
    if host.name == request.param:
        serving = https_server(folder, index.signed_by, index.trusted())
    else:
        serving = ssh_server(folder)
    with serving as server:
        yield server


@pytest.mark.parametrize("git_server", ["github"], indirect=True)
def test_a_push_delivers_what_it_tested(
    host: Host,
    project: Project,
    scanner: None,
    engine: Engine,
    index: Index,
    git_server: GitServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With dependencies from an index and a git server that the repository's settings open."""
    kind = {"github": "slim", "gitlab": "distroless"}[host.name]
    pushed = project("push", image=kind, git_server=git_server.answer, **index.answers)
    git_server.add_its_package(pushed)
    index.add_its_package(pushed)
    commit(pushed)
    # GitLab hands its variables on by itself.
    compression = {"github": "zstd", "gitlab": "gzip"}[host.name]
    chosen = {"COMPRESSION": compression} if host.name == "github" else {}
    settings = index.secrets | git_server.pipeline_secrets | chosen
    monkeypatch.setattr(host, "settings", settings)
    done = host.run(host, pushed, "push")
    expected = ["check", IMAGE_JOB[host.name], "reproduce", "publish", "verify", "release"]
    assert done.jobs == dict.fromkeys(expected, True), done.log

    revision = git(pushed, "rev-parse", "HEAD").strip()
    image = host.image(pushed)
    digests = host.registry.digests(image)
    (joined,) = (tag for tag in digests if re.fullmatch(r"build-\d{1,9}", tag))
    # The layers that one version of BuildKit compressed; those of another have other digests.
    (cache,) = (tag for tag in digests if re.fullmatch(r"cache-amd64-v[\w.-]+", tag))
    names = {f"build-{revision}-amd64", f"sha-{revision}", "main"}
    assert set(digests) == names | {joined, cache}
    assert digests["main"] == digests[f"sha-{revision}"] == digests[joined]
    # Nor does anything else in the registry, attestations and cache among it, open the index.
    for content in host.registry.contents():
        assert PASSWORD.encode() not in content
        assert TOKEN.encode() not in content

    # Labels are of the commit, and are no layer: who builds without them gets the same ones.
    name = f"{host.registry.address}/{image}@{digests['main']}"
    shown = docker("buildx", "imagetools", "inspect", "--raw", name).stdout
    (manifest, _) = json.loads(shown)["manifests"]
    platform = name.replace(digests["main"], manifest["digest"])
    shown = docker("buildx", "imagetools", "inspect", "--raw", platform).stdout
    types = {layer["mediaType"] for layer in json.loads(shown)["layers"]}
    assert types == {f"application/vnd.oci.image.layer.v1.tar+{compression}"}
    docker("pull", "--quiet", name)
    (inspected,) = json.loads(docker("image", "inspect", name).stdout)
    labels = inspected["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == revision
    assert labels["org.opencontainers.image.version"] == "main"
    assert labels["org.opencontainers.image.source"].endswith(f"/{image}")
    date = git(pushed, "log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd")
    assert inspected["Created"] == date.strip()
    plain = engine.build(
        pushed, f"plain-{host.name}", *index.options, *git_server.options(host.folder)
    )
    assert engine.layers(plain) == inspected["RootFS"]["Layers"]


ENDS_WITH_1 = "import signal, sys; signal.signal(15, lambda *_: sys.exit(1)); signal.pause()"


def add_a_database(project: Path) -> None:
    """Add something beside the service that it waits for, and whose exit code is another."""
    compose = project / "compose.yaml"
    head = "    # README.md lists the settings.\n"
    assert head in compose.read_text()
    waits = compose.read_text().replace(head, f"    depends_on: [db]\n\n{head}")
    (image,) = re.findall("^FROM (python:.+) AS python", (project / "Dockerfile").read_text(), re.M)
    beside = f"  db:\n    image: {image}\n    command: [python, -c, {json.dumps(ENDS_WITH_1)}]\n"
    compose.write_text(f"{waits}\n{beside}")


@pytest.mark.parametrize("git_server", ["gitlab"], indirect=True)
def test_a_proposed_change_is_tested_and_pushes_nothing(
    host: Host,
    project: Project,
    index: Index,
    git_server: GitServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a git dependency that the other login opens than on a push."""
    proposed = project("proposed", git_server=git_server.answer, certificates="company")
    git_server.add_its_package(proposed)
    for name, override in ON_THIS_NETWORK.items():
        (proposed / name).write_text(override)
    add_a_database(proposed)
    commit(proposed)
    settings = git_server.pipeline_secrets | {"CA_BUNDLE": index.authority}
    monkeypatch.setattr(host, "settings", settings)
    done = host.run(host, proposed, "pull_request")
    assert done.jobs == {"check": True, IMAGE_JOB[host.name]: True, "reproduce": True}, done.log
    assert host.image(proposed) not in host.registry.images()


def test_pipeline_of_a_folder_runs_at_the_root(host: Host, project: Project) -> None:
    """With the edits that docs/delivery.md names for a folder of a larger repository."""
    repository = project("folder")
    folder = repository / "services" / "orders"
    folder.mkdir(parents=True)
    for name in git(repository, "ls-tree", "--name-only", "HEAD").splitlines():
        git(repository, "mv", name, f"services/orders/{name}")
    if host.name == "github":
        git(repository, "mv", "services/orders/.github", ".github")
        workflow = yaml.safe_load((repository / WORKFLOW).read_text())
        for job in workflow["jobs"].values():
            if any("actions/checkout@" in step.get("uses", "") for step in job["steps"]):
                job["defaults"] = {"run": {"working-directory": "services/orders"}}
        (repository / WORKFLOW).write_text(yaml.safe_dump(workflow, sort_keys=False))
    else:
        # Here the root has the file itself, in place of what includes it.
        git(repository, "mv", "services/orders/.gitlab-ci.yml", ".gitlab-ci.yml")
        pipeline = yaml.safe_load((repository / ".gitlab-ci.yml").read_text())
        for job in pipeline.values():
            for part in {"before_script", "after_script"} & {*job}:
                job[part].insert(0, "cd services/orders")
        reports = pipeline["build"]["artifacts"]["reports"]
        reports["dotenv"] = f"services/orders/{reports['dotenv']}"
        (repository / ".gitlab-ci.yml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    commit(repository)
    done = host.run(host, repository, "pull_request")
    assert done.jobs == {"check": True, IMAGE_JOB[host.name]: True, "reproduce": True}, done.log


@pytest.mark.parametrize("host", ["gitlab"], indirect=True)
def test_a_schedule_that_updates_the_template_does_nothing_else(
    host: Host, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled = project("scheduled")
    monkeypatch.setattr(host, "settings", {"TEMPLATE_UPDATE_TOKEN": "secret"})
    done = host.run(host, scheduled, "schedule")
    assert done.jobs == {"template-update": True}, done.log


def test_a_schedule_releases_what_a_changed_base_makes_and_else_nothing(
    host: Host, project: Project, scanner: None, engine: Engine, tmp_path: Path
) -> None:
    """The same commit, under the same names; it is scanned either way."""
    prefix = f"{host.registry.address}/mirror"
    for image in (*BASES, "docker/dockerfile:1", SCANNER):
        push_to_mirror(prefix, image, image)
    base = BASES[0]
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN echo mended >/etc/fix\n")
    changed = engine.build(tmp_path, f"changed-base-{host.name}")

    scheduled = project("scheduled-build", registry=prefix)
    jobs = ["check", IMAGE_JOB[host.name], "reproduce", "publish", "verify", "release"]
    named, signed = [], []
    for event, image in [("push", base), ("schedule", base), ("schedule", changed)]:
        push_to_mirror(prefix, image, base)
        done = host.run(host, scheduled, event)
        assert done.jobs == dict.fromkeys(jobs, True), done.log
        assert re.search(r"(?<!echo )docker compose run --rm scan", done.log), done.log
        digests = host.registry.digests(host.image(scheduled))
        revision = git(scheduled, "rev-parse", "HEAD").strip()
        assert digests["main"] == digests[f"sha-{revision}"]
        named.append(digests["main"])
        signed.append(re.findall(r"cosign sign --yes \S+@(sha256:\w+)", done.log))
    first, again, mended = named
    assert first == again != mended
    assert signed == [[first], [], [mended]]
    released = f"{host.registry.address}/{host.image(scheduled)}:main"
    assert engine.run("--pull=always", released, "cat", "/etc/fix").stdout == "mended\n"


def test_a_setting_that_nobody_made_stops_the_pipeline_with_its_name(
    host: Host, project: Project, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    unset = project("unset", **index.answers)
    monkeypatch.setattr(host, "settings", index.secrets | {"UV_INDEX_PRIVATE_PASSWORD": ""})
    done = host.run(host, unset, "push")
    assert done.jobs == {"check": False}, done.log
    assert "UV_INDEX_PRIVATE_PASSWORD: is not set" in done.log


def add_failing_test(project: Path) -> None:
    text = 'def test_fault() -> None:\n    assert len("fault") == 1\n'
    (project / "tests" / "test_fault.py").write_text(text)


def add_type_error(project: Path) -> None:
    (package,) = (project / "src").iterdir()
    (package / "fault.py").write_text('FAULT: int = "fault"\n')


def add_unlocked_dependency(project: Path) -> None:
    path = project / "pyproject.toml"
    path.write_text(
        path.read_text().replace("\ndependencies = [", '\ndependencies = [\n    "six",')
    )


def edit_dockerfile(project: Path, before: str, line: str) -> None:
    path = project / "Dockerfile"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, f"{line}\n{before}", 1))


def change_the_configuration(project: Path) -> None:
    """Add a label with the time, which only the digest of the image shows."""
    bake = project / "docker-bake.hcl"
    text, before = bake.read_text(), "  tags       = [IMAGE]\n"
    assert before in text
    bake.write_text(text.replace(before, "  labels     = { moment = timestamp() }\n" + before, 1))


def open_app_folder(project: Path) -> None:
    edit_dockerfile(project, "USER 10001:10001", "COPY --chmod=0777 src /app/open")


def ignore_sigterm(project: Path) -> None:
    """Start the service by a shell that keeps SIGTERM for itself, as one does in many images."""
    (package,) = (project / "src").iterdir()
    path = project / "Dockerfile"
    text, _, _ = path.read_text().rpartition("CMD [")
    path.write_text(f'{text}CMD ["sh", "-c", "trap \'\' TERM; python -m {package.name} & wait"]\n')
    compose = project / "compose.yaml"
    compose.write_text(compose.read_text().replace("period: 30s", "period: 3s"))


def build_at_random(project: Path) -> None:
    edit_dockerfile(project, "USER 10001:10001", "RUN head -c 8 /dev/urandom >/random")


FAULTS = {
    "test": (add_failing_test, "check", "Tests", "uv run --locked pytest"),
    "type": (add_type_error, "check", "Types", "uv run --locked mypy"),
    "lock": (add_unlocked_dependency, "check", "Is uv.lock up to date?", "uv lock --check"),
    "open": (open_app_folder, "image", "Is its code read-only?", "docker run"),
    "sigterm": (ignore_sigterm, "image", "Smoke-run", "test "),
    "configuration": (change_the_configuration, "reproduce", "Compare", "config="),
    "random": (build_at_random, "reproduce", "Compare", "config="),
}


# Each job of each host has one at least: the commands are the same on both.
@pytest.mark.parametrize(
    ("host", "fault"),
    [(host, fault) for host, fault in zip(itertools.cycle(RUNNERS), FAULTS, strict=False)],
    indirect=["host"],
)
def test_a_fault_stops_the_pipeline_where_it_is_looked_for(
    host: Host, project: Project, scanner: None, fault: str
) -> None:
    make, job, step, command = FAULTS[fault]
    faulty = project(fault)
    make(faulty)
    commit(faulty)
    done = host.run(host, faulty, "push")

    expected = IMAGE_JOB[host.name] if job == "image" else job
    assert [name for name, passed in done.jobs.items() if not passed] == [expected], done.log
    assert list(done.jobs)[-1] == expected
    assert done.failed is not None
    assert done.failed == step if host.name == "github" else done.failed.startswith(command), (
        done.log
    )
    # Nothing has a name that people pull.
    if host.image(faulty) in host.registry.images():
        named = host.registry.digests(host.image(faulty))
        assert all(tag.startswith(("build-", "cache-")) for tag in named)


def test_the_date_of_a_commit_is_the_images_and_keeps_its_layers(
    engine: Engine, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date that enters a step makes each commit install the dependencies again."""
    project = copy(tmp_path / "project", python_version=PYTHON)
    monkeypatch.chdir(project)
    layers = []
    for seconds, date in (
        (1700000000, "2023-11-14T22:13:20Z"),
        (1700086400, "2023-11-15T22:13:20Z"),
    ):
        image = f"{engine.prefix}-dated-{seconds}"
        monkeypatch.setenv("IMAGE", image)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(seconds))
        log = docker("buildx", "bake", "--progress=plain").stderr
        engine.built.add(image)
        assert docker("image", "inspect", "--format={{.Created}}", image).stdout.strip() == date
        layers.append(engine.layers(image))
    assert layers[0] == layers[1]
    # BuildKit numbers a step again when it merges it with an equal one: what ran is in its output.
    assert "[deps 1/1]" in log
    assert not re.search(r"^#\d+ [\d.]+ Installed \d+ packages", log, re.MULTILINE)


@pytest.mark.parametrize("host", ["github"], indirect=True)
def test_depot_builds_the_same_targets(host: Host, project: Project, scanner: None) -> None:
    """Its builders are not to be had here; buildx, which has the same options, stands for them."""
    built = project("depot", builder="depot", depot_project="a1b2c3d4e5")
    assert json.loads((built / "depot.json").read_text()) == {"id": "a1b2c3d4e5"}
    done = run_github(host, built, "push", "--job=image")
    assert done.jobs == {"check": True, "image": True}, done.log
    # No cache of ours beside that of its builders.
    assert not [tag for tag in host.registry.digests(host.image(built)) if "cache" in tag]


def test_verify_wants_provenance_and_sbom_of_each_platform(
    tools: None, scanner: None, copy: Copy, tmp_path: Path
) -> None:
    """Two platforms, built apart and joined as the pipeline does; no instruction runs on either."""
    project = copy(tmp_path / "project")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY project/src /\n")
    provenance, sbom = "--attest=type=provenance,mode=max", "--attest=type=sbom"
    labels = ["--label=org.opencontainers.image.revision=c0ffee"]
    built = {
        "first": ["--platform=linux/amd64", provenance, sbom],
        "second": ["--platform=linux/arm64", provenance, sbom],
        "no-sbom": ["--platform=linux/arm64", provenance],
        "short-provenance": ["--platform=linux/arm64", "--attest=type=provenance,mode=min", sbom],
    }
    with registry(tmp_path) as served:
        image = f"{served.address}/acme/joined"
        for tag, options in built.items():
            push = ["--quiet", f"--tag={image}:{tag}", "--push", str(tmp_path)]
            docker("buildx", "build", *options, *labels, *push)

        def verify(second: str, revision: str) -> str:
            sources = [f"{image}:first", f"{image}:{second}"]
            docker("buildx", "imagetools", "create", f"--tag={image}:joined", *sources)
            reference = f"{image}@{served.digests('acme/joined')['joined']}"
            return run("sh", "scripts/verify.sh", reference, revision, cwd=project).stdout

        assert "2 platforms, 2 with" in verify("second", "c0ffee")
        refused = ("second", "decaf"), ("no-sbom", "c0ffee"), ("short-provenance", "c0ffee")
        for second, revision in refused:
            with pytest.raises(AssertionError, match=r"^sh scripts/verify\.sh"):
                verify(second, revision)


@pytest.fixture(scope="session")
def arm64(engine: Engine) -> None:
    """Skip what runs arm64 where no emulator does, or fail where REQUIRE_ENGINE=1."""
    if "linux/arm64" in docker("buildx", "inspect").stdout:
        return
    skip_or_fail("this machine cannot run linux/arm64")


def joining(project: Path) -> list[str]:
    """Return the lines with which a project's pipeline joins the architectures."""
    if (project / WORKFLOW).exists():
        publish = loaded(project, WORKFLOW)["jobs"]["publish"]["steps"]
        (lines,) = (step["run"] for step in publish if step["name"] == "Join the architectures")
        return str(lines).splitlines()
    script = loaded(project, ".gitlab-ci.yml")["publish"]["script"]
    return [line for line in script if "build-$CI_PIPELINE_ID" in line]


def test_arm64_builds_the_same_twice_runs_and_joins_amd64(
    tools: None,
    scanner: None,
    arm64: None,
    engine: Engine,
    copy: Copy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the targets and lines of the pipelines, on an emulator, which they do not need."""
    project = copy(tmp_path / "project")
    monkeypatch.chdir(project)
    with registry(tmp_path) as served:
        image = f"{served.address}/acme/joined"
        for name, value in {"IMAGE": image, "REVISION": "c0ffee"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")

        def build(arch: str, target: str, *options: str) -> str:
            monkeypatch.setenv("ARCH", arch)
            described = tmp_path / f"{target}-{arch}.json"
            bake = ["buildx", "bake", f"--metadata-file={described}", *options]
            here = [f"--set={target}.platform=linux/{arch}", f"--set={target}.pull=false"]
            docker(*bake, *here, target)
            return str(json.loads(described.read_text())[target]["containerimage.digest"])

        built = {"amd64": build("amd64", "release")}
        built["arm64"] = build("arm64", "release", "--no-cache")
        pulled = f"{image}@{built['arm64']}"
        pushed = json.loads(docker("buildx", "imagetools", "inspect", "--raw", pulled).stdout)
        (first,) = (
            manifest["digest"]
            for manifest in pushed["manifests"]
            if manifest["platform"] == {"architecture": "arm64", "os": "linux"}
        )
        assert build("arm64", "rebuild") == first

        docker("pull", "--quiet", "--platform=linux/arm64", pulled)
        machine = ["--entrypoint=python", pulled, "-c", "import os; print(os.uname().machine)"]
        assert engine.run("--platform=linux/arm64", *machine).stdout.strip() == "aarch64"
        with engine.serve(pulled, "--platform=linux/arm64", *HARDENED, "--tmpfs=/tmp") as container:
            container.wait_until_healthy()
            assert container.stop(30) == 0

        for host, number in {"github": "GITHUB_RUN_ID", "gitlab": "CI_PIPELINE_ID"}.items():
            environment = {number: host, "GITHUB_OUTPUT": "joined.env"}
            environment |= {arch.upper(): digest for arch, digest in built.items()}
            environment |= {f"DIGEST_{arch}": digest for arch, digest in built.items()}
            lines = joining(copy(tmp_path / host, ci=host))
            assert len(lines) == 2
            (tmp_path / host / "join.sh").write_text("\n".join(["set -eu", *lines]))
            run("sh", "join.sh", cwd=tmp_path / host, env=environment)
            (said,) = [*(tmp_path / host).glob("*.env")]
            _, _, digest = said.read_text().strip().partition("=")
            verified = run("sh", "scripts/verify.sh", f"{image}@{digest}", "c0ffee").stdout
            assert "2 platforms, 2 with" in verified


def test_gitlabs_registry_gets_no_attestation_before_its_image(copy: Copy, tmp_path: Path) -> None:
    """It refuses a manifest whose subject is not there yet, and BuildKit pushes in any order."""
    project = copy(tmp_path / "project", ci="gitlab")
    shown = docker("buildx", "bake", f"--file={project}/docker-bake.hcl", "--print", "release")
    (output,) = json.loads(shown.stdout)["target"]["release"]["output"]
    assert output["type"] == "registry"
    assert output["oci-artifact"] == "false"


def test_what_is_not_run_is_documented() -> None:
    text = (ROOT / "docs" / "delivery.md").read_text()
    for command in NOT_RUN:
        assert f"`{command}" in text, command
