"""Motions: steps against finite differences, parts and references against direct composition, the simplest model."""

import pytest
import torch

from nerfkit.scenes.motion import MODELS, Motion, basis, richer_models

SIZE = 9, 7


def drawn(model, n=4, seed=0):
    """A motion of a model, the first frame still."""
    g = torch.Generator().manual_seed(seed)
    matrices = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    matrices[1:, :2, 2] = 2 * torch.rand(n - 1, 2, generator=g, dtype=torch.float64) - 1
    if model != "shift":
        matrices[1:, :2, :2] += 0.05 * torch.randn(n - 1, 2, 2, generator=g, dtype=torch.float64)
    if model == "similarity":
        a, b = matrices[1:, 0, 0].clone(), matrices[1:, 1, 0].clone()
        matrices[1:, :2, :2] = torch.stack([a, -b, b, a], -1).view(-1, 2, 2)
    if model == "homography":
        matrices[1:, 2, :2] = 5e-3 * torch.randn(n - 1, 2, generator=g, dtype=torch.float64)
    return Motion(matrices, model)


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("model", MODELS)
def test_matrices_have_the_simplest_model_that_holds_them_whatever_their_scale(model):
    motion = drawn(model)
    found = Motion.of_matrices(-3 * motion.matrices)
    assert found.model == model
    close(found.matrices, motion.matrices)


@pytest.mark.parametrize("model", MODELS)
def test_pixels_look_where_the_matrix_takes_their_centres(model):
    motion = drawn(model)
    x, y = motion.looks_at(SIZE)
    assert x.shape == y.shape == (4, 7, 9)
    for frame, row, col in ((0, 0, 0), (1, 6, 8), (3, 2, 5)):
        there = motion.matrices[frame] @ torch.tensor([col + 0.5, row + 0.5, 1], dtype=torch.float64)
        close(torch.stack([x[frame, row, col], y[frame, row, col]]), there[:2] / there[2])
    points = torch.tensor([[3.5, 2.5], [0.5, 6.5]], dtype=torch.float64)
    close(motion.seen(points)[:, 0], torch.stack([x[:, 2, 3], y[:, 2, 3]], -1))
    middle = torch.tensor([[4.5, 3.5]], dtype=torch.float64)
    close(motion.displacements(SIZE), (motion.seen(middle) - middle)[:, 0])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("start", MODELS)
def test_steps_move_pixels_along_the_basis(model, start):
    """Central differences of where pixels look, by each number of the model."""
    motion, n, h = drawn(start), MODELS[model], 1e-5
    x, y = motion.looks_at(SIZE)
    along = basis(x, y, SIZE, model)
    for number in range(n):
        steps = torch.zeros(len(motion), n, dtype=torch.float64)
        steps[:, number] = h
        after, before = (motion.stepped(sign * steps, SIZE).looks_at(SIZE) for sign in (1, -1))
        for a, b, wanted in zip(after, before, along, strict=True):
            close((a - b) / (2 * h), wanted[..., number], 1e-7)


def test_a_step_of_a_richer_model_makes_the_motion_one_of_it_and_a_poorer_leaves_it():
    for start in MODELS:
        for taken, n in MODELS.items():
            found = drawn(start).stepped(torch.full((4, n), 1e-3), SIZE)
            assert found.model == (taken if taken in richer_models(start) else start)
            close(found.matrices[:, 2, 2], torch.ones(4, dtype=torch.float64))
            assert found.model == "homography" or not found.matrices[:, 2, :2].any()


@pytest.mark.parametrize("model", MODELS)
def test_relative_to_a_frame_is_through_its_inverse(model):
    motion = drawn(model)
    found = motion.relative_to(2)
    assert found.model == model and torch.equal(found.matrices[2], torch.eye(3, dtype=torch.float64))
    points = torch.tensor([[1.0, 2.0], [8.0, 5.0], [4.0, 0.5]], dtype=torch.float64)
    # back on the axes of the frame, what each frame saw of the old reference
    close(
        motion[torch.tensor([2] * 4)].seen(found.seen(points)[1]), motion.seen(points)[[1] * 4].mean(0).expand(4, 3, 2)
    )


@pytest.mark.parametrize("model", MODELS)
def test_parts_look_where_the_whole_does(model):
    motion = drawn(model)
    corners = torch.tensor([[3.0, 1.0], [4, 2], [2, 0], [5, 1]], dtype=torch.float64)
    corner = torch.tensor([2.0, 3.0], dtype=torch.float64)
    part = motion.between_parts(corners, corner)
    x, y = part.looks_at((3, 4))
    whole_x, whole_y = motion.looks_at(SIZE)
    assert part.model == model
    for frame, (left, top) in enumerate(corners.long().tolist()):
        close(x[frame], whole_x[frame, top : top + 4, left : left + 3] - corner[0])
        close(y[frame], whole_y[frame, top : top + 4, left : left + 3] - corner[1])
    same = motion.between_parts(corner, corner).between_parts(-corner, -corner)
    close(same.matrices, motion.matrices)


