"""A captured step without a GPU: what is recorded when, that training by it is training as launched, and that a step on
a GPU would read nothing back.
"""

import contextlib
import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from nerfkit import captured_step, fitting
from nerfkit.adam_optimizer import Adam
from nerfkit.captured_step import CapturedStep, capture, rounded_size, training_step
from nerfkit.checkpoints import CheckpointFolder
from nerfkit.config import override
from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.kernels._launch import record_launches
from nerfkit.presets import PRESETS
from nerfkit.radiance_fit import RadianceFit
from nerfkit.scene import RadianceScene
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import prepare

CUDA = torch.cuda


class FakeGraph:
    """Stands for a CUDA graph; remembers what was done with it."""

    def __init__(self):
        self.n_played, self.generators, self.pool = 0, [], None
        self.play = lambda: None

    def register_generator_state(self, generator):
        self.generators.append(generator)

    def replay(self):
        self.n_played += 1
        self.play()


class FakeCuda:
    """The few names of torch.cuda that a recording needs, beside its own."""

    def __init__(self):
        self.graphs, self.is_recording = [], False

    def __getattr__(self, name):
        return getattr(CUDA, name)

    def graph_pool_handle(self):
        return "pool"

    def CUDAGraph(self):
        self.graphs.append(FakeGraph())
        return self.graphs[-1]

    @contextlib.contextmanager
    def graph(self, graph, pool):
        graph.pool, self.is_recording = pool, True
        yield
        self.is_recording = False

    class Stream:
        def wait_stream(self, other):
            pass

    def current_stream(self):
        return self.Stream()

    def stream(self, stream):
        return contextlib.nullcontext()


def test_a_size_runs_once_is_recorded_once_and_then_played(monkeypatch):
    cuda, generator, calls = FakeCuda(), torch.Generator(), []
    monkeypatch.setattr(captured_step.torch, "cuda", cuda)

    def run(size):
        calls.append((size, cuda.is_recording))
        return f"outputs of {size}"

    step = CapturedStep(run, [generator])
    assert [step(size) for size in (3, 3, 5, 3, 5, 5)] == [f"outputs of {size}" for size in (3, 3, 5, 3, 5, 5)]
    assert calls == [(3, False), (3, True), (5, False), (5, True)]
    assert [graph.n_played for graph in cuda.graphs] == [2, 2]
    assert all(graph.generators == [generator] and graph.pool == "pool" for graph in cuda.graphs)


def test_sizes_are_four_an_octave():
    assert sorted({rounded_size(size) for size in range(64, 256)}) == [64, 80, 96, 112, 128, 160, 192, 224]
    assert all(0.8 * size < rounded_size(size) <= size for size in range(1, 5000))


def refuse(*args, **kwargs):
    raise AssertionError("numbers of the host become a tensor: on a GPU that is a wait")


@pytest.fixture
def rehearsal(monkeypatch):
    """Tensors without memory that pass for those of a GPU: asking for a value raises; launches are noted."""
    pytest.importorskip("triton")
    from nerfkit import scene
    from nerfkit.kernels.radiance import _layout, _triton
    from nerfkit.scenes import samplers

    # a tensor without memory that is kept would be handed to the tests that follow
    kept = (scene._color, samplers._corners, _layout.slots, _triton._levels)
    for cache in kept:
        cache.cache_clear()
    monkeypatch.setattr(FakeTensor, "is_cuda", True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    with FakeTensorMode(), record_launches() as launches:
        yield launches
    for cache in kept:
        cache.cache_clear()


def without_memory(task):
    """Every tensor of the task replaced by a fake one."""
    for owner in (task.rays, task.rays.pixels, task.rays.cameras):
        for name, value in vars(owner).items():
            if isinstance(value, Tensor):
                setattr(owner, name, torch.empty(value.shape, dtype=value.dtype))
    for module in (*task.scene.modules(), task.exposure):
        for name, value in module._parameters.items():
            module._parameters[name] = nn.Parameter(torch.empty(value.shape))
        for name, value in module._buffers.items():
            module._buffers[name] = torch.empty(value.shape, dtype=value.dtype)


def task_of(folder, config):
    prepared = prepare(read_posed_photos(folder), config, "cpu")
    return RadianceFit(RadianceScene(config, prepared.bounds, prepared.background), prepared.data)


@pytest.fixture
def task(scene_folder):
    return task_of(scene_folder, PRESETS["hash"])


@pytest.fixture
def wide_task(scene_folder):
    return task_of(scene_folder, override(PRESETS["fourier"], ["field.width=256"]))


def test_a_step_on_a_gpu_reads_nothing_back(task, rehearsal, monkeypatch):
    without_memory(task)
    optimizer = Adam(task.parameter_groups(), (0.9, 0.99), 1e-15)
    optimizer.hold_learning_rates()
    step = training_step(task, optimizer)
    step(256)  # keeps what the size needs
    rehearsal.clear()
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, refuse)
    loss, _ = step(256)
    optimizer.set_learning_rates([0.1, 0.1, 0.1])
    names = [launch.kernel.__name__ for launch in rehearsal]
    samples = ["_harmonics_kernel", "_march_count_kernel"]
    passes = ["_radiance_fwd_kernel", "_radiance_list_kernel", "_radiance_bwd_kernel"]
    assert names[:5] == [*samples, *passes] and set(names[5:]) == {"_adam_kernel"}
    with pytest.raises(RuntimeError, match="_local_scalar_dense"):  # so a wait would have been seen
        float(loss)


