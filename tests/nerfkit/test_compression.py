"""The codec: what it reports is what the file gives, and no file makes it hang or crash; the DCT beside it."""

import math
import struct
import zlib

import numpy as np
import pytest
import scipy.fft
import torch

from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.scenes.errors import NerfkitError
from nerfkit.workbench.compression import baselines, codec, context, networks, synthesis, transforms
from nerfkit.workbench.compression.codec import decode, encode, psnr_of, read_head
from nerfkit.workbench.compression.coin import coin
from nerfkit.workbench.compression.range_coder import (
    CHANCES,
    COSTS,
    finish,
    is_over,
    new_reader,
    new_writer,
    place_of,
    read_bits,
    read_number,
    write_bits,
    write_number,
)
from nerfkit.workbench.compression.training import CodecSettings, PictureCode, number_of_levels
from nerfkit.workbench.compression.wavelets import analyse, synthesise

LAST_PLACE = len(CHANCES) - 1


def scene(h, w, n_channels=3, seed=0):
    """Edges, a ramp and some texture."""
    y, x = np.mgrid[:h, :w] / max(h, w)
    planes = [120 + 90 * np.sin(7 * x + c) * (y > 0.4 * x) + 40 * y for c in range(n_channels)]
    texture = np.random.default_rng(seed).normal(0, 4, (h, w, 1))
    out = np.clip(np.stack(planes, axis=-1) + texture, 0, 255).astype(np.uint8)
    return out[..., 0] if n_channels == 1 else out


# The range coder


def through(numbers):
    """Numbers (value, place, place), written and read."""
    writer = new_writer(64 * len(numbers))
    for value, zero, last in numbers:
        write_number(writer, value, zero, last)
    data = finish(writer)
    reader = new_reader(data)
    values = [read_number(reader, zero, last) for _, zero, last in numbers]
    assert not is_over(reader)
    return values, data


@pytest.mark.parametrize("place", [0, 1, 64, LAST_PLACE])
@pytest.mark.parametrize("value", [0, 1, -1, 23, 24, 25, -26, 1000, 2**20 - 2, -(2**20 - 2)])
def test_the_likeliest_and_the_least_likely_numbers_come_back(value, place):
    numbers = [(value, place, LAST_PLACE - place)] * 20
    assert through(numbers)[0] == [value] * 20


def test_carries_run_through_bytes_of_255():
    generator = np.random.default_rng(0)
    for n in [0, 1, 2, *range(3, 60)]:
        # what is least likely adds most to low: carries, and bytes of 255 between them
        numbers = [(int(v), int(p), 64) for v, p in zip(generator.integers(-1, 2, n), generator.choice([0, 128], n),
                                                        strict=True)]  # fmt: skip
        assert through(numbers)[0] == [value for value, _, _ in numbers]


def test_a_stream_is_as_long_as_its_probabilities_say():
    generator = np.random.default_rng(1)
    place = place_of(0.9)
    values = [int(v) for v in (generator.random(4000) > 0.9) * generator.integers(1, 4, 4000)]
    numbers = [(value, place, 64) for value in values]
    _, data = through(numbers)
    places = np.tile(np.array([[place, 64]], np.uint8), (len(values), 1))
    wanted = context.code_lengths(np.array(values, np.int32), places).sum() / 8
    assert wanted - 1 <= len(data) <= wanted + 8


def test_bits_come_back_as_they_are():
    writer = new_writer(100)
    for n_bits in range(1, 30):
        write_bits(writer, 2**n_bits - 1, n_bits)
        write_bits(writer, 0, n_bits)
    reader = new_reader(finish(writer))
    assert [(read_bits(reader, n), read_bits(reader, n)) for n in range(1, 30)] == [(2**n - 1, 0) for n in range(1, 30)]


def test_reading_on_after_the_end_is_noticed_and_ends():
    reader = new_reader(b"\xff" * 8)
    for _ in range(200):
        read_number(reader, 0, 0)
    assert is_over(reader)


def test_chances_are_those_of_the_logits_and_sum_to_one():
    assert CHANCES[64] == 2**15 and (np.diff(CHANCES.astype(int)) >= 0).all()
    assert np.exp2(-COSTS).sum(axis=0) == pytest.approx(1)
    assert CHANCES[72] / 2**16 == pytest.approx(1 / (1 + math.exp(-1)), abs=2**-16)


# Wavelets, context, networks


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (2, 2), (17, 23), (32, 64)])
def test_integer_synthesis_undoes_the_analysis(shape):
    planes = np.random.default_rng(0).uniform(-128, 128, (2, *shape))
    n_levels = number_of_levels(*shape)
    coefficients = np.round(analyse(planes, n_levels) * 256).astype(np.int64)
    assert np.abs(synthesise(coefficients, n_levels) / 256 - planes).max() < 0.1


