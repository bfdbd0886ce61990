"""Copier that clones and compiles each release once."""

import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from copier import _template
from jinja2 import Environment


def cloned_once(clone: Callable[[str, str], str]) -> Callable[..., str]:
    """Give Copier's clone of a template as one that asks git once for each tag."""
    clone = functools.cache(clone)

    def copied(url: str, ref: str, location: str | None = None) -> str:
        there = location or tempfile.mkdtemp()
        shutil.copytree(
            clone(url, ref), there, copy_function=os.link, symlinks=True, dirs_exist_ok=True
        )
        return there

    return copied


def compiled_once(compile: Callable[..., Any]) -> Callable[..., Any]:
    """Give Jinja's compile as one that keeps the code of a template for all environments alike."""
    kept: dict[object, Any] = {}

    def compiled(environment: Environment, source: str, name: str | None = None, *rest: Any) -> Any:
        # Copier's part of Jinja takes notes of what it parses.
        environment.parse(source, name)
        key = type(environment), environment.lexer, source, name
        if key not in kept:
            kept[key] = compile(environment, source, name, *rest)
        return kept[key]

    return compiled


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Have Copier clone and compile each release of a template once in this process."""
    patch.setattr(_template, "clone", cloned_once(vars(_template)["clone"]))
    patch.setattr(Environment, "compile", compiled_once(Environment.compile))
