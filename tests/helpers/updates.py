"""Projects of every release and future, and what an update must make of them."""

import functools
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from copier import run_copy, run_update
from jinja2.nativetypes import NativeEnvironment

from helpers.answers import OTHERS
from helpers.edits import Edit
from helpers.files import files
from helpers.future_releases import FUTURE_RELEASES
from helpers.quick import quickened
from helpers.repository import ROOT, commit, git, releases
from helpers.template import WITHOUT_A_LOCK

NOW = "v9999.0.0"

Answers = dict[str, str]


@functools.cache
def config(version: str) -> dict[str, Any]:
    """Return copier.yml as a release has it, or the working tree."""
    return dict(yaml.safe_load(content(version, "copier.yml")))


@functools.cache
def content(version: str, path: str) -> str:
    """Return a file of the template as a release has it, or the working tree."""
    if version == NOW:
        return (ROOT / path).read_text()
    return git(ROOT, "show", f"{releases()[version]}:{path}")


@functools.cache
def extension(version: str, framework: str) -> dict[str, Any]:
    """Return what a release knows of a framework."""
    return dict(yaml.safe_load(content(version, f"extensions/{framework}/extension.yml")))


@dataclass(frozen=True)
class Questions:
    """The questions that one release asks."""

    version: str
    asked: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, version: str) -> "Questions":
        """Read them from the copier.yml of a release."""
        found = {n: q for n, q in config(version).items() if not n.startswith("_")}
        return cls(version, {n: q for n, q in found.items() if q.get("when") is not False})

    def render(self, text: Any, answers: Answers) -> Any:
        """Return the value of a question's key, which may depend on the framework."""
        if not isinstance(text, str):
            return text
        plain = {n: q["default"] for n, q in self.asked.items() if "{" not in str(q["default"])}
        answers = plain | answers
        framework = answers.setdefault("framework", WITHOUT_A_LOCK["framework"])
        facts = extension(self.version, framework)
        return NativeEnvironment().from_string(text).render(extension=facts, **answers)

    def choices(self, name: str, answers: Answers) -> list[str]:
        """Return the choices of a question but the default, in a project of these answers."""
        question = self.asked.get(name, {})
        if "choices" not in question or not self.render(question.get("when", True), answers):
            return []
        offered = self.render(question["choices"], answers)
        values = list(offered.values() if isinstance(offered, dict) else offered)
        default = WITHOUT_A_LOCK.get(name) or self.render(question["default"], answers)
        # Code that is there already needs a project of its own.
        return [v for v in values if v not in (default, "existing")]

    def others(self, name: str, answers: Answers) -> list[str]:
        """Return other answers than the default to a question; none if it is not asked here."""
        question = self.asked[name]
        if not self.render(question.get("when", True), answers):
            return []
        return self.choices(name, answers) if "choices" in question else [OTHERS[name]]

    def all_changed(self) -> Answers:
        """Return another answer than the default to every question."""
        answers: Answers = {}
        for name in self.asked:
            if others := self.others(name, answers):
                answers[name] = others[0]
        return answers

    def drawn(self, service: Answers, random: Random) -> Answers:
        """Return the answers of a service with, at random, every fourth other one changed."""
        answers = dict(service)
        for name in [name for name in self.asked if name not in ("framework", "server")]:
            others = self.others(name, answers)
            if others and random.random() < 1 / 4:
                answers[name] = random.choice(others)
        return answers

    def variants(self) -> dict[str, Answers]:
        """Return the answers from which each edit is updated."""
        found: dict[str, Answers] = {
            "defaults": {},
            "all changed": self.all_changed(),
            "pinned uv": {"uv_version": OTHERS["uv_version"]},
        }
        for name in sorted({*self.asked} - {"framework", "server"}):
            others = self.choices(name, {})
            # Of the versions of Python, the oldest is enough.
            for value in others[:1] if name == "python_version" else others:
                found[f"{name} {value}"] = {name: value}
        return found

    def services(self) -> dict[str, Answers]:
        """Return the answers that decide what is served and how, without the default."""
        found: dict[str, Answers] = {}
        for framework in ["", *self.choices("framework", {})]:
            answers = {"framework": framework} if framework else {}
            for name in ("server", "database"):
                for value in ["", *self.choices(name, answers)]:
                    both = answers | ({name: value} if value else {})
                    if both:
                        found[" ".join(both.values())] = both
        return found


def yours() -> list[str]:
    """Return what an update leaves alone, as copier.yml says it: folders end with a slash."""
    patterns = [
        re.search(r"_copier_operation.+%\}/(.+)\{%", text) for text in config(NOW)["_exclude"]
    ]
    return [match[1] for match in patterns if match]


def is_yours(path: str) -> bool:
    """Return whether an update leaves a file alone."""
    return any(path == name or (name.endswith("/") and path.startswith(name)) for name in yours())


def unmerged(project: Path) -> set[str]:
    """Return the files of a project that an update left with a conflict."""
    listed = git(project, "-c", "core.quotePath=off", "ls-files", "--unmerged").splitlines()
    marked = {
        name
        for name, text in files(project).items()
        if name.endswith(".rej") or b"<<<<<<< before updating" in text
    }
    return {line.partition("\t")[2] for line in listed} | marked


