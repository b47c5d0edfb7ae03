"""HDF5 files are read in a process of their own: what crashes it, hangs it or is damaged is told as an error."""

import random

import numpy as np
import pytest

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import _hdf5
from nerfkit.scenes.readers.kspace import read_kspace
from nerfkit.scenes.readers.sinogram import read_scan

h5py = pytest.importorskip("h5py", reason="needs the extra nerfkit[medical]")

SIDES = "<matrixSize><x>{0}</x><y>{1}</y><z>1</z></matrixSize>"
HEADER = (
    f"<ismrmrdHeader><encoding><encodedSpace>{SIDES}</encodedSpace><reconSpace>{SIDES}</reconSpace>{{2}}</encoding>"
    "</ismrmrdHeader>"
)
LIMITS = "<encodingLimits><kspace_encoding_step_1><center>{}</center></kspace_encoding_step_1></encodingLimits>"
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "contrast", "phase", "repetition", "set")
HEAD = [(name, "<u2") for name in ("flags", "active_channels", "center_sample", "trajectory_dimensions")]


def write_scan(path, **changes):
    arrays = {
        "data": np.random.default_rng(0).random((4, 1, 8)) * 1000, "data_white": np.full((1, 1, 8), 1000.0),
        "data_dark": np.zeros((1, 1, 8)), "theta": np.arange(4.0),
    }  # fmt: skip
    with h5py.File(path, "w", userblock_size=changes.pop("userblock", 0)) as file:
        for name, array in (arrays | changes).items():
            file[f"exchange/{name}"] = array
    return path


def write_kspace(path, n_coils=1, sides=(16, 16), more=""):
    """Sixteen lines of sixteen samples of one coil."""
    table = np.zeros(16, [("head", [*HEAD, ("idx", [(name, "<u2") for name in COUNTERS])]), ("data", object)])
    table = table.astype([("head", table.dtype["head"]), ("data", h5py.vlen_dtype(np.float32))])
    table["head"]["active_channels"], table["head"]["center_sample"] = n_coils, 8
    table["head"]["idx"]["kspace_encode_step_1"] = np.arange(16)
    for row in range(16):
        table["data"][row] = np.eye(32, dtype=np.float32)[16] * (100.0 if row == 8 else 1.0)
    with h5py.File(path, "w") as file:
        file["dataset/data"] = table
        file.create_dataset("dataset/xml", data=[HEADER.format(*sides, more)], dtype=h5py.string_dtype())
    return path


KINDS = {"scan": (write_scan, read_scan), "kspace": (write_kspace, read_kspace)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused(tmp_path, kind):
    write, read = KINDS[kind]
    path = write(tmp_path / "a.h5")
    whole, rng = path.read_bytes(), random.Random(0)
    read(path)
    for n in range(6):
        damaged = bytearray(whole)
        if n % 2:
            # metadata stand at the beginning
            for _ in range(20):
                damaged[rng.randrange(8, 2000)] = rng.randrange(256)
        else:
            del damaged[rng.randrange(9, len(whole)) :]
        path.write_bytes(damaged)
        try:
            read(path)
        except NerfkitError as error:
            assert error.where == str(path) and error.fix
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NerfkitError, match=r"cannot be read \(.*truncated"):
        read(path)


@pytest.mark.parametrize("read", [read_scan, read_kspace])
def test_what_is_no_hdf5_is_refused_without_a_process(tmp_path, monkeypatch, read):
    monkeypatch.setattr(_hdf5, "start", lambda words: pytest.fail("started"))
    for payload in (b"", b"\x89HDF", bytes(5000)):
        (tmp_path / "a.h5").write_bytes(payload)
        with pytest.raises(NerfkitError, match="is no HDF5 file: it has no signature of one"):
            read(tmp_path / "a.h5")


def test_a_block_of_the_user_may_come_first(tmp_path):
    assert read_scan(write_scan(tmp_path / "a.h5", userblock=1024)).values.shape == (4, 1, 8)


HARM = {
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", r"HDF5's library crashed on it \(exit code -11\)"),
    # deaf to signals that ask, as a library is
    "hang": ("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM}); time.sleep(600)", "took more"),
    # part of an answer
    "half": ("os.write(1, b'{\\'facts\\'')", "HDF5's library crashed on it"),
}


@pytest.mark.parametrize("kind", HARM)
def test_a_file_on_which_the_library_crashes_or_hangs_is_told_of(tmp_path, monkeypatch, kind):
    harm, message = HARM[kind]
    path = write_scan(tmp_path / "a.h5")
    (tmp_path / "harm").mkdir()
    code = f"import os, signal, time\nclass File:\n    def __init__(self, *words):\n        {harm}; os._exit(0)\n"
    (tmp_path / "harm" / "h5py.py").write_text(code)
    # of the process that is started: this one has the true one
    monkeypatch.syspath_prepend(tmp_path / "harm")
    monkeypatch.setattr(_hdf5, "PATIENCE", 2.0 if kind == "hang" else 60.0)
    with pytest.raises(NerfkitError, match=message) as raised:
        read_scan(path)
    assert raised.value.where == str(path)


def test_nothing_is_imported_from_the_folder_that_one_is_in(tmp_path, monkeypatch):
    path = write_scan(tmp_path / "a.h5")
    for name in ("h5py", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert read_scan(path).values.shape == (4, 1, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_coils": 0}, "acquisition 0 has 32 numbers for 0 coils"),
        ({"n_coils": 3}, "acquisition 0 has 32 numbers for 3 coils"),
        ({"sides": (0, 16)}, "has a matrix of 0x16"),
        ({"sides": (16, -1)}, "has a matrix of 16x-1"),
        ({"sides": (10**7, 10**7)}, "declares 200,000,000,000,000 values"),
        ({"more": LIMITS.format("x")}, "has no matrix sizes"),
    ],
)  # fmt: skip
def test_what_a_head_says_is_checked(tmp_path, changes, message):
    with pytest.raises(NerfkitError, match=message):
        read_kspace(write_kspace(tmp_path / "a.h5", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_white": np.ones((1, 2, 8))}, r"exchange/data_white has shape \[1, 2, 8\]; wanted are frames like"),
        ({"data_dark": np.ones((0, 1, 8))}, r"exchange/data_dark has shape \[0, 1, 8\]"),
        ({"data": np.array([b"a", b"b"])}, "data has values of kind"),
        ({"theta": np.zeros(4, complex)}, "theta has values of kind complex128"),
    ],
)
def test_what_a_scan_holds_is_checked(tmp_path, changes, message):
    with pytest.raises(NerfkitError, match=message):
        read_scan(write_scan(tmp_path / "a.h5", **changes))


def test_a_file_without_a_scan_names_what_it_has(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for n in range(30):
            file[f"entry_{n:02d}"] = n
    with pytest.raises(NerfkitError, match=r"has no exchange/data, but entry_00, .*, entry_19; give"):
        read_scan(tmp_path / "a.h5")
