"""Update many projects to the next release, as Renovate would: the dry run of a release.

    uv run python benchmarks/fleet.py                      # the working tree is the next release
    uv run python benchmarks/fleet.py --future "all pins"  # and after it comes an imagined one

The projects are of every release, framework and server. Their other answers and their edits, those
of tests/helpers/edits.py, are drawn at random from the seed. Each update is a process of its own.
It needs neither Docker nor a network, but for --build. The exit code is 1 when an edit or an answer
is lost, when a conflict has another cause than a line that both sides changed, or when a project
differs from a fresh one with the same edits.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from random import Random
from statistics import median
from typing import TypeVar

from common import machine, released, say
from helpers.edits import EDITS, Edit, fitting
from helpers.engine import Engine
from helpers.files import files, parse
from helpers.future_releases import FUTURE_RELEASES
from helpers.repository import commit, git, releases
from helpers.updates import NOW, Answers, Questions, UpdateMatrix, is_yours, make, stored, unmerged

# As lib/modules/manager/copier/artifacts.ts of Renovate calls it where no scripts are allowed.
RENOVATE = ["update", "--skip-answered", "--defaults", "--answers-file", ".copier-answers.yml"]
MOST_EDITS = 8

# With these an image needs servers, or an image, that are nowhere.
ELSEWHERE = {"registry", "index_url", "index_names", "git_server", "certificates"}
INVENTED = {"an index in build", "a dependency", "a digest of Python"}

Lines = list[str]


@dataclass
class Conflict:
    """Lines that a project and a release have changed, and Copier could not merge."""

    file: str
    # The edits to which the project's lines belong.
    edits: list[str]
    project: Lines
    release: Lines
    # Both sides changed the same line, so that only people can say what it should be.
    same_line: bool

    @property
    def explained(self) -> bool:
        """Tell whether the layout of the file has no part in it."""
        return self.same_line and bool(self.edits)


@dataclass
class Member:
    """A project of the fleet, and what an update made of it."""

    name: str
    release: str
    answers: Answers
    edits: list[str]
    # What each edit changed: by file the lines that it removed or added.
    changed: dict[str, dict[str, Lines]] = field(default_factory=dict)
    seconds: float = 0
    # Why there is nothing to compare.
    error: str = ""
    conflicts: list[Conflict] = field(default_factory=list)
    lost_edits: list[str] = field(default_factory=list)
    lost_answers: list[str] = field(default_factory=list)
    # Files that are not as in a fresh project of the release with the same edits.
    different: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    built: bool | None = None
    built_before: bool | None = None

    @property
    def unexplained(self) -> list[Conflict]:
        """The conflicts for which the template is to blame."""
        return [conflict for conflict in self.conflicts if not conflict.explained]

    @property
    def broken(self) -> bool:
        """Whether an image of it was built before the update and is not after it."""
        return self.built is False and bool(self.built_before)

    @property
    def can_be_built(self) -> bool:
        """Whether its files are whole, and all that its image is made of exists."""
        broken = bool(self.error or self.conflicts)
        return not (broken or ELSEWHERE & self.answers.keys() or INVENTED & {*self.edits})

    def faults(self) -> Iterator[str]:
        """Yield a sentence for each thing that an update must not do."""
        if self.error:
            yield self.error
        for edit in self.lost_edits:
            yield f"lost the edit {edit!r}"
        for answer in self.lost_answers:
            yield f"lost the answer to {answer}"
        for conflict in self.unexplained:
            whose = " and ".join(map(repr, conflict.edits)) or "no edit"
            yield f"a conflict in {conflict.file}, of {whose}, where no line was changed by both"
        for file in self.different:
            yield f"{file} is not as in a fresh project with the same edits"
        for file in self.invalid:
            yield f"{file} does not parse"
        if self.broken:
            yield "no longer builds"


def drawn(number: int, seed: int, from_releases: list[str], only: Sequence[str]) -> list[Member]:
    """Draw projects: releases and services by turns, the other answers and the edits by the seed.

    The edits are the named ones, or all if none is named; which of them fits decides each project.
    """
    random = Random(seed)
    asked = {release: Questions.of(release) for release in from_releases}
    queues = []
    for release in from_releases:
        services = [{}, *asked[release].services().values()]
        random.shuffle(services)
        queues.append([(release, service) for service in services])
    # One of each release in turn, so that a small fleet has them all.
    shapes = [shape for turn in itertools.zip_longest(*queues) for shape in turn if shape]
    members = []
    for index, (release, service) in zip(range(number), itertools.cycle(shapes), strict=False):
        answers = asked[release].drawn(service, random)
        names = [n for n in fitting(answers) if n != "none" and (not only or n in only)]
        edits = random.sample(names, min(len(names), 1))
        if not any(EDITS[name].alone for name in edits):
            beside = [name for name in names if not EDITS[name].alone]
            edits = random.sample(beside, min(len(beside), random.randint(2, MOST_EDITS)))
        members.append(
            Member(f"{index:03}", release, answers, [name for name in names if name in edits])
        )
    return members


@dataclass
class DryRun:
    """A folder for the projects, the template that they come from, and the release they go to."""

    folder: Path
    template: Path
    new: str

    def project(self, member: Member) -> Path:
        """Return the folder of a project."""
        return self.folder / "projects" / member.name

    def made(self, member: Member) -> Member:
        """Render a project, edit and commit it."""
        project = self.project(member)
        make(self.template, project, member.release, member.answers)
        before = files(project)
        for name in member.edits:
            EDITS[name].apply(project)
            after = files(project)
            member.changed[name] = {
                path: sorted(lines(before.get(path)) ^ lines(after.get(path)))
                for path in before.keys() | after.keys()
                if before.get(path) != after.get(path) and not is_yours(path)
            }
            before = after
        commit(project)
        return member

    def updated(self, member: Member) -> Member:
        """Update a project in a process that knows nothing of this one."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "TMPDIR": tempfile.gettempdir(),
            "LANG": "C.UTF-8",
        }
        command = [sys.executable, "-m", "copier", *RENOVATE, "--vcs-ref", self.new]
        start = time.perf_counter()
        run = subprocess.run(
            command,
            cwd=self.project(member),
            env=environment,
            capture_output=True,
            text=True,
        )
        member.seconds = time.perf_counter() - start
        if run.returncode:
            last = [f"exit code {run.returncode}", *run.stderr.splitlines()][-1]
            member.error = f"copier update failed: {last}"
        return member

    def compared(self, member: Member) -> Member:
        """Compare a project with a fresh one that has the same edits."""
        if member.error:
            return member
        project = self.project(member)
        edits = {name: EDITS[name] for name in member.edits}
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            git(project, "clone", "--quiet", str(project), f"{folder}/before")
            before = Path(folder) / "before"
            old, answers, kept = files(before), stored(before), stored(project)
            member.lost_answers = [n for n, value in answers.items() if kept.get(n) != value]
            in_conflict = sorted(unmerged(project))
            update_matrix = UpdateMatrix(Path(folder), self.template)
            with update_matrix.copied(project) as resolved:
                for path in in_conflict:
                    member.conflicts += resolved_conflicts(resolved, path, member.changed)
                member.lost_edits = [n for n, edit in edits.items() if not holds(edit, resolved)]
                found = files(resolved)
            try:
                wanted = update_matrix.expected(old, self.new, kept, *edits.values())
            except AssertionError as error:
                member.error = f"an edit does not fit the release (tests/helpers/edits.py): {error}"
                return member
        member.different = [
            path
            for path in sorted(found.keys() | wanted.keys())
            if found.get(path) != wanted.get(path) and path not in in_conflict
        ]
        member.invalid = [path for path, content in found.items() if not parses(path, content)]
        return member


