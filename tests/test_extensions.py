"""A framework is a folder of extensions/ and one line of copier.yml."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from copier import run_copy
from helpers.files import texts
from helpers.repository import ROOT, commit, git, release, run_tests
from helpers.template import ASKED, FRAMEWORKS, PINS, choices, extension, template_files

pytestmark = pytest.mark.render


def test_every_file_of_the_extensions_is_used() -> None:
    used = {"given.jinja", "reserved.txt", "existing/extension.yml"}
    for framework in FRAMEWORKS:
        facts = extension(framework)
        used.add(f"{framework}/extension.yml")
        used.update(f"{facts['readme']}/{name}.md.jinja" for name in ("run", "configure"))
        for server in facts["servers"]:
            used.add(f"{framework}/{server}.lock")
            sources = [*facts["src"].values(), *facts["tests"].values()]
            used.update(f"{source.replace('{server}', server)}.jinja" for source in sources)
    readme = (ROOT / "template" / "README.md.jinja").read_text()
    parts = re.findall(r"'extensions/(shared/README/)' ~ (\w+) ~ '(/\w+\.md\.jinja)'", readme)
    # Some answers have nothing to say there.
    said = {f"{at}{value}{name}" for at, asked, name in parts for value in choices(ASKED[asked])}
    # What a framework adds to the shared parts, too.
    said |= {
        f"{name}/README/{part}.md.jinja" for name in FRAMEWORKS for part in ("run", "configure")
    }
    folder = ROOT / "extensions"
    used |= {part for part in said if (folder / part).exists()} | {"shared/README/deliver.md.jinja"}
    files = {p.relative_to(folder).as_posix() for p in template_files() if folder in p.parents}
    assert files == used


def test_every_extension_is_a_choice() -> None:
    folders = {path.parent.name for path in (ROOT / "extensions").glob("*/extension.yml")}
    assert folders == {*FRAMEWORKS, "existing"} == {*choices(ASKED["framework"])}


# "worker" is a word of every server as well.
@pytest.mark.parametrize("name", sorted({*FRAMEWORKS, "streaq"} - {"worker"}))
def test_nothing_else_names_a_framework(name: str) -> None:
    """Beside its folder, those that depend on it, and its line in copier.yml."""
    listed = git(ROOT, "ls-files", "-z", "-co", "--exclude-standard").split("\0")
    own = ("docs/", "tests/", "extensions/", "README.md", "CHANGELOG.md", "uv.lock")
    others = [ROOT / path for path in listed if path and not path.startswith(own)]
    others += [path for path in (ROOT / "extensions" / "shared").rglob("*") if path.is_file()]
    found = [
        path.relative_to(ROOT).as_posix()
        for path in others
        if path.is_file() and re.search(rf"\b{name}\b", path.read_text(), re.IGNORECASE)
    ]
    assert set(found) <= {"copier.yml"}
    lines = [line for line in (ROOT / "copier.yml").read_text().splitlines() if name in line]
    assert [line for line in lines if "default:" not in line] == [
        line for line in lines if re.fullmatch(rf"    [^:]+: {name}", line)
    ]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this repository with one more framework, added as CONTRIBUTING.md says."""
    tree = release(ROOT, tmp_path_factory.mktemp("grown") / "tree", "v9999.0.0")
    questions = tree / "copier.yml"
    line = "    FastAPI: fastapi\n"
    assert line in questions.read_text()
    questions.write_text(questions.read_text().replace(line, f"{line}    Tiny: tiny\n"))
    like, folder = tree / "extensions" / "starlette", tree / "extensions" / "tiny"
    shutil.copytree(like, folder)
    facts = (like / "extension.yml").read_text().replace("starlette/src", "tiny/src")
    facts = facts.replace("title: Starlette", "title: Tiny")
    (folder / "extension.yml").write_text(f'{facts}\npython_versions: ["3.13", "3.14"]\n')
    commit(tree, "Add a framework")
    git(tree, "tag", "v9999.1.0")
    return tree


def test_a_new_framework_needs_its_folder_and_its_line(grown: Path, tmp_path: Path) -> None:
    answers = {"framework": "tiny", "python_version": "3.13"}
    run_copy(str(grown), tmp_path / "p", answers, defaults=True, quiet=True, unsafe=False)
    files = texts(tmp_path / "p")
    facts = yaml.safe_load((grown / "extensions" / "tiny" / "extension.yml").read_text())
    for name in facts["src"]:
        assert f"src/my_service/{name}" in files
    assert "A Tiny service." in files["pyproject.toml"]
    assert f"uv:{PINS['uv']}" in files["Dockerfile"]


def test_a_new_framework_passes_what_every_framework_does(grown: Path, tmp_path: Path) -> None:
    """The sweep over all answers, in a copy of the repository that knows it."""
    git(tmp_path, "clone", "--quiet", "--no-tags", str(grown), "tree")
    run = run_tests(tmp_path / "tree", "-k", "tiny", "tests/test_render.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(re.findall(r"(\d+) passed", run.stdout)[0]) > 50


def test_a_python_without_a_release_of_it_is_refused(grown: Path, tmp_path: Path) -> None:
    answers = {"framework": "tiny", "python_version": "3.11"}
    with pytest.raises(ValueError, match=r'must be 3.13, 3.14, for which Tiny has .* got "3.11"'):
        run_copy(str(grown), tmp_path / "p", answers, defaults=True, quiet=True, unsafe=False)
    assert not (tmp_path / "p").exists() or not list((tmp_path / "p").iterdir())
