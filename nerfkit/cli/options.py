"""Options of a command: a dataclass whose fields become arguments of argparse."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import check_number

__all__ = [
    "CommonOptions",
    "DatasetOptions",
    "argument",
    "option",
    "parse",
    "parse_box",
    "parse_bytes",
    "parse_cells",
    "parse_crop",
    "parse_size",
]

T = TypeVar("T")


def argument(help: str, *, default: Any = dataclasses.MISSING, metavar: str | None = None) -> Any:
    """A positional argument; optional when it has a default, any number of them when that is a list."""
    metadata = {"help": help, "positional": True, "metavar": metavar}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def option(
    default: Any, help: str, *, kind: Callable[[str], Any] | None = None, choices: Sequence[str] | None = None,
    flag: str | None = None, metavar: str | None = None, many: bool = False,
) -> Any:  # fmt: skip
    """An option ``--name``; a bool default makes it a switch, ``many`` lets it be given more than once."""
    metadata = {
        "help": help,
        "kind": kind,
        "choices": choices,
        "flag": flag,
        "metavar": metavar,
        "many": many,
    }
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class CommonOptions:
    """What every command takes."""

    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda"))
    seed: int = option(0, "seed of every random draw", kind=int, metavar="N")
    json: bool = option(False, "print one JSON object as the last line of stdout, and nothing else there")
    quiet: bool = option(False, "print only warnings and errors")
    debug: bool = option(False, "show the full traceback of an error")


@dataclass(kw_only=True)
class DatasetOptions(CommonOptions):
    """What commands take besides that read posed photos."""

    also_read: list[str] = option(  # noqa: RUF009  it returns a dataclass field that makes a new list each time
        [], "a folder that the dataset may name files of, besides its own and the one above; may be given again",
        many=True, metavar="DIR",
    )  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        wrong = re.search("unrecognized arguments: (--[^ =]+)", message)
        near = difflib.get_close_matches(wrong[1], self._option_string_actions, n=1) if wrong else []
        meant = f"did you mean {near[0]}? " if near else ""
        raise NerfkitError(message, where=self.prog, fix=f"{meant}see {self.prog} --help")


def parse(options_class: type[T], name: str, description: str, argv: list[str]) -> T:
    """The options in ``argv`` as an instance of ``options_class``.

    Raises
    ------
    NerfkitError
        An unknown option, an absent argument, a value of another type or a number that is not finite.
    """
    text = f"{description[0].upper()}{description[1:]}."
    # no abbreviations: a script that uses one breaks when a new option begins the same way
    parser = _Parser(prog=f"nerfkit {name}", description=text, allow_abbrev=False)
    for field in dataclasses.fields(options_class):  # pyright: ignore[reportArgumentType]
        _add(parser, field)
    values = vars(parser.parse_args(argv))
    for name, value in values.items():
        option = f"--{name.replace('_', '-')}"
        try:
            check_number(name, value)
        except ValueError as error:
            raise NerfkitError(str(error), where=option, fix=f"correct it, or leave {option} out") from error
    return options_class(**values)


def _add(parser: argparse.ArgumentParser, field: dataclasses.Field) -> None:
    meta = field.metadata
    if meta.get("positional"):
        is_optional = field.default is not dataclasses.MISSING
        extra: dict[str, Any] = {"nargs": "?", "default": field.default} if is_optional else {}
        if field.default_factory is not dataclasses.MISSING:
            extra = {"nargs": "*", "default": field.default_factory()}
        parser.add_argument(field.name, help=meta["help"], metavar=meta["metavar"] or field.name.upper(), **extra)
        return
    names = [f"--{field.name.replace('_', '-')}"]
    if meta["flag"]:
        names.insert(0, meta["flag"])
    if isinstance(field.default, bool):
        parser.add_argument(*names, action="store_true", help=meta["help"], dest=field.name)
        return
    default = field.default if field.default is not dataclasses.MISSING else None
    text = meta["help"]
    if default is not None:
        text += f" (default: {default})"
    extra = {"action": "append", "default": []} if meta["many"] else {"default": default}
    parser.add_argument(
        *names, dest=field.name, help=text.replace("%", "%%"), type=meta["kind"] or str, choices=meta["choices"],
        metavar=meta["metavar"], **extra,
    )  # fmt: skip


def parse_size(text: str | None, name: str, *, most: int = 16384) -> tuple[int, int] | None:
    """Width and height of ``WxH``, the value of the option ``name``, each up to ``most``; None when not given."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None or not (1 <= int(match[1]) <= most and 1 <= int(match[2]) <= most):
        raise NerfkitError(
            f"must be WIDTHxHEIGHT in pixels, 1 to {most}; got {text!r}", where=name, fix="for example 640x360"
        )
    return int(match[1]), int(match[2])


