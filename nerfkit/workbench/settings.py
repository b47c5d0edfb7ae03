"""Settings that all tasks of `nerfkit fit` share; free of torch, so that the command line can list them at once."""

from __future__ import annotations

from dataclasses import dataclass

from nerfkit.scenes.fields.named import FIELD_NAMES, RECIPES
from nerfkit.scenes.settings import Settings, check_positive, check_range

__all__ = ["AUTO", "START_FIELD", "FieldSettings", "FitConfig", "check_field"]

AUTO = "auto"
# what `nerfkit fit many` learns a start of
START_FIELD = "siren"
# parameters of a field
MIN_PARAMS, MAX_PARAMS = 16, 2**28


@dataclass(frozen=True)
class FitConfig(Settings):
    """What every task of `nerfkit fit` may be told."""

    # wall seconds from the first step, at least 0.1; a limit, as work ends when its steps are done
    seconds: float = 60.0
    # seed of every random draw
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("seconds", self.seconds, 0.1, 1e9)
        check_range("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True)
class FieldSettings(FitConfig):
    """What tasks may be told that fit one field of a name."""

    # name of the field; auto: the task's own
    field: str = AUTO
    # parameters at most, 16 to 2**28; None: the task's own number
    n_params: int | None = None
    # standard deviation of Fourier features, cycles along the longer side, above 0; None: chosen by held-out pixels
    sigma: float | None = None
    # frequency of sines and wavelets, steepness of Gaussians, above 0; None: chosen by held-out pixels
    scale: float | None = None
    # Adam's peak rate, above 0; None: the field's own
    learning_rate: float | None = None
    # steps of the fit, 1 or more; None: the task's own number
    steps: int | None = None
    # a run of nerfkit fit many, or its start.safetensors, that the field begins with; None: it begins with nothing
    start: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field("field", self.field)
        if self.start is not None and self.field not in (AUTO, START_FIELD):
            raise ValueError(f"a start is of the field {START_FIELD}, not {self.field}: leave field out, or start")
        if self.n_params is not None:
            check_range("n_params", self.n_params, MIN_PARAMS, MAX_PARAMS)
        if self.steps is not None:
            check_range("steps", self.steps, 1, 10**9)
        for name in ("sigma", "scale", "learning_rate"):
            check_positive(name, getattr(self, name))
        for name in ("sigma", "scale"):
            if getattr(self, name) is not None and self.field != AUTO and RECIPES[self.field].knob != name:
                has = RECIPES[self.field].knob or "neither sigma nor scale"
                raise ValueError(f"{name} is none of the field {self.field}'s settings: it has {has}")

    def field_or(self, default: str) -> str:
        """The field that is named, else that of a start, else the ``default``."""
        if self.field != AUTO:
            return self.field
        return default if self.start is None else START_FIELD

    @property
    def knob(self) -> float | None:
        """The value of sigma or scale that is given; None: it is to be chosen."""
        return self.sigma if self.sigma is not None else self.scale


def check_field(name: str, value: str) -> None:
    """Raise ValueError unless ``value`` is the name of a field, or auto."""
    if value not in (AUTO, *FIELD_NAMES):
        raise ValueError(f"{name} must be {AUTO} or one of {', '.join(FIELD_NAMES)}; got {value!r}")
