"""The task `register`: where in a second image or volume each pixel of a first one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import check_positive, check_range
from nerfkit.workbench.settings import AUTO, FitConfig
from nerfkit.workbench.task import PICTURES, FitTask, Simulated

if TYPE_CHECKING:
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.registration.inputs import Displacement, RegisterData

__all__ = ["TASK", "RegisterConfig"]

FIELDS = (AUTO, "grid", "siren")


@dataclass(frozen=True)
class RegisterConfig(FitConfig):
    """What a user may say of a registration; written to config.yml."""

    task: ClassVar[str] = "register"

    # what the map may be; a displacement is added to an affine map
    transform: Literal["rigid", "affine", "displacement"] = "displacement"
    # by which the images are compared; auto: the simplest of ssd, ncc and mi after which they tell most of one another
    similarity: Literal["auto", "ssd", "ncc", "mi", "mind"] = AUTO
    # what holds the displacement: auto and grid, B-splines on grids of halved spacing; siren, a sine network
    field: str = AUTO
    # weight of bending, above 0; None: chosen by held-out blocks
    bending: float | None = None
    # pixels between the nodes of the finest grid, 2 or more; None: 4 to 16 of a picture, 4 to 8 of a volume
    node_spacing: float | None = None
    # steps of each level, 1 or more; None: 60
    steps: int | None = None
    # csv with pairs of points whose distance is told
    landmarks: str | None = None
    # whether classical registrations are run beside it where the truth is known; they take their own time
    baselines: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.field not in FIELDS:
            raise ValueError(f"field must be one of {', '.join(FIELDS)}; got {self.field!r}")
        check_positive("bending", self.bending)
        if self.node_spacing is not None:
            check_range("node_spacing", self.node_spacing, 2, 1e6)
        if self.steps is not None:
            check_range("steps", self.steps, 1, 10**6)

    def below(self, folder: Path) -> Self:
        """The settings with the path of the landmarks that started at ``folder``."""
        return self if self.landmarks is None else replace(self, landmarks=str(folder / self.landmarks))


def read(paths: Sequence[Path], config: RegisterConfig) -> RegisterData:
    """Read two pictures or two volumes, and the landmarks."""
    from nerfkit.workbench.registration.inputs import read_pair

    return read_pair(paths, config.landmarks)


def shape(data: RegisterData, config: RegisterConfig) -> tuple[int, ...]:
    """Of the displacement."""
    values = data.pair.fixed.values
    return *values.shape, values.ndim


def read_truth(path: str | Path) -> Displacement:
    """A true displacement."""
    from nerfkit.workbench.registration.inputs import read_displacement

    return read_displacement(path)


def simulate(paths: Sequence[Path], config: RegisterConfig, keys: dict[str, Any]) -> Simulated:
    """The input is the moving image; the fixed one is made from it by a known warp."""
    from nerfkit.workbench.registration.simulated_pair import simulate_pair
    from nerfkit.workbench.registration.simulation import KINDS

    where = "--simulate"
    if keys["kind"] not in KINDS:
        raise NerfkitError(f"no kind {keys['kind']!r}", where=where, fix=f"there are {', '.join(KINDS)}")
    if not 0 < keys["warp"] <= 1e4:
        raise NerfkitError(f"warp must be above 0 pixels; got {keys['warp']:g}", where=where, fix="warp=10")
    if len(paths) > 1:
        raise NerfkitError("takes one image: the other one is made", where=where, fix="leave the second one out")
    return simulate_pair(paths[0], keys["warp"], keys["kind"], config.seed)


def solve(job: Job) -> Outcome:
    """Choose without the truth, fit from coarse to fine, and tell what came out."""
    from nerfkit.workbench.registration.outcome import registration_outcome
    from nerfkit.workbench.registration.register import register

    pair = job.data.pair
    # first: a truth of another place is refused before the fit
    truth = None if job.truth is None else job.truth.in_pixels(pair)
    return registration_outcome(job, register(job, pair), truth)


TASK = FitTask(
    name="register", holds="a registration", data="two images or two volumes",
    usage="{run}/displacement.npy says where each pixel of the first is in the second",
    presets={"register": RegisterConfig()}, read=read, solve=solve, most_inputs=2, shape=shape, read_truth=read_truth,
    suffixes=(*PICTURES, ".nii.gz", ".nii"), simulate=simulate, simulate_keys={"warp": 10.0, "kind": "plain"},
)  # fmt: skip