def make(template: Path, project: Path, version: str, answers: Answers) -> None:
    """Render a project of a release and commit it."""
    with quickened():
        run_copy(str(template), project, answers, vcs_ref=version, defaults=True, quiet=True)
    # Without the samples of hooks, of which each copy would be another.
    git(project, "init", "--quiet", "--initial-branch=main", "--template=")
    commit(project)


@dataclass
class UpdateMatrix:
    """A template with its releases as tags, and the projects that were rendered from it."""

    folder: Path
    template: Path
    rendered: dict[tuple[str, str], Path] = field(default_factory=dict)

    def project(self, version: str, answers: Answers) -> Path:
        """Return a committed project of a release; it is shared, so copy what you change."""
        key = version, str(sorted(answers.items()))
        if key not in self.rendered:
            project = self.folder / f"project-{len(self.rendered)}"
            make(self.template, project, version, answers)
            self.rendered[key] = project
        return self.rendered[key]

    def future(self, name: str) -> str:
        """Tag one of FUTURE_RELEASES, which changes the working tree; return the tag."""
        version = f"v10000.0.{list(FUTURE_RELEASES).index(name)}"
        if not git(self.template, "tag", "--list", version):
            git(self.template, "checkout", "--quiet", NOW)
            FUTURE_RELEASES[name](self.template)
            commit(self.template, name)
            git(self.template, "tag", version)
        return version

    @contextmanager
    def edited(self, version: str, answers: Answers, *edits: Edit) -> Iterator[Path]:
        """Yield a project of a release that people have edited and committed, for a while."""
        with self.copied(self.project(version, answers), *edits) as project:
            commit(project)
            yield project

    @contextmanager
    def copied(self, project: Path, *edits: Edit) -> Iterator[Path]:
        """Yield a copy of a project with edits in it, for a while."""
        with TemporaryDirectory(dir=self.folder) as folder:
            copy = Path(folder) / "project"
            shutil.copytree(project, copy, symlinks=True)
            for edit in edits:
                edit.apply(copy)
            yield copy

    def check(
        self, old: str, new: str, answers: Answers, *edits: Edit, conflict: str | None = None
    ) -> dict[str, bytes]:
        """Update an edited project; it must equal the new release with the same edits in it.

        With a conflict, the path of one file, that file and no other must be reported unmerged.
        Return the files after the update.
        """
        with self.edited(old, answers, *edits) as project:
            before, answers_before = files(project), stored(project)
            with quickened():
                update(project, new)
            after = files(project)
            # A stored answer that is refused now would become the default, without an error.
            assert answers_before.items() <= stored(project).items()
            if conflict:
                assert unmerged(project) == {conflict}
                return after
            assert not unmerged(project), git(project, "diff")
            for edit in edits:
                assert edit.is_there(project)
            expected = self.expected(before, new, stored(project), *edits)
            self.assert_pins_moved(after, new, answers)
            assert after.keys() == expected.keys()
            for name, text in expected.items():
                assert after[name].decode(errors="replace") == text.decode(errors="replace"), name
            return after

    def expected(
        self, before: dict[str, bytes], new: str, answers: Answers, *edits: Edit
    ) -> dict[str, bytes]:
        """Return the files that an update must lead to.

        They are those of a fresh project of the release with the same edits, and what is the
        owner's as it was before.
        """
        with self.copied(self.project(new, answers), *edits) as wanted:
            merged = {name: text for name, text in files(wanted).items() if not is_yours(name)}
        return merged | {name: text for name, text in before.items() if is_yours(name)}

    def assert_pins_moved(self, project: dict[str, bytes], version: str, answers: Answers) -> None:
        """Raise AssertionError unless a project has the pins of a release, but for its answers.

        A fresh project of the same answers says nothing of a version that was kept with them.
        """
        pins = pins_of(self.template, version)
        dockerfile = project["Dockerfile"].decode()
        uv = answers.get("uv_version", pins["uv"])
        assert re.findall(r"astral-sh/uv:(\S+)", dockerfile) == [uv]
        assert re.findall(r"^FROM (?:\S+/)?python:[\d.]+-slim-(\w+)", dockerfile, re.M) == [
            pins["suite"]
        ]
        for name, text in project.items():
            if name.startswith(".github/workflows/"):
                for action, made_of in re.findall(r"uses: (.+?)@(.+)", text.decode()):
                    assert made_of == pins["actions"][action]


@functools.cache
def pins_of(template: Path, version: str) -> dict[str, Any]:
    """Return the versions that a release pins."""
    questions = yaml.safe_load(git(template, "show", f"{version}:copier.yml"))
    return dict(questions["pins"]["default"])


def stored(project: Path) -> Answers:
    """Return the answers that a project keeps."""
    kept = yaml.safe_load((project / ".copier-answers.yml").read_text())
    return {name: value for name, value in kept.items() if not name.startswith("_")}


def update(project: Path, version: str | None = None, **answers: str) -> None:
    """Update as Renovate does: no trust, no question."""
    run_update(
        project,
        data=answers,
        vcs_ref=version,
        defaults=True,
        overwrite=True,
        quiet=True,
        unsafe=False,
    )
