"""Guards what a reader relies on, by reading the syntax tree; import-linter guards the direction of the rooms."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("hubagent/**/*.py"), *ROOT.glob("console/**/*.py")])
# Each reads a clock for a reason of its own: the clocks themselves, the guard (one process, standard library only), and
# the demo (a driver of processes, not a part of the product).
CLOCK_FILES = {"hubagent/clock.py", "console/clock.py", "hubagent/guard/kernel.py"}
GUARD_IMPORTS = {
    "contextlib", "ctypes", "errno", "fcntl", "json", "os", "resource", "select", "selectors", "signal", "socket",
    "struct", "sys", "time", "collections", "typing", "stat", "_thread",
}  # fmt: skip


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_file_says_its_job_and_keeps_to_its_room(path: Path) -> None:
    """One docstring, clocks only where clocks are, no catch-all, tasks only in loops."""
    name, tree = _name(path), _tree(path)
    assert ast.get_docstring(tree), f"{name} has no docstring that says its job"
    if name not in CLOCK_FILES and not name.startswith("console/demo/"):
        assert "time" not in set(_imports(tree)), f"{name} reads a clock of its own"
    for node in ast.walk(tree):
        # A handler that ends by raising again only cleans up.
        if (
            isinstance(node, ast.ExceptHandler)
            and not name.endswith("__main__.py")
            and not isinstance(node.body[-1], ast.Raise)
        ):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert caught not in {"Exception", "BaseException", "everything"}, f"{name}:{node.lineno} catches {caught}"
        # Before Python 3.12 it drops a cancellation that comes together with what it waits for: asyncio.timeout does not.
        assert not (isinstance(node, ast.Attribute) and node.attr == "wait_for"), f"{name}:{node.lineno} uses wait_for"
        if isinstance(node, ast.Attribute) and node.attr in {"create_task", "ensure_future"}:
            allowed = name.startswith("hubagent/loops/") or name in {"hubagent/daemon.py", "console/nats_side.py"}
            assert allowed or "TaskGroup" in path.read_text(), f"{name}:{node.lineno} starts a task outside a loop"


def test_the_guard_needs_the_standard_library_only() -> None:
    """A bare Python is 8.5 MB; each import of the guard must be worth it."""
    files = [_tree(path) for path in ROOT.glob("hubagent/guard/*.py")]
    named = {name for tree in files for name in _imports(tree)}
    found = {name.split(".")[0] for name in named if not name.startswith("hubagent.guard")}
    assert files
    assert found <= GUARD_IMPORTS, f"the guard imports {sorted(found - GUARD_IMPORTS)}"


def test_no_file_of_the_project_names_a_path_of_one_machine() -> None:
    """What is committed runs anywhere."""
    wrong = [
        _name(path)
        for path in (*ROOT.glob("**/*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "Makefile")
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        if "/wo" + "rk/" in path.read_text()
    ]
    assert not wrong


def test_markup_is_never_built_from_data() -> None:
    """Text of hubs reaches widgets as rich Text or with markup off, never as a markup string."""
    for path in ROOT.glob("console/**/*.py"):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.keyword) and node.arg == "markup":
                value = node.value
                assert isinstance(value, ast.Constant), f"{_name(path)}:{value.lineno} decides on markup at run time"
                assert value.value is False, f"{_name(path)}:{value.lineno} turns markup on"
            if isinstance(node, ast.Attribute) and node.attr == "from_markup":
                pytest.fail(f"{_name(path)}:{node.lineno} parses markup")
