import base64
import io
import json
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from report_folders import write_superres_run, write_train_run

import nerfkit.report.media
import nerfkit.report.refreshing
from nerfkit import report
from nerfkit.report.charts import draw, log_ticks, round_ticks, scale_bar
from nerfkit.runs import Run
from nerfkit.scenes.errors import NerfkitError

VOID = {"meta", "link", "img", "input", "br", "path", "line", "polyline"}
NASTY = "</script><b>\"'&{{body}}\x00\udc80 ü"


class _Page(HTMLParser):
    """Tags that were opened, with their attributes; fails where one is closed that is not open."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(self.words)


def page_of(path):
    return _Page(path.read_text(encoding="utf-8"))


def picture(width=6, height=4, alt="a picture", **options):
    return report.Picture(np.full((height, width, 3), 0.5), alt, **options)


def every_block(text, folder):
    """One of each, with ``text`` wherever a text goes."""
    shot = picture(alt=text, caption=text)
    series = report.Series(text, [0, 1, 2], [1, 2, 3])
    return [
        report.Heading(text, text),
        report.Text(text),
        report.Tiles([report.Tile(text, text, text)]),
        report.Curves(text, [report.Chart(text, [series], text, text)], text),
        report.ContactSheet(text, [text], [report.ContactRow(text, text, [shot])], text),
        report.Video(text, folder / "clip.mp4", text),
        report.Slider(text, shot, shot, (text, text), text),
        report.Strip(text, [shot], text),
        report.Table(text, [text], [[text]], text),
        report.Listing(text, text),
        report.Steps(text, [(text, text)]),
    ]


def test_page_needs_nothing_from_elsewhere(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"not really a video")
    text = report.write_report(
        tmp_path / "r.html", "Title", every_block("words", tmp_path), subtitle="below"
    ).read_text()
    page = _Page(text)
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "poster"):
            assert attrs.get(name, "data:").startswith("data:"), (tag, attrs)
    assert "http" not in re.sub(r'"data:[^"]*"|http://www\.w3\.org/2000/svg', "", text).replace("http-equiv", "")
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    assert all(image["alt"] for image in page.all("img"))
    assert "below" in page.text


def test_text_of_a_user_never_becomes_markup(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    plain = page_of(report.write_report(tmp_path / "a.html", "words", every_block("words", tmp_path), subtitle="w"))
    nasty = page_of(report.write_report(tmp_path / "b.html", NASTY, every_block(NASTY, tmp_path), subtitle=NASTY))
    assert [tag for tag, _ in nasty.tags] == [tag for tag, _ in plain.tags]
    assert nasty.text.count("{{body}}") >= 20
    assert nasty.all("img")[0]["alt"].startswith("</script><b>\"'&{{body}}")


def test_blocks_with_nothing_to_show_leave_no_trace(tmp_path):
    empty = [
        report.Tiles([]),
        report.Curves("gone", [report.Chart("gone", [report.Series("y", [1], [1])], "x", "y")], "gone"),
        report.ContactSheet("gone", [], [], "gone"),
        report.Video("gone", tmp_path / "absent.mp4", "gone"),
        report.Strip("gone", [], "gone"),
        report.Table("gone", ["gone"], [], "gone"),
        report.Listing("gone", "\n"),
        report.Steps("gone", []),
    ]
    page = page_of(report.write_report(tmp_path / "r.html", "Title", empty))
    assert "gone" not in page.text
    assert not page.all("section")


def test_slider_wants_one_size():
    with pytest.raises(ValueError, match=r"one size; got \(6, 4\) and \(7, 4\)"):
        report.Slider("t", picture(6), picture(7), ("a", "b"))


def test_slider_is_an_input_with_a_name(tmp_path):
    block = report.Slider("t", picture(), picture(), ("bicubic", "ours"))
    page = page_of(report.write_report(tmp_path / "r.html", "Title", [block]))
    (slider,) = page.all("input")
    assert slider["type"] == "range" and "bicubic" in slider["aria-label"] and "ours" in slider["aria-label"]


def test_a_failed_write_leaves_the_old_page(tmp_path):
    path = report.write_report(tmp_path / "r.html", "old", [])
    with pytest.raises(ValueError, match="NaN"):
        report.write_report(path, "new", [report.Strip("s", [report.Picture(np.full((2, 2, 3), np.nan), "x")])])
    assert "old" in path.read_text()
    assert [item.name for item in tmp_path.iterdir()] == ["r.html"]


def test_a_page_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NerfkitError, match="cannot be written"):
        report.write_report(tmp_path / "file" / "r.html", "t", [])


def test_table_cells_sort_by_value_and_missing_ones_are_dashes(tmp_path):
    rows = [["a", 0.123456, 3, True], ["b", None, float("nan"), False]]
    text = report.write_report(tmp_path / "r.html", "t", [report.Table("T", list("wxyz"), rows)]).read_text()
    assert '<td class="number" data-value="0.123456">0.1235</td>' in text
    assert '<td data-value="1" class="yes">yes</td>' in text
    assert text.count("<td>–</td>") == 2  # noqa: RUF001


def test_large_videos_become_links(tmp_path, monkeypatch):
    monkeypatch.setattr(nerfkit.report.media, "MAX_VIDEO_BYTES", 10)
    (tmp_path / "small.mp4").write_bytes(b"x" * 8)
    (tmp_path / "a b#.mp4").write_bytes(b"y" * 8)
    blocks = [report.Video("one", tmp_path / "small.mp4"), report.Video("two", tmp_path / "a b#.mp4")]
    page = page_of(report.write_report(tmp_path / "pages" / "r.html", "t", blocks))
    small, large = page.all("video")
    assert small["src"].startswith("data:video/mp4;base64,")
    # the second would not be too large by itself: it is the page that is full
    assert large["src"] == "../a%20b%23.mp4"
    assert {"muted", "loop", "playsinline", "controls"} <= set(small)
    assert "too large" in page.text


def test_round_ticks():
    assert round_ticks(-0.013, 0.021) == [-0.01, 0.0, 0.01, 0.02]
    assert round_ticks(24.1, 25.9) == [24.5, 25.0, 25.5]


@pytest.mark.parametrize(("width", "length"), [(100, 50), (99, 20), (1, 0.5), (0.003, 0.001), (399, 100), (4e5, 2e5)])
def test_a_scale_bar_is_of_a_round_length(width, length):
    assert scale_bar(width) == pytest.approx((length, length / width))


def write_fit_run(folder, **shown):
    (folder / "pictures").mkdir()
    for name in ("result", "other"):
        Image.new("L", (12, 8), 99).save(folder / "pictures" / f"{name}.png")
    pictures = [["result", "the result"], ["other", "another"]]
    (folder / "shown.json").write_text(json.dumps({"pictures": pictures, **shown}))
    return page_of(report.fit_report(folder))


def test_fit_report_has_scale_bars_and_windows(tmp_path):
    scales = {
        "result": {"mm_wide": 240, "black": -1000, "white": 400.5}, "other": {"mm_wide": None, "black": 3, "white": 1},
    }  # fmt: skip
    page = write_fit_run(tmp_path, scales=scales)
    # below the slider and in the strip
    assert [found["style"] for found in page.all("i")] == ["width:41.67%"] * 2
    assert page.text.count("100 mm") == 2 and page.text.count("black -1000, white 400.5") == 2
    assert page.text.count("black 3, white 1") == 1


@pytest.mark.parametrize(
    "shown", [{}, {"scales": 3}, {"scales": {"result": [240]}}, {"scales": {"result": {"mm_wide": -1, "black": 2}}}]
)
def test_fit_report_without_scales(tmp_path, shown):
    page = write_fit_run(tmp_path, **shown)
    assert not page.all("i") and "another" in page.text and "black" not in page.text


def test_log_ticks_stay_few():
    assert log_ticks(1e-4, 1) == [1e-4, 1e-3, 1e-2, 1e-1, 1]
    assert len(log_ticks(1e-30, 1)) < 9


def chart_points(series, **options):
    drawing = draw(report.Chart("t", [report.Series("s", *series)], "x", "y", **options))
    lines = drawing.lines if drawing else []
    return [np.array([pair.split(",") for pair in line.points.split()], float) for line in lines]


def test_curve_goes_where_its_values_say():
    (points,) = chart_points(([0, 5, 10], [1.0, 10.0, 100.0]), is_log=True)
    assert np.allclose(np.diff(points[:, 0]), np.diff(points[:, 0])[0])
    assert np.allclose(np.diff(points[:, 1]), np.diff(points[:, 1])[0], atol=0.11)  # equal steps on a log axis
    assert points[0, 1] > points[-1, 1]  # up is more


@pytest.mark.parametrize("values", [[3.0, 3.0, 3.0], [0.0, 0.0, 0.0], [1e-12, 2e-12, 1e12], [1, np.nan, 2]])
@pytest.mark.parametrize("is_log", [False, True])
def test_odd_values_draw_finite_curves(values, is_log):
    for points in chart_points(([1, 2, 3], values), is_log=is_log):
        assert np.isfinite(points).all()


def test_long_noisy_curves_get_a_mean_on_top():
    x = np.arange(5000.0)
    raw, smooth = chart_points((x, 10 + np.random.default_rng(0).normal(size=5000)))
    assert len(raw) == len(smooth) == 400
    assert smooth[:, 1][20:].std() < 0.2 * raw[:, 1].std()


def test_pictures_of_sixteen_bits(tmp_path):
    Image.fromarray(np.full((2, 3), 32896, np.uint16)).save(tmp_path / "deep.png")
    found = report.load_picture(tmp_path / "deep.png", "deep")
    assert found is not None and np.allclose(found.pixels, 32896 / 65535)


def test_damaged_pictures_are_left_out_with_a_warning(tmp_path, caplog):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n????")
    assert report.load_picture(tmp_path / "bad.png", "bad") is None
    assert "bad.png is left out" in caplog.text
    assert report.load_picture(tmp_path / "absent.png", "absent") is None


def test_large_pictures_are_scaled_down_and_compressed():
    noise = np.random.default_rng(0).integers(0, 256, (1700, 900, 3), np.uint8)
    uri = nerfkit.report.media.picture_uri(noise)
    assert uri.startswith("data:image/jpeg;base64,")
    assert nerfkit.report.media.picture_uri(noise[:50]).startswith("data:image/png;base64,")


def level_of(image):
    """The grey level of an image's first pixel."""
    payload = base64.b64decode(image["src"].partition(",")[2])
    return int(np.asarray(Image.open(io.BytesIO(payload)).convert("L"))[0, 0])


