"""The reports in a browser: Chromium without a window, driven over its DevTools pipe with real clicks and keys."""

import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest
from report_folders import write_superres_run, write_train_run, write_video

import nerfkit.report.media
from nerfkit import report
from nerfkit.runs import Run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine"),
    pytest.mark.skipif(sys.platform == "win32", reason="the DevTools pipe wants POSIX file descriptors"),
]
# the first start on a cold and busy machine took 20 s
PATIENCE_SECONDS = 90.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1000,900",
    "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """Chromium and its one page. Commands are JSON that ends in a zero byte, on file descriptors 3 and 4."""

    def __init__(self, profile):
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # a shell renames the descriptors: those of pipes are never 3 and 4 by themselves
        command = 'exec "$0" "$@" 3<&{} 4>&{}'.format(to_read, to_write)  # noqa: UP032  braces of the shell
        flags = (*FLAGS, f"--user-data-dir={profile}", "about:blank")
        self.process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM, *flags],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._id, self._rest, self._session, self._is_pressed = 0, b"", None, False
        self.events = []
        pages = self.wait_for(self._pages)
        self._session = self.send("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def _pages(self):
        return [t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page"]

    def _receive(self, deadline):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "Chromium did not answer in time"
            chunk = os.read(self._read, 1 << 16)
            assert chunk, f"Chromium went away, with exit code {self.process.wait(10)}"
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def send(self, method, **params):
        self._id += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._id, "method": method, "params": params, **session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self._receive(deadline)
            if "method" in answer:
                self.events.append(answer)
            elif answer["id"] == self._id:
                assert "error" not in answer, answer
                return answer["result"]

    def wait_for(self, find):
        """What ``find`` returns, once that is something."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := find()):
            assert time.monotonic() < deadline, "what was waited for did not happen"
            time.sleep(0.05)
        return found

    def open(self, path):
        self.events.clear()
        url = path.resolve().as_uri()
        self.send("Page.navigate", url=url)
        self.wait_for(lambda: self.js(f"location.href === {json.dumps(url)} && document.readyState === 'complete'"))

    def js(self, expression):
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def box(self, selector):
        """Left, top, width, height of an element, scrolled into the window."""
        return self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.left, b.top, b.width, b.height]; })()"
        )

    def mouse(self, kind, x, y):
        self._is_pressed = kind == "mousePressed" or (self._is_pressed and kind == "mouseMoved")
        button = "none" if kind == "mouseMoved" and not self._is_pressed else "left"
        self.send(
            "Input.dispatchMouseEvent",
            type=kind, x=x, y=y, button=button, buttons=int(self._is_pressed), clickCount=int(kind != "mouseMoved"),
        )  # fmt: skip

    def click(self, selector):
        left, top, width, height = self.box(selector)
        self.mouse("mousePressed", left + width / 2, top + height / 2)
        self.mouse("mouseReleased", left + width / 2, top + height / 2)

    def key(self, name):
        code = {"ArrowLeft": 37, "ArrowRight": 39, "Escape": 27}[name]
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def requests(self):
        sent = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def complaints(self):
        """Exceptions and messages that a person would find in the console."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event["method"] in kinds]

    def close(self):
        try:
            self._session = None
            self.send("Browser.close")
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._read)
            os.close(self._write)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = Browser(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    fused = write_superres_run(out / "text")
    run = write_train_run(out)
    return {
        "superres": report.superres_report(fused),
        "train": report.train_report(Run(run)),
        "demo": report.demo_report(out),
    }


def bar_position(browser):
    return float(browser.js("getComputedStyle(document.querySelector('.stage')).getPropertyValue('--at')")[:-1])


def drawn_shares(browser):
    """Percent of the width at which the upper picture is cut off, and at which the bar is drawn."""
    return browser.js(
        """(() => {
        const upper = document.querySelectorAll('.stage img')[1];
        const stage = upper.parentElement.getBoundingClientRect();
        const bar = upper.parentElement.querySelector('.bar').getBoundingClientRect();
        // where a point still hits the upper picture is where it is drawn: what is clipped is not hit
        upper.parentElement.querySelectorAll('input, .bar, .tag').forEach((e) => { e.style.pointerEvents = 'none'; });
        let cut = 0;
        for (let share = 0.5; share < 100; share += 0.5) {
          const hit = document.elementFromPoint(stage.left + stage.width * share / 100, stage.top + 0.8 * stage.height);
          if (hit === upper) cut = share;
        }
        return [cut, 100 * (bar.left + bar.width / 2 - stage.left) / stage.width];
        })()"""
    )


@pytest.mark.parametrize("name", ["train", "superres", "demo"])
def test_a_report_asks_for_nothing_but_itself(browser, pages, name):
    browser.open(pages[name])
    browser.wait_for(lambda: browser.js("[...document.images].every((image) => image.complete)"))
    assert browser.js("document.images.length") >= 5
    assert (
        browser.js(
            "[...document.querySelectorAll('main img')].filter((image) => !image.naturalWidth).map((i) => i.alt)"
        )
        == []
    )
    assert browser.requests() == [pages[name].resolve().as_uri()]
    assert browser.complaints() == []


@pytest.mark.parametrize("name", ["train", "superres", "demo"])
@pytest.mark.parametrize("width", [1000, 360])
def test_a_report_fits_its_window(browser, pages, name, width):
    browser.send("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    try:
        browser.open(pages[name])
        assert browser.js("document.documentElement.scrollWidth") <= width
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")


def test_slider_follows_the_mouse(browser, pages):
    browser.open(pages["superres"])
    assert bar_position(browser) == 50
    left, top, width, height = browser.box(".stage")
    middle = top + height / 2
    browser.mouse("mousePressed", left + 0.5 * width, middle)
    for share in (0.4, 0.3, 0.2):
        browser.mouse("mouseMoved", left + share * width, middle)
    browser.mouse("mouseReleased", left + 0.2 * width, middle)
    assert bar_position(browser) == pytest.approx(20, abs=1)
    assert drawn_shares(browser) == pytest.approx([20, 20], abs=1)


def test_slider_follows_the_arrow_keys(browser, pages):
    browser.open(pages["superres"])
    browser.js("document.querySelector('.stage input').focus()")
    for _ in range(3):
        browser.key("ArrowRight")
    assert bar_position(browser) > 50
    for _ in range(6):
        browser.key("ArrowLeft")
    assert bar_position(browser) < 50
    assert "% bicubic" in browser.js("document.querySelector('.stage input').getAttribute('aria-valuetext')")


def test_video_plays_by_itself(browser, pages):
    browser.open(pages["train"])
    browser.box("video")
    browser.wait_for(lambda: browser.js("document.querySelector('video').readyState >= 2"))
    assert browser.js("document.querySelector('video').error") is None
    assert browser.js("document.querySelector('video').duration") == pytest.approx(0.5, abs=0.1)
    browser.wait_for(lambda: browser.js("document.querySelector('video').currentTime > 0.1"))


def test_video_beside_the_page_plays_too(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(nerfkit.report.media, "MAX_VIDEO_BYTES", 10)
    video = write_video(tmp_path / "a turn #1.mp4")
    page = report.write_report(tmp_path / "r.html", "t", [report.Video("turn", video)])
    browser.open(page)
    browser.wait_for(lambda: browser.js("document.querySelector('video').readyState >= 2"))
    assert browser.complaints() == []


def test_video_waits_for_those_who_want_no_motion(browser, pages):
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    browser.send("Emulation.setEmulatedMedia", features=features)
    try:
        browser.open(pages["train"])
        browser.wait_for(lambda: browser.js("document.querySelector('video').readyState >= 2"))
        assert browser.js("document.querySelector('video').paused")
    finally:
        browser.send("Emulation.setEmulatedMedia", features=[])


def test_curve_tells_its_values(browser, pages):
    browser.open(pages["train"])
    before = browser.js("document.querySelector('.charts output').textContent")
    assert before.endswith("seconds") and "dB" in before
    left, top, width, height = browser.box("svg.chart")
    browser.mouse("mouseMoved", left + 0.5 * width, top + 0.5 * height)
    under = browser.js("document.querySelector('.charts output').textContent")
    assert under != before
    browser.mouse("mouseMoved", 1, 1)
    assert browser.js("document.querySelector('.charts output').textContent") == before
    browser.js("document.querySelector('svg.chart').focus()")
    browser.key("ArrowLeft")
    assert browser.js("document.querySelector('.charts output').textContent") not in (before, under)


def test_table_sorts_by_a_click(browser, pages):
    browser.open(pages["superres"])
    column = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[2].textContent)"
    assert browser.js(column) == ["0", "-0.25", "3"]
    browser.click("th:nth-child(3) button")
    assert browser.js(column) == ["-0.25", "0", "3"]
    browser.click("th:nth-child(3) button")
    assert browser.js(column) == ["3", "0", "-0.25"]
    assert browser.js("document.querySelector('th:nth-child(3)').getAttribute('aria-sort')") == "descending"


def test_pictures_fill_the_window_and_can_be_compared(browser, pages):
    browser.open(pages["train"])
    browser.click(".cells div:nth-child(1) button")
    assert browser.js("document.querySelector('dialog').open")
    shown = "document.querySelector('dialog img').alt"
    assert browser.js(shown) == "images/00.png, photo"
    browser.key("ArrowRight")
    assert browser.js(shown) == "images/00.png, rendered"
    browser.key("Escape")
    browser.wait_for(lambda: not browser.js("document.querySelector('dialog').open"))


def test_dark_scheme_turns_the_page_dark(browser, pages):
    def brightness():
        return sum(map(int, browser.js("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")[:3])) / 3

    browser.open(pages["train"])
    bright = brightness()
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    try:
        assert brightness() < 50 < 200 < bright
    finally:
        browser.send("Emulation.setEmulatedMedia", features=[])
