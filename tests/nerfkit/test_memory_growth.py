"""A step leaves nothing behind: what a training holds does not grow with their number."""

import subprocess
import sys

import pytest

# a process of its own: what other tests left free in this one would hide what grows
TRAIN = """
import resource, sys
import nerfkit

peaks = {}

def note(progress):
    if progress.step in (200, 1200):
        peaks[progress.step] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

nerfkit.train(sys.argv[1], sys.argv[2], steps=1200, device="cpu", on_progress=note, samples_per_step=512,
              field={"log2_table_size": 12}, sampling={"resolution": 32}, checkpoint_seconds=1e9)
print(peaks[200], peaks[1200])
"""
# kilobytes; a step that kept its 512 samples of a few floats would leave a thousand times 20 kB. What allocators hold
# settles by some MB as sizes of batches vary
GROWTH = 8_000


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are in other units there")
def test_memory_does_not_grow_with_steps(scene_folder, tmp_path):
    command = [sys.executable, "-c", TRAIN, scene_folder, tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    early, late = map(int, done.stdout.split())
    assert 0 <= late - early < GROWTH
