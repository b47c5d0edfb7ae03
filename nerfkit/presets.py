"""Settings of a training, and the presets that the methods start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from nerfkit.scenes.fields.configs import FourierFieldConfig, HashFieldConfig
from nerfkit.scenes.sampling_configs import OccupancySamplingConfig, StratifiedSamplingConfig
from nerfkit.scenes.settings import Settings, check_positive

__all__ = ["PRESETS", "SIZES", "AlphaName", "BackgroundName", "ExposureName", "PresetName", "TrainConfig", "preset_for"]

# those of scenes/backgrounds.py, which loads numpy
BackgroundName = Literal["auto", "white", "black", "random"]
# those of scenes/photo_masks.py
AlphaName = Literal["auto", "background", "ignore"]
ExposureName = Literal["auto", "each", "common"]
PresetName = Literal["fast", "default", "best"]


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Everything that decides how a radiance field is trained; written to config.yml."""

    task: ClassVar[str] = "train"

    # which field, and its sizes
    field: HashFieldConfig | FourierFieldConfig = dataclasses.field(default_factory=HashFieldConfig)
    # where along the rays the field is asked
    sampling: OccupancySamplingConfig | StratifiedSamplingConfig = dataclasses.field(
        default_factory=OccupancySamplingConfig
    )
    # the sizes that the settings started from, of the device that it was trained on
    preset: PresetName = "default"
    # peak learning rate of Adam; for the hash field that of the table
    learning_rate: float = 4e-2
    # learning rate at the end, as a share of its peak
    final_share: float = 0.02
    # steps over which the learning rate grows to its peak
    warmup_steps: int = 20
    # samples that a step asks the field for; the number of rays follows from it. None: by device
    samples_per_step: int | None = None
    # weight in its ray below which a sample is left out of a step on a CPU; 0 keeps all. Every fourth step, and every
    # picture, goes down to a tenth of it, so that thin fog is seen as well. On a GPU rays end where less light is left
    min_weight: float = 1e-3
    # most rays in a step
    max_rays: int = 2**14
    # error in [0, 1] beyond which the loss grows linearly (Huber)
    huber_delta: float = 0.1
    # weight of the distortion loss (mip-NeRF 360, eq. 15) of an unbounded scene, 0 or more; a bounded scene has none.
    # 0 leaves it out; three times the default puts surfaces too near (docs/decisions/0022)
    distortion_weight: float = 0.01
    # steps over which that weight grows from 0; rays that begin away from their camera (near_start) need no growth
    distortion_steps: int = 1
    # distance (normalised units: 1 is about that of a camera to the middle) before which the rays of the first step see
    # nothing in an unbounded scene, 0 or more; it falls to 0 over so many steps, so that no wall comes up before a
    # camera
    near_start: float = 0.5
    near_steps: int = 150
    # weight of the loss of distances that the data tell (points of COLMAP, depth maps), relative errors; 0 or more, and
    # 0 leaves them out. It halves every so many steps
    depth_weight: float = 0.3
    depth_half_steps: int = 1000
    # whether cameras are corrected as the scene is learnt: a turn and a shift each, one factor of all focal lengths
    refine_poses: bool = False
    # least x, y, z, then greatest, of the box that the scene is in, in the frame and unit of the poses; space beyond it
    # is empty before a background colour, else contracted. None: found from the photos
    box: tuple[float, float, float, float, float, float] | None = None
    # photos are scaled down by this factor; None: to the largest side below
    downscale: float | None = None
    # longest side of a photo in pixels when downscale is None; None: 400 on a CPU, 1600 on a GPU
    max_side: int | None = None
    # whether steps are played from CUDA graphs: on a GPU alone, and where the fused kernels take field and sampling.
    # Rays are then 1, 1.25, 1.5 or 1.75 times a power of two, and every step goes down to a tenth of min_weight
    captured: bool = False
    # whether each photo has a gain and an offset of its own; auto: where the photos differ in brightness, told at
    # step 150. New views have their mean, none. Captured steps take auto for common
    exposure: ExposureName = "auto"
    # what lies behind the scene
    background: BackgroundName = "auto"
    # what transparent pixels are: nothing behind an object, or parts of a scene that nobody knows; auto: by the photos
    alpha: AlphaName = "auto"
    # wall seconds to train for, from the first step; None: steps decide
    seconds: float | None = 120.0
    # steps to train for; None: seconds decide
    steps: int | None = None
    # seconds between two checkpoints
    checkpoint_seconds: float = 60.0
    # seed of every random draw
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_weight < 0:
            raise ValueError(f"min_weight must be 0 or more; got {self.min_weight}")
        if self.distortion_weight < 0:
            raise ValueError(f"distortion_weight must be 0 or more; got {self.distortion_weight}")
        for name in ("depth_weight", "near_start"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")
        for name in (
            "learning_rate", "final_share", "warmup_steps", "samples_per_step", "max_rays", "huber_delta", "max_side",
            "seconds", "steps", "checkpoint_seconds", "distortion_steps",
            "depth_half_steps", "near_steps",
        ):  # fmt: skip
            check_positive(name, getattr(self, name))
        if self.box is not None and not all(low < high for low, high in zip(self.box[:3], self.box[3:], strict=True)):
            raise ValueError(f"box must be x0,y0,z0,x1,y1,z1 with x0 < x1, y0 < y1 and z0 < z1; got {self.box}")
        if self.downscale is not None and not self.downscale >= 1:
            raise ValueError(f"downscale must be 1 or more; got {self.downscale}")
        if self.seconds is None and self.steps is None:
            raise ValueError("seconds and steps are both null; one of them says when training ends")


# what each method starts from, by the kind of its field
PRESETS = {
    "hash": TrainConfig(),
    "fourier": TrainConfig(field=FourierFieldConfig(n_layers=3), learning_rate=3e-3, distortion_weight=0.0),
}

# by device, method and preset, what differs from the above. On a CPU: fast has the table that is ahead in the first 20
# seconds (scripts/bench_cpu_choices.py) and smaller photos, best is for ten minutes and more; neither was measured as a
# whole. On a GPU the default has instant-ngp's sizes (arXiv:2201.05989, table 1), and radiance_fit.py its 2^18 samples
# a step; fast is a CPU's field
SIZES: dict[tuple[str, str, PresetName], Mapping[str, Any]] = {
    ("cpu", "hash", "fast"): {"field": {"log2_table_size": 15}, "max_side": 300},
    ("cpu", "hash", "best"): {"field": {"log2_table_size": 19, "max_resolution": 1024, "width": 64}, "max_side": 800},
    ("cpu", "fourier", "fast"): {"field": {"width": 32}, "max_side": 300},
    ("cpu", "fourier", "best"): {"field": {"width": 128, "n_layers": 4}, "max_side": 800},
    ("cuda", "hash", "default"): {"field": {"log2_table_size": 19, "max_resolution": 1024, "width": 64}},
    ("cuda", "hash", "best"): {
        "field": {"log2_table_size": 21, "max_resolution": 2048, "width": 64}, "samples_per_step": 2**19,
        "sampling": {"resolution": 128, "n_steps": 1024}, "max_rays": 2**16,
    },
    ("cuda", "fourier", "best"): {"field": {"width": 128, "n_layers": 4}},
}  # fmt: skip


def preset_for(method: str, device: str, name: PresetName = "default") -> TrainConfig:
    """The settings that a method starts from on a kind of device.

    Parameters
    ----------
    method : str
        One of ``PRESETS``.
    device : {"cpu", "cuda"}
        Where it will be trained. What was trained on one is rendered on any other.
    name : {"fast", "default", "best"}
        How large.

    Examples
    --------
    >>> preset_for("hash", "cpu") == PRESETS["hash"]
    True
    >>> preset_for("hash", "cuda").field.log2_table_size
    19
    """
    from nerfkit.config import from_dict

    return from_dict(PRESETS[method], {"preset": name, **SIZES.get((device, method, name), {})}, where="preset")
