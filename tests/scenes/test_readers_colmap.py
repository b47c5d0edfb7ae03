"""COLMAP: text and binary, every lens model, several models, broken files, the real fox."""

import logging
import struct

import numpy as np
import pytest
from photo_folders import DATA, needs_data, pose, save_photo, write_transforms
from PIL import Image

from nerfkit.scenes.cameras import pixels_to_directions
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import load_photos, read_posed_photos
from nerfkit.scenes.readers.colmap import MODELS, UNSUPPORTED

PINHOLE = {1: ("PINHOLE", 8, 6, [10.0, 11.0, 4.0, 3.0])}


def quaternion(rotation):
    """w x y z of a rotation matrix, for rotations below half a turn."""
    w = np.sqrt(max(0.0, 1 + np.trace(rotation))) / 2
    x, y, z = (rotation[[2, 0, 1], [1, 2, 0]] - rotation[[1, 2, 0], [2, 0, 1]]) / (4 * w)
    return [w, x, y, z]


def images_of(n):
    """Listed backwards: the reader sorts by name."""
    listed = []
    for i in reversed(range(n)):
        w2c = np.linalg.inv(pose(i) @ np.diag([1.0, -1, -1, 1]))
        listed.append((i + 1, [*quaternion(w2c[:3, :3]), *w2c[:3, 3]], 1, f"{i:02d}.png"))
    return listed


def write_txt(folder, cameras, images):
    folder.mkdir(parents=True)
    lines = [f"{i} {m} {w} {h} {' '.join(map(repr, p))}" for i, (m, w, h, p) in cameras.items()]
    (folder / "cameras.txt").write_text("# a comment\n" + "\n".join(lines) + "\n")
    text = "# a comment\n"
    for k, (i, values, camera_id, name) in enumerate(images):
        points = "1.5 2.5 -1 3.5 4.5 7" if k % 2 else ""  # an image without points has an empty line
        text += f"{i} {' '.join(repr(float(v)) for v in values)} {camera_id} {name}\n{points}\n"
    (folder / "images.txt").write_text(text)


def write_bin(folder, cameras, images):
    folder.mkdir(parents=True)
    numbers = {name: number for name, (number, _, _) in MODELS.items()} | {
        name: number for number, (name, _) in UNSUPPORTED.items()
    }
    data = struct.pack("<Q", len(cameras))
    for i, (model, width, height, params) in cameras.items():
        data += struct.pack(f"<iiQQ{len(params)}d", i, numbers.get(model, 99), width, height, *params)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(images))
    for k, (i, values, camera_id, name) in enumerate(images):
        data += struct.pack("<i7di", i, *values, camera_id) + name.encode() + b"\0"
        data += struct.pack("<Q", k) + struct.pack("<ddq", 1.5, 2.5, -1) * k
    (folder / "images.bin").write_bytes(data)


WRITERS = {"binary": write_bin, "text": write_txt}


def write_colmap(folder, n=5, cameras=PINHOLE, where="sparse/0", writer=write_bin, images=None):
    writer(folder / where, cameras, images_of(n) if images is None else images)
    for i in range(n):
        save_photo(folder / "images" / f"{i:02d}.png")
    return folder


@pytest.mark.parametrize("where", ["sparse/0", "sparse", "colmap/sparse/0", "sparse_txt", "sparse_txt/0", "."])
@pytest.mark.parametrize("kind", WRITERS)
def test_poses_and_photos_by_name(tmp_path, kind, where):
    photos = read_posed_photos(write_colmap(tmp_path / "scene", where=where, writer=WRITERS[kind]))
    assert (photos.name, photos.format) == ("scene", "colmap")
    assert photos.files == [f"images/{i:02d}.png" for i in range(5)]
    np.testing.assert_allclose(photos.c2w, [pose(i) for i in range(5)], atol=1e-7)
    assert (photos.cameras[0].fx, photos.cameras[0].fy) == (10, 11)
    assert photos.splits == {"train": [1, 2, 3], "val": [4], "test": [0]}


