"""What all commands share: help, errors in a line, JSON, exit codes, signals."""

import dataclasses
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from nerfkit import __version__
from nerfkit.cli import COMMANDS
from nerfkit.cli.options import CommonOptions, option
from nerfkit.cli.running import Interrupted, run_command
from nerfkit.devices import choose_device
from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of a made-up command."""

    count: int = option(1, "how many", kind=int)


def command(main):
    return SimpleNamespace(Options=Options, main=main)


def stop(options, console):
    raise Interrupted({"steps": 3})


def press_ctrl_c(options, console):
    os.kill(os.getpid(), signal.SIGINT)


def terminate(options, console):
    os.kill(os.getpid(), signal.SIGTERM)


def fail(options, console):
    raise NerfkitError("3 found, 4 wanted", where="some/file", fix="add one")


def lack(options, console):
    raise MissingCapabilityError("no GPU")


def break_down(options, console):
    raise RuntimeError("our fault")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(nerfkit, arguments):
    answer = nerfkit(*arguments)
    assert (answer.code, answer.err) == (0, "")
    for name, (_, text) in COMMANDS.items():
        assert name in answer.out
        assert text in answer.out


def test_version(nerfkit):
    assert nerfkit("--version").out == f"nerfkit {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(nerfkit, name):
    answer = nerfkit(name, "--help")
    assert answer.code == 0
    for flag in ("--json", "--device", "--seed", "--quiet", "--debug"):
        assert flag in answer.out


def test_help_loads_nothing_heavy():
    code = "import sys; from nerfkit.cli import main\n"
    code += "codes = [main([*command, '--help']) for command in ([], ['train'], ['render'])]\n"
    code += "heavy = {'torch', 'numba', 'cv2', 'scipy', 'skimage', 'jinja2', 'av', 'imageio'}\n"
    code += "print(codes, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[0, 0, 0] []\n"


def test_python_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "nerfkit", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no command 'nonsense'" in done.stderr


def test_an_unknown_command_is_told_what_was_meant(nerfkit):
    answer = nerfkit("trian")
    assert answer.code == 2
    assert answer.err == "error: nerfkit: no command 'trian'\n  fix: did you mean `nerfkit train`?\n"
    assert "there are demo, train" in nerfkit("xyz").err


def test_an_unknown_command_in_json(nerfkit):
    answer = nerfkit("trian", "--json")
    assert answer.json == {
        "error": {"what": "no command 'trian'", "where": "nerfkit", "fix": "did you mean `nerfkit train`?"},
        "exit": 2,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--steps", "many"], "argument --steps: invalid int value: 'many'"),
        (["--method", "voxels"], "argument --method: invalid choice: 'voxels'"),
        (["--device", "tpu"], "argument --device: invalid choice: 'tpu'"),
        (["--out"], "argument --out: expected one argument"),
        # an abbreviation that works today is another option tomorrow
        (["--quie"], "unrecognized arguments: --quie\n  fix: did you mean --quiet? see nerfkit train --help"),
    ],
)
def test_a_bad_option(nerfkit, arguments, message):
    answer = nerfkit("train", "somewhere", *arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert message in answer.err
    assert answer.err.endswith("see nerfkit train --help\n")
    in_json = nerfkit("train", "somewhere", "--json", *arguments).json
    assert in_json["exit"] == 2
    assert message.partition("\n")[0] in in_json["error"]["what"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--superres-seconds", "0.5"], "--superres-seconds: superres_seconds must be 1 or more; got 0.5"),
        (["--seconds", "inf"], "--seconds: seconds must be finite; got inf"),
        (["--photos", "2"], "--photos: photos must be 3 or more; got 2"),
    ],
)
def test_a_demo_that_would_be_too_small(nerfkit, tmp_path, arguments, message):
    answer = nerfkit("demo", "--out", tmp_path / "demo", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "demo").exists()


def number_options():
    """Command, option and kind of each that takes a number."""
    for command, (module, _) in COMMANDS.items():
        for field in dataclasses.fields(importlib.import_module(module).Options):
            if field.metadata.get("kind") is not None:
                yield pytest.param(command, f"--{field.name.replace('_', '-')}", field, id=f"{command}-{field.name}")


@pytest.mark.parametrize(("command", "flag", "field"), list(number_options()))
def test_no_option_of_any_command_takes_what_is_no_number(nerfkit, command, flag, field):
    positional = ["somewhere"] if command != "demo" else []
    is_integer = field.metadata["kind"] is int
    for text in ("nan", "inf", "-inf", "1e999", *(["9" * 40] if is_integer else [])):
        answer = nerfkit(command, *positional, f"{flag}={text}", "--json")
        error = answer.json["error"]
        wanted = "invalid int value" if is_integer and text[0] != "9" else f"{field.name} must be "
        assert (answer.code, wanted in error["what"]) == (2, True), (text, error)
        assert flag in f"{error['where']} {error['what']}"


@pytest.mark.parametrize("name", ["eval", "render"])
def test_an_absent_argument(nerfkit, name):
    answer = nerfkit(name)
    assert answer.code == 2
    assert "required: RUN" in answer.err


def test_success(capsys):
    def work(options, console):
        console.say("a line for a person")
        return {"count": options.count}

    assert run_command("work", "does work", command(work), ["--count", "3"]) == 0
    assert capsys.readouterr() == ("a line for a person\n", "")
    assert run_command("work", "does work", command(work), ["--json"]) == 0
    assert capsys.readouterr() == ('{"count": 1}\n', "a line for a person\n")
    assert run_command("work", "does work", command(work), ["--json", "--quiet"]) == 0
    assert capsys.readouterr() == ('{"count": 1}\n', "")


def test_a_command_may_choose_its_exit_code(capsys):
    work = command(lambda options, console: {"ok": False, "_exit": 2})
    assert run_command("work", "does work", work, ["--json"]) == 2
    assert capsys.readouterr().out == '{"ok": false}\n'


@pytest.mark.parametrize(
    ("main", "code", "error"),
    [
        (fail, 2, {"what": "3 found, 4 wanted", "where": "some/file", "fix": "add one"}),
        (lack, 3, {"what": "no GPU", "where": "", "fix": ""}),
        (
            break_down, 1,
            {
                "what": "RuntimeError: our fault", "where": "",
                "fix": "this is a fault of nerfkit's: run again with --debug and report what it prints",
            },
        ),
    ],
)  # fmt: skip
def test_failures(capsys, main, code, error):
    assert run_command("work", "does work", command(main), []) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert error["what"] in err
    assert "Traceback" not in err
    assert run_command("work", "does work", command(main), ["--json"]) == code
    assert json.loads(capsys.readouterr().out) == {"error": error, "exit": code}


def test_debug_shows_the_traceback(capsys):
    run_command("work", "does work", command(break_down), ["--debug"])
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "in break_down" in err


@pytest.mark.parametrize(("main", "result"), [(stop, {"steps": 3}), (press_ctrl_c, {}), (terminate, {})])
def test_interruptions_exit_with_130(capsys, main, result):
    before = signal.getsignal(signal.SIGTERM)
    assert run_command("work", "does work", command(main), []) == 130
    assert capsys.readouterr() == ("", "interrupted\n")
    assert run_command("work", "does work", command(main), ["--json"]) == 130
    assert json.loads(capsys.readouterr().out) == {**result, "exit": 130}
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("flags", "err"), [([], "for a person\nwarning: look out\n"), (["--quiet"], "warning: look out\n")]
)
def test_the_log_goes_to_stderr(capsys, flags, err):
    def work(options, console):
        logging.getLogger("nerfkit.somewhere").info("for a person")
        logging.getLogger("nerfkit.somewhere").warning("look %s", "out")
        return {}

    logger = logging.getLogger("nerfkit")
    before = (logger.handlers[:], logger.propagate, logger.level)
    assert run_command("work", "does work", command(work), flags) == 0
    assert capsys.readouterr() == ("", err)
    assert (logger.handlers, logger.propagate, logger.level) == before


def test_device(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(MissingCapabilityError, match="no GPU that torch can use"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(name) for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
