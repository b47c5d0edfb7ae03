"""Settings of every task from files, ``--set`` and keywords, checked, and back to files.

A task's settings are frozen dataclasses, nested in groups. A group that has several kinds names its own:
``field: {kind: hash, width: 64}``; another kind starts from that kind's defaults. cattrs turns the values into the
dataclasses; what is here says what is wrong in words of the user's: where, which setting, what was seen and wanted.
"""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from nerfkit.scenes.errors import NerfkitError

__all__ = ["assigned", "dump", "from_dict", "load", "override", "to_dict"]

T = TypeVar("T")

# cattrs and yaml are imported where they are used: `nerfkit --help` needs neither


def load(path: str | Path) -> dict[str, Any]:
    """The values in a YAML file, not yet checked.

    Raises
    ------
    NerfkitError
        It cannot be read, is no YAML or holds no names with values.
    """
    path, fix = Path(path), "give a config.yml that a run wrote"
    try:
        values = _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NerfkitError(f"cannot be read ({error.strerror or error})", where=path, fix=fix) from error
    except ValueError as error:
        raise NerfkitError(f"is no YAML ({error})", where=path, fix=fix) from error
    if not isinstance(values, dict):
        raise NerfkitError("holds no settings", where=path, fix=fix)
    return values


def dump(values: Mapping[str, Any]) -> bytes:
    """Values as YAML, in their order."""
    import yaml

    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True).encode()


def to_dict(config: Any) -> dict[str, Any]:
    """The settings as plain values, which :func:`from_dict` takes back; groups with several kinds name theirs.

    Examples
    --------
    >>> from nerfkit.presets import PRESETS
    >>> to_dict(PRESETS["hash"])["sampling"]["kind"]
    'occupancy'
    """
    kind = {"kind": config.kind} if hasattr(config, "kind") else {}
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return kind | {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return list(value) if isinstance(value, tuple) else value


def from_dict(base: T, values: Mapping[str, Any], *, where: str | Path) -> T:
    """``base`` with the settings in ``values`` in place of its own.

    Parameters
    ----------
    base : dataclass instance
        What is absent from ``values`` has its value here.
    values : mapping
        Plain values, nested in groups, as a file holds them.
    where : str or Path
        The file or the option that they are from, for messages.

    Raises
    ------
    NerfkitError
        A name that there is not, a value of another type, one that is not finite or out of its range.

    Examples
    --------
    >>> from nerfkit.presets import PRESETS
    >>> from_dict(PRESETS["hash"], {"field": {"width": 64}}, where="config.yml").field.width
    64
    """
    from cattrs.errors import ClassValidationError

    before = to_dict(base)
    merged = _merged(before, values)
    try:
        return _converter().structure(merged, type(base))
    except ClassValidationError as error:
        what, fix = next(_problems(error, "", merged))
        raise NerfkitError(what, where=where, fix=fix or _default(what, before)) from error


def override(config: T, assignments: Sequence[str], *, where: str = "--set") -> T:
    """``config`` with settings replaced, as ``--set field.n_levels=12`` names them.

    Examples
    --------
    >>> from nerfkit.presets import PRESETS
    >>> override(PRESETS["hash"], ["sampling.kind=stratified", "sampling.n_samples=32"]).sampling.n_samples
    32
    """
    return from_dict(config, assigned(assignments, where=where), where=where)


def assigned(assignments: Sequence[str], *, where: str = "--set") -> dict[str, Any]:
    """The values that assignments make, nested in groups; of two to the same setting the later one holds.

    Examples
    --------
    >>> assigned(["field.width=64", "seed=1"])
    {'field': {'width': 64}, 'seed': 1}
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        *groups, name = path.split(".")
        if not equals or not name:
            raise NerfkitError(f"wanted NAME=VALUE; got {assignment!r}", where=where, fix="for example seed=1")
        target = values
        for group in groups:
            if not isinstance(target.setdefault(group, {}), dict):
                raise NerfkitError(f"{group} is set as a whole and in parts", where=where, fix="leave one of them out")
            target = target[group]
        target[name] = _value(text)
    return values


def _merged(base: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    if values.get("kind", base.get("kind")) != base.get("kind"):
        return dict(values)

    def both(name: str, value: Any) -> Any:
        is_group = isinstance(base.get(name), dict) and isinstance(value, Mapping)
        return _merged(base[name], value) if is_group else value

    return base | {name: both(name, value) for name, value in values.items()}


def _parse(text: str) -> Any:
    """YAML in which, as in YAML 1.2 and JSON, 1e-3 is a number."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            # ten names of lists of ten names of lists ... are a billion values in a few lines
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError(f"*{self.peek_event().anchor}: a value by its name is not read; write it out")
            return super().compose_node(parent, index)

    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(number.pattern + "$"), list("-+0123456789."))
    try:
        return yaml.load(text, Loader)
    except RecursionError:
        raise ValueError("its lists and groups are nested too deep") from None
    # a date that there is not, a number without digits: what its constructors raise
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(" ".join(str(error).split())[:500]) from error