def test_wavelets_are_nearly_orthonormal():
    planes = np.random.default_rng(0).normal(size=(1, 64, 64))
    assert np.square(analyse(planes, 4)).sum() == pytest.approx(np.square(planes).sum(), rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (17, 23), (64, 33)])
def test_bands_cover_each_coefficient_once(shape):
    counts = np.zeros((3, *shape), int)
    height, width = shape
    for c, _, _, _, i, j, h, w in context.bands(3, height, width, number_of_levels(height, width))[:, :8]:
        counts[c, i : i + h, j : j + w] += 1
    assert (counts == 1).all()


def test_means_come_back_from_their_differences():
    planes = np.random.default_rng(0).integers(-500, 500, (3, 9, 14)).astype(np.int32)
    changed = planes.copy()
    context.from_means(changed, 5, 7)
    assert (changed != planes)[:, :5, :7].any() and (changed == planes)[:, 5:].all()
    context.to_means(changed, 5, 7)
    assert (changed == planes).all()


def test_coefficients_come_back_though_each_is_predicted_from_those_before():
    generator = np.random.default_rng(0)
    network = networks.SmallNetwork([20, 8, 8, 2], torch.Generator().manual_seed(0), last=1.0).rounded(5)
    bands = context.bands(3, 17, 23, 4)
    bands[-1, 3] = 0
    planes = np.zeros((3, 17, 23), np.int32)
    context.fill(planes, bands, generator.geometric(0.4, context.n_coded(bands)) - 1)
    places = context.places_of(context.features_of(planes, bands), network)
    assert len(np.unique(places)) > 10  # a network that says the same of all proves nothing
    writer = new_writer(10000)
    context.write_coefficients(writer, context.values_of(planes, bands), places)
    back = context.read_coefficients(new_reader(finish(writer)), planes.shape, bands, network)
    assert (back == planes).all()


def test_chosen_coefficients_are_the_cheapest_of_all():
    generator = np.random.default_rng(0)
    targets, price = generator.normal(0, 3, 300), 0.3
    places = generator.integers(0, LAST_PLACE + 1, (300, 2)).astype(np.uint8)
    is_mean = np.zeros(300, bool)
    is_mean[:9] = True
    chosen = context.choose(targets, places, is_mean, price)
    whole = np.arange(-20, 21)
    for at in range(9, 300):
        bits = context.code_lengths(whole.astype(np.int32), np.tile(places[at], (len(whole), 1)))
        costs = (whole - targets[at]) ** 2 + price * bits
        assert costs[chosen[at] + 20] == pytest.approx(costs.min())
    assert (chosen[:9] == np.round(targets[:9])).all()


def test_a_network_in_integers_says_what_it_says_in_floats():
    network = networks.SmallNetwork([20, 8, 8, 2], torch.Generator().manual_seed(0), last=1.0)
    features = np.random.default_rng(0).integers(0, 100, (50, 20)).astype(np.uint8)
    network.shift = 6
    said = network(torch.from_numpy(features).float() / 16).detach().numpy()
    out, hidden = np.empty(2, np.int64), np.empty((2, 8), np.int64)
    for row, floats in zip(features, said, strict=True):
        networks.evaluate(out, hidden, row.astype(np.int64), network.rounded(6), 4)
        assert out / 256 == pytest.approx(floats, abs=0.1)


def test_a_network_comes_back_and_one_of_zeros_is_small():
    network = networks.SmallNetwork([20, 16, 16, 3], torch.Generator().manual_seed(0), last=0.0).rounded(4)
    writer = new_writer(4000)
    networks.write_network(writer, network)
    back = networks.read_network(new_reader(finish(writer)), [20, 16, 16, 3])
    assert all(np.array_equal(a, b) for a, b in zip(network, back, strict=True))


def test_a_correction_of_nothing_changes_nothing():
    planes = np.random.default_rng(0).integers(-9999, 9999, (3, 5, 6))
    network = networks.SmallNetwork([20, 4, 4, 3], torch.Generator(), last=0.0).rounded(4)
    assert (synthesis.correct(planes, network, 512) == planes).all()


def test_hostile_weights_overflow_nothing():
    largest = np.int64(2**15 - 1)
    layers = [np.full(shape, largest) for shape in ((20, 64), (64,), (64, 64), (64,), (3, 64), (3,))]
    layers[0] = layers[0].T
    out, hidden = np.empty(3, np.int64), np.empty((2, 64), np.int64)
    for shift in (0, 15):
        networks.evaluate(out, hidden, np.full(20, 512), networks.IntegerNetwork.of(layers, shift), 6)
        assert (out > 0).all()


