"""How processes of one run share work and agree, without starting any; test_torchrun.py starts some."""

import math
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from nerfkit import process_group
from nerfkit.adam_optimizer import Adam
from nerfkit.checkpoints import CheckpointFolder, DivergedError
from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.memory_plan import plan_memory
from nerfkit.presets import PRESETS
from nerfkit.problem import Problem, Term
from nerfkit.ranks import ALONE, Launch, LostRankError, Ranks, launched
from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.rays import Rays
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.sampling_configs import StratifiedSamplingConfig
from nerfkit.shared_density import SharedDensity
from nerfkit.shared_step import SharedStep
from nerfkit.training import prepare

# what torchrun sets for the second of two processes
SECOND = {
    "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost",
    "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "seven", "TORCHELASTIC_RESTART_COUNT": "3",
    "TORCHELASTIC_MAX_RESTARTS": "4",
}  # fmt: skip


class Of(Ranks):
    """One of several that never hears of the others."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@pytest.fixture
def second(monkeypatch):
    """This process as the second of two; nothing that is said here reaches another."""
    for name, value in SECOND.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("nerfkit.cli.running.may_speak", lambda: True)


def test_the_environment_says_which_process_this_is():
    assert launched(SECOND) == Launch(1, 2, 1, 2, 3, True, "seven")
    assert launched({name: value for name, value in SECOND.items() if name != "MASTER_ADDR"}) == Launch()
    with pytest.raises(NerfkitError, match=r"must be numbers, as torchrun sets them.*'one'"):
        launched({**SECOND, "RANK": "one"})


def test_jobs_without_a_name_are_told_apart_by_what_starts_them():
    nameless = {**SECOND, "TORCHELASTIC_RUN_ID": "none"}
    assert launched(nameless).job == launched(nameless).job != launched({**nameless, "MASTER_ADDR": "b"}).job != ""


@pytest.mark.parametrize("n", [0, 1, 5, 8])
def test_parts_are_all_in_order(n):
    assert [i for rank in range(3) for i in range(n)[Of(rank, 3).part(n)]] == list(range(n))


def test_rays_are_taken_with_what_is_their_own():
    rays = Rays(
        torch.rand(4, 3),
        torch.rand(4, 3),
        torch.rand(3),
        torch.rand(4),
        torch.arange(4),
        torch.tensor(0.5),
        torch.rand(4),
    )
    part = Measurements(rays, torch.rand(4, 3), ids=torch.arange(4)).take(slice(1, 3)).where
    assert part.photo_ids is not None and part.photo_ids.tolist() == [1, 2]
    assert rays.far is not None and part.far is not None
    assert part.rays_d.equal(rays.rays_d[1:3]) and part.far.equal(rays.far[1:3])
    assert part.bkgd_rgb is rays.bkgd_rgb and part.near is rays.near
    own = rays._replace(bkgd_rgb=torch.rand(4, 3)).take(slice(3, 4))
    assert own.bkgd_rgb is not None and own.bkgd_rgb.shape == (1, 3)


class Line(torch.nn.Module):
    """y = slope * x."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor([0.5]))

    def parameter_groups(self, rate):
        return [{"params": [self.slope], "lr": rate}]


class Seen:
    def predict(self, field, where, **options):
        return field.slope * where


def terms(n=10):
    x = torch.linspace(-1, 2, 50)[:, None]
    return [Term(Seen(), Measurements(x, 3 * x), n=n)]


def test_losses_and_gradients_of_parts_add_up_whatever_their_sizes():
    (term,) = terms()
    found = []
    for parts in ([None], [Of(rank, 4).part for rank in range(4)], [Of(rank, 12).part for rank in range(12)]):
        line, loss, states = Line(), 0.0, set()
        for part in parts:
            generator = torch.Generator().manual_seed(1)
            own = term.compare(line, generator, part=part).loss
            own.backward()
            loss += float(own.detach())
            states.add(float(torch.rand(1, generator=generator)))
        # each has drawn the whole batch
        assert line.slope.grad is not None
        found.append((loss, float(line.slope.grad), *states))
    assert found[1] == pytest.approx(found[0], rel=1e-5) and found[2] == pytest.approx(found[0], rel=1e-5)


class Shared(Problem):
    """A problem whose steps can be shared."""

    def __init__(self, ranks):
        self.ranks, line = ranks, Line()
        super().__init__(line, terms(), learning_rate=0.1)

    def compare_part(self, step):
        compared = self.terms[0].compare(self.field, self.generator, part=self.ranks.part)
        return compared.loss, compared

    def tally(self, compared):
        return torch.tensor([float(len(compared.batch))])

    def look_at(self, step, tally):
        return {"n": tally.item()}


class Twins(Of):
    """Two processes that do the same: what one adds, the other adds as well."""

    def __init__(self):
        super().__init__(0, 2)

    def part(self, n):
        return slice(0, n)

    def sum_(self, tensor):
        return tensor.mul_(2)


