"""What a command prints never ends it: closed streams, readers that go away, encodings without the letters."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nerfkit.cli.running import run_command
from nerfkit.cli.streams import lasting_streams

# a command that says much, works on after each line, and in the end tells in a file that it was done
WORK = """
import sys
from pathlib import Path
from nerfkit import cli
from nerfkit.cli.options import CommonOptions as Options

def main(options, console):
    import logging
    for number in range(20_000):
        console.say("caf\\u00e9 \\u5199\\u771f " + "x" * 100)
        if not number % 5000:
            logging.getLogger("nerfkit.x").warning("caf\\u00e9 %s", number)
    Path(sys.argv[1]).write_text(str(number), encoding="utf-8")
    return {"number": number, "name": "caf\\u00e9"}

cli.COMMANDS["work"] = ("__main__", "works")
sys.exit(cli.main(["work", *sys.argv[2:]]))
"""


def shell(line, done, *arguments, **variables):
    """What a shell's line, of which $WORK is the command above, prints: its output, its errors, the exit code last."""
    environment = {**os.environ, "DONE": str(done), "PY": sys.executable, "CODE": WORK, **variables}
    line = line.replace("$WORK", '"$PY" -c "$CODE" "$DONE" ' + " ".join(arguments))
    found = subprocess.run(["bash", "-c", line], capture_output=True, env=environment)
    return found.stdout.decode("utf-8", "surrogateescape"), found.stderr.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "line",
    [
        "$WORK 2>/dev/null | head -1 >/dev/null; echo ${PIPESTATUS[0]}",
        "$WORK 2>/dev/null | true; echo ${PIPESTATUS[0]}",
        "$WORK >/dev/null 2> >(true); echo $?",
        "$WORK >&- 2>/dev/null; code=$?; echo $code",
        "$WORK >/dev/null 2>&-; echo $?",
        "$WORK <&- >&- 2>&-; code=$?; echo $code",
    ],
)
def test_work_goes_on_whoever_reads_it(tmp_path, line):
    out, err = shell(line, tmp_path / "done")
    assert (out, err) == ("0\n", "")
    assert (tmp_path / "done").read_text() == "19999"


def test_a_closed_stderr_leaves_json_alone(tmp_path):
    out, _ = shell("$WORK 2>&-; echo $?", tmp_path / "done", "--json")
    assert out == '{"number": 19999, "name": "caf\\u00e9"}\n0\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_the_output_is_said_once(tmp_path):
    out, err = shell("$WORK --json > /dev/full; echo $?", tmp_path / "done", "--quiet")
    assert out == "1\n" and (tmp_path / "done").exists()
    assert err.count("warning: what is printed cannot be written any more (No space left on device)") == 1


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0",
                                       "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C"}])  # fmt: skip
def test_letters_that_an_encoding_lacks_are_escaped(tmp_path, variables):
    out, err = shell("$WORK | tail -1; echo ${PIPESTATUS[0]}", tmp_path / "done", **variables)
    line, code = out.splitlines()
    assert line.startswith(("caf\\xe9 \\u5199\\u771f x", "café 写真 x")) and code == "0"
    assert "warning: caf" in err and "Traceback" not in err


def test_streams_are_what_they_were_afterwards(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stdout)
    before = sys.stderr
    with lasting_streams() as is_lost:
        print("café")
        assert sys.stdout is not stdout and not sys.stdout.isatty()
    assert not is_lost() and sys.stdout is stdout and sys.stderr is before and stdout.errors == "strict"
    stdout.seek(0)
    assert stdout.read() == "caf\\xe9\n"


def test_a_disk_that_is_full_is_no_fault_of_ours(capsys):
    def main(options, console):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/loop.nbi")

    from nerfkit.cli.options import CommonOptions

    assert run_command("work", "works", SimpleNamespace(Options=CommonOptions, main=main), []) == 2
    assert capsys.readouterr().err.startswith("error: /somewhere/loop.nbi: no space left on the disk")