# The codec


@pytest.fixture(scope="module")
def picture():
    return scene(48, 64)


@pytest.fixture(scope="module")
def encoded(picture):
    return encode(picture, rate=2.0, steps=60)


def test_what_is_reported_is_what_the_bytes_give(picture, encoded):
    assert (decode(encoded.data) == encoded.pixels).all()
    assert encoded.figures["psnr"] == psnr_of(encoded.pixels, picture)
    assert encoded.figures["bytes"] == len(encoded.data)
    assert encoded.figures["bits_per_pixel"] == 8 * len(encoded.data) / (48 * 64)
    parts = encoded.figures["bytes_networks"] + encoded.figures["bytes_coefficients"]
    assert parts == pytest.approx(len(encoded.data), abs=50)


def test_the_file_has_about_the_rate_and_the_picture_is_seen(encoded):
    assert 1.5 < encoded.figures["bits_per_pixel"] < 2.5
    assert encoded.figures["psnr"] > 31


def test_it_beats_jpeg_at_equal_bytes(picture, encoded):
    files = [*baselines.curve(picture, "jpeg"), *baselines.curve(picture, "jpeg444")]
    # so small a picture's JPEG is mostly head: one of half as many bytes again is still worse
    assert encoded.figures["psnr"] > max(file.psnr for file in files if file.n_bytes < 1.5 * len(encoded.data)) + 1


@pytest.mark.parametrize("shape", [(17, 23), (17, 23, 3), (1, 1), (1, 1, 3), (1, 40), (9, 2, 3)])
def test_odd_sizes_grey_and_colour(shape):
    pixels = scene(shape[0], shape[1], 3 if len(shape) == 3 else 1)
    code = encode(pixels, rate=8.0, steps=20)
    assert code.pixels.shape == pixels.shape and code.pixels.dtype == np.uint8
    assert (decode(code.data) == code.pixels).all()
    assert code.figures["psnr"] > 25


@pytest.mark.parametrize("value", [0, 255])
def test_a_flat_picture_is_exact_and_small(value):
    pixels = np.full((40, 30, 3), value, np.uint8)
    code = encode(pixels, rate=1.0, steps=10)
    assert (code.pixels == pixels).all() and math.isinf(code.figures["psnr"])
    assert len(code.data) < 350


def test_black_and_white_noise_comes_back_at_a_high_rate():
    pixels = np.random.default_rng(0).choice([0, 255], (24, 24, 3)).astype(np.uint8)
    code = encode(pixels, rate=20.0, steps=20)
    assert (decode(code.data) == code.pixels).all()


def test_a_file_is_a_function_of_picture_settings_and_seed(picture):
    first, again, other = (encode(picture, steps=10, seed=seed).data for seed in (3, 3, 4))
    assert first == again != other


def test_seconds_are_a_limit_and_progress_is_told(picture):
    told = []
    code = encode(picture, steps=400, seconds=0.0, on_progress=told.append)
    assert code.fit.is_cut and code.fit.steps == 1 == len(told)
    assert (decode(code.data) == code.pixels).all()


def test_a_fit_goes_on_from_its_state(picture):
    whole, part, rest = (PictureCode(picture, 2.0, 20, 0, CodecSettings((4, 4))) for _ in range(3))
    fit(whole, Budget(steps=20), schedule=FitSchedule())
    fit(part, Budget(steps=10), schedule=FitSchedule())
    rest.load_state_dict(part.state_dict())
    assert (rest.coefficients == part.coefficients).all() and rest.step == part.step
    assert rest.loss(10)[0] == part.loss(10)[0]
    assert whole.validate()["psnr"] > 20


# Errors


def changed(data, at, byte, *, with_checksum=False):
    out = data[:at] + bytes([byte]) + data[at + 1 :]
    return out[:4] + struct.pack(">I", zlib.crc32(out[8:])) + out[8:] if with_checksum else out


def test_what_is_no_such_file_or_of_another_version(encoded):
    with pytest.raises(NerfkitError, match=r"begins with b'\\x89PNG' where .* b'NKC'; give a file that nerfkit fit"):
        decode(b"\x89PNG\r\n")
    with pytest.raises(NerfkitError, match="begins with b''"):
        decode(b"")
    with pytest.raises(
        NerfkitError, match="is of version 9 of the format; this nerfkit reads version 1; update nerfkit"
    ):
        decode(changed(encoded.data, 3, 9))


