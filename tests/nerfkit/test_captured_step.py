"""A captured step without a GPU: what is recorded when, and that a step on a GPU would read nothing back."""

import contextlib

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from nerfkit import captured_step
from nerfkit.adam_optimizer import KernelAdam, set_learning_rates
from nerfkit.captured_step import CapturedStep, training_step
from nerfkit.kernels._launch import record_launches
from nerfkit.presets import PRESETS
from nerfkit.radiance_fit import RadianceFit
from nerfkit.scene import RadianceScene
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import prepare


class FakeGraph:
    """Stands for a CUDA graph; remembers what was done with it."""

    def __init__(self):
        self.n_played, self.generators = 0, []

    def register_generator_state(self, generator):
        self.generators.append(generator)

    def replay(self):
        self.n_played += 1


class FakeCuda:
    """The few names of torch.cuda that a recording needs."""

    def __init__(self):
        self.graphs, self.is_recording = [], False

    def CUDAGraph(self):
        self.graphs.append(FakeGraph())
        return self.graphs[-1]

    @contextlib.contextmanager
    def graph(self, graph):
        self.is_recording = True
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
    assert all(graph.generators == [generator] for graph in cuda.graphs)


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
    for owner in (task, task.pixels, task.cameras):
        for name, value in vars(owner).items():
            if isinstance(value, Tensor):
                setattr(owner, name, torch.empty(value.shape, dtype=value.dtype))
    for module in task.scene.modules():
        for name, value in module._parameters.items():
            module._parameters[name] = nn.Parameter(torch.empty(value.shape))
        for name, value in module._buffers.items():
            module._buffers[name] = torch.empty(value.shape, dtype=value.dtype)


@pytest.fixture
def task(scene_folder):
    prepared = prepare(read_posed_photos(scene_folder), PRESETS["hash"], "cpu")
    return RadianceFit(RadianceScene(prepared.config, prepared.bounds, prepared.background), prepared.data)


def test_a_step_on_a_gpu_reads_nothing_back(task, rehearsal, monkeypatch):
    without_memory(task)
    optimizer = KernelAdam(task.parameter_groups(), (0.9, 0.99), 1e-15)
    optimizer.hold_learning_rates()
    step = training_step(task, optimizer)
    step(256)  # keeps what the size needs
    rehearsal.clear()
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, refuse)
    compared = step(256)
    set_learning_rates(optimizer, [0.1, 0.1])
    names = [launch.kernel.__name__ for launch in rehearsal]
    assert names[:2] == ["_radiance_fwd_kernel", "_radiance_bwd_kernel"] and set(names[2:]) == {"_adam_kernel"}
    with pytest.raises(RuntimeError, match="_local_scalar_dense"):  # so a wait would have been seen
        float(compared.loss)


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