def test_train_report_shows_the_run(tmp_path):
    run = Run(write_train_run(tmp_path))
    page = page_of(report.train_report(run))
    for words in ("25.50 dB", "SSIM 0.900", "hash", "photos: a scene from posed photos", "Versions"):
        assert words in page.text, words
    assert len(page.all("svg")) == 2
    assert [image["alt"].rpartition(", ")[2] for image in page.all("img")[:3]] == [
        "photo", "rendered", "5 times the absolute difference",
    ]  # fmt: skip
    levels = [level_of(image) for image in page.all("img")]
    assert levels == [10, 20, 50, 200, 20, 255]  # photo, rendered, five times their difference
    assert len(page.all("video")) == 1
    assert f"nerfkit render {run.folder} --out film.mp4" in page.text


def test_train_report_without_the_photos(tmp_path):
    folder = write_train_run(tmp_path)
    (tmp_path / "photos").rename(tmp_path / "moved")
    page = page_of(report.train_report(Run(folder)))
    assert [image["alt"] for image in page.all("img")] == ["images/00.png, rendered", "images/01.png, rendered"]


def test_train_report_chooses_among_many_views(tmp_path):
    folder = write_train_run(tmp_path)
    images = [{"file": f"{i}.png", "psnr": float(i), "ssim": None} for i in range(30)]
    for image in images:
        Image.new("RGB", (4, 4)).save(folder / "eval" / "test" / image["file"])
    (folder / "eval_test.json").write_text(json.dumps({"results": {}, "images": images}))
    page = page_of(report.train_report(Run(folder)))
    assert "12 of 30, from the worst to the best." in page.text
    assert {"0.png, rendered", "29.png, rendered"} <= {image["alt"] for image in page.all("img")}
    assert len(page.all("tr")) == 31


