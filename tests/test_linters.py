"""Linters find nothing in what the template renders, nor in its own workflow."""

import itertools
import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.engine import Engine
from helpers.git_server import ssh_agent
from helpers.programs import run
from helpers.project import Copy
from helpers.repository import ROOT, commit
from helpers.template import ASKED, FRAMEWORKS, PINS, SERVICES, choices, extension

WORKFLOWS = [
    "actionlint",
    "zizmor --offline --persona=auditor .github/workflows",
    "check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml",
]
LINTERS = {
    ".github": WORKFLOWS,
    ".github/workflows/template-update.yml": [
        "check-jsonschema --builtin-schema vendor.github-workflows "
        ".github/workflows/template-update.yml"
    ],
    ".github/workflows/kubernetes.yml": [
        "check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/kubernetes.yml"
    ],
    ".gitlab-ci.yml": ["check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml"],
    "Dockerfile": ["hadolint Dockerfile"],
    "compose.yaml": ["check-jsonschema --builtin-schema vendor.compose-spec compose.yaml"],
    "renovate.json": ["check-jsonschema --builtin-schema vendor.renovate renovate.json"],
}

# What decides the pipelines, and what decides the image.
VARIANTS = [
    {"ci": ci, "builder": builder}
    for ci, builder in itertools.product(choices(ASKED["ci"]), choices(ASKED["builder"]))
] + [{"framework": framework} for framework in FRAMEWORKS]
COMPANY = [
    {
        "ci": ci,
        "builder": builder,
        "index_url": "https://pypi.corp/simple",
        "index_names": "acme-gpu",
        "certificates": "company",
        "git_server": git_server,
    }
    for ci, builder in [("github", "buildx"), ("github", "depot"), ("gitlab", "buildx")]
    for git_server in ("https://git.corp", "ssh://git@git.corp:2222")
]
VARIANTS += COMPANY
VARIANTS += [
    {"index_url": "https://pypi.corp/simple"},
    {"certificates": "company"},
    {"builder": "depot", "depot_project": "a1b2c3d4e5"},
    {"python_version": "3.11", "uv_version": PINS["uv_oldest"]},
]
VARIANTS += [
    {"image": image, "apt_packages": packages, "build_packages": packages}
    for image, packages in itertools.product(choices(ASKED["image"]), ("", "libpq5"))
]
# BuildKit asks a registry for its frontend, so it checks the variants above alone.
ELSEWHERE = [variant | {"registry": "registry.corp/mirror"} for variant in COMPANY]
ELSEWHERE += [{"ci": ci, "deploy": "kubernetes"} for ci in ("github", "gitlab")]


def name(answers: dict[str, str]) -> str:
    """Return what a variant is called in a test."""
    return "-".join(answers.values())


@pytest.fixture(scope="module")
def project(
    request: pytest.FixtureRequest, copy: Copy, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("linted") / "project"
    project = copy(folder, repository="acme/orders", **request.param)
    commit(project)
    return project


@pytest.mark.render
@pytest.mark.parametrize("project", VARIANTS + ELSEWHERE, indirect=True, ids=name)
def test_linters_find_nothing_in_a_project(project: Path) -> None:
    linters = [
        linter
        for name, linters in LINTERS.items()
        if (project / name).exists()
        for linter in linters
    ]
    assert len(linters) >= 3
    for linter in linters:
        run(*linter.split(), cwd=project)


@pytest.mark.render
@pytest.mark.parametrize("service", SERVICES, ids=lambda service: "-".join(service.values()))
def test_ruff_finds_nothing_for_the_newest_python(
    copy: Copy, tmp_path: Path, service: dict[str, str]
) -> None:
    """Some of its rules are for newer versions than the one that runs a project's own checks."""
    pythons = extension(service["framework"]).get(
        "python_versions", choices(ASKED["python_version"])
    )
    project = copy(tmp_path / "project", **service, python_version=pythons[-1])
    run("ruff", "check", cwd=project)


@pytest.mark.image
@pytest.mark.parametrize("project", VARIANTS, indirect=True, ids=name)
def test_buildkit_finds_nothing(engine: Engine, project: Path, tmp_path: Path) -> None:
    # An engine may keep an empty image of a check, under the name that was given.
    image = f"{engine.prefix}-checked"
    engine.built.add(image)
    check = ["docker", "buildx", "bake", "--allow=ssh", "--check"]
    with ssh_agent(tmp_path) as agent:
        done = run(*check, cwd=project, env={"SSH_AUTH_SOCK": str(agent), "IMAGE": image})
    assert "no warnings found" in done.stdout + done.stderr


@pytest.mark.render
@pytest.mark.parametrize("linter", WORKFLOWS)
def test_linters_find_nothing_in_the_templates_own_workflow(tmp_path: Path, linter: str) -> None:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    # actionlint takes the folder of a repository for its project.
    (tmp_path / ".git").mkdir()
    run(*linter.split(), cwd=tmp_path)


def test_documented_dependabot_leaves_the_rest_to_the_template(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "updates.md").read_text()
    (block,) = re.findall(r"^```yaml\n(version: 2\n.+?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "dependabot.yml").write_text(block)
    run("check-jsonschema", "--builtin-schema=vendor.dependabot", "dependabot.yml", cwd=tmp_path)
    assert [update["package-ecosystem"] for update in yaml.safe_load(block)["updates"]] == ["uv"]
