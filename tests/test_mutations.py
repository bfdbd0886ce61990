"""Each of these faults is noticed; `uv run python tests/mutations.py` tries them all."""

import re

import pytest
from faults import FAULTS, GATE, TEXTS, Fault
from helpers.repository import ROOT
from mutations import copied, noticed


@pytest.mark.update
@pytest.mark.parametrize("fault", GATE, ids=lambda fault: fault.name)
def test_a_fault_is_noticed_by_the_tests_beside_it(fault: Fault) -> None:
    with copied() as tree:
        assert noticed(fault, tree).startswith("FAILED")


@pytest.mark.render
def test_every_fault_is_of_a_text_that_is_there_and_has_tests() -> None:
    for path, rows in TEXTS.items():
        text = (ROOT / path).read_text()
        for name, old, new, _ in rows:
            assert text.count(old) == 1, f"{name}: {old!r}"
            assert old != new, name
    names = [fault.name for fault in FAULTS]
    assert len({*names}) == len(names) > 100
    for test in {test for fault in FAULTS for test in fault.tests}:
        module, function = re.findall(r"^(\w+\.py)::(\w+)", test)[0]
        assert f"def {function}(" in (ROOT / "tests" / module).read_text(), test