def test_what_is_cut_short_or_changed(encoded):
    n = len(encoded.data)
    for length in (*range(3, 25), n - 1):
        with pytest.raises(NerfkitError, match="is damaged: it has"):
            decode(encoded.data[:length])
    with pytest.raises(NerfkitError, match=f"it has {n + 1} bytes where its head tells of {n}; copy the file again"):
        decode(encoded.data + b"\0")
    for at in (*range(4, 19), n // 2, n - 1):
        with pytest.raises(NerfkitError, match="is damaged"):
            decode(changed(encoded.data, at, encoded.data[at] ^ 1))


def test_heads_that_ask_for_what_no_writer_writes(encoded):
    assert read_head(encoded.data) == (64, 48, 3, (4, 4))
    with pytest.raises(NerfkitError, match="it has 9 channels where 1 or 3 are possible"):
        decode(changed(encoded.data, 16, 9, with_checksum=True))
    with pytest.raises(NerfkitError, match="widths of 200 and 4 where 4 to 64 are possible"):
        decode(changed(encoded.data, 17, 200, with_checksum=True))
    huge = changed(changed(encoded.data, 12, 255), 14, 255, with_checksum=True)
    with pytest.raises(
        NerfkitError, match=r"tells of 65344 x 65328 pixels where its \d+ bytes can hold 1 to \d+; copy"
    ):
        decode(huge)
    none = changed(changed(encoded.data, 13, 0), 12, 0, with_checksum=True)
    with pytest.raises(NerfkitError, match="tells of 0 x 48 pixels"):
        decode(none)


def test_few_bytes_do_not_ask_for_much_memory_or_time():
    stream = b"\x7f" * 20
    rest = struct.pack(">IHHBBB", len(stream), 4000, 4000, 3, 4, 4) + stream
    with pytest.raises(NerfkitError, match="4000 x 4000 pixels where its 20 bytes can hold 1 to 81920"):
        decode(b"NKC\x01" + struct.pack(">I", zlib.crc32(rest)) + rest)


def test_streams_of_noise_end_in_an_error_or_in_pixels():
    generator = np.random.default_rng(0)
    n_refused = 0
    for seed in range(30):
        stream = generator.bytes(40 + seed)
        rest = struct.pack(">IHHBBB", len(stream), 300, 200, 3, 4, 4) + stream
        try:
            assert decode(b"NKC\x01" + struct.pack(">I", zlib.crc32(rest)) + rest).shape == (200, 300, 3)
        except NerfkitError as error:
            assert "ends early" in str(error) or "end early" in str(error)
            n_refused += 1
    assert n_refused > 20


def test_pixels_and_settings_that_are_none():
    with pytest.raises(NerfkitError, match=r"pixels are float64 of shape \(4, 4\); the codec takes uint8"):
        encode(np.zeros((4, 4)))  # pyright: ignore[reportArgumentType]
    with pytest.raises(NerfkitError, match=r"shape \(4, 4, 4\).*without alpha"):
        encode(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(NerfkitError, match="has 4 x 0 pixels; the codec takes 1 to 16777216"):
        encode(np.zeros((0, 4), np.uint8))
    with pytest.raises(NerfkitError, match="make the picture smaller"):
        encode(np.broadcast_to(np.uint8(0), (5000, 5000)))
    for rate in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(NerfkitError, match="a rate is a positive number of bits per pixel; got"):
            encode(np.zeros((4, 4), np.uint8), rate=rate)
    with pytest.raises(NerfkitError, match=r"widths are 4 to 64; got \(2, 8\)"):
        CodecSettings((2, 8))
    with pytest.raises(NerfkitError, match="a price is above 0; got 0"):
        CodecSettings((8, 8), price=0)
    with pytest.raises(NerfkitError, match="round_every and n are 1 or more; got 0 and 16384"):
        CodecSettings((8, 8), round_every=0)
    with pytest.raises(NerfkitError, match=r"shifts are 2 to 7; got \(9, 4\)"):
        CodecSettings((8, 8), shifts=(9, 4))
    with pytest.raises(NerfkitError, match="steps are 1 or more; got 0"):
        encode(np.zeros((4, 4), np.uint8), steps=0)


# Transforms and other files


@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_the_dct_is_the_formula_and_scipys(n):
    x = np.random.default_rng(0).normal(size=n)
    sums = [sum(x[i] * math.cos(math.pi / n * (i + 0.5) * k) for i in range(n)) for k in range(n)]
    assert transforms.dct(x) == pytest.approx(np.array(sums), abs=1e-12)
    assert transforms.dct(x) == pytest.approx(np.asarray(scipy.fft.dct(x)) / 2, abs=1e-12)
    assert transforms.inverse_dct(transforms.dct(x)) == pytest.approx(x, abs=1e-12)
    assert transforms.orthonormal_dct(np.eye(n)[0]) == pytest.approx(scipy.fft.dct(np.eye(n)[0], norm="ortho"))


def test_the_dct_of_a_picture_is_two_products():
    x = np.random.default_rng(0).normal(size=(5, 8))
    product = transforms.cosine_matrix(5) @ x @ transforms.cosine_matrix(8).T
    assert transforms.dct(x) == pytest.approx(product, abs=1e-12)
    assert transforms.dct(x) == pytest.approx(np.asarray(scipy.fft.dctn(x)) / 4, abs=1e-12)
    scaled = transforms.orthonormal_dct(x)
    assert scaled == pytest.approx(scipy.fft.dctn(x, norm="ortho"), abs=1e-12)
    assert np.square(scaled).sum() == pytest.approx(np.square(x).sum())  # Parseval
    assert transforms.inverse_dct(transforms.dct(x)) == pytest.approx(x, abs=1e-12)
    assert transforms.inverse_orthonormal_dct(scaled) == pytest.approx(x, abs=1e-12)
    with pytest.raises(ValueError, match=r"a line \[n\] or a picture \[h, w\] is expected; got the shape \(2, 2, 2\)"):
        transforms.dct(np.zeros((2, 2, 2)))


def test_dropping_keeps_one_in_twenty():
    x = np.random.default_rng(0).normal(size=(20, 30))
    left = transforms.orthonormal_dct(transforms.drop_smallest(x, 0.95))
    assert (np.abs(left) > 1e-9).sum() == 30
    largest = np.sort(np.abs(transforms.orthonormal_dct(x)).ravel())[-30:]
    assert np.sort(np.abs(left).ravel())[-30:] == pytest.approx(largest)
    # equal ones as well: exactly so many are kept
    assert np.count_nonzero(transforms.keep_largest(np.ones((20, 30)), 0.95)) == 30


@pytest.mark.parametrize("transform", ["dct", "fourier"])
def test_dropping_nothing_and_everything(transform):
    x = scene(12, 9)
    assert transforms.drop_smallest(x, 0.0, transform) == pytest.approx(x.astype(float), abs=1e-9)
    assert (transforms.drop_smallest(x, 1.0, transform) == 0).all()
    assert transforms.drop_smallest(x[..., 0], 0.5, transform).shape == (12, 9)


def test_dropping_says_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"fraction is of all coefficients, 0 to 1; got 95"):
        transforms.drop_smallest(np.zeros((4, 4)), 95)
    with pytest.raises(ValueError, match="transform is 'dct' or 'fourier'; got 'haar'"):
        transforms.drop_smallest(np.zeros((4, 4)), 0.5, "haar")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("name", baselines.available())
def test_curves_rise(name, n_channels):
    points = baselines.curve(scene(33, 40, n_channels), name, (8, 32) if name == "dct" else (20, 90))
    assert points[0].n_bytes < points[1].n_bytes and points[0].psnr < points[1].psnr
    assert points[1].psnr > 30


def test_cosines_are_real_bytes():
    pixels = scene(33, 40)
    data = baselines.encode_dct(pixels, 6)
    assert psnr_of(baselines.decode_dct(data), pixels) > 38 and len(data) < pixels.size / 2


def test_a_curve_is_read_between_its_points_only():
    points = [baselines.Point(1000, 30.0, 1), baselines.Point(2000, 33.0, 2)]
    assert baselines.psnr_at(points, 1000 * 2**0.5) == pytest.approx(31.5)
    assert math.isnan(baselines.psnr_at(points, 999)) and math.isnan(baselines.psnr_at(points, 2001))
    assert math.isnan(baselines.psnr_at([], 100))
    with pytest.raises(ValueError, match=r"a curve is one of jpeg, .*dct; got 'gif'"):
        baselines.curve(scene(8, 8), "gif")


def test_what_is_dropped_is_compared_as_pixels():
    figures = baselines.dropped(scene(32, 32))
    assert 15 < figures["dct"] < 60 and 15 < figures["fourier"] < 60


def test_widths_follow_the_bytes():
    assert [widths for most, widths in codec._WIDTHS if most < 1e4] == [(4, 4), (8, 8)]


def test_a_coin_has_the_bytes_it_may_have_and_is_a_picture():
    found = coin(scene(24, 32), 3000, steps=60, n=768)
    assert 2800 < found.n_bytes <= 3000 and found.psnr > 18