def test_shifted_moves_the_reference():
    motion, moves = drawn("homography"), torch.tensor([0.25, -0.5])
    points = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    close(motion.shifted(moves).seen(points), motion.seen(points) + moves)


def test_reach_is_how_far_frames_look_beyond_the_reference():
    assert Motion.of_shifts(torch.tensor([[0.0, 0.0], [0.5, -2.25]])).reach(SIZE) == 2.25
    shrunk = torch.diag(torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
    assert Motion(shrunk[None], "affine").reach(SIZE) == 0
    assert Motion(shrunk.inverse()[None], "affine").reach(SIZE) == 9


def test_what_is_no_motion_is_refused():
    for make in (
        lambda: Motion(torch.zeros(2, 3)),
        lambda: Motion(torch.eye(3)[None], "spline"),
        lambda: Motion.of_shifts(torch.zeros(3)),
    ):
        with pytest.raises(ValueError, match=r"got \("):
            make()


@pytest.mark.parametrize("model", ["shift", "similarity", "affine"])
def test_the_nearest_simpler_motion_is_itself_where_it_holds_and_the_least_squares_elsewhere(model):
    motion = drawn(model)
    close(motion.nearest(model, SIZE).matrices, motion.matrices)
    points = torch.tensor([[0, 0], [9, 0], [0, 7], [9, 7]], dtype=torch.float64)
    bent = drawn("homography")
    found = bent.nearest(model, SIZE)
    assert found.model == model

    def off(moved):
        return float((moved.seen(points) - bent.seen(points)).square().sum())

    for number in range(MODELS[model]):
        steps = torch.zeros(len(found), MODELS[model], dtype=torch.float64)
        steps[:, number] = 1e-3
        assert off(found) < min(off(found.stepped(steps, SIZE)), off(found.stepped(-steps, SIZE)))


def displaced(model, seed=1):
    """A motion whose pixels are moved smoothly by up to half a pixel more."""
    motion, (width, height) = drawn(model), SIZE
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    waves = torch.stack([torch.sin(x / 3 + y / 4), torch.cos(y / 3)], -1)
    sizes = torch.rand(len(motion), 1, 1, 1, generator=torch.Generator().manual_seed(seed)) / 2
    return motion.displaced(sizes * waves)


@pytest.mark.parametrize("model", MODELS)
def test_a_displacement_is_added_and_kept(model):
    motion, straight = displaced(model), drawn(model)
    assert motion.displacement is not None
    looks, by_matrix = (torch.stack(one.looks_at(SIZE), -1) for one in (motion, straight))
    close(looks, by_matrix + motion.displacement.double())
    close(torch.stack(motion[1:3].looks_at(SIZE), -1), looks[1:3])
    close(torch.stack(motion.shifted(torch.tensor([0.5, 0.25])).looks_at(SIZE), -1), looks + torch.tensor([0.5, 0.25]))
    assert motion.displaced(None).displacement is None and straight.typical_displacement == 0
    # where a pixel looks by its matrix alone, and where a frame has the point that looks there
    points = torch.tensor([[4.5, 3.5], [2.5, 5.5]], dtype=torch.float64)
    close(motion.looks_from(2, points), torch.stack([by_matrix[2, 3, 4], by_matrix[2, 5, 2]]))
    close(motion.seen_from(2, torch.stack([looks[2, 3, 4], looks[2, 5, 2]])), points, atol=1e-5)
    close(straight.seen_from(2, straight.looks_from(2, points)), points, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_a_displaced_frame_can_be_the_reference(model):
    motion = displaced(model)
    found = motion.relative_to(2)
    assert found.displacement is not None
    close(found.displacement[2], torch.zeros(*SIZE[::-1], 2))
    close(
        torch.stack(found.looks_at(SIZE), -1)[2], torch.stack(Motion.of_shifts(torch.zeros(1, 2)).looks_at(SIZE), -1)[0]
    )
    # a pixel of another frame looks at the point of frame 2 that looks where it does
    at, size = torch.stack(found.looks_at(SIZE), -1)[1, 3, 4], torch.tensor(SIZE)
    assert ((at > 1) & (at < size - 1)).all()
    close(motion.seen_from(2, torch.stack(motion.looks_at(SIZE), -1)[1, 3, 4]), at, atol=1e-5)


def test_a_displacement_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"a displacement is \[4, height, width, 2\]; got \(3, 7, 9, 2\)"):
        drawn("shift").displaced(torch.zeros(3, 7, 9, 2))