def test_captured_training_reads_nothing_back_between_two_looks(task, rehearsal, monkeypatch):
    cuda = FakeCuda()
    monkeypatch.setattr(captured_step.torch, "cuda", cuda)
    without_memory(task)
    task.look_steps, optimizer = 16, Adam(task.parameter_groups(), (0.9, 0.99), 1e-15)
    take_step = capture(task, optimizer)
    take_step(1)  # keeps what the size needs
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, refuse)
    for step in range(2, 5):
        optimizer.set_learning_rates([0.1, 0.1, 0.1])
        take_step(step)
    assert [graph.n_played for graph in cuda.graphs] == [3]
    with pytest.raises(RuntimeError, match="_local_scalar_dense"):
        take_step(15)


def test_a_field_too_wide_for_the_kernels_is_not_captured(wide_task, rehearsal):
    without_memory(wide_task)
    with pytest.raises(
        NerfkitError, match=r"captured=true: needs a field and samples that .*; got .*width=256.*; make"
    ):
        fit(wide_task, Budget(steps=1), schedule=FitSchedule(), captured=True)


def test_a_refresh_of_the_grid_reads_nothing_back(task, rehearsal, monkeypatch):
    without_memory(task)
    grid, step = task.scene.sampler.grid, task.scene.sampler.step
    grid.n_updates = grid.n_updates_full  # from here on it chooses cells
    grid.update(task.scene.field.density, step)
    rehearsal.clear()
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, refuse)
    grid.update(task.scene.field.density, step)
    assert [launch.kernel.__name__ for launch in rehearsal][-3:] == ["_raise_kernel", "_sum_kernel", "_pack_kernel"]


def recordable(run, cuda):
    """``run`` as a GPU would record it: recording does nothing; playing runs it, and its outputs replace the last."""

    def step(size):
        if not cuda.is_recording:
            return run(size)
        outputs = []

        def play():
            outputs[:] = run(size)

        cuda.graphs[-1].play = play
        return outputs

    return step


def held_adam(groups, betas, eps):
    optimizer = Adam(groups, betas, eps)
    optimizer.hold_learning_rates()
    return optimizer


@pytest.fixture
def cuda(monkeypatch):
    """A GPU in all but speed: graphs run on the CPU, and learning rates are held with and without them."""
    cuda = FakeCuda()
    monkeypatch.setattr(captured_step.torch, "cuda", cuda)
    monkeypatch.setattr(captured_step, "training_step", lambda *given: recordable(training_step(*given), cuda))
    monkeypatch.setattr(fitting, "Adam", held_adam)
    monkeypatch.setattr(RadianceFit, "check_capture", lambda self: None)
    return cuda


@pytest.fixture
def config(small_hash):
    # as on a GPU, no sample is left out for its weight
    return replace(override(PRESETS["hash"], small_hash[3::2]), min_weight=0.0)


