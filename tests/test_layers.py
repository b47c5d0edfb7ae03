"""The layers of the project: an import may only point downward, and what starts fast loads no torch.

scripts -> nerfkit/cli -> nerfkit -> scenes -> kernels -> torch, triton, numba, numpy
"""

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("kernels", "scenes", "nerfkit", "nerfkit/cli", "scripts")  # lowest first
# a registry's entry, 'module:object', or a module to run; the dot keeps the command's own name out
_REFERENCE = re.compile(r"(nerfkit(?:\.\w+)+)(?::\w+)?")
# llvmlite is numba's own way to an instruction that Python has no word for, and comes with it
KERNELS_MAY_USE = {"torch", "triton", "numba", "llvmlite", "numpy"}


@dataclass(frozen=True)
class Edge:
    """One import: the file and line where it stands, the module it names, whether it runs at import time."""

    path: Path
    line: int
    target: str
    at_import: bool


def layer_of(module: str) -> str | None:
    """Layer of a dotted module name; None for what is not ours."""
    if module in ("nerfkit.cli", "nerfkit.__main__") or module.startswith("nerfkit.cli."):
        return "nerfkit/cli"
    parts = module.split(".")
    if parts[0] == "nerfkit" and len(parts) > 1 and parts[1] in ("kernels", "scenes"):
        return parts[1]
    return parts[0] if parts[0] in ("nerfkit", "scripts") else None