@pytest.mark.parametrize(
    "model, params, want",
    [
        ("SIMPLE_PINHOLE", [10, 4, 3], ("perspective", 10, 10, (0, 0, 0, 0), (0, 0))),
        ("PINHOLE", [10, 11, 4, 3], ("perspective", 10, 11, (0, 0, 0, 0), (0, 0))),
        ("SIMPLE_RADIAL", [10, 4, 3, 0.1], ("perspective", 10, 10, (0.1, 0, 0, 0), (0, 0))),
        ("RADIAL", [10, 4, 3, 0.1, 0.2], ("perspective", 10, 10, (0.1, 0.2, 0, 0), (0, 0))),
        (
            "OPENCV",
            [10, 11, 4, 3, 0.1, 0.2, 0.01, 0.02],
            ("perspective", 10, 11, (0.1, 0.2, 0, 0), (0.01, 0.02)),
        ),
        (
            "OPENCV_FISHEYE",
            [10, 11, 4, 3, 0.1, 0.2, 0.3, 0.4],
            ("fisheye", 10, 11, (0.1, 0.2, 0.3, 0.4), (0, 0)),
        ),
        ("SIMPLE_RADIAL_FISHEYE", [10, 4, 3, 0.1], ("fisheye", 10, 10, (0.1, 0, 0, 0), (0, 0))),
        ("RADIAL_FISHEYE", [10, 4, 3, 0.1, 0.2], ("fisheye", 10, 10, (0.1, 0.2, 0, 0), (0, 0))),
        (
            "FULL_OPENCV",
            [10, 11, 4, 3, 0.1, 0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6],
            ("perspective", 10, 11, (0.1, 0.2, 0.3, 0), (0.01, 0.02), (0.4, 0.5, 0.6)),
        ),
        ("FOV", [10, 11, 4, 3, 0.9], ("fov", 10, 11, (0, 0, 0, 0), (0, 0), (0, 0, 0), (0, 0, 0, 0), 0.9)),
        ("FOV", [10, 11, 4, 3, 0.0], ("perspective", 10, 11, (0, 0, 0, 0), (0, 0))),
        (
            "THIN_PRISM_FISHEYE",
            [10, 11, 4, 3, 0.1, 0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6],
            ("fisheye", 10, 11, (0.1, 0.2, 0.3, 0.4), (0.01, 0.02), (0, 0, 0), (0.5, 0, 0.6, 0)),
        ),
    ],
)
@pytest.mark.parametrize("kind", WRITERS)
def test_lens_models(tmp_path, kind, model, params, want):
    cameras = {1: (model, 8, 6, [float(p) for p in params])}
    camera = read_posed_photos(write_colmap(tmp_path, cameras=cameras, writer=WRITERS[kind])).cameras[0]
    found = (camera.lens, camera.fx, camera.fy, camera.k, camera.p, camera.q, camera.s, camera.omega)
    assert found[: len(want)] == want and not any(np.hstack([*found[len(want) :], 0]))
    assert (camera.cx, camera.cy) == (4, 3)


def test_quaternion_of_zeros_is_named(tmp_path):
    images = images_of(5)
    images[0] = (images[0][0], [0, 0, 0, 0, *images[0][1][4:]], *images[0][2:])
    with pytest.raises(NerfkitError, match=r"image '04\.png'.*NaN"):
        read_posed_photos(write_colmap(tmp_path, images=images))


UNREAD = UNSUPPORTED[11][0]


@pytest.mark.parametrize("kind, model, n", [("text", UNREAD, 16), ("binary", UNREAD, 16), ("text", "MIRROR", 5)])
def test_unknown_lens_model_is_named(tmp_path, kind, model, n):
    write_colmap(tmp_path, cameras={1: (model, 8, 6, [1.0] * n)}, writer=WRITERS[kind])
    with pytest.raises(NerfkitError, match=f"camera model {model} is not supported; supported are SIMPLE_PINHOLE, "):
        read_posed_photos(tmp_path)


def test_unknown_model_number(tmp_path):
    write_colmap(tmp_path, cameras={1: ("NEW", 8, 6, [])})
    with pytest.raises(NerfkitError, match=r"cameras\.bin: camera 1: camera model number 99 is not supported"):
        read_posed_photos(tmp_path)


def test_one_camera_per_photo(tmp_path):
    cameras = {i: ("SIMPLE_PINHOLE", 8, 6, [10.0 + i, 4.0, 3.0]) for i in range(1, 6)}
    images = [(i, values, i, name) for i, values, _, name in images_of(5)]
    photos = read_posed_photos(write_colmap(tmp_path, cameras=cameras, images=images))
    assert [camera.fx for camera in photos.cameras] == [11, 12, 13, 14, 15]


def test_binary_goes_before_text(tmp_path):
    write_colmap(tmp_path, where="sparse", writer=write_txt, cameras={1: ("PINHOLE", 8, 6, [99.0, 99.0, 4.0, 3.0])})
    write_bin(tmp_path / "binary", PINHOLE, images_of(5))
    for file in (tmp_path / "binary").iterdir():
        file.rename(tmp_path / "sparse" / file.name)
    assert read_posed_photos(tmp_path).cameras[0].fx == 10


