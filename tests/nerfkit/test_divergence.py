"""What a loss that is no number says of what made it: photo, row, prediction."""

import pytest
import torch

from nerfkit.checkpoints import DivergedError
from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.problem import Problem, Term
from nerfkit.runs import Run
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.measurements.photo_pixels import PhotoPixels
from nerfkit.scenes.observations.points import PointValues

CALM = FitSchedule(warmup_steps=1)


class Line(torch.nn.Module):
    """a x + b."""

    def __init__(self):
        super().__init__()
        self.slope, self.offset = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))

    def forward(self, x):
        return self.slope * x + self.offset

    def parameter_groups(self, rate):
        return [{"params": list(self.parameters()), "lr": rate}]


class From:
    """All measurements, of which one column changes from a draw on."""

    def __init__(self, first, **changed):
        whole = {"where": torch.rand(6, 1), "values": torch.rand(6, 1), "ids": torch.tensor([0, 0, 1, 1, 2, 2])}
        self.good, self.bad = Measurements(**whole), Measurements(**(whole | changed))
        self.first, self.n_drawn = first, 0

    def draw(self, n, generator):
        self.n_drawn += 1
        return self.bad if self.n_drawn > self.first else self.good


def diverged(source, **options):
    problem = Problem(Line(), [Term(PointValues(), Measurements(torch.rand(6, 1), torch.rand(6, 1)), n=4),
                               Term(PointValues(), source, **options)])  # fmt: skip
    problem.name_of = lambda index: f"photo {index}.png"
    with pytest.raises(DivergedError) as caught:
        fit(problem, Budget(steps=30), schedule=CALM)
    # the step whose loss it was took nothing
    assert all(parameter.isfinite().all() for parameter in problem.field.parameters())
    return caught.value


def spoilt(value=torch.nan, rows=(3,)):
    column = torch.rand(6, 1)
    column[list(rows)] = value
    return column


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"values": spoilt()}, "values of 1 of the 6 measurements of the batch are NaN or infinite, of photo 1.png"),
        ({"where": spoilt(torch.inf, (3, 5))}, "places of 2 of the 6 measurements of the batch are NaN or infinite, "
         "of photo 1.png, photo 2.png"),
        ({"weights": spoilt()[:, 0]}, "weights of 1 of the 6"),
        ({"values": spoilt(1e30)}, "parameters and measurements are finite, and so is what was predicted: its error"),
        ({"where": spoilt(3e38), "values": spoilt(-3e38)}, "parameters and measurements are finite, "),
    ],
)  # fmt: skip
def test_the_step_and_what_made_it_are_named(changed, words):
    error = diverged(From(20, **changed))
    assert error.what.startswith("the fit diverged: the loss is ") and " at step 21: " in error.what
    assert words in error.what
    if "photo" in words:
        assert error.fix.startswith("look at photo 1.png") and error.fix.endswith("or leave it out")


def test_values_that_a_loss_passes_over_are_not_blamed():
    def over_known(predicted, values):
        errors = torch.where(values.isnan(), 0.0, (predicted - values.nan_to_num()).square())
        # of what is known one error is too large
        return torch.where(values > 5, torch.inf, errors)

    values = spoilt()
    values[0] = 9.0
    error = diverged(From(20, values=values), loss=over_known)
    assert "so is what was predicted: its error is too large" in error.what


def test_a_predicted_number_that_is_none_is_told_from_the_data():
    class Broken(PointValues):
        n = 0

        def predict(self, field, where):
            self.n += 1
            return super().predict(field, where) * (torch.nan if self.n > 4 else 1)

    problem = Problem(Line(), [Term(Broken(), Measurements(torch.rand(6, 1), torch.rand(6, 1)), n=4)])
    with pytest.raises(DivergedError, match=r"at step 5: .* what was predicted of them is not, in 4 of 4"):
        fit(problem, Budget(steps=9), schedule=CALM)


def test_a_training_names_the_photo_and_keeps_its_last_checkpoint(nerfkit, run_copy, monkeypatch):
    draw, drawn = PhotoPixels.draw, []

    def spoil(self, n, generator):
        batch = draw(self, n, generator)
        drawn.append(None)
        if len(drawn) > 5:
            batch.rgb[batch.photo_ids == 2] = torch.nan
        return batch

    monkeypatch.setattr(PhotoPixels, "draw", spoil)
    error = nerfkit("train", "--resume", run_copy, "--steps", 230, "--json").json
    assert error["exit"] == 2 and error["error"]["where"] == str(run_copy)
    what, fix = error["error"]["what"], error["error"]["fix"]
    assert what.startswith("the fit diverged: the loss is nan at step 206: values of ")
    assert what.endswith("measurements of the batch are NaN or infinite, of train/r_2.png")
    assert fix == "look at train/r_2.png, or leave it out; the run keeps step 200, which was sound"
    assert Run(run_copy).checkpoints.steps()[0] == 200
    assert Run(run_copy).checkpoints.load_newest()["loop"]["step"] == 200
