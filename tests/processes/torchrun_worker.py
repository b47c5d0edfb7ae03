"""What torchrun starts in tests: trains as a file of jobs says, and does harm where one says so.

    torchrun ... torchrun_worker.py JOBS.json

A job has ``data``, ``out`` and ``settings`` of ``nerfkit.train``, or the ``words`` of a command that is run last. Its
``signal`` (rank, restarts, step, number) is sent by a process to itself, or ``to_torchrun``; ``clocks`` are seconds
that the clock of each process goes on at each look; ``fails`` is the rank of one that cannot read its photos; ``film``
is where pictures of its path go; ``timeout`` are seconds after which a process is given up that does not answer, from
the first step on: what they do before takes some longer than others.
"""

import itertools
import json
import os
import sys
from datetime import timedelta
from pathlib import Path

from torch.distributed import distributed_c10d

import nerfkit
from nerfkit import fitting, process_group, training
from nerfkit.cli import main
from nerfkit.scenes.errors import NerfkitError

RANK, RESTARTS = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])


def fail(*given, **options):
    raise NerfkitError("cannot be read", where="r_3.png", fix="copy it again")


def run(job):
    if "clocks" in job:
        ticks, tick = itertools.count(), job["clocks"][RANK]
        fitting.working_seconds = lambda: next(ticks) * tick
    if job.get("fails") == RANK:
        training.prepare = fail
    if "words" in job:
        sys.exit(main(job["words"]))
    steps = [0]

    def after_step(progress):
        steps.append(progress.step)
        if "timeout" in job and len(steps) == 2:
            distributed_c10d._set_pg_timeout(timedelta(seconds=job["timeout"]))
            process_group.ROLL_CALL = 1.0
        if job.get("signal", [])[:3] == [RANK, RESTARTS, progress.step]:
            os.kill(os.getppid() if job.get("to_torchrun") else os.getpid(), job["signal"][3])

    scene = nerfkit.train(job["data"], job["out"], on_progress=after_step, device="cpu", **job["settings"])
    if "film" in job:
        scene.render_path("interpolate", job["film"], n_frames=5, size=(12, 9), channels=("rgb", "depth"))
    told = {"first": steps[1], "last": steps[-1], "interrupted": scene.is_interrupted, "run": str(scene.run.folder)}
    Path(f"{job['out']}.{RANK}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    for each in json.loads(Path(sys.argv[1]).read_text()):
        run(each)