def test_train_report_shows_how_far_cameras_moved(tmp_path):
    folder = write_train_run(tmp_path)
    photos = [{"file": f"{i}.png", "moved": 0.01 * i, "turned": 0.2 * i, "pixels": 1.5 * i} for i in range(20)]
    (folder / "refined_cameras.json").write_text(json.dumps({"focal_factor": 1.02, "photos": photos}))
    results = {"psnr": 25.5, "psnr_aligned": 27.25, "ssim": 0.9, "n_images": 2}
    (folder / "eval_test.json").write_text(json.dumps({"results": results, "images": []}))
    page = page_of(report.train_report(Run(folder)))
    assert "27.25 dB" in page.text and "Focal lengths are 1.0200 times" in page.text
    # the one that moved most, and as many as fit
    assert "28.5" in page.text and "19.png" in page.text and "7.png" not in page.text.replace("17.png", "")


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{", "null", '{"train": 3, "superres": [], "results": 7, "images": [1, {}, {"file": 2}], "psnr": "x"}'],
)
def test_damaged_files_are_left_out(tmp_path, damage):
    train, fused = write_train_run(tmp_path), write_superres_run(tmp_path / "text")
    for folder in (train, fused):
        for file in (
            "metrics.json",
            "metrics.jsonl",
            "eval_test.json",
            "config.yml",
            "versions.json",
            "registered.csv",
            "refined_cameras.json",
        ):
            (folder / file).write_text(damage)
    (train / "orbit.mp4").write_bytes(b"")
    (fused / "strip" / "captions.json").write_text(damage)
    assert "Next steps" in page_of(report.train_report(Run(train))).text
    assert "Next steps" in page_of(report.superres_report(fused)).text