def test_the_largest_of_several_models_is_read(tmp_path, caplog):
    write_colmap(tmp_path, images=images_of(2))
    write_bin(tmp_path / "sparse/1", PINHOLE, images_of(5))
    with caplog.at_level(logging.WARNING):
        assert len(read_posed_photos(tmp_path)) == 5
    assert "2 models: sparse/0 (2 images), sparse/1 (5 images); reading sparse/1" in caplog.text


def test_transforms_json_goes_before_colmap(tmp_path):
    write_transforms(write_colmap(tmp_path), n=4)
    assert read_posed_photos(tmp_path).format == "transforms"


def test_exif_is_ignored_as_colmap_does_unless_the_size_says_so(tmp_path):
    square = {1: ("PINHOLE", 6, 6, [10.0, 10.0, 3.0, 3.0])}
    write_colmap(tmp_path, cameras=square)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((6, 6, 3), np.uint8)
    pixels[0, 0] = 255
    for i in range(5):
        Image.fromarray(pixels).save(tmp_path / f"images/{i:02d}.png", exif=exif)
    assert load_photos(read_posed_photos(tmp_path), [0]).images[0][0, 0, 0] == 255


def test_photos_in_a_folder_of_another_name(tmp_path):
    write_colmap(tmp_path)
    (tmp_path / "images").rename(tmp_path / "Images")
    assert read_posed_photos(tmp_path).files[0] == "Images/00.png"
    (tmp_path / "Images").rename(tmp_path / "images_4")
    assert read_posed_photos(tmp_path).files[0] == "images_4/00.png"


@pytest.mark.parametrize("points", ["", "1.5 2.5 -1 3.5 4.5 7", None])
def test_images_with_and_without_their_line_of_points(tmp_path, points):
    write_colmap(tmp_path, n=6, writer=write_txt)
    file = tmp_path / "sparse/0/images.txt"
    lines = [line for line in file.read_text().splitlines() if line.endswith(".png")]
    file.write_text("".join(f"{line}\n" + ("" if points is None else f"{points}\n") for line in lines))
    assert len(read_posed_photos(tmp_path)) == 6


def test_model_without_images(tmp_path):
    write_colmap(tmp_path, images=[])
    with pytest.raises(NerfkitError, match="the model has no images"):
        read_posed_photos(tmp_path)


def test_image_of_an_absent_camera(tmp_path):
    write_colmap(tmp_path, cameras={2: PINHOLE[1]})
    with pytest.raises(NerfkitError, match=r"image '00\.png': its camera 1 is not in the model"):
        read_posed_photos(tmp_path)


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin"])
def test_cut_off_binary(tmp_path, file):
    path = write_colmap(tmp_path) / "sparse/0" / file
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(NerfkitError, match=rf"{file}: is cut off at byte {length}"):
            read_posed_photos(tmp_path)


@pytest.mark.parametrize(
    "file, line, message",
    [
        (
            "cameras.txt",
            "1 PINHOLE eight 6 1 1 4 3",
            r"line 1: expected 'CAMERA_ID MODEL WIDTH HEIGHT PARAMS'; got '1 P",
        ),
        ("cameras.txt", "1 PINHOLE", "expected 'CAMERA_ID MODEL"),
        ("cameras.txt", "1 PINHOLE 8 6 1 1", r"PINHOLE takes 4 parameters \(fx fy cx cy\); got 2"),
        ("cameras.txt", "1 PINHOLE 8 6 -1 1 4 3", "needs positive focal lengths"),
        (
            "images.txt",
            "1 0 0 0",
            "line 1: expected 'IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME'; got '1 0 0 0'",
        ),
        ("images.txt", "1 1 0 0 0 0 0 nan 1 00.png\n\n", r"image '00\.png': .*NaN"),
        ("images.txt", "1 0 0 0 0 0 0 0 1 00.png\n\n", r"image '00\.png': .*NaN"),
    ],
)
def test_broken_text(tmp_path, file, line, message):
    write_colmap(tmp_path, writer=write_txt)
    (tmp_path / "sparse/0" / file).write_text(line)
    with pytest.raises(NerfkitError, match=message):
        read_posed_photos(tmp_path)


def skipped_of(path):
    """What is left with skip_bad, and what was said of the rest."""
    findings = Findings()
    photos = read_posed_photos(path, skip_bad=True, findings=findings)
    assert all(finding.level == "error" for finding in findings)
    return photos, [str(finding) for finding in findings]


