"""PSFs against brute force: sums over thousands of points of what a pixel sees, also over the border."""

import math

import numpy as np
import pytest
import torch
from lowres_scenes import measured

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.observations.psf import Psf
from nerfkit.scenes.readers.psf import read_psf

CELLS, SIDE, MARGIN = 4, 6, 3
# points along an axis for each integral
N_POINTS = 40_000
# a lopsided one that is no product of two, with its samples 0.3 low-res pixels wide
LOPSIDED = np.array([[0, 1, 0, 0, 0], [2, 5, 4, 0, 0], [0, 7, 9, 3, 0], [0, 1, 6, 4, 2], [0, 0, 0, 1, 0.0]])
PSFS = {
    "box of a pixel": Psf(),
    "wide box": Psf("box", 1.75),
    "uneven box": Psf("box", 1.13),
    "narrow box": Psf("box", 0.4),
    "gaussian": Psf("gaussian", 0.45),
    "file": Psf.of_picture(LOPSIDED, 1.5),
}


def axis_weights(psf, sample, centre, n_cells):
    """Weight of each cell along an axis for a PSF at ``centre``, by counting points; ``sample`` of a file."""
    u = ((np.arange(N_POINTS) + 0.5) / N_POINTS * 2 - 1) * psf.radius
    if psf.kind == "gaussian":
        density = np.exp(-0.5 * (u / psf.width) ** 2)
    elif psf.kind == "file":
        density = (np.floor((u / psf.width + 0.5) * len(LOPSIDED)) == sample).astype(float)
    else:
        density = np.ones(N_POINTS)
    cell = np.floor((centre + u + MARGIN) * CELLS).astype(int)
    inside = (cell >= 0) & (cell < n_cells)
    whole = density.sum()
    return np.bincount(cell[inside], density[inside], n_cells) / whole, density[inside].sum() / whole


def brute_force(psf, image, x, y):
    """What a pixel at (x, y) sees of cells that are constant, and whether it looks at the grid alone."""
    if psf.kind != "file":
        (across, seen_x), (down, seen_y) = (axis_weights(psf, 0, at, len(image)) for at in (x, y))
        return down @ image @ across, min(seen_x, seen_y) > 1 - 1e-9
    # a point of light shows turned by half a turn
    weights = LOPSIDED[::-1, ::-1] / LOPSIDED.sum()
    rows, cols = ([axis_weights(psf, k, at, len(image))[0] for k in range(len(weights))] for at in (y, x))
    return sum(weights[i, j] * rows[i] @ image @ cols[j] for i in range(5) for j in range(5)), True


def predicted(psf, shift, image):
    _, view = measured(torch.zeros(1, SIDE, SIDE), [shift], psf)
    samples, is_known = view.sample(Grid(SIDE, SIDE, CELLS, MARGIN), torch.from_numpy(image).float())
    return samples.values[0].numpy(), is_known[0].numpy()


def noise_image():
    n = (SIDE + 2 * MARGIN) * CELLS
    return np.random.default_rng(0).random((n, n))


@pytest.mark.parametrize("psf", PSFS.values(), ids=PSFS)
@pytest.mark.parametrize("steps", [(0, 0), (3, -5), (-11, 9)])
def test_pixels_are_the_integral_over_their_psf(psf, steps):
    # where the PSF's cells fall on those of the grid nothing is approximated, whatever the image
    half = psf.n_taps(CELLS) % 2 / 2
    shift = [(step + half) / CELLS for step in steps]
    image = noise_image()
    values, is_known = predicted(psf, shift, image)
    atol = 1e-3 if psf.kind == "file" else 2e-4  # 5e-4 of a file's weights may be left out; points are counted
    for i in range(SIDE):
        for j in range(SIDE):
            if is_known[i, j]:
                want, is_inside = brute_force(psf, image, j + 0.5 + shift[0], i + 0.5 + shift[1])
                assert values[i, j] == pytest.approx(want, abs=atol) and is_inside


@pytest.mark.parametrize("psf", PSFS.values(), ids=PSFS)
def test_pixels_that_hang_over_the_border_do_not_count_and_all_others_do(psf):
    image = noise_image()
    half = psf.n_taps(CELLS) % 2 / 2
    shift = [(5 * CELLS - 1 + half) / CELLS, half / CELLS]
    values, is_known = predicted(psf, shift, image)
    reach = psf.n_taps(CELLS) / 2 / CELLS
    at = np.arange(SIDE) + 0.5
    inside = (at + shift[0] + reach <= SIDE + MARGIN + 1e-9) & (at + shift[0] - reach >= -MARGIN - 1e-9)
    assert (is_known == inside[None, :]).all() and 0 < inside.sum() < SIDE
    assert not values[~is_known].any()