def test_reports_of_empty_folders(tmp_path):
    for make in (lambda folder: report.train_report(Run(folder)), report.superres_report, report.demo_report):
        assert page_of(make(tmp_path)).all("h1")


def test_seconds_go_on_where_a_resumed_run_counts_anew(tmp_path):
    lines = [{"seconds": s, "psnr": 1.0 + i} for i, s in enumerate([1, 2, 3, 1, 2])]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = json.loads(page_of(report.train_report(Run(tmp_path))).all("svg")[0]["data-chart"])
    assert data["series"][0]["x"] == [1, 2, 3, 4, 5]


def test_superres_report_shows_the_run(tmp_path):
    folder = write_superres_run(tmp_path / "text")
    page = page_of(report.superres_report(folder))
    expected = ["30.10 dB", "bicubic 13.20 dB", "1 left out", "8 frames", "best of all", "frames ../frames"]
    for words in [*expected, "12\N{MULTIPLICATION SIGN}8", "4\N{MULTIPLICATION SIGN} a side"]:
        assert words in page.text, words
    for words in ("29.30 dB", "8 whole ones; aligned mean (shift-and-add) 25.12 dB", "0.31"):
        assert words in page.text
    assert "--size 24x16 --out text_larger.png" in page.text  # twice the result
    assert len(page.all("input")) == 3  # bicubic | nerfkit, aligned mean | nerfkit, nerfkit | truth
    for words in ("Detail measured", "43%", "expected +2.6 dB over bicubic; too few frames"):
        assert words in page.text
    for words in ("error of the frames; white is 0.03", "standard error of the image; white is 0.02"):
        assert words in page.text
    assert any("Power at each frequency" in svg["aria-label"] for svg in page.all("svg"))
    assert page.text.index("1 frame ") < page.text.index("8 frames") < page.text.index("best of all")
    assert len(page.all("tr")) == 4


