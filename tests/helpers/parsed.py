"""Files of a project as data: what is where in YAML, TOML, JSON, HCL, a Dockerfile, Python."""

import ast
import configparser
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import hcl2
import yaml


def dockerfile(text: str) -> dict[str, dict[str, Any]]:
    """Return the instructions of each stage by their names; of several of a name each is a line.

    What stands above all stages, such as `# syntax=`, is in a stage `above`.
    """
    above = dict(re.findall(r"^# (\w+)=(\S+)$", text, re.MULTILINE))
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    stages: dict[str, dict[str, Any]] = {"above": above}
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            rest, _, stage = rest.partition(" AS ")
            found = stages[stage] = {"ENV": {}}
        if name == "ENV":
            found["ENV"] |= dict(re.findall(r"(\w+)=(\S*)", rest))
        elif name:
            found[name] = f"{found[name]}\n{rest}" if name in found else rest
    return stages


def hcl(text: str) -> Any:
    """Return the blocks of a file of HCL by their kinds and names, strings without quotes."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            pairs = ((key.strip('"'), plain(item)) for key, item in value.items())
            return {key: item for key, item in pairs if key[:2] != "__"}
        if isinstance(value, list):
            found = [plain(item) for item in value]
            blocks = found and all(isinstance(item, dict) for item in found)
            return (
                {key: item for block in found for key, item in block.items()} if blocks else found
            )
        return value[1:-1] if isinstance(value, str) and value[:1] == '"' else value

    return plain(hcl2.loads(text))


def python(text: str) -> dict[str, Any]:
    """Return what each name is set to, those of a class or a function in a table of its own.

    That is an assignment, an argument by name or a key of a dict. The other arguments of a call
    are there by its name with (), and each condition by `if`; of several each is a line. What is
    not a literal is the text of its expression.
    """

    def value(node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            return ast.unparse(node)

    def add(found: dict[str, Any], name: str, line: str) -> None:
        found[name] = f"{found[name]}\n{line}" if name in found else line

    def collect(parent: ast.AST, found: dict[str, Any]) -> dict[str, Any]:
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = collect(node, {})
                continue
            if isinstance(node, ast.Assign):
                found |= {ast.unparse(target): value(node.value) for target in node.targets}
            elif isinstance(node, ast.AnnAssign) and node.value:
                found[ast.unparse(node.target)] = value(node.value)
            elif isinstance(node, ast.keyword) and node.arg:
                found[node.arg] = value(node.value)
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                found |= {str(value(key)): value(item) for key, item in pairs if key}
            elif isinstance(node, ast.Call) and (node.args or not node.keywords):
                add(found, f"{ast.unparse(node.func)}()", ", ".join(map(ast.unparse, node.args)))
            elif isinstance(node, ast.If | ast.IfExp):
                add(found, "if", ast.unparse(node.test))
            collect(node, found)
        return found

    return collect(ast.parse(text), {})


def ini(text: str) -> dict[str, dict[str, str]]:
    """Return the keys of each section; those above the first are in the section `top`."""
    parser = configparser.ConfigParser()
    parser.read_string(f"[top]\n{text}")
    return {name: dict(section) for name, section in parser.items() if section}


def lines(text: str) -> list[str]:
    """Return the lines that are no comment."""
    return [line for line in text.splitlines() if line and line[0] != "#"]


# By the end of a name. YAML as text, so that `on` is a key and 1.10 has its zero.
PARSERS: dict[str, Callable[[str], Any]] = {
    "Dockerfile": dockerfile,
    ".editorconfig": ini,
    ".hcl": hcl,
    ".json": json.loads,
    ".py": python,
    ".toml": tomllib.loads,
    ".yaml": lambda text: yaml.load(text, yaml.BaseLoader),
    ".yml": lambda text: yaml.load(text, yaml.BaseLoader),
}


def parsed(name: str, text: str) -> Any:
    """Return a file as data by what its name says it is; without a parser its lines."""
    path = PurePosixPath(name)
    return PARSERS.get(path.suffix, PARSERS.get(path.name, lines))(text)


def find(data: Any, path: str) -> Any:
    """Return what is at a path such as `jobs > check > steps > Tests > run`, or None.

    What a list holds is found by its name. `*` is each name, for a table by these names.
    """
    if not path:
        return data
    key, _, rest = path.partition(" > ")
    if isinstance(data, list):
        data = {item["name"]: item for item in data if isinstance(item, dict) and "name" in item}
    if not isinstance(data, dict):
        return None
    if key == "*":
        found = {name: find(item, rest) for name, item in data.items()}
        return {name: item for name, item in found.items() if item is not None}
    return find(data[key], rest) if key in data else None
