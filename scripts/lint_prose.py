"""Lint the prose of the documentation, of comments and of docstrings with Harper, offline.

    uv run python scripts/lint_prose.py                  # every file that git lists
    uv run python scripts/lint_prose.py docs template    # those below some paths

docs/prose/ has the words that Harper does not know and the terms that the project avoids. The exit
code is 1 if there is a finding.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten

ROOT = Path(__file__).resolve().parents[1]
PROSE = ROOT / "docs" / "prose"

# Of Harper's many rules those that find mistakes here, and take no identifier for one.
RULES = [
    "AvoidAndAlso",
    "FillerWords",
    "LongSentences",
    "PronounVerbAgreement",
    "RedundantAcronyms",
    "RepeatedWords",
    "SpellCheck",
]
# The files of which only comments are prose. Harper reads those of Python itself.
COMMENTED = {".hcl", ".sh", ".toml", ".yaml", ".yml"}
COMMENTED_NAMES = {".ci/run", ".dockerignore", ".gitattributes", ".gitignore", "Dockerfile"}


def without_jinja(text: str) -> str:
    """Return a text without Jinja statements, on the same lines, and with expressions as code."""
    statement = re.compile(r"{[%#].*?[%#]}", re.DOTALL)
    text = statement.sub(lambda found: "\n" * found[0].count("\n"), text)
    return re.sub(r"{{.*?}}", "`x`", text, flags=re.DOTALL)


# What people read in a file of which the rest is code: a comment, a text of a question or a form,
# and a line of a message of Copier, which its own lines of code do not have.
COMMENT = re.compile(r"\s*#+(?: (.*)|$)|.*\s# (.*)")
TEXT = re.compile(r"\s*(?:- )?(?:help|description|label): (.*)")
MESSAGE = re.compile(r"  (?! )(.*)")


def comments(text: str) -> str:
    """Return the comments, the texts and the messages of a file, each on its own line."""
    found, in_message = [], False
    for line in text.splitlines():
        if line and not line.startswith(" "):
            in_message = line.startswith("_message_")
        read = (MESSAGE if in_message else COMMENT).match(line) or TEXT.match(line)
        found.append(" ".join(filter(None, read.groups())) if read else "")
    return "\n".join(found) + "\n"


def reader(path: str) -> tuple[str, Callable[[str], str]] | None:
    """Return the suffix by which Harper reads a file and what extracts its prose; None if none."""
    name = path.removesuffix(".jinja")
    suffix = Path(name).suffix
    if suffix == ".py":
        return suffix, without_jinja if path != name else str
    if suffix == ".md":
        return suffix, without_jinja
    if suffix in COMMENTED or {name, Path(name).name} & COMMENTED_NAMES:
        return ".md", lambda text: comments(without_jinja(text))
    return None


def known(word: str, dictionary: set[str]) -> bool:
    """Return whether a word that Harper does not know is a name in code, a unit or a known term."""
    stem = word.removesuffix("'s").removesuffix(".")
    return bool(re.search(r"\d|_|.[A-Z]", stem)) or len(stem) < 3 or stem.lower() in dictionary


def weirpack(terms: dict[str, dict[str, str]]) -> tuple[bytes, dict[str, str]]:
    """Return the terms to avoid as a Weirpack, and where each of its rules applies."""
    archive, scopes = io.BytesIO(), {}
    with zipfile.ZipFile(archive, "w") as pack:
        manifest = {"author": "-", "version": "1", "description": "Terms", "license": "MIT"}
        pack.writestr("manifest.json", json.dumps(manifest))
        for scope, replaced in terms.items():
            for number, (term, replacement) in enumerate(replaced.items()):
                rule = f"{scope.title()}Term{number}"
                scopes[rule] = scope
                pack.writestr(
                    f"{rule}.weir",
                    f"expr main {term}\n"
                    f'let message "Write `{replacement}`."\n'
                    f'let description "A term of this project."\n'
                    f'let kind "Style"\n'
                    f'let becomes "{replacement}"\n',
                )
    return archive.getvalue(), scopes


def listed(paths: list[str]) -> list[str]:
    """Return the files of the repository that git lists below some paths."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return sorted(name for name in run.stdout.split("\0") if name and (ROOT / name).is_file())


def findings(names: list[str]) -> list[str]:
    """Return a line for each finding in some files of the repository.

    Raises:
        json.JSONDecodeError: Harper did not read a file or a rule.
    """
    dictionary = {word.lower() for word in (PROSE / "dictionary.txt").read_text().split()}
    pack, scopes = weirpack(tomllib.loads((PROSE / "terms.toml").read_text()))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "terms.weirpack").write_bytes(pack)
        extracted = {}
        for number, name in enumerate(names):
            if read := reader(name):
                suffix, extract = read
                extracted[f"{number}{suffix}"] = name
                text = (ROOT / name).read_text()
                (folder / f"{number}{suffix}").write_text(extract(text))
        command = ["harper", "lint", "--quiet", "--format=json", "--dialect=gb"]
        command += [f"--only={','.join([*RULES, *scopes])}", "--weirpacks=terms.weirpack"]
        # No dictionary of whoever runs it.
        command += ["--user-dict-path=none", "--file-dict-path=none"]
        run = subprocess.run([*command, *extracted], cwd=folder, capture_output=True, text=True)
    found = []
    for file in json.loads(run.stdout):
        name = extracted[file["file"]]
        for lint in sorted(file["lints"], key=lambda lint: int(lint["line"])):
            if scopes.get(lint["rule"]) == "python" and Path(file["file"]).suffix != ".py":
                continue
            words = " ".join(lint["matched_text"].split())
            if lint["rule"] == "SpellCheck":
                if known(words, dictionary):
                    continue
                lint["message"] = "Misspelt, or missing in docs/prose/dictionary.txt."
            found.append(f"{name}:{lint['line']}: {shorten(words, 60)}: {lint['message']}")
    return found


def main() -> int:
    """Print the findings of the files that the command line names and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", help="files and folders; all without any")
    found = findings(listed(parser.parse_args().paths))
    print(*found, sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
