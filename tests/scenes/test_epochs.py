"""Every measurement once before any twice; all of them where a batch is that large."""

import torch

from nerfkit.scenes.measurements.epochs import Epochs
from nerfkit.scenes.measurements.measurements import Measurements


def rows(batch):
    return batch.where[:, 0].tolist()


def test_each_comes_once_in_an_epoch():
    pixels = Epochs(Measurements(where=torch.arange(10.0)[:, None], values=torch.zeros(10, 1)))
    generator = torch.Generator().manual_seed(0)
    first = [row for _ in range(3) for row in rows(pixels.draw(3, generator))]
    assert len(set(first)) == 9
    # one is left of the order, too few for a batch: a new order begins
    assert len(set(rows(pixels.draw(3, generator)))) == 3


def test_a_batch_as_large_as_all_is_all_in_order():
    pixels = Epochs(Measurements(where=torch.arange(4.0)[:, None], values=torch.zeros(4, 1)))
    assert rows(pixels.draw(4, torch.Generator())) == rows(pixels.draw(9, torch.Generator())) == [0, 1, 2, 3]
