"""What a task of `nerfkit fit` is: its settings, how its input is read, and how it is solved. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.scenes.errors import NerfkitError
from nerfkit.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nerfkit.fitted_field import FittedField
    from nerfkit.runs import Run
    from nerfkit.scenes.readers.picture import PictureFile
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["PICTURES", "FitTask", "Simulated"]

# suffixes of pictures that are written: whole numbers, or floats
PICTURES = (".png", ".tif", ".tiff", ".npy")


def _read_picture(path: str | Path) -> PictureFile:
    from nerfkit.scenes.readers.picture import read_picture

    return read_picture(path)


def _load(run: Run, device: str) -> FittedField:
    from nerfkit.fitted_field import FittedField

    return FittedField(run, device)


@dataclass(frozen=True)
class Simulated:
    """Measurements that were made from an input.

    Parameters
    ----------
    data : object
        What the task's ``read`` gives of their file.
    truth : PictureFile or Volume
        What they were made from.
    arrays : mapping
        What is written to measurements.npz.
    truth_arrays : mapping
        What is written to truth.npz where the truth is not the input itself, such as a part of it; empty: it is.
    """

    data: Any
    truth: Any
    arrays: Mapping[str, NDArray]
    truth_arrays: Mapping[str, NDArray] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Write the measurements, and give their path."""
        return self._write(path, self.arrays)

    def write_truth(self, path: Path, source: Path) -> Path:
        """Where the truth is: the ``source`` of the measurements, or what is written to ``path``."""
        return self._write(path, self.truth_arrays) if self.truth_arrays else source

    def _write(self, path: Path, arrays: Mapping[str, NDArray]) -> Path:
        from nerfkit.files import npz_bytes, write_atomically

        write_atomically(path, npz_bytes(**arrays))
        return path


@dataclass(frozen=True)
class FitTask(Task):
    """A task of `nerfkit fit`.

    Parameters
    ----------
    runs_code : callable
        Whether reading an input of that name runs it.
    read : callable
        From the inputs' paths and the settings to what :attr:`solve` works on; says what is wrong with them.
    solve : callable
        From a :class:`nerfkit.workbench.job.Job` to what is written.
    suffixes : tuple of str
        How the name of the output may end; "" stands for a folder.
    most_inputs : int
        How many files it takes at most.
    shape : callable, optional
        From what ``read`` gave and the settings to the shape of the output, (h, w, c) of a picture, which a truth must
        have; (): the task compares with any; None: there is no truth to compare with.
    read_truth : callable
        From the path of a truth to what it holds; ``values`` is an array of the output's shape.
    simulate : callable, optional
        From the inputs' paths, the settings and the values of ``simulate_keys`` to measurements; None: it measures
        nothing that could be simulated.
    simulate_keys : mapping
        Names that ``--simulate`` takes, and their defaults, whose types they must have.
    """

    load: Callable[[Run, str], Any] = _load
    runs_code: Callable[[Path], bool] = lambda path: False
    inputs: tuple[str, ...] = ("more", "truth", "output", "example")
    read: Callable[[Sequence[Path], Any], Any] = field(default=lambda paths, config: None)
    solve: Callable[[Job], Outcome] = field(default=lambda job: NotImplemented)
    suffixes: tuple[str, ...] = PICTURES
    most_inputs: int = 1
    shape: Callable[[Any, Any], tuple[int, ...]] | None = None
    read_truth: Callable[[str | Path], Any] = _read_picture
    simulate: Callable[[Sequence[Path], Any, dict[str, Any]], Simulated] | None = None
    simulate_keys: Mapping[str, Any] = field(default_factory=dict)

    def suffix_of(self, output: Path) -> str:
        """The one of :attr:`suffixes` that the output's name ends in.

        Raises
        ------
        NerfkitError
            It ends in none of them.
        """
        name = output.name.lower()
        ends = [suffix for suffix in self.suffixes if (name.endswith(suffix) if suffix else not output.suffix)]
        if not ends:
            raise NerfkitError(
                f"{self.name} writes {', '.join(self.suffixes)}; got {output.suffix or 'a name without suffix'}",
                where=output, fix=f"end its name in {self.suffixes[0]}",
            )  # fmt: skip
        return max(ends, key=len)

    def simulated(self, paths: Sequence[Path], config: Any, given: Mapping[str, Any]) -> Simulated:
        """What :attr:`simulate` makes with the values ``given``.

        Raises
        ------
        NerfkitError
            The task cannot simulate, or a name or a value is wrong.
        """
        where = "--simulate"
        if self.simulate is None:
            raise NerfkitError(f"{self.name} measures nothing that could be simulated", where=where, fix="leave it out")
        keys = dict(self.simulate_keys)
        for name, value in given.items():
            if name not in keys:
                raise NerfkitError(f"{name} is no key of {self.name}", where=where, fix=f"there are {', '.join(keys)}")
            try:
                keys[name] = type(keys[name])(value)
            except (TypeError, ValueError) as error:
                kind = "a number" if isinstance(keys[name], int | float) else "a text"
                raise NerfkitError(
                    f"{name} must be {kind}; got {value!r}", where=where, fix=f"for example {name}={keys[name]}"
                ) from error
        return self.simulate(paths, config, keys)