def _value(text: str) -> Any:
    try:
        return _parse(text)
    except ValueError:
        # not YAML, so a text; where one is not wanted, the type check says so
        return text


@cache
def _converter() -> Any:
    """cattrs without its conversions: a text is no number, 1 is no truth value, a kind is named and never guessed."""
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=True)
    for kind in (int, float, bool, str):
        converter.register_structure_hook(kind, _strict)
    converter.register_structure_hook_func(_is_choice_of_values, _any_of)
    converter.register_structure_hook_func(_is_choice_of_groups, _group_by_kind)
    return converter


def _strict(value: Any, kind: type) -> Any:
    # numpy's numbers, which Python calls may hand over, are such numbers too
    wanted = {int: numbers.Integral, float: numbers.Real}.get(kind, kind)
    if not isinstance(value, wanted) or isinstance(value, bool) != (kind is bool):
        raise TypeError
    return kind(value)


def _is_choice_of_values(hint: Any) -> bool:
    return _is_union(hint) and not _is_choice_of_groups(hint)


def _is_choice_of_groups(hint: Any) -> bool:
    return _is_union(hint) and all(map(dataclasses.is_dataclass, typing.get_args(hint)))


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _any_of(value: Any, union: Any) -> Any:
    for hint in typing.get_args(union):
        if hint is type(None) and value is None:
            return None
        try:
            return _converter().structure(value, hint)
        except Exception:
            # cattrs raises what a type's hook happens to raise; the next type may do
            continue
    raise TypeError


def _group_by_kind(value: Any, union: Any) -> Any:
    kinds = {hint.kind: hint for hint in typing.get_args(union)}
    if not isinstance(value, dict) or value.get("kind") not in kinds:
        raise TypeError
    rest = {name: part for name, part in value.items() if name != "kind"}
    return _converter().structure(rest, kinds[value["kind"]])


def _problems(error: Any, path: str, values: Any) -> Iterator[tuple[str, str]]:
    """What is wrong, the setting's path first, and what to do, for each problem that cattrs found below ``path``."""
    from cattrs.errors import AttributeValidationNote, ClassValidationError, ForbiddenExtraKeysError

    for problem in error.exceptions:
        notes = [note for note in getattr(problem, "__notes__", ()) if isinstance(note, AttributeValidationNote)]
        if isinstance(problem, ForbiddenExtraKeysError):
            known = [field.name for field in dataclasses.fields(problem.cl)]
            yield _unknown(path, min(problem.extra_fields, key=str), known)
        elif notes and isinstance(problem, ClassValidationError) and isinstance(values[notes[0].name], dict):
            yield from _problems(problem, f"{path}{notes[0].name}.", values[notes[0].name])
        elif notes:
            name = notes[0].name
            yield _mistyped(path, name, values[name], notes[0].type)
        else:
            # a __post_init__ says what is out of its range, the setting's name first
            yield f"{path}{problem}", ""


def _default(what: str, before: Any) -> str:
    """What to do about a value: what stood in its place, where that is known and a value."""
    for name in what.split()[0].partition("=")[0].split("."):
        before = before.get(name) if isinstance(before, dict) else None
    return "correct it" if before is None or isinstance(before, dict) else f"correct it, or leave it out for {before}"


def _unknown(path: str, name: str, known: list[str]) -> tuple[str, str]:
    near = difflib.get_close_matches(str(name), known, n=1)
    fix = f"did you mean {path}{near[0]}?" if near else f"there are {', '.join(path + other for other in known)}"
    return f"{path}{name} is no setting", fix


def _mistyped(path: str, name: str, value: Any, hint: Any) -> tuple[str, str]:
    if not _is_choice_of_groups(hint):
        return f"{path}{name} must be {_wanted(hint)}; got {value!r}", ""
    kinds = ", ".join(member.kind for member in typing.get_args(hint))
    if isinstance(value, dict):
        return f"{path}{name}.kind must be one of {kinds}; got {value.get('kind')!r}", ""
    return f"{path}{name} must be a group of settings; got {value!r}", f"its kind is {path}{name}.kind={kinds}"


def _wanted(hint: Any) -> str:
    """A type in words.

    Examples
    --------
    >>> _wanted(float | typing.Literal["auto"] | None), _wanted(tuple[int, int])
    ("a number or 'auto' or null", '2 integers')
    """
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, arguments)) if len(arguments) < 3 else f"one of {', '.join(arguments)}"
    if typing.get_origin(hint) is tuple:
        return f"{len(arguments)} {'integers' if arguments[0] is int else 'numbers'}"
    if arguments:
        return " or ".join(map(_wanted, arguments))
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    return names.get(hint, "a group of settings")