def parse_bytes(text: str | None, name: str) -> int | None:
    """Bytes of a size such as ``4GB``, ``500 MB`` or ``2GiB``, the value of the option ``name``; None when not given.

    Examples
    --------
    >>> parse_bytes("1.5GB", ""), parse_bytes("512 MiB", ""), parse_bytes("4g", "")
    (1500000000, 536870912, 4000000000)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?) ?([kMGT])(i?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise NerfkitError(f"must be a size in MB or GB; got {text!r}", where=name, fix="for example 4GB")
    power = "KMGT".index(match[2].upper()) + 1
    return round(float(match[1]) * (1024 if match[3] else 1000) ** power)


def parse_cells(text: str | None, name: str) -> int | None:
    """Cells along the longest side of a mesh, the value of the option ``name``; None when not given."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,5}", text) is None:
        raise NerfkitError(
            f"must be the number of cells along the longest side; got {text!r}", where=name, fix="for example 256"
        )
    return int(text)


def parse_box(text: str | None, name: str = "--box") -> tuple[float, ...] | None:
    """Least x, y, z and greatest x, y, z of ``X,Y,Z,X,Y,Z``, the value of the option ``name``; None when not given.

    Examples
    --------
    >>> parse_box("-1,-1,0, 1,1,2.5")
    (-1.0, -1.0, 0.0, 1.0, 1.0, 2.5)
    """
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
        if len(values) == 6 and all(map(math.isfinite, values)):
            return values
    except ValueError:
        pass
    raise NerfkitError(
        f"must be six numbers, least x, y, z and greatest x, y, z; got {text!r}", where=name,
        fix=f"for example {name}=-1,-1,-1,1,1,1",
    )  # fmt: skip


def parse_crop(text: str | None, name: str = "--crop") -> tuple[int, ...] | None:
    """x, y, width and height of ``X,Y,W,H`` or, as ImageMagick has it, ``WxH+X+Y``; None when not given.

    Of a volume x, y, z, width, height and depth of ``X,Y,Z,W,H,D``.

    Examples
    --------
    >>> parse_crop("8,10,40,20"), parse_crop("40x20+8+10"), parse_crop("0,0,9,4,4,1")
    ((8, 10, 40, 20), (8, 10, 40, 20), (0, 0, 9, 4, 4, 1))
    """
    if text is None:
        return None
    plain = text.replace(" ", "")
    if re.fullmatch(r"(\d{1,5},){5}\d{1,5}", plain):
        return tuple(int(part) for part in plain.split(","))
    if match := re.fullmatch(r"(\d{1,5})[xX](\d{1,5})\+(\d{1,5})\+(\d{1,5})", plain):
        width, height, x, y = (int(part) for part in match.groups())
    elif match := re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", plain):
        x, y, width, height = (int(part) for part in match.groups())
    else:
        raise NerfkitError(
            f"must be X,Y,WIDTH,HEIGHT in pixels, or WIDTHxHEIGHT+X+Y; got {text!r}", where=name,
            fix="for example 0,0,200,100",
        )  # fmt: skip
    return x, y, width, height
