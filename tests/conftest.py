"""What holds for the whole suite: where `gpu` and `triton` tests run; `--no-skips` lets none slip by."""

import os
import signal

import pytest

# read when a test first loads torch or numba: threads that spin while they wait slow a busy machine several times
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# a shell's background job is started deaf to Ctrl-C, and tests that press it would wait for nothing
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        help="a skipped test fails: for a run whose purpose is what another run must skip",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    on_gpu, of_triton = ([item for item in items if item.get_closest_marker(name)] for name in ("gpu", "triton"))
    if not on_gpu and not of_triton:
        return
    import torch  # here, so that collecting a suite without such tests does not wait for it

    if torch.cuda.is_available():
        return
    if config.getoption("--no-skips"):
        # that run is for what needs no GPU
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    for item in on_gpu:
        item.add_marker(pytest.mark.skip(reason="needs a GPU"))
    if os.environ.get("TRITON_INTERPRET") != "1":
        for item in of_triton:
            item.add_marker(pytest.mark.skip(reason="needs a GPU or TRITON_INTERPRET=1"))


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    # an expected failure is reported as skipped as well, but it did run
    if config.getoption("--no-skips") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped although --no-skips was given: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    _fail_if_skipped(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    report = yield
    _fail_if_skipped(report, collector.config)
    return report