HELD = {"holds": "tiled", "holds_because": "the networks predict the frames with 0.01 of their range", "defects": 0}


@pytest.mark.parametrize(
    ("figures", "said", "left_out"),
    [
        (
            {**HELD, "blank": []},
            ["Local networks hold the picture: the networks predict the frames with 0.01"],
            "1 left",
        ),
        (
            {"holds": "grid", "holds_because": "no time was left for networks", "defects": 24, "blank": ["f0.png"]},
            [
                "The solved image itself, pixel by pixel, is the picture and is kept in the run: no time was left for",
                "24 pixels of the sensor are the same in all frames",
                "Left out, as they show nothing: f0.png.",
            ],
            "2 left out",
        ),
        (
            {"holds": "single", "defects": 1, "blank": ["<b>.png", "2.png"]},
            [
                "One network holds the picture.",
                "1 pixel of the sensor is",
                "Left out, as they show nothing: <b>.png, 2.png.",
            ],
            "3 left out",
        ),
        (
            {"repeated": ["4.png", "5.png"], "warnings": ["the picture leaves 40% of it"]},
            ["Left out, as they repeat another: 4.png, 5.png.", "The picture leaves 40% of it."],
            "3 left out",
        ),
        (
            {"holds": 3, "warnings": 1, "repeated": 2, "holds_because": [], "defects": "many", "blank": "f0.png"},
            [],
            "1 left out",
        ),
    ],
)
def test_superres_report_says_what_holds_the_picture_and_what_is_not_in_it(tmp_path, figures, said, left_out):
    folder = write_superres_run(tmp_path / "text")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({"superres": metrics["superres"] | figures}))
    page = page_of(report.superres_report(folder))
    assert left_out in page.text
    for words in said:
        assert words in page.text, words
    # and nothing of what there is not
    for words in ("hold the picture", "of the sensor", "Left out,", "The picture leaves"):
        assert (words in page.text) == any(words in line for line in said), words


def test_superres_report_without_bicubic_still_shows_the_result(tmp_path):
    folder = write_superres_run(tmp_path / "text")
    (folder / "bicubic.png").unlink()
    (folder / "aligned_mean.png").unlink()
    Image.new("L", (5, 5)).save(folder / "truth.png")  # of another size: no slider
    page = page_of(report.superres_report(folder))
    assert not page.all("input")
    assert "The super-resolved image" in [image["alt"] for image in page.all("img")]


def test_demo_report_has_both_halves(tmp_path):
    out = tmp_path / "demo"
    write_superres_run(out / "text_x8")
    write_superres_run(out / "text_x4")
    write_train_run(out)
    page = page_of(report.demo_report(out))
    assert page.text.index("new views") < page.text.index("image: text_x4") < page.text.index("image: text_x8")
    assert len(page.all("video")) == 2  # the run's own, and the one beside it


def test_refresh_never_fails_what_it_reports_on(tmp_path, monkeypatch, caplog):
    (tmp_path / "report.html").mkdir()  # a folder where the file should be
    with caplog.at_level(logging.WARNING):
        assert report.refresh(Run(tmp_path)) is None
        assert report.refresh_superres(tmp_path) is None
        assert report.refresh_demo(tmp_path) is None
    assert caplog.text.count("the report could not be written") == 3
    monkeypatch.setattr(nerfkit.report.refreshing, "train_report", lambda run: SimpleNamespace().absent)
    assert report.refresh(Run(tmp_path)) is None


def test_refresh_writes_the_report(tmp_path):
    assert report.refresh(Run(tmp_path)) == Path(tmp_path / "report.html")
