"""The tests themselves: none ends before it has looked at anything."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def statements(body: list[ast.stmt], before: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Of a function, functions within left out: each statement, and whether one before it on its way looks."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue
        yield statement, before
        handled = [handler.body for handler in getattr(statement, "handlers", [])]
        for part in (*(getattr(statement, name, []) for name in ("body", "orelse", "finalbody")), *handled):
            yield from statements(part, before)
        before = before or looks(statement)


def looks(statement: ast.stmt) -> bool:
    """Whether a statement can fail a test or says why it is skipped; a branch of an ``if`` speaks for itself alone."""
    if isinstance(statement, ast.If):
        return False
    words = ("assert", "raises", "warns", "check", "skip", "fail")
    calls = [ast.unparse(node.func) for node in ast.walk(statement) if isinstance(node, ast.Call)]
    is_assertion = any(isinstance(node, ast.Assert) for node in ast.walk(statement))
    return is_assertion or any(word in call for call in calls for word in words)


def silent_returns(source: str) -> list[str]:
    """Names and lines of tests that return where nothing was looked at."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [
        f"{function.name}, line {statement.lineno}"
        for function in functions
        if function.name.startswith("test")
        for statement, before in statements(function.body)
        if isinstance(statement, ast.Return) and not before
    ]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.stem)
def test_no_test_returns_in_silence(path):
    """One that cannot run here says so: pytest.skip with a reason."""
    assert silent_returns(path.read_text()) == []


def test_a_silent_return_is_found():
    told = "def test_a(x):\n    if x:\n        assert x > 1\n        return\n    assert not x\n"
    assert silent_returns(told) == []
    silent = "def test_a(x):\n    if x:\n        return\n    assert not x\n"
    assert silent_returns(silent) == ["test_a, line 3"]
    other_branch = "def test_a(x):\n    if x > 1:\n        assert x\n    if x:\n        return\n    assert not x\n"
    assert silent_returns(other_branch) == ["test_a, line 5"]
    within = "def test_a():\n    def f():\n        return 1\n    assert f() == 1\n"
    assert silent_returns(within) == []
