"""Answers that cannot be right are refused by name, before anything is written."""

import keyword
import re
import sys
from pathlib import Path

import pytest
from helpers.answers import ASKED_WITH, BAD, assert_refusal_fits_the_prompt
from helpers.programs import run
from helpers.project import Copy, copier
from helpers.repository import ROOT

pytestmark = pytest.mark.render

RESERVED = (ROOT / "extensions" / "reserved.txt").read_text().split()


@pytest.mark.parametrize(("question", "value", "allowed"), BAD)
def test_bad_answer_is_refused_by_name(
    copy: Copy, tmp_path: Path, question: str, value: str, allowed: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(allowed)) as error:
        copy(tmp_path / "project", **ASKED_WITH.get(question, {}), **{question: value})

    # The command prints this as its last line.
    last = str(error.value).strip().splitlines()[-1]
    assert question in last
    assert allowed in last
    assert_refusal_fits_the_prompt(str(error.value))
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    ("question", "value", "allowed"),
    {question: row for row in BAD for question in row[:1]}.values(),
)
def test_bad_answer_fails_the_command(
    template: Path, tmp_path: Path, question: str, value: str, allowed: str
) -> None:
    given = ASKED_WITH.get(question, {}) | {question: value}
    data = [f"--data={name}={answer}" for name, answer in given.items()]
    done = copier("copy", "--defaults", *data, template, tmp_path / "project", check=False)

    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert question in last
    assert allowed in last
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("value", ["acme/orders", "acme/shop/back_end/orders.api"])
def test_gitlab_has_groups_in_groups(copy: Copy, tmp_path: Path, value: str) -> None:
    project = copy(tmp_path / "project", ci="gitlab", repository=value)
    assert f"registry.gitlab.com/{value}" in (project / "compose.yaml").read_text()


@pytest.mark.parametrize(
    "value", ["acme", "acme/", "/orders", "acme//orders", "a b/c", "acme/-x", "_a/b"]
)
def test_bad_address_at_gitlab_is_refused(copy: Copy, tmp_path: Path, value: str) -> None:
    with pytest.raises(ValueError, match=r"'repository'.* owner\[/group\]/name, or empty"):
        copy(tmp_path / "project", ci="gitlab", repository=value)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    ("title", "package"),
    [
        ("Orders API", "orders_api"),
        ("JSON", "service_json"),
        ("Class", "service_class"),
        ("FastAPI", "service_fastapi"),
        ("Pydantic Core", "service_pydantic_core"),
        ("2026 Plans", "service_2026_plans"),
        ("订单服务", "service"),
        ('Bob\'s "Orders" & more', "bob_s_orders_more"),
        ("x" * 60, "x" * 40),
    ],
)
def test_default_package_name_is_valid_for_any_title(
    copy: Copy, tmp_path: Path, title: str, package: str
) -> None:
    project = copy(tmp_path / "project", project_name=title)
    assert [path.name for path in (project / "src").iterdir()] == [package]
    # As an answer of its own it passes its validator, which --defaults does not ask.
    copy(tmp_path / "again", project_name=title, package_name=package)


def test_no_package_can_be_named_like_a_keyword_or_a_standard_module() -> None:
    names = {*keyword.kwlist, *sys.stdlib_module_names}
    assert {name for name in names if name.islower() and not name.startswith("_")} <= set(RESERVED)


@pytest.mark.parametrize(
    ("answers", "folder"),
    [
        ({}, "plain"),
        ({"port": "9000", "package_name": "billing"}, "it's a folder"),
        ({"certificates": "company"}, "closed network"),
    ],
)
def test_message_names_the_next_three_commands(
    template: Path, tmp_path: Path, answers: dict[str, str], folder: str
) -> None:
    project = tmp_path / folder
    data = [f"--data={name}={value}" for name, value in answers.items()]
    done = copier("copy", "--defaults", *data, template, project)
    commands = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")][-3:]

    name, port = answers.get("package_name", "my-service"), answers.get("port", "8000")
    secret = " --secret id=CA_BUNDLE" if "certificates" in answers else ""
    assert run("sh", "-c", f"{commands[0]} && pwd").stdout == f"{project}\n"
    assert commands[1:] == [
        f"docker build --tag {name}{secret} .",
        f"docker run --rm --publish {port}:{port} {name}",
    ]
