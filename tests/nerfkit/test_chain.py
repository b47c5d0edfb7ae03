"""Registration by neighbours: large turns, zooms and drifts, things that move by themselves, other scenes."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from nerfkit.limits import Limit
from nerfkit.scenes.motion import Motion
from nerfkit.superresolution import chain as chains
from nerfkit.superresolution.chain import agreement
from nerfkit.superresolution.neighbours import follow_neighbours

SIDE, MARGIN, FINE = 48, 40, 4


@pytest.fixture(scope="module")
def scene():
    """Blots of all sizes, ``FINE`` pixels a low-res one."""
    rng = np.random.default_rng(0)
    n = (SIDE + 2 * MARGIN) * FINE
    spectrum = np.fft.fft2(rng.normal(size=(n, n)))
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n)))
    picture = np.fft.ifft2(spectrum * (f < 0.12) / np.maximum(f, 0.03)).real
    return 0.5 + 0.15 * picture / picture.std()


def about_middle(linear, move=(0.0, 0.0)):
    matrix, middle = np.eye(3), np.full(2, SIDE / 2)
    matrix[:2, :2] = linear
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle + move
    return matrix


def turn(degrees, zoom=1.0):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return zoom * np.array([[c, -s], [s, c]])


def seen(scene, matrix, noise=0.004, seed=0):
    """The mean of 4 x 4 points of each pixel."""
    at = (np.arange(4 * SIDE) + 0.5) / 4
    x, y = np.meshgrid(at, at)
    there = matrix @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    cols, rows = ((there[i] / there[2] + MARGIN) * FINE - 0.5 for i in (0, 1))
    frame = map_coordinates(scene, [rows, cols], order=1).reshape(SIDE, 4, SIDE, 4).mean((1, 3))
    return (frame + noise * np.random.default_rng(seed).normal(size=frame.shape)).astype(np.float32)


def sequence(scene, matrices):
    return np.stack([seen(scene, matrix, seed=index) for index, matrix in enumerate(matrices)])


def errors(chain, matrices):
    """Error (rms) over the part of each frame that the reference shows, low-res pixels."""
    wanted = Motion(torch.from_numpy(np.linalg.inv(matrices[chain.reference]) @ np.stack(matrices)), "homography")
    x, y = wanted.looks_at((SIDE, SIDE))
    found = Motion(torch.from_numpy(chain.matrices), "homography").looks_at((SIDE, SIDE))
    apart = torch.hypot(found[0] - x, found[1] - y)
    return [
        float(a[(u > 0) & (u < SIDE) & (v > 0) & (v < SIDE)].square().mean().sqrt())
        for a, u, v in zip(apart, x, y, strict=True)
    ]


def register_chain(*known, **options):
    found = chains.register_chain(*known, **options)
    assert found is not None
    return found


CASES = {
    "drift of three quarters of a frame": [about_middle(np.eye(2), (3.0 * i, -2.0 * i)) for i in range(13)],
    "turn of 80 degrees": [about_middle(turn(8 * i)) for i in range(11)],
    "zoom out": [about_middle(turn(0, 1.05**i), (0.4 * i, 0)) for i in range(11)],
    "still": [np.eye(3)] * 3,
}


@pytest.mark.parametrize("name", CASES)
def test_a_chain_finds_where_frames_look_however_far_the_last_is_from_the_first(scene, name):
    matrices = CASES[name]
    chain = register_chain(sequence(scene, matrices), 0)
    assert chain.is_placed.all() and chain.reference == 0 and chain.model == "affine"
    assert max(errors(chain, matrices)) < 0.15


def test_a_tilted_plane_takes_a_homography(scene):
    tilted = [about_middle(np.eye(2), (0.5 * i, 0)) for i in range(8)]
    for index, matrix in enumerate(tilted):
        matrix[2, 0] = 6e-4 * index
    chain = register_chain(sequence(scene, tilted), 0)
    assert chain.model == "homography" and max(errors(chain, tilted)) < 0.15


def test_the_reference_is_the_one_that_most_frames_overlap_unless_the_first_is_as_good(scene):
    drift = [about_middle(np.eye(2), (3.0 * i, 0)) for i in range(13)]
    chain = register_chain(sequence(scene, drift))
    assert 4 <= chain.reference <= 8 and max(errors(chain, drift)) < 0.15
    assert register_chain(sequence(scene, drift[:3])).reference == 0


def test_frames_in_no_order_are_placed_by_their_spectra(scene):
    matrices = [about_middle(turn(degrees, zoom), move) for degrees, zoom, move in (
        (0, 1, (0, 0)), (50, 1.2, (4, 3)), (-40, 0.9, (-5, 2)), (20, 1.1, (2, -6)),
    )]  # fmt: skip
    chain = register_chain(sequence(scene, matrices), 0)
    assert chain.is_placed.all() and max(errors(chain, matrices)) < 0.15


def test_a_frame_of_something_else_is_not_placed_and_breaks_nothing(scene):
    matrices = [about_middle(turn(4 * i)) for i in range(8)]
    frames = sequence(scene, matrices)
    frames[3] = np.random.default_rng(1).normal(0.5, 0.2, frames[3].shape)
    chain = register_chain(frames, 0)
    assert chain.is_placed.tolist() == [index != 3 for index in range(8)]
    assert max(error for index, error in enumerate(errors(chain, matrices)) if index != 3) < 0.15


def test_a_dark_thing_that_moves_by_itself_does_not_take_the_frame_with_it(scene):
    matrices = [about_middle(np.eye(2), (0.3 * i, -0.2 * i)) for i in range(10)]
    frames = sequence(scene, matrices)
    for index, frame in enumerate(frames):
        frame[20:29, 5 + 2 * index : 14 + 2 * index] = -1.0
    chain = register_chain(frames, 0)
    assert chain.is_placed.all() and max(errors(chain, matrices)) < 0.2


def test_brightness_and_contrast_do_not_matter(scene):
    matrices = [about_middle(turn(3 * i)) for i in range(6)]
    frames = sequence(scene, matrices)
    changed = np.stack([100 + (1 + 0.2 * index) * 4000 * frame for index, frame in enumerate(frames)])
    assert max(errors(register_chain(changed, 0), matrices)) < 0.15


def test_agreement_is_nan_where_hardly_anything_is_shared(scene):
    matrices = [about_middle(np.eye(2), (45.0 * i, 0)) for i in range(2)]
    agreed = agreement(sequence(scene, matrices), np.stack(matrices), 0)
    assert agreed[0] == pytest.approx(1) and np.isnan(agreed[1])


def test_frames_that_there_is_no_time_for_are_not_placed(scene):
    assert chains.register_chain(sequence(scene, CASES["still"]), 0, Limit(0.0)) is None


def test_a_first_frame_of_something_else_does_not_end_the_chain(scene):
    matrices = [about_middle(turn(4 * i)) for i in range(8)]
    frames = sequence(scene, matrices)
    frames[0] = np.random.default_rng(1).normal(0.5, 0.2, frames[0].shape)
    chain = register_chain(frames)
    assert chain.is_placed.tolist() == [False] + [True] * 7 and chain.reference > 0
    assert max(errors(chain, matrices)[1:]) < 0.15
    # a reference that hangs together with none cannot stand still
    assert chains.register_chain(frames, 0) is None


def test_a_turn_that_is_asked_to_be_affine_has_no_perspective(scene):
    tilted = [about_middle(np.eye(2), (0.5 * i, 0)) for i in range(8)]
    for index, matrix in enumerate(tilted):
        matrix[2, 0] = 6e-4 * index
    frames = sequence(scene, tilted)
    wrong = Motion.of_shifts(torch.zeros(8, 2))
    for register, model in (("affine", "affine"), ("homography", "homography")):
        found = follow_neighbours(frames, wrong, np.ones(8, bool), 0, register)
        assert found is not None and found.motion.model == model
        assert bool((found.motion.matrices[:, 2, :2] == 0).all()) == (model == "affine")


def test_frames_above_the_longest_side_are_registered_on_smaller_ones(scene, monkeypatch):
    monkeypatch.setattr(chains, "LONGEST", 35)
    matrices = [about_middle(turn(3 * i), (1.0 * i, 0)) for i in range(6)]
    assert max(errors(register_chain(sequence(scene, matrices), 0), matrices)) < 0.2


@pytest.mark.parametrize(("matrices", "model"), [
    (CASES["turn of 80 degrees"], "similarity"),
    ([about_middle(np.array([[1, 0.02 * i], [0, 1]])) for i in range(8)], "affine"),
    (CASES["drift of three quarters of a frame"], "shift"),
])  # fmt: skip
def test_the_simplest_model_that_agrees_is_taken(scene, matrices, model):
    frames = sequence(scene, matrices)
    wrong = Motion.of_shifts(torch.zeros(len(frames), 2))
    found = follow_neighbours(frames, wrong, np.ones(len(frames), bool), 0, "auto")
    assert found is not None and found.motion.model == model and found.reference == 0


def test_shifts_that_explain_the_frames_are_kept(scene):
    matrices = [about_middle(np.eye(2), (0.3 * i, -0.2 * i)) for i in range(6)]
    frames = sequence(scene, matrices)
    shifts = Motion.of_shifts(torch.from_numpy(np.stack(matrices)[:, :2, 2]))
    assert follow_neighbours(frames, shifts, np.ones(6, bool), 0, "auto") is None
    noisy = frames + np.random.default_rng(0).normal(0, 0.2, frames.shape).astype(np.float32)
    assert follow_neighbours(noisy, shifts, np.ones(6, bool), 0, "auto") is None
