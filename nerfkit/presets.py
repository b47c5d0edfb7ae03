"""Settings of a training run: typed, nested, checked; and the presets that the methods start from."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import types
import typing
from dataclasses import dataclass
from typing import Any

from nerfkit.scenes.backgrounds import BACKGROUNDS
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.configs import FourierFieldConfig, HashFieldConfig
from nerfkit.scenes.sampling_configs import OccupancySamplingConfig, StratifiedSamplingConfig

__all__ = ["PRESETS", "TrainConfig", "config_from_dict", "override", "usable_cores"]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides how a radiance field is trained; written to config.yml."""

    # name of the field, as registered in scenes/fields
    method: str = "hash"
    # sizes of the field
    field: HashFieldConfig | FourierFieldConfig = dataclasses.field(default_factory=HashFieldConfig)
    # where along the rays the field is asked
    sampling: OccupancySamplingConfig | StratifiedSamplingConfig = dataclasses.field(
        default_factory=OccupancySamplingConfig
    )
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
    # photos are scaled down by this factor; None: to the largest side below
    downscale: float | None = None
    # longest side of a photo in pixels when downscale is None; None: 400 on a CPU, 1600 on a GPU
    max_side: int | None = None
    # whether steps are played from CUDA graphs: on a GPU alone, and where the fused kernels take field and sampling.
    # Rays are then 1, 1.25, 1.5 or 1.75 times a power of two, and every step goes down to a tenth of min_weight
    captured: bool = False
    # what lies behind the scene: auto, white, black or random
    background: str = "auto"
    # wall seconds to train for, from the first step; None: steps decide
    seconds: float | None = 120.0
    # steps to train for; None: seconds decide
    steps: int | None = None
    # seconds between two checkpoints
    checkpoint_seconds: float = 60.0
    # seed of every random draw
    seed: int = 0

    def __post_init__(self) -> None:
        if self.min_weight < 0:
            raise ValueError(f"min_weight must be 0 or more; got {self.min_weight}")
        for name in ("learning_rate", "final_share", "huber_delta", "checkpoint_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}")
        for name in ("samples_per_step", "max_side", "seconds", "steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive or null; got {value}")
        for name in ("warmup_steps", "max_rays"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if self.downscale is not None and not self.downscale >= 1:
            raise ValueError(f"downscale must be 1 or more; got {self.downscale}")
        if self.seconds is None and self.steps is None:
            raise ValueError("seconds and steps are both null; one of them says when training ends")
        if self.background not in BACKGROUNDS:
            raise ValueError(f"background must be one of {', '.join(BACKGROUNDS)}; got {self.background!r}")


# what each method starts from; --set and --config change single values
PRESETS = {
    "hash": TrainConfig(),
    "fourier": TrainConfig(method="fourier", field=FourierFieldConfig(n_layers=3), learning_rate=3e-3),
}
# where a method may be asked along the rays, by the name that --set sampling=NAME takes
SAMPLINGS = {"occupancy": OccupancySamplingConfig, "stratified": StratifiedSamplingConfig}


def override(config: TrainConfig, assignments: list[str]) -> TrainConfig:
    """``config`` with values replaced, as ``--set field.n_levels=12`` names them.

    Examples
    --------
    >>> override(PRESETS["hash"], ["field.width=64"]).field.width
    64
    """
    values = dataclasses.asdict(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        names = path.split(".")
        target = values
        for name in names[:-1]:
            target = target.get(name) if isinstance(target, dict) else None
        if not equals or not isinstance(target, dict) or names[-1] not in target:
            known = ", ".join(_paths(dataclasses.asdict(config)))
            raise NerfkitError(
                f"{assignment!r} is no setting; wanted NAME=VALUE with NAME one of {known}", where="--set"
            )
        if path == "method":
            # another method has other settings below field and sampling
            raise NerfkitError(
                "the method is chosen first, its settings follow", where="--set", fix=f"use --method {text}"
            )
        target[names[-1]] = dataclasses.asdict(_sampling(text)) if path == "sampling" else _parse(text)
    return config_from_dict(values, where="--set")


def _sampling(name: str) -> OccupancySamplingConfig | StratifiedSamplingConfig:
    if name not in SAMPLINGS:
        raise NerfkitError(f"sampling must be one of {', '.join(SAMPLINGS)}; got {name!r}", where="--set")
    return SAMPLINGS[name]()


def config_from_dict(values: dict[str, Any], *, where: str) -> TrainConfig:
    """The settings in ``values``, as read from config.yml; what is absent has the method's preset value."""
    method = values.get("method", "hash")
    if method not in PRESETS:
        raise NerfkitError(f"method must be one of {', '.join(PRESETS)}; got {method!r}", where=where)
    try:
        return _build(PRESETS[method], values)
    except (TypeError, ValueError) as error:
        raise NerfkitError(str(error), where=where, fix="correct the value") from error


def _build(base: Any, values: dict[str, Any]) -> Any:
    """A copy of the dataclass ``base`` with ``values``; nested ones likewise; types are checked."""
    hints = typing.get_type_hints(type(base))
    unknown = set(values) - set(hints)
    if unknown:
        raise ValueError(f"unknown settings {', '.join(sorted(unknown))}; there are {', '.join(hints)}")
    changed = {}
    for name, value in values.items():
        current = getattr(base, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise ValueError(f"{name} must be a group of settings {', '.join(vars(current))}; got {value!r}")
            changed[name] = _build(_of_kind(current, value) if name == "sampling" else current, value)
        else:
            changed[name] = _checked(name, value, hints[name])
    return dataclasses.replace(base, **changed)


def _of_kind(current: Any, values: dict[str, Any]) -> Any:
    """The kind of sampling whose settings the values are: ``current`` or, where they are another's, that one."""
    kinds = [current, *(kind() for kind in SAMPLINGS.values())]
    return next((kind for kind in kinds if set(values) <= set(vars(kind))), current)


def _checked(name: str, value: Any, hint: Any) -> Any:
    wanted = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in wanted and isinstance(value, int | str) and not isinstance(value, bool):
        # YAML 1.1 takes 1e-3, which lacks a point, for a text
        with contextlib.suppress(ValueError):
            return float(value)
    if not any(isinstance(value, kind) and isinstance(value, bool) == (kind is bool) for kind in wanted):
        names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in wanted)
        raise ValueError(f"{name} must be {names}; got {value!r}")
    return value


def _parse(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        # not YAML, so a text; where one is not wanted, the type check says so
        return text


def _paths(values: dict, prefix: str = "") -> list[str]:
    out = []
    for name, value in values.items():
        out += _paths(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return out


def usable_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
