"""Mutation testing without a tool to install: each mutant is a fork whose imports see one small change of the source.

`python -m tests.support.mutation MODULE … --tests FILE … [--late FILE …] [--jobs N] [--out FILE]`: a mutant lives when
all of `--tests` pass, and then all of `--late` (the slow ones). Changed: comparisons, arithmetic, `and`/`or`, `not`,
numbers, truth values, words that decide (not words for people), conditions, `min`/`max`; left out: calls and attributes
that are set. Pure modules, or such as touch a test's own folder only: a mutant may do anything that its module can do.
"""

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SECONDS_MAX = 90  # a mutant that loops for ever is noticed as well
MEMORY_MAX = 4 << 30  # and one that fills the memory while it does
COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COUNTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitOr: ast.BitAnd}
FOR_PEOPLE = {"_note", "Note", "_conclude", "_lose", "_drop", "_stop_acting", "LeasePolicyRefused"}  # their words


class Sites(ast.NodeVisitor):
    """Every place that can be changed, with the ways to change it."""

    def __init__(self) -> None:
        self.found: list[tuple[int, ast.AST, str]] = []
        self._quiet = 0

    def visit(self, node: ast.AST) -> None:
        """Words inside a call that speaks to people, annotations and docstrings are left alone."""
        line = getattr(node, "lineno", 0)
        self.found += [(line, node, how) for how in self._ways(node)]
        if isinstance(node, ast.FunctionDef):
            for part in (*node.args.defaults, *node.body):
                self.visit(part)
        elif isinstance(node, ast.ClassDef):  # not its decorators: that a record is frozen is no decision
            for part in node.body:
                self.visit(part)
        elif isinstance(node, ast.AnnAssign):
            self.visit(node.target)
            if node.value:
                self.visit(node.value)
        elif (
            isinstance(node, (ast.JoinedStr, ast.Assert))
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or _exports(node)
        ):
            return
        else:
            quiet = isinstance(node, ast.Call) and _name(node.func) in FOR_PEOPLE
            self._quiet += quiet
            self.generic_visit(node)
            self._quiet -= quiet

    def _ways(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
            yield "compare"
        if isinstance(node, ast.BinOp) and type(node.op) in COUNTED:
            yield "count"
        if isinstance(node, ast.BoolOp):
            yield "and-or"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield "not"
        if isinstance(node, ast.Constant):
            yield from self._constants(node.value)
        if isinstance(node, (ast.If, ast.IfExp)):
            yield "if"
        if isinstance(node, ast.Call) and _name(node.func) in {"min", "max"}:
            yield "min-max"
        if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or _sets(node):
            yield "leave out"

    def _constants(self, value: object) -> Iterator[str]:
        if isinstance(value, bool) or (isinstance(value, (int, float)) and value is not None):
            yield "number"
        if isinstance(value, str) and value and not self._quiet and " " not in value:
            yield "word"


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _exports(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and _name(node.targets[0]) == "__all__"


def _sets(node: ast.AST) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
    return bool(targets) and all(isinstance(one, (ast.Attribute, ast.Subscript)) for one in targets)


def changed(node: ast.AST, how: str) -> ast.AST:
    """The same node with one change."""
    new = copy.deepcopy(node)
    if how == "compare":
        new.ops[0] = COMPARED[type(new.ops[0])]()
    elif how == "count":
        new.op = COUNTED[type(new.op)]()
    elif how == "and-or":
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
    elif how == "not":
        new = new.operand
    elif how == "number":
        new.value = (not new.value) if isinstance(new.value, bool) else new.value + 1
    elif how == "word":
        new.value = f"XX{new.value}"
    elif how == "if":
        new.test = ast.UnaryOp(ast.Not(), new.test)
    elif how == "min-max":
        new.func.id = "max" if new.func.id == "min" else "min"
    elif how == "leave out":
        new = ast.Pass()
    return ast.copy_location(new, node)


class Replace(ast.NodeTransformer):
    """Puts the change in place."""

    def __init__(self, node: ast.AST, how: str) -> None:
        self._node, self._how = node, how

    def visit(self, node: ast.AST) -> ast.AST:
        """The changed node where it is the one."""
        if node is self._node:
            return changed(node, self._how)
        return self.generic_visit(node)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module its changed code."""

    def __init__(self, module: str, path: Path, tree: ast.AST) -> None:
        self._module, self._path, self._tree = module, path, tree

    def find_spec(self, name, path, target=None):
        """A spec for that module, nothing for others."""
        if name != self._module:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=str(self._path))

    def exec_module(self, module) -> None:
        """Run the changed code."""
        exec(compile(ast.fix_missing_locations(self._tree), str(self._path), "exec"), module.__dict__)


def mutants(modules: list[str]) -> Iterator[tuple[str, Path, int]]:
    """(module, path, number of its change)."""
    for module in modules:
        path = Path(*module.split(".")).with_suffix(".py")
        sites = Sites()
        sites.visit(ast.parse(path.read_text()))
        yield from ((module, path, number) for number in range(len(sites.found)))


def build(path: Path, number: int) -> tuple[ast.AST, str]:
    """The changed tree, and what was changed in words."""
    tree = ast.parse(path.read_text())
    sites = Sites()
    sites.visit(tree)
    line, node, how = sites.found[number]
    before = ast.unparse(node).splitlines()[0][:90]
    after = ast.unparse(changed(node, how)).splitlines()[0][:90]
    return Replace(node, how).visit(tree), f"{path}:{line}: {how}: `{before}` -> `{after}`"


def lives(module: str, path: Path, number: int, stages: list[list[str]]) -> bool:
    """Run the tests in this (forked) process; True when nothing fails."""
    import pytest

    tree, _ = build(path, number)
    sys.meta_path.insert(0, Finder(module, path, tree))
    for files in stages:
        if files and pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *files]) != 0:
            return False
    return True


def start(mutant: tuple[str, Path, int], stages: list[list[str]]) -> int:
    """Fork a process that exits with 0 when the mutant lives."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(SECONDS_MAX)  # until a test with a time limit of its own takes the alarm away
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_MAX, SECONDS_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        os._exit(0 if lives(*mutant, stages) else 1)
    finally:
        os._exit(2)


def main() -> None:
    """Run every mutant and say which live."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--tests", nargs="+", required=True)
    parser.add_argument("--late", nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="only each n-th mutant")
    parser.add_argument("--again", type=Path, help="only what lived in this earlier --out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    import hypothesis
    import msgspec
    import pytest

    assert all((hypothesis, msgspec, pytest))  # loaded once, before the forks
    todo = list(mutants(options.modules))[:: options.every]
    if options.again:
        lived = set(json.loads(options.again.read_text())["survivors"])
        todo = [mutant for mutant in todo if build(*mutant[1:])[1] in lived]
    running: dict[int, tuple[str, Path, int]] = {}
    survivors, done, began = [], 0, time.monotonic()
    for mutant in [*todo, None]:
        while running and (mutant is None or len(running) >= options.jobs):
            pid, status = os.wait()
            _, path, number = running.pop(pid)
            done += 1
            if status == 0:
                survivors.append(build(path, number)[1])
                print(survivors[-1], flush=True)
            if done % 100 == 0:
                print(f"-- {done} of {len(todo)}, {len(survivors)} live, {time.monotonic() - began:.0f} s", flush=True)
        if mutant is not None:
            running[start(mutant, [options.tests, options.late])] = mutant
    share = 1 - len(survivors) / max(len(todo), 1)
    print(f"{len(todo)} mutants, {len(survivors)} live, {share:.1%} killed")
    if options.out:
        options.out.write_text(json.dumps({"mutants": len(todo), "killed": share, "survivors": survivors}, indent=1))


if __name__ == "__main__":
    main()