def lines(content: bytes | None) -> set[str]:
    """Return the lines of a file, of which one that is not there has none."""
    return {*(content or b"").decode(errors="replace").splitlines()}


def parses(path: str, content: bytes) -> bool:
    """Tell whether a file is what its name says."""
    try:
        parse(path, content.decode(errors="replace"))
    except Exception:
        return False
    return True


def holds(edit: Edit, project: Path) -> bool:
    """Tell whether an edit has its effect; where a file is gone or spoiled it has none."""
    try:
        return edit.is_there(project)
    except Exception:
        return False


def resolved_conflicts(
    project: Path, path: str, changed: dict[str, dict[str, Lines]]
) -> list[Conflict]:
    """Return the conflicts of a file, and resolve them there for the project."""
    with tempfile.TemporaryDirectory() as folder:
        # What the last update made of it, the project's own, the release's.
        sides = []
        for stage in "123":
            side = Path(folder) / stage
            shown = subprocess.run(
                ["git", "show", f":{stage}:{path}"], cwd=project, capture_output=True
            )
            if shown.returncode:
                # A rejected part of a patch, or a file that only one of the sides has.
                return [
                    Conflict(
                        path, touching(changed, path.removesuffix(".rej"), None), [], [], False
                    )
                ]
            side.write_bytes(shown.stdout)
            sides.append(str(side))
        base, own, other = sides
        both, resolved = (
            subprocess.run(
                ["git", "merge-file", "--stdout", how, own, base, other], capture_output=True
            ).stdout
            for how in ("--diff3", "--ours")
        )
    (project / path).write_bytes(resolved)
    both_lines = both.decode(errors="replace")
    return [conflict(path, *hunk, changed=changed) for hunk in hunks(both_lines)]