def test_a_step_changes_what_has_a_gradient_in_any_process():
    problem = Shared(Twins())
    resting = torch.nn.Parameter(torch.ones(2))
    optimizer = Adam([*problem.parameter_groups(), {"params": [resting], "lr": 1.0}], (0.9, 0.99), 1e-15)
    step = SharedStep(problem, optimizer, Twins(), clock=lambda: 3.5, wants_stop=lambda: False)
    # they began with the sum of both
    assert problem.field.slope.item() == 1.0
    loss, figures = step(0)
    assert figures == {"n": 20.0} and loss > 0 and step.seconds == 7.0 and not step.is_stopped
    assert resting.tolist() == [2.0, 2.0] and resting not in optimizer.state
    assert problem.field.slope.item() == pytest.approx(1.1)


def test_a_stop_of_any_process_stops_after_the_step():
    problem = Shared(Twins())
    optimizer = Adam(problem.parameter_groups(), (0.9, 0.99), 1e-15)
    step = SharedStep(problem, optimizer, Twins(), clock=lambda: 0.0, wants_stop=lambda: True)
    step(0)
    assert step.is_stopped


def test_only_problems_whose_steps_can_be_shared_are_shared():
    with pytest.raises(ValueError, match="steps of a Problem cannot be shared"):
        fit(Problem(Line(), terms()), Budget(steps=1), schedule=FitSchedule(), ranks=Twins())


class Diverging(Shared):
    def compare_part(self, step):
        loss, compared = super().compare_part(step)
        return loss * math.nan, compared


def test_a_fit_that_diverges_ends_in_each_process_and_one_that_is_not_the_first_writes_nothing(tmp_path):
    checkpoints = CheckpointFolder(tmp_path / "checkpoints")
    budget, schedule = Budget(steps=1), FitSchedule()
    with pytest.raises(DivergedError, match="the loss is nan"):
        fit(Diverging(Of(1, 2)), budget, schedule=schedule, ranks=Of(1, 2), checkpoints=checkpoints)
    fit(Shared(Of(1, 2)), budget, schedule=schedule, ranks=Of(1, 2), checkpoints=checkpoints)
    assert not checkpoints.folder.exists()


def test_densities_are_those_of_the_field_in_order():
    class Field:
        def density(self, xyzs):
            return xyzs[:, 0]

    xyzs = torch.rand(7, 3)
    parts = [SharedDensity(Field(), Of(rank, 3)).density(xyzs) for rank in range(3)]
    assert torch.equal(torch.stack(parts).sum(0), xyzs[:, 0]) and all((part == 0).any() for part in parts)


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ([0, 1, 2, 3], r"the 4 processes of this run do not reach one another \("),
        ([1, 2], r"rank 0, 3 \(on far\) of the 4 processes of this run is gone: it ended, or .* for 7 s \("),
        (None, r"another of the 4 processes of this run is gone, and what they keep words in, at first, cannot be"),
    ],
)
def test_what_is_left_of_a_run_whose_process_was_lost_names_it(monkeypatch, heard, words):
    def lost(*_, **__):
        raise RuntimeError("[/gloo/pair.cc:7] Connection closed by peer\nand much more")

    store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]  torch's own name
    store.set("host/3", "far")
    for rank in heard or ():
        store.set(f"here/{rank}", "")
    monkeypatch.setattr(process_group, "_store", lambda: store if heard else threading.Event().wait())
    monkeypatch.setattr(process_group, "ROLL_CALL", 0.1)
    monkeypatch.setattr(process_group, "WORD", 0.5)
    monkeypatch.setenv("NERFKIT_RANK_TIMEOUT", "7")
    monkeypatch.setenv("MASTER_ADDR", "first")
    for name in ("all_reduce", "broadcast", "all_gather"):
        monkeypatch.setattr(dist, name, lost)
    group = process_group.ProcessGroup(Launch(1, 4))
    calls = (group.wait, lambda: group.first_says("a"), lambda: group.check_same({"a": 1}))
    for call in calls:
        with pytest.raises(LostRankError, match=words + r".*\(?Connection closed by peer\);.*--max-restarts") as caught:
            call()
        assert caught.value.exit_code == 1


# of an exception in a thread pytest warns
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("NERFKIT_RANK_TIMEOUT", text)
    with pytest.raises(NerfkitError, match=f"NERFKIT_RANK_TIMEOUT: must be seconds, above 0; got '{text}'"):
        process_group.join_group(Launch(0, 2), "cpu")
    # whoever says so asks first whether another has
    process_group._store.cache_clear()
    assert process_group.is_first_to_ask("ending")


