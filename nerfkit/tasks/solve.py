"""The task `solve`: a field that satisfies an equation, the general problem of the mission in ten lines of a user's."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import check_positive, check_range
from nerfkit.workbench.settings import AUTO, MAX_PARAMS, MIN_PARAMS, FitConfig
from nerfkit.workbench.task import FitTask

if TYPE_CHECKING:
    from nerfkit.workbench.equation import Equation
    from nerfkit.workbench.equations.solution import Solution
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["EXAMPLES", "TASK", "SolveConfig"]

# equations by name: files of nerfkit/workbench/examples
EXAMPLES = ("poisson", "eikonal", "heat", "burgers", "plate", "speeds")
SOLVERS = (AUTO, "adam", "last-layer")
# points along the longer side of the pictures
SIDE = 256
# the last layer has solved an equation that leaves less than this fraction of what the zero field leaves, in rms, at
# points that it did not see; else Adam has its turn
SOLVED = 0.05


@dataclass(frozen=True)
class SolveConfig(FitConfig):
    """What a user may say of a solution; written to config.yml."""

    task: ClassVar[str] = "solve"

    # who solves: all weights of a network by Adam, or the last layer of fixed sines by least squares; auto: the last
    # layer, and Adam as well where that left much at held-out points, the better of the two
    solver: Literal["auto", "adam", "last-layer"] = AUTO
    # weights that are fitted at most, 16 to 2**28; None: 9000 by Adam, 1000 sines a function by the last layer
    n_params: int | None = None
    # Adam: hidden layers of the network, 1 to 16
    n_layers: int = 3
    # frequency of the sines, above 0: of a network (Adam), radians per half side (last layer); None: the equation's
    # own, or chosen by the residual at held-out points
    scale: float | None = None
    # Adam: steps, 1 or more
    steps: int = 2000
    # wall seconds from the first step, a limit
    seconds: float = 180.0
    # Adam's peak rate, above 0
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solver not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {self.solver!r}")
        if self.n_params is not None:
            check_range("n_params", self.n_params, MIN_PARAMS, MAX_PARAMS)
        check_range("n_layers", self.n_layers, 1, 16)
        check_range("steps", self.steps, 1, 10**9)
        check_positive("scale", self.scale)
        check_positive("learning_rate", self.learning_rate)


def read(paths: Sequence[Path], config: SolveConfig) -> Equation:
    """The equation of an example, or what ``problem()`` of a user's file returns.

    Raises
    ------
    NerfkitError
        There is no such file or example, or ``problem()`` is absent, fails, or gives something else.
    """
    from nerfkit.workbench.equation import Equation

    path = paths[0]
    if str(path) in EXAMPLES:
        return importlib.import_module(f"nerfkit.workbench.examples.{path}").problem()
    if path.suffix != ".py" or not path.is_file():
        raise NerfkitError(
            "is no example and no Python file", where=path,
            fix=f"give one of {', '.join(EXAMPLES)}, or a file with a function problem() that returns an Equation",
        )  # fmt: skip
    spec = importlib.util.spec_from_file_location("nerfkit_user_equation", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickles of the file look its module up by name
    sys.modules[spec.name] = module
    fix = "run nerfkit fit solve with --debug to see where"
    try:
        spec.loader.exec_module(module)
        found = getattr(module, "problem", None)
        if found is None:
            raise NerfkitError("has no function problem()", where=path, fix="define one that returns an Equation")
        equation = found()
    except NerfkitError:
        raise
    except Exception as error:
        raise NerfkitError(f"failed: {type(error).__name__}: {error}", where=path, fix=fix) from error
    if not isinstance(equation, Equation):
        raise NerfkitError(
            f"problem() returned {type(equation).__name__}; a nerfkit.workbench.equation.Equation is wanted",
            where=path, fix="return Equation(sides, terms)",
        )  # fmt: skip
    return equation


def solve(job: Job) -> Outcome:
    """Minimise the residuals by the solver that is asked for, or the better one, and show what is left."""
    from nerfkit.workbench.outcome import Outcome, Shown

    equation = job.data
    found, words = _solution(job)
    held = found.held
    points, shape = _lattice(equation)
    held.recipe["pixels"] = [shape[1], shape[0]]
    solution = _evaluate(held.field, points, shape)
    low, high = float(solution.min()), float(solution.max())
    high = high if high > low else low + 1
    shown = [Shown("residual", *_residual_picture(held.field, equation, points, shape))]
    residual = float(f"{found.residual:.6g}")
    metrics: dict[str, Any] = {"holdout": residual, "residual": residual}
    tables, said = [], []
    if equation.unknowns is not None:
        metrics["unknowns"] = numbers = _numbers(equation, found)
        tables.append(_table(numbers))
        said = [f"{name} is {each['value']:.4g} +- {each['spread']:.2g}" for name, each in numbers.items()]
        job.say(", ".join(said))
    truth = None
    if equation.exact is not None:
        truth = equation.exact(points.double()).detach().reshape(*shape, -1).numpy()
        shown.append(Shown("exact", (truth[..., :1] - low) / (high - low), "the known solution"))

    def measure(written: NDArray) -> dict[str, Any]:
        # a PNG holds black to white of the first function: what is measured is the field
        return {} if truth is None else _errors(solution, truth)

    axes = ", ".join(
        f"{name} {low:g} to {high:g} {way}"
        for name, (low, high), way in zip(equation.names, equation.sides, ("to the right", "down"), strict=False)
    )
    return Outcome(
        image=solution[..., :1], measure=measure, field=held.recipe["name"] if found.solver != "adam" else "siren",
        n_params=found.n_params, held=held, bit_depth=32, span=(low, high), metrics=metrics,
        chosen={"solver": found.solver, **found.chosen}, shown=shown, tables=tables,
        said=[
            words, f"{axes}; black to white is {low:.4g} to {high:.4g}",
            f"the residual is {found.residual:.3g} (rms) at points that the solver did not see", *said,
        ],
    )  # fmt: skip


def _solution(job: Job) -> tuple[Solution, str]:
    """The solution, and how it was come by."""
    from nerfkit.solvers.last_layer import NotLeastSquares
    from nerfkit.workbench.equations.by_descent import solve_by_descent
    from nerfkit.workbench.equations.by_last_layer import solve_by_last_layer
    from nerfkit.workbench.equations.solution import judge, zero_field

    config, equation = job.config, job.data
    if equation.unknowns is not None:
        return _with_unknowns(job)
    if config.solver == "adam":
        found = solve_by_descent(job, equation)
        return found, found.words
    try:
        by_layer = solve_by_last_layer(job, equation)
    except NotLeastSquares as error:
        if config.solver == "last-layer":
            raise NerfkitError(str(error), where="--solver last-layer", fix="--solver adam") from error
        found = solve_by_descent(job, equation)
        return found, f"{found.words}, as {error}"
    nothing, _ = judge(zero_field(equation.n_outputs), equation.terms, config.seed, job.device)
    left = (by_layer.loss / nothing) ** 0.5 if nothing else 0.0
    told = f"{by_layer.words}; it leaves {left:.2g} of what the zero field leaves at held-out points"
    if config.solver == "last-layer" or (by_layer.is_converged and left < SOLVED):
        job.say(told)
        return by_layer, told
    job.say(f"{told}: Adam has its turn")
    by_adam = solve_by_descent(job, equation)
    other = (by_adam.loss / nothing) ** 0.5 if nothing else 0.0
    words = f"{told}, Adam {other:.2g}: the better is taken"
    job.say(words)
    return (by_layer if by_layer.loss < by_adam.loss else by_adam), words


def _with_unknowns(job: Job) -> tuple[Solution, str]:
    """Numbers that are sought beside the field are columns of the least squares."""
    from nerfkit.solvers.last_layer import NotLeastSquares
    from nerfkit.workbench.equations.by_last_layer import solve_by_last_layer

    fix = "leave --solver out, or write the numbers that are sought as outputs of the field"
    if job.config.solver == "adam":
        raise NerfkitError("numbers that are sought are found by the last layer alone", where="--solver adam", fix=fix)
    try:
        found = solve_by_last_layer(job, job.data)
    except NotLeastSquares as error:
        raise NerfkitError(str(error), where="problem()", fix="give every term the squared error") from error
    return found, found.words


def _numbers(equation: Equation, found: Solution) -> dict[str, dict[str, float]]:
    """The unknowns by name: value, standard deviation, and the true value where it is known."""
    assert equation.unknowns is not None and found.spreads is not None
    values = zip(equation.unknowns.names, equation.unknowns.values.tolist(), found.spreads, strict=True)
    numbers = {
        name: {"value": float(f"{value:.6g}"), "spread": float(f"{spread:.3g}")} for name, value, spread in values
    }
    for name, true in equation.known.items():
        numbers[name]["true"] = float(true)
    return numbers


def _table(numbers: dict[str, dict[str, float]]) -> Any:
    from nerfkit.report.blocks import Table

    columns = ["", "value", "spread", *(["true"] if any("true" in each for each in numbers.values()) else [])]
    rows = [[name, *(each.get(column) for column in columns[1:])] for name, each in numbers.items()]
    note = "Spread: a standard deviation, from what the measured values leave (Gauss-Newton covariance)."
    return Table("What was sought beside the field", columns, rows, note)


def _lattice(equation: Equation) -> tuple[Any, tuple[int, int]]:
    """Centres [h * w, 2] of equal cells over the domain, and (h, w)."""
    import torch

    from nerfkit.scenes.measurements.lattice_values import cell_centres

    (left, right), (top, bottom) = equation.sides
    longer = max(right - left, bottom - top)
    # a domain much longer than wide is shown at least 64 points wide
    width, height = (max(64, round(SIDE * side / longer)) for side in (right - left, bottom - top))
    xs, ys = cell_centres(width, right - left) + left, cell_centres(height, bottom - top) + top
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1).view(-1, 2).float(), (height, width)


def _evaluate(field: Any, points: Any, shape: tuple[int, int]) -> NDArray[np.float32]:
    import torch

    # on the device and in the precision of the field
    weights = next(field.parameters())
    with torch.no_grad():
        found = [field(part.to(weights)).float().cpu() for part in points.split(2**14)]
    return torch.cat(found).view(*shape, -1).numpy()


def _residual_picture(field: Any, equation: Equation, points: Any, shape: tuple[int, int]) -> tuple[NDArray, str]:
    """Size of the first term's residual over the domain, and a caption."""
    import torch

    weights, observation = next(field.parameters()), equation.terms[0].observation
    with torch.no_grad():
        found = [observation.predict(field, part.to(weights)).cpu() for part in points.split(2**12)]
    sizes = torch.cat(found).view(*shape, -1).norm(dim=-1).numpy()
    top = float(np.quantile(sizes, 0.99)) or 1.0
    return sizes / top, f"size of the residual; white is {top:.3g}"


def _errors(solution: NDArray, truth: NDArray) -> dict[str, float]:
    difference = np.asarray(solution, np.float64)[..., : truth.shape[2]] - truth
    size = float(np.sqrt(np.square(truth).mean())) or 1.0
    return {
        "relative_error": float(f"{float(np.sqrt(np.square(difference).mean())) / size:.6g}"),
        "largest_error": float(f"{float(np.abs(difference).max()):.6g}"),
    }


TASK = FitTask(
    name="solve", holds="the solution of an equation", data="an equation",
    usage="nerfkit render {run} --size WxH --out FILE.npy samples it",
    presets={"solve": SolveConfig()}, read=read, solve=solve, runs_code=lambda path: path.suffix == ".py",
)  # fmt: skip
