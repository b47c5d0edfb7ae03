"""A registration from two images to a transform: which similarity, how smooth, then the pyramid from coarse to fine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.workbench.job import Job

from .choosing import Judged, block_means, choose_smoothest, held_out_blocks, tried_table
from .images import Pair, level_factors, make_level
from .problem import LevelProblem, Weights
from .similarities import noise_level
from .transform import LinearMap, Transform, jacobian_determinant, make_displacement

__all__ = ["Registered", "determinants", "register", "sampled_map"]

# finest pixels between the nodes of the finest grid at most, and the intervals along the longest side: volumes have
# fewer pixels a side, and more of them
SPACING, INTERVALS, LEAST_SPACING = {2: 16.0, 3: 8.0}, {2: 32, 3: 12}, 4.0
# steps of a level: to choose, and of the fit
TRIAL_STEPS, STEPS = 40, 60
# Adam's rate, finest pixels; coarser levels move further: a linear map by the pixel, a displacement by its root
LEARNING_RATE = 0.1
# how many of the coarsest levels find a linear map that a displacement is added to
LINEAR_LEVELS = 2
# a level has few steps, and its curve many points
SCHEDULE = FitSchedule(final_fraction=0.02, log_every=4)
# smoothness while the similarity is chosen, and pixels of the finest level that is looked at: of a picture of 128 x 128
# the quarter told too little to choose by
SMOOTH, JUDGED_PIXELS = 0.1, 128**2
# similarities in the order of how exact they are where they hold; a later one has to tell this much more
CANDIDATES, GAIN = ("ssd", "ncc", "mi"), 1.05
# where a map folds, its penalty grows by this factor, at most this many times, each for a part of a level's steps
STRONGER, ROUNDS, UNFOLDING = 10.0, 3, 3


@dataclass
class Registered:
    """What was found.

    Parameters
    ----------
    transform : Transform
        The map.
    similarity : str
        What it was found by.
    holdout : float or None
        Mean unlikeness of held-out blocks; None where nothing was held out.
    chosen : dict
        Plain values, as ``--json`` prints them.
    unit : str
        What :attr:`holdout` is.
    stages : list of str
        Names of the fits, in their order.
    """

    transform: Transform
    similarity: str
    holdout: float | None
    unit: str
    chosen: dict[str, Any] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)


@dataclass
class _Work:
    """What all stages share."""

    job: Job
    pair: Pair
    noise: tuple[float, float]
    spacing: float
    # names of the fits that were done
    stages: list[str] = field(default_factory=list)

    def fit(self, stage: str, problem: LevelProblem, n_steps: int, fraction: float = 1.0) -> None:
        """A stage that a resumed run need not do again."""
        self.stages.append(stage)
        self.job.fit(stage, problem, n_steps, fraction=fraction, schedule=SCHEDULE)

    @property
    def unit(self) -> float:
        """Finest pixel, in the unit of the common space."""
        return float(self.pair.fixed.spacing.min())

    def linear(self) -> LinearMap:
        """The map that moves nothing but brings the middles together where the images lie apart in space."""
        fixed = self.pair.fixed
        middle = fixed.affine[:-1] @ [*(np.array(fixed.size) - 1) / 2, 1.0]
        radius = float((np.array(fixed.size) * fixed.spacing).max()) / 2
        return LinearMap(middle, radius, is_rigid=self.job.config.transform == "rigid")

    def problem(
        self, transform: Transform, factor: int, similarity: str, bending: float = 0.0, *, known: Tensor | None = None,
        folding: float | None = None,
    ) -> LevelProblem:  # fmt: skip
        """One level."""
        is_linear = transform.displacement is None
        rate = LEARNING_RATE * self.unit * (factor if is_linear else factor**0.5)
        weights = Weights(bending) if folding is None else Weights(bending, folding)
        return LevelProblem(
            transform, self.pair, make_level(self.pair, factor), similarity, self.noise, weights=weights, known=known,
            learning_rate=rate, spacing=self.spacing / 4,
        )  # fmt: skip

    def displaced(self, linear: LinearMap) -> Transform:
        """The linear map with a displacement that is still zero."""
        config, fixed = self.job.config, self.pair.fixed
        name = "siren" if config.field == "siren" else "grid"
        return Transform(fixed, linear, make_displacement(name, fixed, self.spacing, config.seed))


def register(job: Job, pair: Pair) -> Registered:
    """Find where in the moving image each pixel of the fixed one looks."""
    config = job.config
    noise = noise_level(pair.fixed.values), noise_level(pair.moving.values)
    work = _Work(job, pair, noise, config.node_spacing or _spacing(pair))
    chosen: dict[str, Any] = {"transform": config.transform}
    similarity = config.similarity
    if similarity == "auto":
        told = job.decide("similarity", lambda: _told_by_each(work))
        similarity = _simplest(told)
        chosen["mutual_information"] = told
        job.say(
            f"similarity {similarity}: " + ", ".join(f"{name} {value:.3f}" for name, value in told.items()) + " nats"
        )
    chosen["similarity"] = similarity
    is_linear = config.transform in ("rigid", "affine")
    holdout, bending = None, config.bending
    if not is_linear:
        # also with a bending that is given: what it predicts is still told
        found = job.decide("bending", lambda: _judge(work, similarity))
        bending, holdout = found["bending"], found["holdout"]
        chosen |= {"bending": bending, "tried": found["tried"]}
        job.say(f"weight of bending {bending:g}: the smoothest that held-out blocks do not speak against")
    transform = _fitted(work, similarity, bending or 0.0)
    unit = work.problem(transform, level_factors(pair)[0], similarity).similarity.unit
    return Registered(transform, similarity, holdout, unit, chosen, work.stages)


def _spacing(pair: Pair) -> float:
    """Finest pixels between nodes."""
    n_dims = pair.fixed.n_dims
    longest = float((np.array(pair.fixed.size) * pair.fixed.spacing).max() / pair.fixed.spacing.min())
    return min(SPACING[n_dims], max(LEAST_SPACING, longest / INTERVALS[n_dims]))


def _told_by_each(work: _Work) -> dict[str, float]:
    """What held-out blocks of both images tell of one another after a quick registration by each similarity, nats."""
    found = {}
    pair = work.pair
    n_pixels, n_dims = int(np.prod(pair.fixed.size)), pair.fixed.n_dims
    factors = [f for f in level_factors(pair) if n_pixels <= JUDGED_PIXELS * f**n_dims] or level_factors(pair)[:1]
    blocks = _Blocks(work)
    for name in CANDIDATES:
        transform = _quick(work, name, factors, blocks.known)
        work.job.check_stopped()
        # the judge is the same for all, and has not been minimised where it judges
        judge = work.problem(transform, factors[-1], "mi")
        at = blocks.at(factors[-1])
        errors, weights = judge.errors((at < 0).float(), (at >= 0).float())
        found[name] = round(-float((errors * weights).sum() / weights.sum()), 5)
    return found


class _Blocks:
    """Blocks of the fixed image that are held out, at any level."""

    def __init__(self, work: _Work) -> None:
        self.pair = work.pair
        self.numbers = held_out_blocks(work.pair.fixed.size, round(work.spacing), work.job.config.seed)

    def at(self, factor: int) -> Tensor:
        """Their numbers at the pixels of a level, -1 where none is."""
        axes = [at.long().numpy() for at in make_level(self.pair, factor).axes]
        return torch.from_numpy(self.numbers[np.ix_(*reversed(axes))])

    def known(self, factor: int) -> Tensor:
        """1 where nothing is held out."""
        return (self.at(factor) < 0).float()


def _simplest(told: dict[str, float]) -> str:
    """The first that no later one surely tells more than."""
    best = CANDIDATES[0]
    for name in CANDIDATES[1:]:
        if told[name] > GAIN * told[best]:
            best = name
    return best


def _quick(
    work: _Work, similarity: str, factors: list[int], known: Callable[[int], Tensor | None], bending: float = SMOOTH
) -> Transform:
    """A linear map and a smooth displacement, in few steps."""
    linear = work.linear()
    for factor in factors[:LINEAR_LEVELS]:
        _steps(work, work.problem(Transform(work.pair.fixed, linear), factor, similarity, known=known(factor)))
    if work.job.config.transform in ("rigid", "affine"):
        return Transform(work.pair.fixed, linear)
    transform = work.displaced(linear)
    for factor in factors:
        _steps(work, work.problem(transform, factor, similarity, bending, known=known(factor)))
    return transform


def _steps(work: _Work, problem: LevelProblem) -> None:
    work.job.check_stopped()
    # a choice may take half of what is left, however many fits it is made of
    seconds = max(0.05, min(work.job.limit.left / 8, 1e6))
    fit(problem, Budget(seconds, TRIAL_STEPS), schedule=FitSchedule(final_fraction=0.02))


def _judge(work: _Work, similarity: str) -> dict[str, Any]:
    """The weight of bending that held-out blocks choose, and what they say of it."""
    pair, config = work.pair, work.job.config
    blocks, factors = _Blocks(work), level_factors(pair)
    factors = factors[:-1] if len(factors) > 1 else factors
    state: list[Transform] = []
    finest = blocks.at(factors[-1])

    def attempt(bending: float) -> Judged:
        if not state:
            state.append(_quick(work, similarity, factors, blocks.known, bending))
        problem = work.problem(state[0], factors[-1], similarity, bending, known=blocks.known(factors[-1]))
        if len(state) > 1:
            _steps(work, problem)
        state.append(state[0])
        errors, weights = problem.errors((finest < 0).float(), (finest >= 0).float())
        return Judged(bending, block_means(errors, weights, finest))

    if config.bending is not None:
        best = attempt(config.bending)
        tried = [best]
    else:
        best, tried = choose_smoothest(attempt)
    return {"bending": best.bending, "holdout": best.mean, "tried": tried_table(tried)}


def _fitted(work: _Work, similarity: str, bending: float) -> Transform:
    """All levels."""
    config, factors = work.job.config, level_factors(work.pair)
    n_steps = config.steps or STEPS
    linear = work.linear()
    is_linear = config.transform in ("rigid", "affine")
    transform = Transform(work.pair.fixed, linear)
    for factor in factors if is_linear else factors[:LINEAR_LEVELS]:
        problem = work.problem(transform, factor, similarity)
        work.fit(f"linear_{factor}", problem, n_steps, fraction=1.0 if factor == 1 else 0.3)
    if is_linear:
        return transform
    transform = work.displaced(linear)
    for factor in factors:
        problem = work.problem(transform, factor, similarity, bending)
        work.fit(f"level_{factor}", problem, n_steps, fraction=1.0 if factor == 1 else 0.4)
    folding = Weights().folding
    for turn in range(ROUNDS):
        if not has_folds(work.pair, transform):
            break
        folding *= STRONGER
        problem = work.problem(transform, factors[-1], similarity, bending, folding=folding)
        work.fit(f"unfold_{turn}", problem, max(1, n_steps // UNFOLDING))
    return transform


def has_folds(pair: Pair, transform: Transform) -> bool:
    """Whether det J is 0 or less anywhere between the fixed image's pixels."""
    return bool((determinants(pair, transform) <= 0).any())


def sampled_map(pair: Pair, transform: Transform) -> NDArray[np.float32]:
    """Index coordinates [(d,) h, w, n_dims] in the moving image of each pixel of the fixed one."""
    axes = [torch.arange(n, dtype=torch.float32) for n in pair.fixed.size]
    with torch.no_grad():
        return transform.places(transform.pixels(axes), np.linalg.inv(pair.moving.affine)).numpy()


def determinants(pair: Pair, transform: Transform) -> NDArray[np.float32]:
    """det J of the map in the common space, between neighbouring pixels of the fixed image."""
    axes = [torch.arange(n, dtype=torch.float32) for n in pair.fixed.size]
    with torch.no_grad():
        places = transform.places(transform.pixels(axes), np.linalg.inv(pair.fixed.affine))
        return jacobian_determinant(places, [1.0] * pair.fixed.n_dims).numpy()
