"""What a person is asked in a terminal of 80 columns can be read whole, and so can a refusal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.answers import BAD, BAD_EXISTING, OTHERS
from helpers.project import Copy
from helpers.repository import commit
from helpers.template import ASKED, FRAMEWORKS, PINS
from helpers.terminal import CLEAR, DOWN, ENTER, UP, Terminal
from helpers.updates import stored

# For each question that is answered in words, the first wrong answer that can be typed.
WRONG = {
    name: value
    for name, value, _ in reversed([*BAD, *BAD_EXISTING])
    if value.strip() == value != "" and value.isprintable()
}
RIGHT = OTHERS | {
    "command": "[mine]",
    "health_path": "/up",
    "sources": "src",
    "files": "manage.py",
    "manifests": "uv.toml",
    "uv_options": "--extra api",
}
EXISTING = {name for name in ASKED if ASKED[name].get("when") == "{{ framework == 'existing' }}"}

Run = Callable[..., Terminal]


@pytest.fixture
def copier(tmp_path: Path) -> Iterator[Run]:
    """Yield a function that runs Copier in a terminal."""
    with ExitStack() as stack:

        def run(*arguments: str, folder: Path = tmp_path) -> Terminal:
            terminal = Terminal([sys.executable, "-m", "copier", *arguments], folder)
            stack.callback(terminal.close)
            return terminal

        yield run


@pytest.mark.render
@pytest.mark.parametrize(
    ("framework", "keys", "names"),
    [
        # The one that is asked most.
        ("django", [DOWN] * FRAMEWORKS.index("django"), {*ASKED} - EXISTING),
        # The last of the choices.
        ("existing", [UP], {*ASKED} - {"server", "description", "database"}),
    ],
)
def test_each_question_and_each_refusal_can_be_read_whole(
    template: Path,
    copy: Copy,
    tmp_path: Path,
    copier: Run,
    framework: str,
    keys: list[str],
    names: set[str],
) -> None:
    given = {"framework": framework, "builder": "depot", "command": RIGHT["command"]}
    given = {name: given[name] for name in given.keys() & names}
    terminal = copier("copy", str(template), "project")
    for name in [name for name in ASKED if name in names]:
        question = ASKED[name]
        lines = question["help"].replace("{{ pins.uv }}", PINS["uv"]).splitlines()
        screen = terminal.shown(lines[-1])
        assert lines[0] in screen
        if "choices" in question:
            # Those of a template depend on the framework.
            offered = {"server": ["granian"], "database": ["none"]}.get(name, question["choices"])
            assert all(title in terminal.shown("arrow keys") for title in offered)
            # Depot has a question of its own.
            terminal.press(*{"framework": keys, "builder": [DOWN]}.get(name, []), ENTER)
        else:
            with pytest.raises(ValueError, match=f"{name}.*, got ") as refusal:
                copy(tmp_path / "refused", **given | {name: WRONG[name]})
            terminal.press(CLEAR, WRONG[name], ENTER)
            terminal.shown(f"\n{str(refusal.value).partition(', got ')[0]}\n")
            terminal.press(CLEAR, RIGHT[name], ENTER)
    terminal.shown("is ready")
    answers = stored(tmp_path / "project")
    assert answers.keys() == names
    assert {name: RIGHT[name] for name in names & {*OTHERS}}.items() <= answers.items()


@pytest.mark.update
def test_update_does_not_ask_what_is_settled(copy: Copy, tmp_path: Path, copier: Run) -> None:
    """Copier validates no choice that is made at a prompt."""
    project = copy(tmp_path / "project")
    commit(project)
    terminal = copier("update", folder=project)
    terminal.shown(ASKED["project_name"]["help"])
    terminal.press(ENTER)
    screen = terminal.shown(ASKED["description"]["help"])
    assert not [n for n in ("framework", "server") if ASKED[n]["help"] in screen]