BAD = [*(name for name, _ in UNSUPPORTED.values()), "absent", "no focal length"]


@pytest.mark.parametrize(("kind", "model"), [("text", "broken"), *((kind, model) for kind in WRITERS for model in BAD)])
def test_images_of_a_bad_camera_are_left_out(tmp_path, kind, model):
    n_params = dict(UNSUPPORTED.values()).get(model, 4)
    cameras = {1: ("PINHOLE", 8, 6, [10.0, 10.0, 4.0, 3.0]), 3: ("SIMPLE_PINHOLE", 8, 6, [11.0, 4.0, 3.0])}
    if model == "no focal length":
        cameras = {2: ("PINHOLE", 8, 6, [0.0, 10.0, 4.0, 3.0]), **cameras}
    elif model != "absent":
        cameras = {2: (model if model != "broken" else "PINHOLE", 8, 6, [1.0] * n_params), **cameras}
    images = [(i, values, 1 + (i - 1) % 3, name) for i, values, _, name in images_of(9)]
    write_colmap(tmp_path, n=9, cameras=cameras, images=images, writer=WRITERS[kind])
    if model == "broken":
        file = tmp_path / "sparse/0/cameras.txt"
        file.write_text(file.read_text().replace("2 PINHOLE 8 6", "2 PINHOLE eight 6"))
    with pytest.raises(NerfkitError):
        read_posed_photos(tmp_path)
    photos, said = skipped_of(tmp_path)
    assert photos.skipped == ["images/01.png", "images/04.png", "images/07.png"] and len(photos) == 6
    assert [camera.fx for camera in photos.cameras] == [10, 11] * 3 and len(said) == 3


UNKNOWN_FIRST = {2: ("NEW", 8, 6, [1.0] * 7), 1: ("PINHOLE", 8, 6, [10.0, 10.0, 4.0, 3.0])}
UNKNOWN_LAST = {1: ("PINHOLE", 8, 6, [10.0, 10.0, 4.0, 3.0]), 2: ("NEW", 8, 6, [1.0] * 7)}


@pytest.mark.parametrize("cameras", [UNKNOWN_FIRST, UNKNOWN_LAST])
def test_images_of_a_camera_of_unknown_number_are_left_out(tmp_path, cameras):
    cameras = {**cameras, 3: ("NEW", 8, 6, [1.0] * 7), 4: ("SIMPLE_PINHOLE", 8, 6, [11.0, 4.0, 3.0])}
    images = [(i, values, 1 + (i - 1) % 4, name) for i, values, _, name in images_of(8)]
    write_colmap(tmp_path, n=8, cameras=cameras, images=images)
    with pytest.raises(
        NerfkitError,
        match=r"cameras\.bin: camera [23]: camera model number 99 is not supported; supported are SIMPLE_PINHOLE, .*"
        r"image_undistorter.*--skip-bad",
    ):
        read_posed_photos(tmp_path)
    photos, said = skipped_of(tmp_path)
    assert [camera.fx for camera in photos.cameras] == [10, 11] * 2 and len(said) == 4
    assert "cameras.bin: camera 2: camera model number 99 is not supported" in "\n".join(said)


def test_cameras_after_unknown_ones_of_two_kinds_are_left_out(tmp_path):
    cameras = {**UNKNOWN_LAST, 3: ("NEW", 8, 6, [1.0] * 3), 4: ("SIMPLE_PINHOLE", 8, 6, [11.0, 4.0, 3.0])}
    images = [(i, values, 1 + (i - 1) % 4, name) for i, values, _, name in images_of(12)]
    write_colmap(tmp_path, n=12, cameras=cameras, images=images)
    photos, said = skipped_of(tmp_path)
    assert [camera.fx for camera in photos.cameras] == [10] * 3 and len(said) == 9
    assert (
        "camera 2: cameras after this one cannot be read" in said[0] + said[1]
        and "--output_type TXT" in said[0] + said[1]
    )


def test_a_bad_camera_that_no_image_uses_is_no_matter(tmp_path):
    cameras = {**PINHOLE, 2: ("FOV", 8, 6, [1.0] * 5)}
    assert len(read_posed_photos(write_colmap(tmp_path, cameras=cameras))) == 5


def test_a_broken_line_of_images_is_left_out(tmp_path):
    file = write_colmap(tmp_path, writer=write_txt) / "sparse/0/images.txt"
    file.write_text("9 1 0 0\n\n" + file.read_text())
    with pytest.raises(NerfkitError, match="expected 'IMAGE_ID"):
        read_posed_photos(tmp_path)
    photos, said = skipped_of(tmp_path)
    assert len(photos) == 5 and len(said) == 1 and "line 1: expected 'IMAGE_ID" in said[0]