def touching(changed: dict[str, dict[str, Lines]], path: str, some: set[str] | None) -> list[str]:
    """Return the edits that changed some of these lines of a file, or any of it."""
    return [
        name
        for name, by_file in changed.items()
        if path in by_file and (some is None or some & {*by_file[path]})
    ]


def conflict(
    path: str, own: set[str], base: set[str], other: set[str], changed: dict[str, dict[str, Lines]]
) -> Conflict:
    """Return what one hunk says: who changed which lines, and whether both changed the same."""
    same = base - own & base - other
    edits = touching(changed, path, same) or touching(changed, path, own ^ base)
    return Conflict(path, edits, sorted(own - base), sorted(other - base), bool(same))


def hunks(text: str) -> Iterator[tuple[set[str], set[str], set[str]]]:
    """Yield the lines of each conflict in a file: the project's, the last update's, the release's.

    The marks are those of `git merge-file --diff3`.
    """
    sides: list[set[str]] = []
    for line in text.splitlines():
        if line.startswith("<<<<<<< "):
            sides = [set()]
        elif sides and (line.startswith("||||||| ") or line == "======="):
            sides.append(set())
        elif sides and line.startswith(">>>>>>> "):
            own, base, other = sides
            yield own, base, other
            sides = []
        elif sides:
            sides[-1].add(line)


def build(engine: Engine, dry_run: DryRun, member: Member) -> None:
    """Build the image of an updated project; where that fails, also as it was before."""
    project = dry_run.project(member)
    member.built = builds(engine, project, member.name)
    if not member.built:
        with tempfile.TemporaryDirectory() as folder:
            git(project, "clone", "--quiet", str(project), f"{folder}/before")
            member.built_before = builds(engine, Path(folder) / "before", f"{member.name}-before")


def builds(engine: Engine, project: Path, name: str) -> bool:
    """Tell whether the image of a project can be built; say what is wrong where it cannot."""
    try:
        engine.build(project, name)
    except AssertionError as error:
        say(str(error))
        return False
    return True


# --- The report -----------------------------------------------------------------------------------


def cell(text: str) -> str:
    """Write lines of a file as code in a cell of a Markdown table."""
    return " ".join(f"`{line.strip()}`" for line in text.splitlines()).replace("|", r"\|")


def table(rows: list[list[str]]) -> str:
    """Write a Markdown table whose first row is its head."""
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rest])


def report(fleet: list[Member], about: dict[str, str], builds: int) -> str:
    """Write what happened to the fleet as Markdown."""
    conflicts = [conflict for member in fleet for conflict in member.conflicts]
    edits = sum(len(member.edits) for member in fleet)

    def counted(what: Callable[[Member], Sequence[object]]) -> str:
        return str(sum(len(what(member)) for member in fleet))

    made_of = Counter(member.release for member in fleet)
    origins = ", ".join(f"{count} of {name}" for name, count in sorted(made_of.items()))
    rows = [
        ["figure", "value"],
        ["projects updated", f"{len(fleet)}: {origins}"],
        ["edits in them", str(edits)],
        ["time, all of them", f"{float(about['seconds']):.0f} s, {about['jobs']} at a time"],
        ["time, the median of one", f"{median(member.seconds for member in fleet):.2f} s"],
        ["projects without a conflict", str(sum(not member.conflicts for member in fleet))],
        ["conflicts, of a line that both changed", str(sum(c.explained for c in conflicts))],
        ["conflicts, of another cause", counted(lambda member: member.unexplained)],
        ["edits lost", counted(lambda member: member.lost_edits)],
        ["answers lost", counted(lambda member: member.lost_answers)],
        ["files unlike a fresh project's", counted(lambda member: member.different)],
        ["files that do not parse", counted(lambda member: member.invalid)],
        ["projects that could not be compared", str(sum(bool(member.error) for member in fleet))],
    ]
    if builds:
        tried = [member for member in fleet if member.built is not None]
        done = sum(bool(member.built) for member in tried)
        rows.append(["images built", f"{done} of {len(tried)}; {builds} asked for"])
        rows.append(["no longer built", str(sum(member.broken for member in tried))])
    parts = [
        f"To {about['to']}, seed {about['seed']}, on {about['machine']}, Copier {about['copier']}, "
        f"{about['date']}.",
        table(rows),
    ]
    if conflicts:
        parts.append(table([CONFLICTS, *listed(conflicts)]))
    if faults := [f"- {m.name} ({m.release}): {fault}" for m in fleet for fault in m.faults()]:
        parts.append("\n".join(faults))
    return "\n\n".join(parts)


