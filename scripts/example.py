"""Write docs/example.md: the files of a project with default answers.

    uv run python scripts/example.py            # renders the working tree
    uv run python scripts/example.py PROJECT    # prints the page of a rendered project instead

A test compares the page with what the template renders, so run this after a change of the template.
"""

import argparse
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from copier import run_copy
from copier.errors import DirtyLocalWarning

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "example.md"

# What each file and folder is for; a file that is not named here stands in the tree without a word.
PURPOSES = {
    ".copier-answers.yml": "the answers and the version of the template",
    ".dockerignore": "an allow-list: a new secret next to the code never reaches a build",
    ".editorconfig": "indentation and line ends",
    ".gitattributes": "line ends in git",
    ".github/workflows": "the pipeline",
    ".github/workflows/ci.yml": "from the tests to a signed and verified image",
    ".github/workflows/template-update.yml": "proposes releases of the template without Renovate",
    ".gitignore": "what git ignores",
    ".python-version": "the Python that uv uses",
    ".trivyignore.yaml": "accepted vulnerabilities, each until a date",
    "Dockerfile": "a reason next to each line that needs one",
    "README.md": "the commands and settings of this project",
    "compose.yaml": "the container, hardened as in production",
    "docker-bake.hcl": "one description of the build",
    "pyproject.toml": "the dependencies; ruff, mypy --strict and pytest",
    "renovate.json": "leaves to the template what the template updates",
    "scripts": "checks of the image, and the scripts of the Dockerfile",
    "src/my_service": "the service",
    "src/my_service/__init__.py": "",
    "src/my_service/__main__.py": "python -m my_service: signals and settings first",
    "src/my_service/app.py": "puts the routes and the error handlers together",
    "src/my_service/drain.py": "shutdown after the load balancer has stopped sending",
    "src/my_service/health.py": "/healthz and /readyz",
    "src/my_service/logs.py": "one JSON object a line, with the ID of the request",
    "src/my_service/middleware.py": "an ID and a log line for each request",
    "src/my_service/pricing.py": "an example, and its model",
    "src/my_service/quotes.py": "the route of the example",
    "src/my_service/server.py": "the settings of the server",
    "src/my_service/settings.py": "environment variables, typed",
    "tests": "of the routes, the log and the settings; no network",
    "uv.lock": "already resolved",
}
# The files that the page has in full, and how a host should highlight them.
SHOWN = {
    "Dockerfile": "dockerfile",
    ".dockerignore": "text",
    "compose.yaml": "yaml",
    "docker-bake.hcl": "text",
    "src/my_service/app.py": "python",
    "src/my_service/quotes.py": "python",
    "src/my_service/settings.py": "python",
}
HEAD = """\
# Example

These are the files of a project with default answers. \
`uvx copier copy --defaults TEMPLATE my-service` makes it; TEMPLATE is the address of this \
repository. [questions.md](questions.md) says what each answer changes.

`uv run python scripts/example.py` writes this page, and a test compares it with the template.
"""


def tree(folder: Path, root: Path, indent: str = "") -> Iterator[tuple[str, str]]:
    """Yield the lines of a folder's tree, and the path of the file on each."""
    entries = [path for path in folder.iterdir() if path.name != ".git"]
    entries.sort(key=lambda path: (path.is_file(), path.name))
    for entry in entries:
        last = entry == entries[-1]
        name = entry.name + "/" * entry.is_dir()
        yield f"{indent}{'└' if last else '├'}── {name}", entry.relative_to(root).as_posix()
        if entry.is_dir():
            yield from tree(entry, root, indent + ("    " if last else "│   "))


def page(project: Path) -> str:
    """Return the text of docs/example.md for a rendered project.

    Raises:
        ValueError: a purpose is that of a file that the project does not have.
    """
    lines = list(tree(project, project))
    if absent := PURPOSES.keys() - {path for _, path in lines}:
        raise ValueError(f"scripts/example.py describes {sorted(absent)}, which are not rendered")
    width = max(len(line) for line, _ in lines) + 2
    described = [f"{line:{width}}{PURPOSES.get(path, '')}".rstrip() for line, path in lines]
    parts = [HEAD, "## Files\n", "```text\nmy-service/\n" + "\n".join(described) + "\n```\n"]
    for name, language in SHOWN.items():
        text = (project / name).read_text().rstrip("\n")
        parts.append(f"## `{name}`\n\n```{language}\n{text}\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page of the working tree, or print that of the project on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("project", nargs="?", type=Path, help="a project with default answers")
    if rendered := parser.parse_args().project:
        print(page(rendered), end="")
        return
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DirtyLocalWarning)
        project = Path(folder) / "my-service"
        run_copy(str(ROOT), project, vcs_ref="HEAD", defaults=True, quiet=True)
        PAGE.write_text(page(project))


if __name__ == "__main__":
    main()
