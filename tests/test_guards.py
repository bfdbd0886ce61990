"""What guards something in a project is there: the rows of guards.py, and an image's name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from guards import ALL, GROUPS, OWN, Group
from helpers.files import texts
from helpers.parsed import find, parsed
from helpers.project import Copy
from helpers.repository import ROOT

pytestmark = pytest.mark.render

Projects = dict[str, Path]


@pytest.fixture(scope="module")
def projects(copy: Copy, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what makes the project of some answers, once."""
    made: Projects = {}

    def project(answers: dict[str, Any]) -> Path:
        key = json.dumps(answers, sort_keys=True)
        if key not in made:
            made[key] = copy(tmp_path_factory.mktemp("guarded") / "project", **answers)
        return made[key]

    return project


def lost(group: Group, text: str) -> list[str]:
    """Return what each row that does not hold wanted, why, and what is there."""
    data = parsed(group.file, text)
    found = [(path, value, why, find(data, path)) for path, value, why in group.rows]
    return [
        f"{group.file}: {path} is {there!r}\nand not {value!r}: {why}"
        for path, value, why, there in found
        if there != value
    ]


@pytest.mark.parametrize("name", GROUPS)
def test_values_are_held(projects: Any, name: str) -> None:
    group = GROUPS[name]
    wrong = lost(group, (projects(group.answers) / group.file).read_text())
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("name", OWN)
def test_values_of_the_template_are_held(name: str) -> None:
    wrong = lost(OWN[name], (ROOT / OWN[name].file).read_text())
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
def test_image_has_a_name_that_docker_takes(projects: Any, ci: str) -> None:
    """A repository has capitals; in the name of an image Docker refuses them."""
    for name, text in texts(projects(ALL | {"ci": ci})).items():
        if name != ".copier-answers.yml":
            # The address of the repository keeps them.
            assert not re.search(r"(?<!https://github.com/)(?<!https://gitlab.com/)Acme/", text), (
                name
            )
    image = find(
        parsed("compose.yaml", (projects(ALL | {"ci": ci}) / "compose.yaml").read_text()),
        "services > app > image",
    )
    assert re.fullmatch(r"\$\{IMAGE:-([a-z0-9.]+/)?[a-z0-9]+([._/-][a-z0-9]+)*\}", image)


# What may fail and is skipped, in files whose commands decide about a release.
PASSED_OVER = {
    "Dockerfile": ["&& { layer.sh compile / app/.venv/lib >/dev/null || true; } \\"],
    "scripts/image/layer.sh": ["BEGIN ([A-Z0-9]+ )*PRIVATE KEY"],
    "scripts/image/distroless.sh": ["-maxdepth 0", "grep -vE", "xargs dpkg-query"],
    "scripts/verify.sh": ["grep -c label"],
    # The first image of a commit finds no other.
    ".github/workflows/ci.yml": ['"$IMAGE:sha-$GITHUB_SHA" || true'],
    ".gitlab-ci.yml": ['"$IMAGE:sha-$CI_COMMIT_SHA" || true'],
}


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_no_failure_is_passed_over(projects: Any, ci: str) -> None:
    for name, text in texts(projects(ALL | {"ci": ci, "image": "distroless"})).items():
        if name.startswith(("src/", "tests/", "README", "uv.lock")):
            continue
        ignored = r"\|\| (true|:)|set \+e|continue-on-error|allow_failure|; true$"
        found = [line for line in text.splitlines() if re.search(ignored, line)]
        known = PASSED_OVER.get(name, [])
        assert len(found) == len(known), found
        assert all(part in line for part, line in zip(known, found, strict=True)), found


def test_example_of_an_exception_has_a_date_and_a_reason(projects: Any) -> None:
    """Uncommented it is one; without a date it would stay permanently."""
    text = (projects({}) / ".trivyignore.yaml").read_text()
    example = "\n".join(re.findall(r"^#  ( .+)$", text, re.MULTILINE))
    (exception,) = yaml.safe_load(example)
    assert exception.keys() == {"id", "expired_at", "statement"}