def module_of(path: Path, root: Path) -> str:
    """Dotted name under which a file is imported: kernels/ and scenes/ live below nerfkit."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[0] in ("kernels", "scenes"):
        parts.insert(0, "nerfkit")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files(root: Path) -> list[Path]:
    """Python files of all layers, each once: the links nerfkit/kernels and nerfkit/scenes are left out."""
    files = [path for top in ("kernels", "scenes", "nerfkit", "scripts") for path in (root / top).rglob("*.py")]
    linked = [root / "nerfkit" / "kernels", root / "nerfkit" / "scenes"]
    return sorted(path for path in files if not any(link in path.parents for link in linked))


class _Imports(ast.NodeVisitor):
    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.module = path, module_of(path, root)
        self.package = self.module if path.name == "__init__.py" else self.module.rpartition(".")[0]
        self.depth = 0
        self.edges: list[Edge] = []

    def add(self, node: ast.AST, target: str, at_import: bool = True) -> None:
        line = getattr(node, "lineno", 0)
        self.edges.append(Edge(self.path, line, target, at_import and self.depth == 0))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            above = self.package.split(".")[: len(self.package.split(".")) - node.level + 1]
            base = ".".join([*above, base] if base else above)
        for alias in node.names:
            # `from nerfkit import kernels` names a module, `from nerfkit.scenes import f` maybe an object:
            # both read the same, so the longer name is kept; whoever looks for modules tries its beginnings
            self.add(node, f"{base}.{alias.name}")

    def visit_Constant(self, node: ast.Constant) -> None:
        match = _REFERENCE.fullmatch(node.value) if isinstance(node.value, str) else None
        if match:
            self.add(node, match[1], at_import=False)

    def visit_If(self, node: ast.If) -> None:
        # what stands under TYPE_CHECKING never runs, but it is a dependency all the same
        never_runs = "TYPE_CHECKING" in ast.unparse(node.test)
        self.depth += never_runs
        self.generic_visit(node)
        self.depth -= never_runs

    def _visit_function(self, node: ast.AST) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function


def imports_of(path: Path, root: Path) -> list[Edge]:
    """Every import in a file, those inside functions and in registry strings included."""
    visitor = _Imports(path, root)
    visitor.visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
    return visitor.edges


def upward_edges(root: Path) -> list[str]:
    """The imports that break the order, one line each."""
    broken = []
    for path in source_files(root):
        here = layer_of(module_of(path, root))
        assert here is not None
        for edge in imports_of(path, root):
            where = f"{path.relative_to(root).as_posix()}:{edge.line}"
            top = edge.target.split(".")[0]
            if top in ("kernels", "scenes"):
                broken.append(f"{where}: {edge.target} must be imported as nerfkit.{edge.target}")
                continue
            there = layer_of(edge.target)
            if there is not None and LAYERS.index(there) > LAYERS.index(here):
                broken.append(f"{where}: {here} -> {there} ({edge.target}) points upward")
            elif here == "kernels" and there is None and top not in KERNELS_MAY_USE | sys.stdlib_module_names:
                broken.append(f"{where}: kernels -> {top}; kernels use {', '.join(sorted(KERNELS_MAY_USE))} alone")
    return broken


def private_edges(root: Path) -> list[str]:
    """Imports above the kernels of a module or a name that begins with _ and is another package's, one line each.

    Kernels fuse one another and share their loops; what the layers above take of any package is public there.
    """
    broken = []
    for path in source_files(root):
        module = module_of(path, root)
        if layer_of(module) in ("kernels", "scripts"):
            continue
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for edge in imports_of(path, root):
            parts = edge.target.split(".")
            private = next((i for i, part in enumerate(parts) if re.match(r"_[^_]", part)), None)
            if private is None or layer_of(edge.target) is None:
                continue
            # whatever lies below a package may use what is private in it
            if not f"{package}.".startswith(".".join(parts[:private]) + "."):
                broken.append(f"{path.relative_to(root).as_posix()}:{edge.line}: {edge.target} is private")
    return broken


def torch_chain(module: str, root: Path) -> list[str]:
    """Modules that lead from ``module`` to torch when it is imported, torch last; empty when none does."""
    files = {module_of(path, root): path for path in source_files(root)}
    pending, seen = [[module]], {module}
    while pending:
        chain = pending.pop(0)
        for edge in imports_of(files[chain[-1]], root):
            if not edge.at_import:
                continue
            if edge.target.split(".")[0] == "torch":
                return [*chain, "torch"]
            parts = edge.target.split(".")
            # importing a.b.c runs a, then a.b, then a.b.c
            names = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
            for name in (name for name in names if name in files and name not in seen):
                seen.add(name)
                pending.append([*chain, name])
    return []


def modules_without_torch(root: Path) -> list[str]:
    """What must load no torch: each package above the kernels, each config module, each command."""
    modules = []
    for path in source_files(root):
        module = module_of(path, root)
        layer = layer_of(module)
        is_config = "config" in path.stem or path.stem in ("presets", "errors")
        is_package = path.name == "__init__.py" and layer != "kernels"
        if layer != "scripts" and (is_config or is_package or layer == "nerfkit/cli"):
            modules.append(module)
    return modules


def test_imports_point_downward():
    assert len(source_files(ROOT)) > 20  # a walk that finds nothing proves nothing
    broken = upward_edges(ROOT)
    assert not broken, "\n" + "\n".join(broken)


def test_what_is_imported_from_another_package_is_public():
    broken = private_edges(ROOT)
    assert not broken, "\n" + "\n".join(broken)


def test_packages_configs_and_commands_import_no_torch():
    modules = modules_without_torch(ROOT)
    assert {"nerfkit", "nerfkit.scenes", "nerfkit.scenes.errors"} <= set(modules)
    chains = [" -> ".join(chain) for chain in (torch_chain(module, ROOT) for module in modules) if chain]
    assert not chains, "\n" + "\n".join(chains)


def _modules_after(code: str) -> set[str]:
    ending = "import sys; print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ending}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_nerfkit_loads_no_torch():
    loaded = _modules_after("import nerfkit")
    assert "nerfkit" in loaded
    assert not loaded & {"torch", "numba", "triton"}


def test_help_loads_no_torch():
    loaded = _modules_after(
        "from nerfkit.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as ending:\n    assert not ending.code"
    )
    assert "nerfkit.cli" in loaded
    assert not loaded & {"torch", "numba", "triton"}


# The walker itself, on trees that are wrong in one place


def _tree(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "edge"),
    [
        (
            "kernels/a.py",
            "import nerfkit.scenes.rays",
            "kernels/a.py:1: kernels -> scenes (nerfkit.scenes.rays)",
        ),
        (
            "scenes/a.py",
            "def f():\n    from nerfkit import fitting",
            "scenes/a.py:2: scenes -> nerfkit (nerfkit.fitting)",
        ),
        ("scenes/a.py", "from nerfkit import cli", "scenes/a.py:1: scenes -> nerfkit/cli (nerfkit.cli)"),
        ("scenes/b/a.py", "from ... import fitting", "scenes/b/a.py:1: scenes -> nerfkit (nerfkit.fitting)"),
        (
            "nerfkit/a.py",
            "from .cli import main",
            "nerfkit/a.py:1: nerfkit -> nerfkit/cli (nerfkit.cli.main)",
        ),
        ("nerfkit/a.py", "import scripts.bench", "nerfkit/a.py:1: nerfkit -> scripts (scripts.bench)"),
        (
            "scenes/a.py",
            "OPEN = {'x': 'nerfkit.video:open'}",
            "scenes/a.py:1: scenes -> nerfkit (nerfkit.video)",
        ),
        (
            "scenes/a.py",
            "import kernels.march",
            "scenes/a.py:1: kernels.march must be imported as nerfkit.kernels.march",
        ),
        ("kernels/a.py", "import cv2", "kernels/a.py:1: kernels -> cv2"),
    ],
)
def test_walker_names_the_edge_that_breaks_the_order(tmp_path, name, text, edge):
    broken = upward_edges(_tree(tmp_path, {name: text}))
    assert len(broken) == 1
    assert broken[0].startswith(edge)


def test_walker_accepts_what_points_downward(tmp_path):
    root = _tree(
        tmp_path,
        {
            "kernels/march/__init__.py": "import torch\nfrom . import _cpu\nfrom .._dispatch import choose",
            "scenes/rays.py": "import cv2\nfrom nerfkit.kernels.march import march\nfrom .errors import E",
            "nerfkit/fitting.py": "from nerfkit.scenes import rays\nfrom . import metrics",
            "nerfkit/cli/train.py": "from nerfkit import fitting\nfrom nerfkit.cli.common import run",
            "nerfkit/__main__.py": "from nerfkit.cli import main",
            "scripts/bench.py": "import nerfkit.cli, scripts.common",
        },
    )
    assert upward_edges(root) == []


@pytest.mark.parametrize(
    ("name", "text", "edge"),
    [
        ("nerfkit/doctor/a.py", "from nerfkit.scenes.readers._b import c", "nerfkit.scenes.readers._b.c"),
        ("nerfkit/a.py", "def f():\n    from nerfkit.doctor import _b", "nerfkit.doctor._b"),
        ("nerfkit/a.py", "from nerfkit.doctor.b import _c", "nerfkit.doctor.b._c"),
        ("scenes/fields/a.py", "import nerfkit.kernels._b", "nerfkit.kernels._b"),
    ],
)
def test_walker_names_what_is_private_elsewhere(tmp_path, name, text, edge):
    (broken,) = private_edges(_tree(tmp_path, {name: text}))
    assert broken == f"{name}:{text.count(chr(10)) + 1}: {edge} is private"


def test_walker_accepts_what_is_private_in_the_same_package_or_above_it(tmp_path):
    root = _tree(
        tmp_path,
        {
            "nerfkit/doctor/__init__.py": "from ._a import b\nfrom __future__ import annotations",
            "scenes/readers/a.py": "from ._b import c\nfrom .._d import e\nimport os._x",
            "kernels/march/_cpu.py": "from nerfkit.kernels.mlp._cpu import run",
            "scripts/bench.py": "from nerfkit.kernels.mlp._cpu import run",
        },
    )
    assert private_edges(root) == []


def test_walker_reads_a_linked_file_once(tmp_path):
    root = _tree(tmp_path, {"kernels/a.py": "import cv2", "nerfkit/__init__.py": ""})
    (root / "nerfkit" / "kernels").symlink_to("../kernels", target_is_directory=True)
    assert len(source_files(root)) == 2
    assert len(upward_edges(root)) == 1


def test_walker_follows_a_package_to_torch(tmp_path):
    root = _tree(
        tmp_path,
        {
            "nerfkit/__init__.py": "",
            "nerfkit/config.py": "from nerfkit.scenes.fields.sizes import Sizes",
            "scenes/__init__.py": "def late():\n    import torch",
            "scenes/fields/__init__.py": "from . import hash_field",
            "scenes/fields/hash_field.py": "if True:\n    from torch import nn",
            "scenes/fields/sizes.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
        },
    )
    assert modules_without_torch(root) == [
        "nerfkit",
        "nerfkit.config",
        "nerfkit.scenes",
        "nerfkit.scenes.fields",
    ]
    assert torch_chain("nerfkit.scenes", root) == []
    assert torch_chain("nerfkit.config", root) == [
        "nerfkit.config",
        "nerfkit.scenes.fields",
        "nerfkit.scenes.fields.hash_field",
        "torch",
    ]