# rms errors for the worst image there is, cells of noise with an rms contrast of 0.29, four of them a low-res pixel
BETWEEN = {
    "box of a pixel": 1e-4,
    "wide box": 1e-4,
    "uneven box": 0.02,
    "narrow box": 0.05,
    "gaussian": 0.01,
    "file": 0.02,
}


@pytest.mark.parametrize("name", PSFS)
def test_between_cells_whole_boxes_are_exact_and_others_near(name):
    psf, image = PSFS[name], noise_image()
    errors = []
    for shift in ((0.03, 0.21), (-0.37, 0.11), (0.613, -0.29)):
        values, is_known = predicted(psf, shift, image)
        assert is_known.all()
        want = [
            [brute_force(psf, image, j + 0.5 + shift[0], i + 0.5 + shift[1])[0] for j in range(SIDE)]
            for i in range(SIDE)
        ]
        errors.append(values - np.array(want))
    assert np.sqrt(np.mean(np.square(errors))) < BETWEEN[name]


@pytest.mark.parametrize(("degrees", "stretch", "perspective"), [(1.5, 1.01, 0.0), (10.0, 1.0, 0.0), (2.0, 1.0, 5e-4)])
def test_turned_pixels_are_nearly_the_integral_over_a_turned_psf(degrees, stretch, perspective):
    # stripes of about a low-res pixel, 0 or 1; the PSF keeps its direction and size, which costs little
    n = (SIDE + 2 * MARGIN) * 8
    y, x = np.mgrid[:n, :n] / 8
    image = ((np.sin(2.1 * x + 0.9 * y) > 0.3) ^ (np.cos(1.7 * y - 0.8 * x) > 0.5)).astype(float)
    angle = math.radians(degrees)
    matrix = np.array(
        [[math.cos(angle), -math.sin(angle), 0.31], [math.sin(angle), math.cos(angle), -0.4], [0, 0, 1.0]]
    )
    matrix[:2, :2] *= stretch
    matrix[:2, 2] += SIDE / 2 - matrix[:2, :2] @ np.full(2, SIDE / 2)
    matrix[2, :2] = perspective
    _, view = measured(torch.zeros(1, SIDE, SIDE), matrix[None])
    samples, is_known = view.sample(Grid(SIDE, SIDE, 8, MARGIN), torch.from_numpy(image).float())
    assert bool(is_known.all())
    points = (np.arange(SIDE * 200) + 0.5) / 200
    xs, ys = np.meshgrid(points, points)
    seen = matrix @ np.stack([xs.ravel(), ys.ravel(), np.ones(xs.size)])
    cols, rows = (np.floor((seen[k] / seen[2] + MARGIN) * 8).astype(int) for k in (0, 1))
    want = image[rows, cols].reshape(SIDE, 200, SIDE, 200).mean((1, 3))
    error = float(np.sqrt(np.mean(np.square(samples.values[0].numpy() - want))))
    assert error < (0.004 if degrees < 5 else 0.02)


def test_psf_of_a_file_is_turned_by_half_a_turn_and_keeps_its_weights():
    # a point of light on the grid makes the picture
    psf = Psf.of_picture(LOPSIDED, 5.0)  # a sample is a low-res pixel
    grid = Grid(9, 9, 1, 3)
    image = torch.zeros(grid.shape)
    image[7, 7] = 1  # the middle of the frame
    _, view = measured(torch.zeros(1, 9, 9), [[0.0, 0.0]], psf)
    seen = view.sample(grid, image)[0].values[0, 2:7, 2:7].numpy()
    np.testing.assert_allclose(seen, LOPSIDED / LOPSIDED.sum(), atol=5e-4)
    np.testing.assert_allclose(psf.picture(), LOPSIDED / LOPSIDED.sum(), atol=5e-4)


def test_box_taps_are_the_integral_over_each_cell():
    assert Psf("box", 1).taps(8).tolist() == [0.125] * 8
    # 2.4 cells wide: one whole cell and 0.7 of its neighbours
    torch.testing.assert_close(Psf("box", 0.6).taps(4), torch.tensor([0.7, 1.0, 0.7]) / 2.4)
    assert Psf("box", 0.1).taps(4).tolist() == [1.0]


