"""Answers that cannot be right are refused by name, before anything is written."""

import keyword
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Copy

pytestmark = pytest.mark.render

COMMAND = [sys.executable, "-m", "copier", "copy", "--defaults"]
RESERVED = (ROOT / "extensions" / "reserved.txt").read_text().split()

# The question, what is given for it, and what the message must say is allowed.
BAD = [
    *(("project_name", value, "1 to 60 characters") for value in ["", "x" * 61]),
    *(("project_name", value, "one line, none of \\`${}<>") for value in [
        "a\nb", "a\tb", "${HOME}", "{{ 7 * 7 }}", "{% raw %}", "a\\b", "`id`", "<b>",
        "a\u2028b", "a\x85b", "a\u202eb",
    ]),
    *(("project_name", value, "a letter or a digit") for value in [" ", "!!!"]),
    *(("project_name", value, "no space at either end") for value in [" padded", "padded "]),
    *(("description", value, "1 to 200 characters") for value in ["", "y" * 201]),
    *(("description", value, "one line, none of \\`${}<>") for value in [
        "two\nlines", "${HOME}", "{{ pins }}",
    ]),
    ("description", "...", "a letter or a digit"),
    *(("package_name", value, "1 to 40 characters") for value in ["", "x" * 41]),
    *(("package_name", value, "a-z and 0-9, _ in between") for value in [
        "a-b", "a.b", "a b", "Orders", "ördner", "_a", "a__b", "a_", "o'brien", 'a"b', "a\n",
        "match/../..", "${x}", "{{ x }}",
    ]),
    *(("package_name", value, "begin with a letter") for value in ["1abc", "2026"]),
    *(("package_name", value, "not be a keyword or a module") for value in [
        "class", "json", "fastapi", "dotenv", "pydantic_core", "con", "tests",
    ]),
    *(("framework", value, "fastapi") for value in ["bottle", "FastAPI", "", "fastapi "]),
    *(("database", value, "postgres") for value in ["mysql", "Postgres", "sqlite", ""]),
    *(("python_version", value, "3.14") for value in [
        "2.7", "3.10", "3.1", "3.16", "3", "", "3.14.1",
    ]),
    *(("uv_version", value, "0.8.0") for value in [
        "latest", "0.1", "1.2.3.4", "0.7.99", "v0.13.9", "", "0.13.x", "0.13.9\n", ">=0.13.9",
        "0.013.9",
    ]),
    *(("port", value, "1024 to 65535") for value in [
        "80", "1023", "65536", "70000", "abc", "8000.5", "", "-8000", "08000", "8_000", "8000 ",
        "٨٠٠٠", "8000\n",
    ]),
    *(("repository", value, "owner/name") for value in [
        "acme", "acme/", "/orders", "acme/orders/api", "https://example.com/a/b", "a b/c",
        "acme/orders\n", "acme/-x", "acme/.github", "acme/..", "acme-/x", "a" * 40 + "/x",
    ]),
    *(("index_url", value, "https://HOST/PATH, no login") for value in [
        "http://pypi.example.com/simple", "https://me:secret@pypi.example.com/simple", "pypi",
        "https://pypi.example.com/simple?x=1", "https://pypi.example.com/a b", 'https://x/"', "https://",
        "https://pypi.example.com/simple\n", "https://${HOST}/simple", "https://x/{{ y }}",
    ]),
    *(("registry", value, "HOST/PATH, without https://") for value in [
        "mirror", "https://registry.example.com", "registry.example.com/", "me:pw@example.com",
        "example.com/Mirror", "example.com/a b", "registry.example.com\n", "${X}.example.com",
    ]),
    *(("index_names", value, "names, with a space between") for value in [
        "a,b", " a", "a  b", "-a", "a\n", "$(id)", "ä",
    ]),
    *(("git_server", value, "https://HOST or ssh://USER@HOST") for value in [
        "git.example.com", "http://git.example.com", "https://me:pw@example.com", "https://$(id)",
        "https://example.com/acme", "ssh://git.example.com", "git@git.example.com:acme",
        "https://git.example.com\n",
    ]),
    *(("certificates", value, "public") for value in ["corporate", "Public", ""]),
    *(("image", value, "slim") for value in ["alpine", "Distroless", ""]),
    *((name, value, "Debian names, as ") for name in ("apt_packages", "build_packages")
      for value in ["libpq5; id", "$(id)", "LibPQ", "a", "libpq5  x", " libpq5", "libpq5,x", "-y",
                    "a\nb"]),
    *(("ci", value, "github") for value in ["jenkins", "GitHub Actions", ""]),
    *(("deploy", value, "kubernetes") for value in ["helm", "Kubernetes", ""]),
    *(("builder", value, "buildx") for value in ["Depot", "kaniko", ""]),
    *(("depot_project", value, "ten of a-z and 0-9") for value in [
        "abc", "ABCDE12345", "abcde123456", "abcde-1234", "$(whoami)x", "abcde12345\n",
    ]),
]  # fmt: skip

# The answers without which a question is not asked.
ASKED_WITH = {"depot_project": {"builder": "depot"}, "database": {"framework": "django"}}


def command(template: Path, project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Copy the template as the README says, in a process of its own."""
    return subprocess.run(
        [*COMMAND, *options, str(template), str(project)],
        capture_output=True,
        text=True,
    )


def assert_prompt_has_room(refusal: str) -> None:
    """See that a refusal fits into 80 columns without the value, which stands above it there."""
    said, _, value = refusal.partition(", got ")
    # A choice is not typed.
    assert said.startswith("Invalid choice for") or (len(said) <= 80 and value)


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
    assert_prompt_has_room(str(error.value))
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
    run = command(template, tmp_path / "project", *data)

    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
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
    run = command(template, project, *(f"--data={n}={value}" for n, value in answers.items()))
    commands = [line.strip() for line in run.stderr.splitlines() if line.startswith("  ")][-3:]

    name, port = answers.get("package_name", "my-service"), answers.get("port", "8000")
    secret = " --secret id=CA_BUNDLE" if "certificates" in answers else ""
    assert (
        subprocess.check_output(["sh", "-c", f"{commands[0]} && pwd"], text=True) == f"{project}\n"
    )
    assert commands[1:] == [
        f"docker build --tag {name}{secret} .",
        f"docker run --rm --publish {port}:{port} {name}",
    ]
