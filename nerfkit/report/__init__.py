"""report.html: what was made, on one page that needs no network. Importing this loads no torch.

A page is a list of blocks (:mod:`nerfkit.report.blocks`); :func:`write_report` writes it. The pages of the commands are
:func:`train_report`, :func:`superres_report`, :func:`fit_report` and :func:`demo_report`; each shows what it finds in
its folder and leaves out what is not there.
"""

from __future__ import annotations

from nerfkit.report.blocks import (
    Block,
    Chart,
    ContactRow,
    ContactSheet,
    Curves,
    Heading,
    Listing,
    Picture,
    Series,
    Slider,
    Steps,
    Strip,
    Table,
    Text,
    Tile,
    Tiles,
    Video,
)  # fmt: skip
from nerfkit.report.demo_page import demo_report
from nerfkit.report.fit_page import fit_report
from nerfkit.report.media import load_picture
from nerfkit.report.page import write_report
from nerfkit.report.refreshing import refresh, refresh_demo, refresh_fit, refresh_superres
from nerfkit.report.superres_page import superres_report
from nerfkit.report.train_page import train_report

__all__ = [
    "Block", "Chart", "ContactRow", "ContactSheet", "Curves", "Heading", "Listing", "Picture", "Series", "Slider",
    "Steps",
    "Strip", "Table", "Text", "Tile", "Tiles", "Video", "demo_report", "fit_report", "load_picture", "refresh",
    "refresh_demo", "refresh_fit", "refresh_superres", "superres_report", "train_report", "write_report",
]  # fmt: skip
