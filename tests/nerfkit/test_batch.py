"""`nerfkit batch`: lists that are read, and scenes that are worked through, fail, and go on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nerfkit import batch
from nerfkit.batch import SceneResult, run_batch, table
from nerfkit.batch_list import BatchScene, read_list
from nerfkit.scenes.errors import NerfkitError
from nerfkit.slurm import slurm_script

SCENES = """\
# a comment
photos/fox --steps 30   # and one behind a scene
train "photos/my lamp" --seconds 5

superres frames/page --scale 3
fit image a.png --steps 20
"""


def written(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    return path


def test_a_list_has_a_command_a_line(tmp_path):
    scenes = read_list(written(tmp_path, SCENES))
    assert [scene.words for scene in scenes] == [
        ("train", "photos/fox", "--steps", "30"), ("train", "photos/my lamp", "--seconds", "5"),
        ("superres", "frames/page", "--scale", "3"), ("fit", "image", "a.png", "--steps", "20"),
    ]  # fmt: skip
    assert all(scene.folder == tmp_path for scene in scenes)
    assert [scene.name.rpartition("-")[0] for scene in scenes] == ["fox", "my_lamp", "page", "a"]
    assert str(scenes[1]) == "train 'photos/my lamp' --seconds 5"


def test_scenes_of_one_name_have_folders_of_their_own(tmp_path):
    names = {scene.name for scene in read_list(written(tmp_path, "a/fox\nb/fox\na/fox --steps 3\n"))}
    assert len(names) == 3


def test_a_folder_of_datasets_is_a_list(tmp_path):
    for name in ("b", "a", "empty"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        (tmp_path / name / "transforms.json").write_text("{}")
    (tmp_path / "note.txt").write_text("")
    scenes = read_list(tmp_path)
    assert [scene.words for scene in scenes] == [("train", "a"), ("train", "b")] and scenes[0].folder == tmp_path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list.txt: names no scene; write a line such as"),
        ("a\nb 'c\n", "list.txt, line 2: cannot be read (No closing quotation); close the quotes"),
        ("--steps 5\n", "line 1: must begin with an input; got 'train --steps 5'"),
        ("fit image --steps 5\n", "line 1: must begin with fit, a task and its input; got"),
        ("fit picture a.png\n", "line 1: no task 'picture'; there are image, "),
        ("a\n\na\n", "line 3: is line 1 again; leave one of them out"),
        ("a --out b\n", "line 1: --out cannot stand in a list: the batch says where results go"),
        ("a --out=b\n", "line 1: --out=b cannot stand in a list"),
        ("superres a -o b.png --resume c\n", "line 1: -o, --resume cannot stand in a list"),
    ],
)
def test_lists_that_are_refused(tmp_path, text, message):
    with pytest.raises(NerfkitError) as caught:
        read_list(written(tmp_path, text))
    assert message in str(caught.value)


def test_what_is_no_list_is_refused(tmp_path):
    with pytest.raises(NerfkitError, match=r"absent\.txt"):
        read_list(tmp_path / "absent.txt")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(NerfkitError, match="is no text; write a text file of scenes"):
        read_list(tmp_path / "picture.png")
    (tmp_path / "folders" / "empty").mkdir(parents=True)
    with pytest.raises(NerfkitError, match="none of its folders has poses"):
        read_list(tmp_path / "folders")


class Commands:
    """Instead of processes: what was called, and how each call is to end."""

    def __init__(self, endings=()):
        self.calls, self.endings = [], list(endings)

    def __call__(self, words, folder, log):
        self.calls.append(words)
        return self.endings.pop(0) if self.endings else (0, '{"psnr": 20.0, "seconds": 3.0}\n')


@pytest.fixture
def commands(monkeypatch):
    found = Commands()
    monkeypatch.setattr(batch, "_call", found)
    return found


def test_each_command_is_told_where_its_results_go(tmp_path, commands):
    scenes = read_list(written(tmp_path, "fox --steps 30\nsuperres page\nfit image a.png\nfit shape a.ply\n"))
    out = tmp_path / "out"
    run_batch(scenes, out, options=["--device", "cpu"], beginning=["--seed", "4"])
    fox, page, image, shape = (str(out / scene.name / "run") for scene in scenes)
    common = ["--device", "cpu", "--seed", "4"]
    assert commands.calls == [
        ["train", *common, "fox", "--steps", "30", "--out", fox, "--json"],
        ["superres", *common, "page", "-o", f"{page}.png", "--json"],
        ["fit", *common, "image", "a.png", "-o", f"{image}.png", "--json"],
        ["fit", *common, "shape", "a.ply", "-o", f"{shape}.ply", "--json"],
    ]


def test_what_failed_stops_no_other_and_what_is_done_is_not_done_again(tmp_path, commands):
    scenes, said = read_list(written(tmp_path, "a\nb\nc\n")), []
    error = {"what": "has no photos", "where": "b", "fix": "list some"}
    commands.endings = [
        (0, '{"psnr": 21.5, "seconds": 9.6}\n'),
        (2, json.dumps({"error": error, "exit": 2}) + "\n"),
        (-9, ""),
    ]
    done = run_batch(scenes, tmp_path / "out", say=said.append)
    assert done.n_failed == 2 and [scene.exit_code for scene in done.scenes] == [0, 2, -9]
    assert "failed: b: has no photos; list some" in said[3]
    assert "ended by signal 9 without a word; 9 is often a lack of memory" in said[5]
    lines = table(done.scenes)
    assert len(lines) == 4 and lines[1].split()[1:] == ["21.50", "10"] and "list some" in lines[2]
    again = run_batch(scenes, tmp_path / "out")
    assert again.n_failed == 0 and [scene.psnr for scene in again.scenes] == [21.5, 20.0, 20.0]
    assert [words[1] for words in commands.calls] == ["a", "b", "c", "b", "c"]


def test_runs_that_were_cut_short_go_on_and_those_cut_too_early_begin_again(tmp_path, commands):
    scenes, out = read_list(written(tmp_path, "a\nb\nsuperres c\nfit image d.png\n")), tmp_path / "out"
    runs = [out / scene.name / "run" for scene in scenes]
    for run in runs:
        run.mkdir(parents=True)
        (run / "config.yml").touch()
    (runs[0] / "checkpoints").mkdir()
    (runs[0] / "checkpoints" / "step_00000010.json").touch()
    (runs[2] / "begun").mkdir()
    (runs[2] / "begun" / "config.yml").touch()
    run_batch(scenes, out, beginning=["--seed", "4"])
    goes_on = [words[words.index("--resume") + 1] if "--resume" in words else None for words in commands.calls]
    assert goes_on == [str(runs[0]), None, str(runs[2]), str(runs[3])]
    assert commands.calls[1][-2:] == ["--overwrite", "--json"] and "--seed" in commands.calls[1]
    assert "--seed" not in commands.calls[0]


def test_an_interrupted_scene_ends_the_batch(tmp_path, commands):
    scenes = read_list(written(tmp_path, "a\nb\n"))
    commands.endings = [(130, '{"steps": 3, "exit": 130}\n')]
    done = run_batch(scenes, tmp_path / "out")
    assert done.is_interrupted and done.n_failed == 0 and [scene.exit_code for scene in done.scenes] == [130, None]
    assert [line.split()[1:] for line in table(done.scenes)[1:]] == [["interrupted"], ["not", "begun"]]


def test_fits_are_judged_by_their_truth_or_by_what_was_held_out():
    scene = BatchScene(("fit", "image", "a.png"), Path())
    assert SceneResult(scene, 0, {"metrics": {"holdout_psnr": 30.0, "psnr": None}}).psnr == 30.0
    assert SceneResult(scene, 0, {"metrics": {"holdout_psnr": 30.0, "psnr": 31.0}}).psnr == 31.0
    assert SceneResult(scene, 0, {}).psnr is None


def test_a_child_that_is_interrupted_saves_before_it_ends(tmp_path, monkeypatch):
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(130)))\n"
        "print('begun', file=sys.stderr, flush=True)\n"
        "signal.pause()\n"
    )
    start, children = subprocess.Popen, []

    class Child:
        """A process whose first wait Ctrl-C cuts short, once it has begun."""

        def __init__(self, words, **options):
            self.process = start([sys.executable, "-c", script], **options)
            self.terminate, self.is_told = self.process.terminate, False
            children.append(self.process)

        @property
        def returncode(self):
            return self.process.returncode

        def communicate(self):
            if not self.is_told:
                self.is_told = True
                while "begun" not in (tmp_path / "log.txt").read_text():
                    pass
                raise KeyboardInterrupt
            return self.process.communicate()

    monkeypatch.setattr(subprocess, "Popen", Child)
    assert batch._call(["train"], tmp_path, tmp_path / "log.txt") == (130, "saved\n")
    assert children[0].returncode == 130


def test_an_array_of_slurm_runs_the_same_list(tmp_path, nerfkit):
    path = written(tmp_path, "a\nb\nc\n")
    done = nerfkit("batch", path, "-o", tmp_path / "out", "--slurm", "--json")
    script = done.json["script"]
    assert done.code == 0 and done.json["scenes"] == 3 and not (tmp_path / "out").exists()
    assert script.startswith("#!/bin/bash\n#SBATCH ") and "#SBATCH --array=1-3\n" in script
    assert script.endswith(
        f'srun nerfkit batch {path} -o {tmp_path / "out"} --device auto --only "$SLURM_ARRAY_TASK_ID"'
    )
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0
    assert "\n#SBATCH --gres=gpu:1\n" in slurm_script(path, 3, tmp_path, device="cuda")


def test_a_batch_of_scenes_by_the_command(nerfkit, tmp_path, scene_folder, small_hash):
    words = " ".join(small_hash)
    path = written(tmp_path, f"{scene_folder} {words} --steps 3\n{tmp_path / 'absent'}\n")
    done = nerfkit("batch", path, "-o", tmp_path / "out", "--json", "--device", "cpu")
    assert done.code == 2
    found = done.json
    assert found["failed"] == 1 and found["scenes"][0]["psnr"] > 0 and found["scenes"][0]["error"] is None
    assert found["scenes"][1]["error"]["what"] == "no such file or folder"
    assert (Path(found["scenes"][0]["run"]) / "config.yml").is_file()
    assert "absent" in done.err and "give the folder of the photos" in done.err
    one = nerfkit("batch", path, "-o", tmp_path / "out", "--only", "1", "--json")
    assert one.code == 0 and one.json["scenes"][0]["psnr"] == found["scenes"][0]["psnr"]
    wrong = nerfkit("batch", path, "--only", "3")
    assert wrong.code == 2 and "--only: must be 1 to 2, the scenes of" in wrong.err