CONFLICTS = ["conflict in", "edit", "conflicts", "a project's line", "the release's line", "cause"]


def listed(conflicts: list[Conflict]) -> Iterator[list[str]]:
    """Yield a row for each file and cause, the most frequent first, with the lines of one."""
    kinds: dict[tuple[str, str, bool], list[Conflict]] = {}
    for found in conflicts:
        key = found.file, " and ".join(found.edits) or "none", found.explained
        kinds.setdefault(key, []).append(found)
    for (file, edits, explained), alike in sorted(kinds.items(), key=lambda item: -len(item[1])):
        own, other = ("\n".join(side) for side in (alike[0].project, alike[0].release))
        cause = "both changed it" if explained else "**unexplained**"
        yield [f"`{file}`", edits, str(len(alike)), cell(own), cell(other), cause]


# --- The program ----------------------------------------------------------------------------------

T = TypeVar("T")


def each(
    pool: ProcessPoolExecutor, what: Callable[[Member], Member], fleet: list[Member], doing: str
) -> list[Member]:
    """Do one thing to all projects, several at a time."""
    done = []
    for member in pool.map(what, fleet):
        done.append(member)
        if len(done) % 25 == 0 or len(done) == len(fleet):
            say(f"{doing}: {len(done)} of {len(fleet)}")
    return done


def prepare(folder: Path) -> None:
    """Have a process keep its temporary files in a folder."""
    tempfile.tempdir = str(folder)


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def arguments() -> argparse.Namespace:
    """Read the options; a wrong one ends the program with a message that names it."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description="Update many projects to the next release.")
    parser.add_argument("--projects", type=positive, default=300, help="how many (300)")
    parser.add_argument("--seed", type=int, default=0, help="of answers and edits (0)")
    parser.add_argument("--jobs", type=positive, default=cores, help=f"at a time ({cores})")
    future = "an imagined release after the working tree, one of tests/helpers/future_releases.py"
    parser.add_argument("--future", choices=FUTURE_RELEASES, metavar="NAME", help=future)
    only = "only these edits of tests/helpers/edits.py; can be repeated"
    parser.add_argument("--edit", choices=EDITS, action="append", metavar="NAME", help=only)
    parser.add_argument("--build", type=positive, default=0, metavar="N", help="build N images (0)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to keep every value")
    parser.add_argument("--keep", type=Path, metavar="PATH", help="a new folder for the projects")
    options = parser.parse_args()
    if options.keep and options.keep.exists():
        parser.error(f"argument --keep: {options.keep} is there already; it must be a new folder")
    return options


def main() -> int:
    """Update the fleet and print the report; return 1 if an update did what it must not do."""
    options = arguments()
    if options.build and (reason := Engine.unavailable()):
        raise SystemExit(reason)
    keeper: AbstractContextManager[str]
    if options.keep:
        options.keep.mkdir(parents=True)
        keeper = nullcontext(str(options.keep.resolve()))
    else:
        keeper = tempfile.TemporaryDirectory()
    with keeper as name:
        folder = Path(name)
        template = released(folder, NOW)
        origins = [*releases()]
        new = NOW
        if options.future:
            origins.append(NOW)
            new = UpdateMatrix(folder, template).future(options.future)
        for inner in ("home", "temporary"):
            (folder / inner).mkdir()
        dry_run = DryRun(folder, template, new)
        fleet = drawn(options.projects, options.seed, origins, options.edit or [])
        aside = folder / "temporary"
        with ProcessPoolExecutor(options.jobs, initializer=prepare, initargs=(aside,)) as pool:
            fleet = each(pool, dry_run.made, fleet, "made")
            start = time.perf_counter()
            fleet = each(pool, dry_run.updated, fleet, "updated")
            seconds = time.perf_counter() - start
            fleet = each(pool, dry_run.compared, fleet, "compared")
        if options.build:
            engine = Engine("copier-uv-docker-fleet")
            chosen = [member for member in fleet if member.can_be_built][: options.build]
            try:
                for number, member in enumerate(chosen, 1):
                    say(f"image {number} of {len(chosen)}")
                    build(engine, dry_run, member)
            finally:
                engine.remove_images()
    about = {
        **machine(),
        "to": f"an imagined release ({options.future})" if options.future else "the working tree",
        "seed": str(options.seed),
        "jobs": str(options.jobs),
        "copier": version("copier"),
        "seconds": f"{seconds:.2f}",
    }
    if options.json:
        kept = {"about": about, "projects": [asdict(member) for member in fleet]}
        options.json.write_text(json.dumps(kept, indent=1) + "\n")
    print(report(fleet, about, options.build))
    return int(any([*member.faults()] for member in fleet))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