def test_a_damaged_model_beside_another_is_left_out(tmp_path):
    write_colmap(tmp_path)
    write_bin(tmp_path / "sparse/1", PINHOLE, images_of(2))
    file = tmp_path / "sparse/1/images.bin"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(NerfkitError, match="cut off"):
        read_posed_photos(tmp_path)
    photos, said = skipped_of(tmp_path)
    assert len(photos) == 5 and "sparse/1/images.bin: is cut off at byte 50" in said[0]


def test_name_with_spaces(tmp_path):
    images = [(i, values, c, name.replace(".", " a.")) for i, values, c, name in images_of(5)]
    write_colmap(tmp_path, writer=write_txt, images=images)
    for i in range(5):
        save_photo(tmp_path / f"images/{i:02d} a.png")
    assert read_posed_photos(tmp_path).files[0] == "images/00 a.png"


@needs_data("fox_colmap")
def test_fox_text_gives_the_rays_of_binary(tmp_path):
    binary = read_posed_photos(DATA / "fox_colmap")
    (tmp_path / "images").symlink_to((DATA / "fox_colmap/images").resolve())
    (tmp_path / "sparse_txt").symlink_to((DATA / "fox_colmap/sparse_txt").resolve())
    text = read_posed_photos(tmp_path)
    assert len(binary) == 25 and binary.files == text.files
    np.testing.assert_allclose(binary.c2w, text.c2w, atol=1e-12)
    pixels = np.random.default_rng(0).uniform(0, [540, 960], (100, 2))
    a, b = (pixels_to_directions(p.cameras[0], pixels) for p in (binary, text))
    np.testing.assert_allclose(a * binary.cameras[0].fx, b * text.cameras[0].fx, atol=1e-4)


@needs_data("fox_colmap")
@needs_data("fox")
def test_fox_colmap_agrees_with_transforms_after_a_similarity():
    colmap, transforms = read_posed_photos(DATA / "fox_colmap"), read_posed_photos(DATA / "fox")
    index = [transforms.files.index(file) for file in colmap.files]
    a, b = colmap.c2w, transforms.c2w[index]
    # least squares for the similarity of the centres (Umeyama 1991)
    centred = [x[:, :3, 3] - x[:, :3, 3].mean(0) for x in (a, b)]
    u, s, vt = np.linalg.svd(centred[1].T @ centred[0])
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    scale = (s * [1, 1, np.linalg.det(u @ vt)]).sum() / (centred[0] ** 2).sum()
    miss = centred[1] - scale * centred[0] @ rotation.T
    assert np.sqrt((miss**2).sum(-1).mean()) < 0.02 < 0.01 * np.ptp(centred[1], axis=0).max()
    turned = np.einsum("ij,njk,nlk->nil", rotation, a[:, :3, :3], b[:, :3, :3])
    angles = np.degrees(np.arccos(((np.trace(turned, axis1=1, axis2=2) - 1) / 2).clip(-1, 1)))
    assert np.median(angles) < 1.0
    # halved photos, halved focal length
    assert colmap.cameras[0].fx == pytest.approx(transforms.cameras[0].fx / 2, rel=0.01)


@pytest.mark.parametrize("write", ["write_binary", "write_text"])
def test_images_of_a_rig_have_the_pose_of_rig_and_frame_together(tmp_path, write):
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig, options.num_points3D = 1, 2, 3, 20
    options.sensor_from_rig_translation_stddev = options.sensor_from_rig_rotation_stddev = 0.2
    options.camera_width, options.camera_height = 8, 6
    model = pycolmap.synthesize_dataset(options)
    folder = tmp_path / "sparse/0"
    folder.mkdir(parents=True)
    getattr(model, write)(str(folder))
    assert {file.stem for file in folder.iterdir()} >= {"rigs", "frames"}
    for image in model.images.values():
        save_photo(tmp_path / "images" / image.name, size=(8, 6))
    photos = read_posed_photos(tmp_path)
    centres = {image.name: image.projection_center() for image in model.images.values()}
    wanted = [centres[file.removeprefix("images/")] for file in photos.files]
    np.testing.assert_allclose(photos.c2w[:, :3, 3], wanted, atol=1e-9)
    # two cameras of one frame stand apart
    assert len(np.unique(np.round(wanted, 6), axis=0)) == len(wanted) == 6