def test_processes_that_do_not_meet_say_so(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("timed out")

    monkeypatch.setattr(process_group, "_store", fails)
    with pytest.raises(
        LostRankError, match=r"the 2 processes of this run did not meet \(timed out\).*reach one another"
    ):
        process_group.join_group(Launch(0, 2), "cpu")
    # nobody can be asked: it is said rather twice
    assert process_group.is_first_to_ask("ending")


def test_one_process_of_each_start_tells_how_it_ended(monkeypatch, nerfkit):
    store, answers = dist.HashStore(), []  # pyright: ignore[reportPrivateImportUsage]  torch's own name
    monkeypatch.setattr(process_group, "rendezvous", lambda *_, **__: iter([(store, 0, 2)]))
    for n_restarts in ("0", "1"):
        for name, value in {**SECOND, "TORCHELASTIC_RESTART_COUNT": n_restarts}.items():
            monkeypatch.setenv(name, value)
        process_group._store.cache_clear()
        answers += [nerfkit("eval", "absent", "--json") for _ in range(2)]
    process_group._store.cache_clear()
    assert [answer.code for answer in answers] == 4 * [2]
    assert [answer.err.count("error: ") for answer in answers] == [1, 0, 1, 0]
    assert [answer.out.count('"error"') for answer in answers] == [1, 0, 1, 0]


def test_a_job_that_starts_again_goes_on_with_its_own_run_alone(
    nerfkit, monkeypatch, scene_folder, small_hash, tmp_path
):
    words = ["train", scene_folder, *small_hash, "--out", tmp_path / "run", "--json", "--quiet"]
    for name, value in {**SECOND, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert nerfkit(*words, "--steps", "4").json["steps"] == 4
    for n_restarts, job, code in (("0", "seven", 2), ("1", "another", 2), ("1", "seven", 0)):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", n_restarts)
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)
        done = nerfkit(*words, "--steps", "9")
        assert done.code == code
        assert code == 0 or "is not empty" in done.err
    # its own settings hold, and its steps are done
    assert done.json["steps"] == 4
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    # it had not come to a checkpoint
    assert nerfkit(*words, "--steps", "3").json["steps"] == 3


def test_what_differs_between_processes_is_named(monkeypatch):
    def gather(found, own):
        for i, each in enumerate(found):
            each.copy_(own + torch.tensor([0, i, 0]))

    monkeypatch.setattr(dist, "all_gather", gather)
    group = process_group.ProcessGroup(Launch(1, 2))
    with pytest.raises(
        NerfkitError, match="have other photos each; wanted the same in all 2; start them with the same"
    ):
        group.check_same({"settings": 5, "photos": -(2**62), "poses": 0})


def test_each_process_wants_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(MissingCapabilityError, match="each of 4 processes wants a GPU of its own; this machine has 2"):
        process_group.join_group(Launch(3, 4, 3, 4), "cuda")


def test_other_commands_run_in_one_process(nerfkit, second, tmp_path):
    done = nerfkit("eval", tmp_path)
    assert done.code == 2
    assert "error: nerfkit eval: runs in one process; got 2 of torchrun's\n  fix: start it alone" in done.err


@pytest.mark.parametrize("words", [{"RANK": "x"}, {"WORLD_SIZE": ""}])
def test_a_broken_environment_is_said_in_a_line(nerfkit, monkeypatch, words):
    for name, value in {**SECOND, **words}.items():
        monkeypatch.setenv(name, value)
    done = nerfkit("doctor")
    assert done.code == 2 and done.err.count("error: environment: ") == 1 and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling": StratifiedSamplingConfig()}, "sampling.kind: stratified samples are drawn by one process; got 2"),
        ({"captured": True}, "captured=true: needs one process; got 2 of torchrun's"),
    ],
)
def test_what_processes_cannot_share_is_refused(second, scene_folder, monkeypatch, changes, message):
    monkeypatch.setattr("nerfkit.training._check_captured", lambda *_, **__: None)
    with pytest.raises(NerfkitError, match=message):
        prepare(read_posed_photos(scene_folder), replace(PRESETS["hash"], **changes), "cpu")


def test_processes_of_a_machine_share_its_memory(scene_folder, monkeypatch):
    photos, budget = read_posed_photos(scene_folder), 4_000_000_000
    options = {"downscale": None, "max_side": None, "budget": budget}
    assert plan_memory(photos, PRESETS["hash"], "cpu", **options).budget == budget
    for name, value in SECOND.items():
        monkeypatch.setenv(name, value)
    assert plan_memory(photos, PRESETS["hash"], "cpu", **options).budget == budget // 2


def test_a_job_that_starts_again_needs_a_folder_to_find(nerfkit, monkeypatch, scene_folder):
    for name, value in {**SECOND, "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    done = nerfkit("train", scene_folder)
    assert done.code == 2 and "torchrun --max-restarts: no run folder given" in done.err and "add --out RUN" in done.err


def test_one_process_alone_pays_nothing():
    code = (
        "import sys; from nerfkit.ranks import ALONE, join; assert join('cpu') is ALONE; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    assert ALONE.first_says("a") == "a" and ALONE.sum_(torch.ones(2)).tolist() == [1, 1]
    ALONE.wait()
    ALONE.check_same({"a": 1})


def test_of_what_runs_hold_scenes_alone_are_filmed_together(nerfkit, second, monkeypatch):
    monkeypatch.setattr("nerfkit.cli.render.load_run", lambda *_, **__: SimpleNamespace(is_shared=False))
    done = nerfkit("render", "run", "--device", "cpu")
    assert done.code == 2 and "nerfkit render: runs in one process; got 2 of torchrun's" in done.err
