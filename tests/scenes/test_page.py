"""The page of text as a camera of few pixels sees it."""

import numpy as np
import pytest
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.readers.shifts import read_shifts
from nerfkit.scenes.synthetic.page import BORDER, FINE, INK, PAPER, draw_page, write_lowres_sequence


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lowres_sequence(tmp_path_factory.mktemp("page"), n_frames=5, side=32, noise=0.0, scales=(2, 4))


def test_the_page_has_ink_on_paper_and_keeps_its_margin():
    page = draw_page(32)
    assert page.shape == (36 * FINE, 36 * FINE)
    assert page.max() == pytest.approx(PAPER) and page.min() == pytest.approx(INK)
    assert 0.03 < (page < 0.5).mean() < 0.4
    assert (page[: BORDER * FINE] == page.max()).all() and (page[:, : BORDER * FINE] == page.max()).all()
    assert (page[-FINE:] == page.max()).all() and (page[:, -BORDER * FINE :] == page.max()).all()


def test_frames_are_exact_means_of_the_page_at_their_shift(folder):
    frames = read_frames(folder / "frames")
    shifts = read_shifts(folder / "frames" / "shifts.csv", frames)
    assert frames.bit_depth == 16 and frames.images.shape == (5, 32, 32)
    assert (shifts.values[0] == 0).all() and np.abs(shifts.values).max() <= 1
    page = draw_page(32)
    for image, (dx, dy) in zip(frames.images, shifts.values, strict=True):
        top, left = round((BORDER + 7 + dy) * FINE), round((BORDER + 3 + dx) * FINE)
        # pixel (row 7, column 3) looks at (3.5 + dx, 7.5 + dy) of the reference
        assert image[7, 3] == pytest.approx(page[top : top + FINE, left : left + FINE].mean(), abs=1e-4)


def test_the_truth_averages_to_the_reference_frame(folder):
    reference = read_frames(folder / "frames").images[0]
    for scale in (2, 4):
        truth = np.asarray(Image.open(folder / f"truth_{scale}x.png"), np.float64) / 65535
        means = truth.reshape(32, scale, 32, scale).mean((1, 3))
        np.testing.assert_allclose(means, reference, atol=1e-4)


def test_noise_and_shifts_follow_the_seed(tmp_path):
    def images(name, **options):
        return read_frames(write_lowres_sequence(tmp_path / name, n_frames=3, side=16, **options) / "frames").images

    noisy, again, other = images("a"), images("b"), images("c", seed=1)
    assert np.array_equal(noisy, again) and not np.array_equal(noisy, other)
    clean = images("d", noise=0.0)
    assert (noisy - clean).std() == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("options", [{"n_frames": 0}, {"side": 8}, {"scales": (3,)}])
def test_impossible_sequences_are_refused(tmp_path, options):
    with pytest.raises(NerfkitError, match="scales that divide 32; got"):
        write_lowres_sequence(tmp_path, **options)
