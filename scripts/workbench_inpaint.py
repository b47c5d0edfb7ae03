"""How well `nerfkit fit inpaint` fills holes: photographs of which a tenth is known, and one that text covers.

python scripts/workbench_inpaint.py [--cases camera astronaut text] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarking import Row, publish
from PIL import Image
from workbench_pictures import photograph, text_mask

import nerfkit

# name -> photograph, whether text covers it, and what is wanted over the holes, dB
CASES = {"camera": ("camera", False, 23.35), "astronaut": ("astronaut", False, 21.32), "text": ("camera", True, 25.2)}


def measure(cases: Sequence[str] = tuple(CASES), side: int = 256, **settings: Any) -> list[Row]:
    """PSNR over the holes of the field and of the classical methods, each a row."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            name, has_text, wanted = CASES[case]
            source, mask = Path(folder) / f"{name}.png", Path(folder) / "mask.png"
            Image.fromarray(photograph(name, side)).save(source)
            Image.fromarray(text_mask(side)).save(mask)
            out = Path(folder) / f"{case}_filled.png"
            if has_text:
                found = nerfkit.fit("inpaint", [source, mask], out, truth=source, **settings).figures
                command = "nerfkit fit inpaint camera.png mask.png --truth camera.png -o out.png"
            else:
                found = nerfkit.fit("inpaint", source, out, simulate={"keep": 0.1}, **settings).figures
                command = f"nerfkit fit inpaint {name}.png --simulate keep=0.1 -o out.png"
            metrics, chosen = found["metrics"], found["chosen"]
            what = ", ".join(f"{key} {value:g}" for key, value in chosen.items() if isinstance(value, float))
            rows.append(Row(f"{case}: {found['field']} ({what})", metrics["psnr"], "dB", f">= {wanted}", command))
            rows.append(Row(f"{case}: held out", metrics["holdout_psnr"], "dB", "", command))
            rows.append(Row(f"{case}: seconds", found["seconds"], "s", "", command))
            rows += [
                Row(f"{case}: {other}", figures["psnr"], "dB", figures["how"], command)
                for other, figures in found["baselines"].items()
            ]
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    publish(measure(given.cases), given.json)


if __name__ == "__main__":
    main()
