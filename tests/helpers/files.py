"""The files of a folder: read them, parse them, write them, change them."""

import ast
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import yaml


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files below a folder and return it."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def files(project: Path) -> dict[str, bytes]:
    """Return the content of each file of a project by its path."""
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(project).parts
    }


def texts(project: Path) -> dict[str, str]:
    """Return the text of each file of a project by its path."""
    return {name: content.decode() for name, content in files(project).items()}


PARSERS: dict[str, Callable[[str], object]] = {
    ".py": ast.parse,
    ".toml": tomllib.loads,
    ".lock": tomllib.loads,
    ".json": json.loads,
    ".yml": yaml.safe_load,
    ".yaml": yaml.safe_load,
}


def parse(name: str, text: str) -> bool:
    """Parse a file by its suffix; return whether there is a parser, which raises what is wrong."""
    parser = PARSERS.get(PurePosixPath(name).suffix)
    if parser:
        parser(text)
    return parser is not None


def sections(text: str, heading: str) -> dict[str, str]:
    """Split a text at the lines that match a pattern; its group names the section."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        match = re.match(heading, line)
        if match:
            name = match[1]
        found[name] = found.get(name, "") + line
    return found


def loaded(project: Path, path: str) -> Any:
    """Parse a file of YAML; `on` is a key there and no truth."""
    return yaml.load((project / path).read_text(), yaml.BaseLoader)


def change(project: Path, path: str, pattern: str, replacement: str) -> None:
    """Replace the one match of a pattern in a file; none, or two, raise AssertionError."""
    file = project / path
    text, count = re.subn(pattern, replacement, file.read_text(), flags=re.MULTILINE)
    assert count == 1, f"{count} matches of {pattern!r} in {path}"
    file.write_text(text)


def append(project: Path, path: str, text: str) -> None:
    """Add to the end of a file."""
    with (project / path).open("a") as file:
        file.write(text)


def put(tree: Path, path: str, before: str, text: str) -> None:
    """Put a text before the one line that begins so."""
    file = tree / path
    lines = file.read_text().splitlines(keepends=True)
    (number,) = [n for n, line in enumerate(lines) if line.startswith(before)]
    file.write_text("".join([*lines[:number], text, *lines[number:]]))


def replace(tree: Path, path: str, old: str, new: str) -> None:
    """Replace a text wherever it stands in a file."""
    file = tree / path
    text = file.read_text()
    assert old in text, f"{old!r} is not in {path}"
    file.write_text(text.replace(old, new))
