"""Copier that clones and compiles each release once in a process, for the update matrix alone.

An update clones and compiles the template five times; without that it takes a quarter of its time.
"""

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from copier import _template
from jinja2 import Environment

_clone = functools.cache(vars(_template)["clone"])
_compile = Environment.compile
_compiled: dict[object, Any] = {}


def clone(url: str, ref: str, location: str | None = None) -> str:
    """Clone a template as Copier does, and ask git once for each tag."""
    there = location or tempfile.mkdtemp()
    shutil.copytree(
        _clone(url, ref), there, copy_function=os.link, symlinks=True, dirs_exist_ok=True
    )
    return there


def compile(environment: Environment, source: str, name: str | None = None, *rest: Any) -> Any:
    """Compile a template as Jinja does, and once for all environments alike."""
    # Copier's part of Jinja takes notes of what it parses.
    environment.parse(source, name)
    key = type(environment), environment.lexer, source, name
    if key not in _compiled:
        _compiled[key] = _compile(environment, source, name, *rest)
    return _compiled[key]


@contextmanager
def quickened() -> Iterator[None]:
    """Have Copier clone and compile each release once.

    It is the one place that patches a private name of Copier's. Tests of what users run do not
    enter it: those of `update_matrix.check` compare files, and others call Copier as it is.
    """
    with (
        patch.object(_template, "clone", clone),
        patch.object(Environment, "compile", compile),
    ):
        yield
