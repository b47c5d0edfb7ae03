"""A super-resolution that was killed goes on to the same bits."""

import numpy as np
import pytest
from lowres_scenes import make_frames, run, write, write_csv
from PIL import Image

import nerfkit
from nerfkit import journal
from nerfkit.journal import Journal
from nerfkit.runs import Run
from nerfkit.superresolution import network_fit

N, FRAME = 6, 20
COMMON = ("--scale", 2, "--set", "width=8", "--seconds", 600)


class Killed(BaseException):
    """As a signal that cannot be caught: nothing else is done."""


@pytest.fixture
def source(tmp_path):
    frames, shifts, _ = make_frames(N, side=FRAME)
    write(tmp_path / "frames", frames, 16)
    return tmp_path / "frames", write_csv(tmp_path / "shifts.csv", shifts)


def kill_after(monkeypatch, n_steps):
    """End the process, as it were, when the so-many-th step has been written."""
    before, written = Journal._write, []

    def write_one(self, path, found, facts):
        before(self, path, found, facts)
        written.append(path)
        if len(written) == n_steps:
            raise Killed

    monkeypatch.setattr(Journal, "_write", write_one)


def weights_of(folder):
    return Run(folder).checkpoints.load_newest()["task"]["field"]


def same(one, other):
    np.testing.assert_array_equal(np.asarray(Image.open(f"{one}.png")), np.asarray(Image.open(f"{other}.png")))
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values.numpy(), theirs[name].numpy())


@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_a_run_that_was_killed_ends_in_the_same_bits(source, tmp_path, capsys, monkeypatch, n_steps):
    given = ["superres", source[0], *COMMON, "--shifts", source[1], "-o"]
    assert run(capsys, *given, tmp_path / "whole.png")[0] == 0
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_after(patched, n_steps)
        run(capsys, *given, tmp_path / "cut.png")
    assert not (tmp_path / "cut.png").exists()
    computed, asked = [], []
    before, recall = journal._timed, Journal.recall
    monkeypatch.setattr(journal, "_timed", lambda compute: computed.append(compute) or before(compute))
    monkeypatch.setattr(Journal, "recall", lambda *given, **known: asked.append(given) or recall(*given, **known))
    code, result = run(capsys, "superres", "--resume", tmp_path / "cut")
    assert code == 0 and result["output"] == str(tmp_path / "cut.png")
    # what was found before is read
    assert len(computed) == len(asked) - n_steps > 0
    same(tmp_path / "whole", tmp_path / "cut")
    assert not (tmp_path / "cut" / "begun").exists()
    code, result = run(capsys, "superres", "--resume", tmp_path / "cut")
    assert code == 2 and "is done" in result["error"]["what"] and "--overwrite" in result["error"]["fix"]


def test_a_killed_fit_of_the_networks_goes_on(source, tmp_path, capsys, monkeypatch):
    given = ["superres", source[0], *COMMON, "--shifts", source[1], "--exact-shifts", "-o"]
    assert run(capsys, *given, tmp_path / "whole.png")[0] == 0
    before = network_fit.fit

    def killed(*given, **known):
        def stop(progress):
            if progress.step == 30:
                raise Killed

        often = network_fit.FitSchedule(final_fraction=0.05, epsilon=1e-8, checkpoint_seconds=0.0)
        return before(*given, **known | {"on_progress": stop, "schedule": often})

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(network_fit, "fit", killed)
        run(capsys, *given, tmp_path / "cut.png")
    assert list((tmp_path / "cut" / "begun" / "networks").glob("step_*.json"))
    nerfkit.resume_superres(tmp_path / "cut")
    same(tmp_path / "whole", tmp_path / "cut")


def test_other_frames_begin_anew(source, tmp_path, capsys, monkeypatch):
    given = ["superres", source[0], *COMMON, "--shifts", source[1], "--exact-shifts", "-o"]
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_after(patched, 4)
        run(capsys, *given, tmp_path / "cut.png")
    frames, shifts, _ = make_frames(N, side=FRAME, seed=5)
    write(tmp_path / "frames", frames, 16)
    write_csv(tmp_path / "shifts.csv", shifts)
    assert run(capsys, *given, tmp_path / "whole.png")[0] == 0
    nerfkit.resume_superres(tmp_path / "cut")
    same(tmp_path / "whole", tmp_path / "cut")


def test_what_a_resumed_run_is_not_told_is_named(source, tmp_path, capsys, monkeypatch):
    given = ["superres", source[0], *COMMON, "--shifts", source[1], "--exact-shifts", "--truth", source[0] / "f0.png"]
    code, result = run(capsys, "superres", "--resume", tmp_path)
    assert code == 2 and "no run folder" in result["error"]["what"]
    code, result = run(capsys, *given, "--resume", tmp_path / "a")
    assert code == 2 and result["error"]["what"].startswith("FRAMES, --scale, --shifts")
    assert run(capsys, "superres")[1]["error"]["what"] == "no FRAMES given"


def test_a_journal_forgets_what_was_another_and_what_is_damaged(tmp_path):
    import torch

    def told(kept, about, calls):
        return kept.recall({"x": torch.tensor(about)}, lambda: calls.append(about) or {"y": torch.tensor(about)})[0]

    calls = []
    first = Journal(tmp_path / "j")
    for about in (1.0, 2.0, 3.0):
        told(first, about, calls)
    again = Journal(tmp_path / "j")
    assert [float(told(again, about, calls)["y"]) for about in (1.0, 2.0)] == [1, 2] and calls == [1, 2, 3]
    # another second step: the third is no more the same
    again = Journal(tmp_path / "j")
    for about in (1.0, 5.0, 3.0):
        told(again, about, calls)
    assert calls == [1, 2, 3, 5, 3]
    path = sorted((tmp_path / "j").glob("*.safetensors"))[-1]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    again = Journal(tmp_path / "j")
    for about in (1.0, 5.0, 3.0):
        told(again, about, calls)
    assert calls == [1, 2, 3, 5, 3, 3]


def test_a_full_disk_costs_a_journal_nothing_else(tmp_path, monkeypatch, caplog):
    import torch

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    kept = Journal(tmp_path / "j")
    for _ in range(2):
        found, _ = kept.recall({"x": torch.ones(1)}, lambda: {"y": torch.ones(1)})
        assert float(found["y"]) == 1
    assert caplog.text.count("No space left on device") == 1