@pytest.fixture
def steady(config):
    # more samples than that many rays can have: their number stays what it is
    return replace(config, samples_per_step=2**20, max_rays=64)


def train(folder, config, n_steps, **options):
    task, progress = task_of(folder, config), []
    schedule = FitSchedule(checkpoint_seconds=1e6)  # saved at the end alone, however long loops compile
    fit(task, Budget(steps=n_steps), schedule=schedule, on_progress=progress.append, **options)
    return task, progress


def files(folder):
    return {path.name: path.read_bytes() for path in folder.folder.iterdir()}


@pytest.mark.parametrize("sampling", ["occupancy", "stratified"])
def test_captured_training_is_launched_training(cuda, scene_folder, steady, tmp_path, sampling):
    steady = override(steady, [f"sampling.kind={sampling}"])
    folders = [CheckpointFolder(tmp_path / name) for name in ("launched", "captured")]
    logs = [
        [progress.figures for progress in train(scene_folder, steady, 20, captured=captured, checkpoints=folder)[1]]
        for captured, folder in zip((False, True), folders, strict=True)
    ]
    assert logs[0] == logs[1]
    # weights, moments, grid, generators and settings, bit for bit and by the same names
    assert files(folders[0]) == files(folders[1])
    (graph,) = cuda.graphs
    assert graph.n_played == 19 and len(graph.generators) == 1 + (sampling == "stratified")


@pytest.mark.parametrize("first, second", [(False, True), (True, False), (True, True)])
def test_a_run_is_resumed_either_way(cuda, scene_folder, steady, tmp_path, first, second):
    whole, _ = train(scene_folder, steady, 20)
    folder = CheckpointFolder(tmp_path)

    def stop_at_10(progress):
        if progress.step == 10:
            os.kill(os.getpid(), signal.SIGINT)

    for captured, is_resumed, on_progress in ((first, False, stop_at_10), (second, True, lambda progress: None)):
        parts = task_of(scene_folder, steady)
        fit(
            parts, Budget(steps=20), schedule=FitSchedule(), checkpoints=folder, on_progress=on_progress,
            resume=is_resumed, captured=captured,
        )  # fmt: skip
    for name, value in whole.scene.state_dict().items():
        if isinstance(value, Tensor):
            assert torch.equal(value, parts.scene.state_dict()[name]), name


def test_few_sizes_are_recorded_as_the_number_of_rays_adapts(cuda, scene_folder, config):
    task, progress = train(scene_folder, config, 60, captured=True)
    sizes = [int(step.figures["rays"]) for step in progress]
    assert len(set(sizes)) > 3 and all(size == rounded_size(size) for size in sizes)
    assert len(cuda.graphs) == sum(sizes.count(size) > 1 for size in set(sizes)) < 20
    # what a checkpoint has is what was wanted
    assert task.size() <= task.n_rays


def places(task):
    module = task.scene
    return [tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers()) if tensor.numel()]


def test_what_happens_between_steps_changes_tensors_in_their_place(task):
    scene, before, generators = task.scene, places(task), task.generators()
    task.after_step(scene.config.sampling.update_every)
    task._revive(1)
    saved = task.state_dict()
    task.load_state_dict(saved)
    assert places(task) == before
    assert [a is b for a, b in zip(task.generators(), generators, strict=True)] == [True]


class Sizeless:
    """A problem whose steps are no function of a size."""

    def parameter_groups(self):
        return [{"params": [torch.zeros(1, requires_grad=True)], "lr": 0.1}]


@pytest.mark.parametrize(
    "setting, message",
    [
        (None, "captured=true: needs a problem whose steps have a size; got Sizeless; leave it out"),
        ("field.touched_only=true", "captured=true: needs a GPU; got cpu; leave it out"),
    ],
)
def test_what_cannot_be_captured(scene_folder, setting, message):
    task = Sizeless() if setting is None else task_of(scene_folder, override(PRESETS["hash"], [setting]))
    with pytest.raises(NerfkitError) as caught:
        fit(task, Budget(steps=1), schedule=FitSchedule(), captured=True)  # pyright: ignore[reportArgumentType]
    assert str(caught.value) == message and caught.value.exit_code == 2