@pytest.mark.parametrize(("kind", "width"), [("box", 1.0), ("box", 1.7), ("gaussian", 0.3), ("gaussian", 1.1)])
def test_taps_sum_to_one_are_symmetric_and_as_wide_as_the_psf(kind, width):
    cells = 9
    taps = Psf(kind, width).taps(cells).double()
    torch.testing.assert_close(taps.sum(), torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(taps, taps.flip(0))
    x = torch.arange(len(taps)) - (len(taps) - 1) / 2
    # a cell's own width adds 1/12 of its square to a Gaussian; a box of cells has it already
    variance = float((taps * x.square()).sum()) / cells**2
    wanted = width**2 / 12 - 1 / (12 * cells**2) if kind == "box" else width**2 + 1 / (12 * cells**2)
    assert variance == pytest.approx(wanted, rel=2e-2 if kind == "box" else 5e-3)


def test_gaussian_taps_are_the_bell_over_each_cell():
    taps = Psf("gaussian", 0.5).taps(2)  # sigma of one cell
    middle = len(taps) // 2
    assert float(taps[middle]) == pytest.approx(math.erf(1 / math.sqrt(2)) / 2, rel=1e-3)


@pytest.mark.parametrize("psf", [("disc", 1.0), ("box", 0.0), ("box", math.inf)])
def test_psf_that_is_none_is_refused(psf):
    with pytest.raises(ValueError, match=r"kind must|width must"):
        Psf(*psf)


def test_round_pictures_take_few_terms_and_sums_are_one():
    x = np.arange(-10, 11)
    bell = np.exp(-0.5 * (x[:, None] ** 2 + x**2) / 9)
    disc = (x[:, None] ** 2 + x**2 <= 81).astype(float)
    for picture, most in ((bell, 1), (disc, 8)):
        psf = Psf.of_picture(picture, 3.0)
        assert psf.terms is not None and len(psf.terms) <= most
        assert float(psf.weights(8).sum()) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(psf.picture().sum(), 1, atol=1e-9)
        assert np.abs(psf.picture() - picture / picture.sum()).sum() < 1e-3


def test_solution_with_a_sampled_psf_undoes_it():
    from nerfkit.solvers.grid import Prior, solve

    rng = np.random.default_rng(0)
    psf = PSFS["file"]
    shifts = np.vstack([[0, 0], rng.uniform(-1, 1, (15, 2))])
    _, view = measured(torch.zeros(16, 16, 16), shifts, psf)
    grid = view.grid(4)
    y, x = np.mgrid[: grid.shape[0], : grid.shape[1]] / 4
    scene = torch.from_numpy((np.sin(2.0 * x + y) > 0).astype(np.float32))
    values = view.sample(grid, scene)[0].values

    def error(with_psf):
        other = view.with_psf(with_psf)
        on = other.grid(4)
        equations = other.equations(on, values, torch.ones_like(values))
        image = solve(equations, on.enlarge(values[0]), with_psf, on, Prior(0.2, 0.01), 300)
        return float((on.crop(image) - grid.crop(scene)).square().mean().sqrt())

    assert error(psf) < 0.7 * error(Psf("box", 1.5))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones((3, 4)), "3 x 4"),
        (np.ones(9), "shape 9"),
        (np.ones((4, 4)), "odd side"),
        (np.zeros((3, 3)), "zero everywhere"),
        (-np.eye(3), "negative"),
        (np.full((3, 3), np.nan), "9 of its 9 values are NaN or infinite, the first at row 0"),
        (np.random.default_rng(0).random((3, 3, 3)), "in colour"),
    ],
)
def test_pictures_that_are_no_psf_are_refused(tmp_path, values, said):
    np.save(tmp_path / "psf.npy", values)
    with pytest.raises(NerfkitError, match=said):
        read_psf(tmp_path / "psf.npy")


def test_images_numbers_and_arrays_are_read_alike(tmp_path, caplog):
    from PIL import Image

    picture = np.array([[0, 10, 0], [10, 40, 10], [0, 10, 0]])
    np.save(tmp_path / "a.npy", picture)
    np.savetxt(tmp_path / "a.txt", picture)
    (tmp_path / "a.csv").write_text("\ufeff0,10,0\n10,40,10\n0,10,0\n", encoding="utf-8")
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.stack([picture.astype(np.uint8)] * 3, -1)).save(tmp_path / "b.png")
    Image.fromarray((picture * 600).astype(np.uint16)).save(tmp_path / "c.png")
    Image.fromarray(picture.astype(np.float32)).save(tmp_path / "a.tif")
    for name in ("a.npy", "a.txt", "a.csv", "a.png", "b.png", "c.png", "a.tif"):
        np.testing.assert_allclose(read_psf(tmp_path / name), picture / 80, atol=1e-6)
    assert not caplog.records
    np.save(tmp_path / "off.npy", np.roll(picture, 1, 1))
    read_psf(tmp_path / "off.npy")
    assert "centre of mass" in caplog.text


@pytest.mark.parametrize("name", ["none.npy", "folder", "words.txt", "broken.npy", "broken.png"])
def test_unreadable_files_are_named(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "words.txt").write_text("a b\nc d\n")
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(NerfkitError, match=name.replace(".", r"\.")):
        read_psf(tmp_path / name)
