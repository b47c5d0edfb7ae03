"""LPIPS from a file of weights: the definition, layer by layer, and files that are not it."""

import pytest
import torch
from torch import nn

from nerfkit.lpips import NETWORKS, SCALE, SHIFT, Lpips, load_lpips
from nerfkit.scenes.errors import NerfkitError

CONVS = {"alex": ["1.0", "2.3", "3.6", "4.8", "5.10"]}
WIDTHS = (64, 192, 384, 256, 256)


def alexnet(seed=0):
    """torchvision's layers up to the last that is compared, with random weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(),
        nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
    )  # fmt: skip


def state(layers):
    """Its weights under the names of the package lpips, and positive random ones of the comparison."""
    found = {}
    for name in CONVS["alex"]:
        layer = layers[int(name.split(".")[1])]
        found |= {f"net.slice{name}.weight": layer.weight.detach(), f"net.slice{name}.bias": layer.bias.detach()}
    return found | {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(WIDTHS)}


def by_definition(layers, weights, image, truth):
    total = 0.0
    with torch.no_grad():
        a, b = (
            ((2 * x.movedim(-1, 0)[None] - 1).movedim(1, -1) - torch.tensor(SHIFT)) / torch.tensor(SCALE)
            for x in (image, truth)
        )
        a, b = a.movedim(-1, 1), b.movedim(-1, 1)
        for index, layer in enumerate(layers):
            a, b = layer(a), layer(b)
            if index in (1, 4, 7, 9, 11):
                lin = weights[f"lin{(1, 4, 7, 9, 11).index(index)}.model.1.weight"]
                apart = (nn.functional.normalize(a, dim=1) - nn.functional.normalize(b, dim=1)) ** 2
                total += float((apart * lin).sum(1).mean())
    return total


@pytest.fixture(scope="module")
def weights():
    return state(alexnet())


def pictures(side=40, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, side, side + 7, 3, generator=generator)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_definition(tmp_path, weights, suffix):
    from safetensors.torch import save_file

    path = tmp_path / f"alex{suffix}"
    # as the package has it: the comparison's weights twice, and constants
    whole = weights | {"scaling_layer.shift": torch.tensor(SHIFT), "lins.0.model.1.weight": torch.zeros(1, 64, 1, 1)}
    save_file(whole, path) if suffix == ".safetensors" else torch.save(whole, path)
    lpips, (image, truth) = load_lpips(path), pictures()
    found = lpips(image, truth)
    assert found == pytest.approx(by_definition(alexnet(), weights, image, truth), rel=1e-5)
    assert lpips(truth, image) == pytest.approx(found, rel=1e-6) and lpips(image, image) == 0


def test_vgg_and_pictures_that_are_too_small():
    from nerfkit.lpips import _shapes

    made = {key: torch.randn(shape) * 0.05 for key, shape in _shapes("vgg").items()}
    assert len(made) == 2 * 13 + 5
    vgg, (image, truth) = Lpips("vgg", made), pictures(16)
    assert vgg(image, truth) is not None and vgg(image[:15], truth[:15]) is None


def test_the_least_side_is_what_the_network_sees(weights):
    image, truth = pictures(NETWORKS["alex"].least)
    alex = Lpips("alex", weights)
    assert alex(image, truth) is not None and alex(image[:30], truth[:30]) is None


def test_files_that_are_not_it(tmp_path, weights):
    cases = {
        "absent.pth": (None, "there is no such file"),
        "text.pth": (b"hello", "cannot be read as weights"),
        "text.safetensors": (b"hello", "cannot be read as weights"),
        "list.pth": ([1, 2], "holds no state of a network"),
        "backbone.pth": (
            {k: v for k, v in weights.items() if k.startswith("net")},
            r"lin0\.model\.1\.weight is absent",
        ),
        "squeeze.pth": (weights | {"net.slice1.0.weight": torch.zeros(64, 3, 3, 3)}, r"has the shape \[64, 3, 3, 3\]"),
    }
    for name, (content, what) in cases.items():
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(NerfkitError, match=what) as caught:
            load_lpips(path)
        assert "pip install lpips" in str(caught.value.fix) and caught.value.where == str(path)


def test_eval_measures_it(nerfkit, run_copy, tmp_path, weights):
    torch.save(weights, tmp_path / "alex.pth")
    result = nerfkit("eval", run_copy, "--split", "val", "--lpips", tmp_path / "alex.pth", "--json").json
    values = [image["lpips"] for image in result["images"]]
    assert len(values) == 2 and min(values) > 0
    assert result["results"]["lpips"] == pytest.approx(sum(values) / 2, abs=1e-4)
    assert "LPIPS" in (run_copy / "report.html").read_text()
    told = nerfkit("eval", run_copy, "--lpips", tmp_path / "none.pth", "--json")
    assert told.code == 2 and "no such file of LPIPS weights" in told.json["error"]["what"]
