"""Run folders of others: they run no code, write over no file, show none of another place, put no tags in pages."""

import json
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_folders import write_superres_run, write_train_run

import nerfkit
from nerfkit.checkpoints import CheckpointFolder
from nerfkit.cli import main
from nerfkit.config import dump, load
from nerfkit.metrics import MetricsLog
from nerfkit.report.fit_page import fit_report
from nerfkit.report.superres_page import superres_report
from nerfkit.report.train_page import train_report
from nerfkit.run_lock import locked
from nerfkit.runs import Run
from nerfkit.scenes.errors import NerfkitError

TAG = "<img src=x onerror=alert(1)>"
EQUATION = """
from nerfkit.workbench.examples.poisson import problem as given

def problem():
    open({mark!r}, "a").write("ran")
    return given()
"""


def change_config(run, **values):
    (run / "config.yml").write_bytes(dump(load(run / "config.yml") | values))


@pytest.fixture
def fitted(tmp_path):
    """The run folder of a picture in a field."""
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(tmp_path / "picture.png")
    nerfkit.fit("image", tmp_path / "picture.png", tmp_path / "runs" / "one.png", steps=2, n_params=100, scale=5.0)
    return tmp_path / "runs" / "one"


def test_a_run_that_goes_on_writes_beside_itself(fitted, tmp_path):
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"precious")
    for output in ("../../victim.png", str(victim), "../victim.png"):
        change_config(fitted, output=output)
        assert nerfkit.resume_fit(fitted).figures["output"] == str(fitted.with_suffix(".png"))
    assert victim.read_bytes() == b"precious" and not (tmp_path / "runs" / "victim.png").exists()
    for output, words in (("../one.sh", r"image writes \.png"), (None, "its output is None")):
        change_config(fitted, output=output)
        with pytest.raises(NerfkitError, match=words):
            nerfkit.resume_fit(fitted)


def test_a_super_resolution_that_goes_on_writes_beside_itself(tmp_path):
    run = Run(tmp_path / "runs" / "sharp")
    assert run.output_beside("../../../victim.tif", lambda path: path.suffix) == tmp_path / "runs" / "sharp.tif"


def test_code_of_a_run_is_run_only_when_it_is_allowed(tmp_path, capsys):
    mark, file = tmp_path / "mark", tmp_path / "mine.py"
    file.write_text(EQUATION.format(mark=str(mark)))
    nerfkit.fit("solve", file, tmp_path / "u.npy", steps=2, n_params=600, solver="adam")
    mark.unlink()
    with pytest.raises(NerfkitError, match=r"would run the Python file that its config\.yml names, .*mine\.py"):
        nerfkit.resume_fit(tmp_path / "u")
    # a name that is no path runs nothing either
    change_config(tmp_path / "u", example=str(file))
    assert main(["fit", "--resume", str(tmp_path / "u"), "--json"]) == 2
    assert "--run-code" in json.loads(capsys.readouterr().out)["error"]["fix"]
    assert not mark.exists()
    change_config(tmp_path / "u", example=None)
    nerfkit.resume_fit(tmp_path / "u", run_code=True)
    assert mark.read_text() == "ran"


def test_links_of_a_run_are_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("metrics.jsonl", ".lock"):
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).symlink_to(victim)
    with pytest.raises(NerfkitError, match=r"metrics\.jsonl: is a link to another file; remove the link"):
        MetricsLog(tmp_path / "run" / "metrics.jsonl")
    with pytest.raises(NerfkitError, match="cannot be written"), locked(tmp_path / "run"):
        pass
    assert victim.read_text() == "precious"


def test_a_page_shows_no_file_of_another_place(fitted, tmp_path):
    Image.new("RGB", (31, 17), (255, 0, 0)).save(tmp_path / "private.png")
    (tmp_path / "private.mp4").write_bytes(b"private" * 9)
    shown = json.loads((fitted / "shown.json").read_text())
    shown |= {"pictures": [["../../../private", "x"]], "video": "../../private.mp4"}
    (fitted / "shown.json").write_text(json.dumps(shown))
    page = fit_report(fitted).read_text()
    assert 'width="31"' not in page and "<video" not in page
    run = write_superres_run(tmp_path / "deep" / "sharp")
    figures = json.loads((run / "metrics.json").read_text())
    figures["superres"]["output"] = "../../private.png"
    (run / "metrics.json").write_text(json.dumps(figures))
    page = superres_report(run).read_text()
    assert 'width="31"' not in page and 'width="12"' in page


