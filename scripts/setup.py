"""Make .venv and put nerfkit into it; ``make setup`` runs this, any python3 from 3.6 on can.

What would fail after minutes is looked at first: the interpreter, its venv module, the disk. Each failure is
one line that ends with the next step, and exit code 2.
"""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST, NEWEST = (3, 11), (3, 14)  # the Pythons that every pinned package has a wheel for
GB = 1e9
# installed sizes on Linux x86_64 with the versions in constraints.txt; CUDA's libraries add about 5 GB
DISK_CPU, DISK_CUDA = 3.0 * GB, 8.0 * GB
# before 23.3 pip downloaded the packages themselves to answer a --dry-run
PIP = "pip>=23.3"
PIP_FAILED = "pip failed (output above)"


class SetupError(Exception):
    """What is wrong, and the next step; printed in one line."""


def main():
    """Set up, or say in one line why not."""
    try:
        set_up(ROOT)
    except SetupError as error:
        print("setup: {}".format(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nsetup: interrupted; run `make setup` again to go on", file=sys.stderr)
        return 130
    return 0


def set_up(root):
    """Bring ``root/.venv`` to what pyproject.toml and constraints.txt ask for."""
    venv = os.path.join(root, ".venv")
    python = venv_python(venv)
    # the install is remembered apart from the whole: a cv2 mended by hand is then not undone by the next run
    installed, ready = os.path.join(venv, ".nerfkit-installed"), os.path.join(venv, ".nerfkit-ready")
    wanted = fingerprint(root)
    version = version_of(python)
    if version is not None and not OLDEST <= version <= NEWEST:
        raise SetupError(
            ".venv holds Python {}.{}; nerfkit runs on {}.{} to {}.{}. Remove it, rm -rf .venv, then `make "
            "setup` again".format(*version, *OLDEST, *NEWEST)
        )
    if version is None or read(installed) != wanted:
        remove(ready)
        if version is None:
            make_venv(venv, root)
        install(python, root)
        write(installed, wanted)
    check_cv2(python)
    if read(ready) != wanted:
        say("compiling the CPU kernels")
        run([python, "-m", "nerfkit.warm"], root, "the CPU kernels did not compile (output above)")
    write(ready, wanted)
    say("ready: .venv/bin/nerfkit --help, or make demo")


def fingerprint(root):
    """Hash of what decides .venv's content, the folder's own place included: scripts in it hold that path."""
    digest = hashlib.sha256(root.encode())
    for name in ("pyproject.toml", "constraints.txt"):
        with open(os.path.join(root, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def make_venv(venv, root):
    """Check interpreter, venv module and disk, then create the environment."""
    python = find_python()
    check_venv_module(python)
    check_disk(root, DISK_CPU, "torch's CPU build and the other packages")
    say("making .venv with Python {}.{} ({})".format(*(version_of(python) or "??"), python))
    run([python, "-m", "venv", "--clear", venv], root, "`python -m venv .venv` failed (output above)")


def find_python():
    """Path of an interpreter that nerfkit supports: this one, else the newest on PATH."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    names = ["python3.{}".format(minor) for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for name in names:
        path = shutil.which(name)
        # version managers put names on PATH that do not run: ask the interpreter itself
        if path and OLDEST <= (version_of(path) or (0, 0)) <= NEWEST:
            return path
    raise SetupError(
        "nerfkit runs on Python {}.{} to {}.{}; this is {}.{} and none of {} runs here. Install one (Debian, "
        "Ubuntu: apt-get install python3.12 python3.12-venv) or name yours: make setup "
        "PYTHON=/path/to/python3.12".format(*OLDEST, *NEWEST, *sys.version_info[:2], ", ".join(names))
    )


def version_of(python):
    """(major, minor) of an interpreter, None when it does not run."""
    code = "import sys; print(sys.version_info[0], sys.version_info[1])"
    try:
        done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    return tuple(int(word) for word in done.stdout.split()) if done.returncode == 0 else None


def check_venv_module(python):
    """Debian and Ubuntu ship python3 without the half of venv that brings pip."""
    done = subprocess.run(
        [python, "-c", "import venv, ensurepip"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if done.returncode != 0:
        package = "python{}.{}-venv".format(*(version_of(python) or (3, 12)))
        raise SetupError(
            "{} has no venv or ensurepip module. Debian, Ubuntu: apt-get install {} (or python3-venv), "
            "then `make setup` again".format(python, package)
        )


def check_disk(folder, need, what):
    """Fail before a download that would not fit."""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise SetupError(
            "{} need about {:.0f} GB, {} has {:.1f} GB free. Free some, or move the project to a larger disk".format(
                what, need / GB, folder, free / GB
            )
        )


def install(python, root):
    """Install nerfkit, editable, with the tested versions; announce a download of gigabytes first."""
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    run(pip + ["install", "-q", PIP], root, PIP_FAILED)
    chosen = torch_packages(pip, root)
    if any(name.startswith(("nvidia-", "cuda-")) for name in chosen):
        check_disk(root, DISK_CUDA, "torch's CUDA build and the other packages")
        say("torch {} comes with CUDA: about 3 GB to download, 8 GB on disk".format(chosen["torch"]))
        if not has_nvidia_gpu():
            say("  no NVIDIA GPU is seen here. The CPU build needs 3 GB: to choose it (or the one for ROCm),")
            say("  stop with Ctrl-C, take the build's index address from PyTorch's install page, and run")
            say("  PIP_EXTRA_INDEX_URL=<that address> make setup")
    elif "torch" in chosen:
        say("torch {} without CUDA: about 1 GB to download, 3 GB on disk".format(chosen["torch"]))
    say("installing (some minutes)")
    editable = ["install", "-q", "-c", "constraints.txt", "-e", ".[dev]"]
    run(pip + editable, root, PIP_FAILED)


def torch_packages(pip, root):
    """Name -> version of what pip would install for torch; the indexes it is set up with decide the build."""
    folder = tempfile.mkdtemp(prefix="nerfkit-setup-")
    report = os.path.join(folder, "report.json")
    try:
        asked = ["install", "-q", "--dry-run", "--report", report, "-c", "constraints.txt", "torch"]
        run(pip + asked, root, PIP_FAILED)
        with open(report) as file:
            entries = [entry["metadata"] for entry in json.load(file)["install"]]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {entry["name"].lower().replace("_", "-"): entry["version"] for entry in entries}


def has_nvidia_gpu():
    """Whether the NVIDIA driver is loaded."""
    return bool(glob.glob("/dev/nvidia[0-9]*") or glob.glob("/dev/dxg") or shutil.which("nvidia-smi"))


# (what pip or the linker prints, what to do), the first that is found wins
HINTS = (
    ("No module named pip", ".venv has no pip: remove it, rm -rf .venv, then `make setup` again"),
    ("No space left on device", "the disk is full: free some space, or point TMPDIR at a larger disk"),
    ("Disk quota exceeded", "your disk quota is used up: free some space, or point TMPDIR at a larger disk"),
    (
        "NameResolutionError",
        "the package index cannot be reached: check the network and pip's proxy settings",
    ),
    ("NewConnectionError", "the package index cannot be reached: check the network and pip's proxy settings"),
    (
        "ConnectTimeoutError",
        "the package index cannot be reached: check the network and pip's proxy settings",
    ),
    ("ProxyError", "the package index cannot be reached: check pip's proxy settings"),
    (
        "No matching distribution found",
        "pip's index lacks a package for this Python here; another may do: make setup PYTHON=python3.12",
    ),
)


def run(command, root, failed):
    """Run quietly, but show that it lives; on failure show the output and raise ``failed`` with a hint."""
    started = time.time()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=root, stdout=log, stderr=subprocess.STDOUT)
        while True:
            try:
                code = process.wait(timeout=30)
                break
            except subprocess.TimeoutExpired:
                say("  {:.0f} s".format(time.time() - started))
            except KeyboardInterrupt:
                process.wait()
                raise
        if code == 0:
            return
        log.seek(0)
        output = log.read().decode("utf-8", "replace")
    print(output.rstrip(), file=sys.stderr)
    hint = next((advice for sign, advice in HINTS if sign in output), "mend that, then `make setup` again")
    raise SetupError("{}; {}".format(failed, hint))


def check_cv2(python):
    """OpenCV needs libraries that a bare Linux (a container, a server) has not got."""
    done = subprocess.run([python, "-c", "import cv2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode == 0:
        return
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
    pip = "{} -m pip".format(os.path.join(".venv", "bin", "python"))
    raise SetupError(
        "OpenCV does not load ({}). Debian, Ubuntu: apt-get install libgl1 libglib2.0-0; without root: {} "
        "uninstall -y opencv-python && {} install -c constraints.txt opencv-python-headless; then `make "
        "setup` again".format(lines[-1], pip, pip)
    )


def venv_python(venv):
    """Path of the environment's interpreter."""
    return os.path.join(venv, "Scripts", "python.exe") if os.name == "nt" else os.path.join(venv, "bin", "python")


def read(path):
    """Content of a small text file, None when it is not there."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None


def write(path, text):
    """Write a small text file."""
    with open(path, "w") as file:
        file.write(text)


def remove(path):
    """Remove a file that may not be there."""
    if os.path.exists(path):
        os.remove(path)


def say(line):
    """One line of progress, at once also into a pipe."""
    print("setup: " + line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
