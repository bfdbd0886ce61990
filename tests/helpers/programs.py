"""Programs that tests run, and what a test does where one is missing."""

import os
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """Skip a test that needs what is not here, or fail it where REQUIRE_ENGINE=1."""
    if os.environ.get("REQUIRE_ENGINE") == "1":
        pytest.fail(f"REQUIRE_ENGINE=1, but {reason}")
    pytest.skip(reason)