class Tags(HTMLParser):
    """Attributes of all tags of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def tagged(value):
    """A JSON value whose texts, keys too where they are free, are tags."""
    if isinstance(value, str):
        return f"{value}{TAG}'\"><script>alert(2)</script>"
    if isinstance(value, list):
        return [tagged(item) for item in value]
    return {key: tagged(item) for key, item in value.items()} if isinstance(value, dict) else value


def check(page, n_times):
    tags = Tags(page.read_text(encoding="utf-8"))
    assert sum(text.count("onerror=alert(1)") for text in tags.words) >= n_times
    assert not [
        attrs for _, attrs in tags.found if any(name.startswith("on") for name in attrs) or attrs.get("src") == "x"
    ]
    assert sum(tag == "script" for tag, _ in tags.found) == 1


@pytest.mark.parametrize("make", ["train", "superres", "fit"])
def test_texts_of_a_run_are_no_tags(tmp_path, make, request):
    if make == "train":
        run = write_train_run(tmp_path)
    elif make == "superres":
        run = write_superres_run(tmp_path / f"sharp{TAG.replace('/', '')}")
    else:
        run = request.getfixturevalue("fitted")
    for file in run.glob("*.json"):
        file.write_text(json.dumps(tagged(json.loads(file.read_text()))))
    for file in run.glob("*.csv"):
        file.write_text(file.read_text().replace("a.png", f"{TAG}.png"))
    for file in run.glob("**/*.png"):
        if file.parent.name == "test":
            file.rename(file.with_name(f"{file.stem}.png{TAG}'\"><script>alert(2)<".split("/")[0] + ".png"))
    (run / "config.yml").write_text((run / "config.yml").read_text() + f"note: '{TAG}'\n")
    report = {"train": lambda: train_report(Run(run)), "superres": lambda: superres_report(run)}
    check(report.get(make, lambda: fit_report(run))(), 2)


def test_names_of_photos_are_no_tags(tmp_path):
    """From the photos' names to the page, as `nerfkit eval` leaves them."""
    run = write_train_run(tmp_path)
    evaluated = json.loads((run / "eval_test.json").read_text())
    for image in evaluated["images"]:
        old = Path(image["file"])
        image["file"] = f"images/{TAG}{old.name}"
        (tmp_path / "photos" / old).rename(tmp_path / "photos" / image["file"])
        (run / "eval" / "test" / old.name).rename(run / "eval" / "test" / f"{TAG}{old.name}")
    (run / "eval_test.json").write_text(json.dumps(evaluated))
    check(train_report(Run(run)), 2)


# --- settings and weights ---


def test_settings_are_not_given_by_names_of_values(tmp_path):
    """Nine lines of lists of lists would be a thousand million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    (tmp_path / "config.yml").write_text("\n".join(lines))
    with pytest.raises(NerfkitError, match=r"is no YAML \(\*a0: a value by its name is not read; write it out\)"):
        load(tmp_path / "config.yml")


@pytest.mark.parametrize(
    "text", ["[" * 5000, "a: 2001-99-99", "a: !!python/object/apply:os.system [ls]", "? [1]: 2", "a: " + "9" * 5000]
)
def test_settings_that_are_none(tmp_path, text):
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(NerfkitError, match=r"config\.yml: is no YAML"):
        load(tmp_path / "config.yml")


def test_a_checkpoint_that_is_nested_deep(tmp_path):
    (tmp_path / "step_00000001.json").write_text('{"a":' * 20_000)
    with pytest.raises(NerfkitError, match=r"no checkpoint that can be read .*nested too deep"):
        CheckpointFolder(tmp_path).load_newest()
    # as deep as JSON is read: what makes objects of it goes deeper
    payload = b"\x02\0\0\0\0\0\0\0{}"
    head = {"step": 1, "bytes": len(payload), "crc32": zlib.crc32(payload), "state": 0}
    (tmp_path / "step_00000001.safetensors").write_bytes(payload)
    text = json.dumps(head).replace('"state": 0', f'"state": {"[" * 900}{"]" * 900}')
    (tmp_path / "step_00000001.json").write_text(text)
    with pytest.raises(NerfkitError, match="no checkpoint that can be read"):
        CheckpointFolder(tmp_path).load_newest()


def change_head(folder, change):
    """Change the JSON of a checkpoint."""
    (head,) = folder.glob("*.json")
    content = json.loads(head.read_text())
    change(content)
    head.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "asked", [("n_params", 2**40), ("n_layers", 10**12), ("shape", [10**6, 10**6]), ("n_params", -1)]
)
def test_a_recipe_asks_for_no_more_than_its_weights_hold(fitted, asked):
    """What is asked for would be made before the weights are seen not to fit."""
    name, value = asked
    change_head(fitted / "field", lambda head: dict(head["state"]["$dict"])["recipe"]["$dict"].append([name, value]))
    with pytest.raises(NerfkitError, match=rf"is damaged \(its recipe asks for {name} = [-\d,]+; at most 16,777,216"):
        nerfkit.load(fitted).render()


def test_a_picture_of_a_run_is_of_a_size_that_is_made(fitted):
    change_head(
        fitted / "field",
        lambda head: dict(head["state"]["$dict"])["recipe"]["$dict"].append(["pixels", [10**6, 10**6]]),
    )
    with pytest.raises(NerfkitError, match="declares 1000000x1000000 pixels"):
        nerfkit.load(fitted).render()
    assert nerfkit.load(fitted).render(size=(4, 3)).shape == (3, 4)


def test_a_start_asks_for_no_more_than_its_weights_hold(tmp_path):
    from nerfkit.workbench.many.learned import Learned, make_start, read_start, write_start
    from nerfkit.workbench.many.networks import Shape

    whole, part = (make_start("meta", Shape(1, 8, 2, 30.0), 0, 0) for _ in range(2))
    path = write_start(tmp_path, Learned(whole, part, 1e-3, (8, 6), (0.0, 1.0)))
    assert read_start(path).shape == Shape(1, 8, 2, 30.0)
    facts = json.loads(path.with_suffix(".json").read_text()) | {"width": 10**6}
    path.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(NerfkitError, match=r"asks for 2,000,000,000,000 weights, and start\.safetensors holds"):
        read_start(path)
    for name, value in (("scale", 0), ("scale", 10**400), ("rate", 10**400), ("n_layers", 0.5)):
        path.with_suffix(".json").write_text(json.dumps(facts | {"width": 8, name: value}))
        with pytest.raises(NerfkitError, match=r"is no start, or damaged"):
            read_start(path)


@pytest.mark.parametrize(
    ("data", "words"), [("a" * 5000, "are not there any more"), ("a\0b", "a text in it holds a NUL")]
)
def test_a_place_that_no_file_system_has(tmp_path, data, words):
    run = write_train_run(tmp_path)
    change_config(run, data=data, skip_bad=False)
    with pytest.raises(NerfkitError, match=words):
        Run(run).read_photos(None)
