import numpy as np
import pytest

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.synth.actors import Block, Size
from aqr_exp.synth.sets import SETS, Kind
from aqr_exp.synth.shapes import build_shape
from aqr_exp.synth.traffic import PLACES

KINDS = SETS["synth"].kinds
ALL = (*KINDS, *SETS["synth"].clutter, *SETS["synth"].background)


def _shapes(kind: Kind) -> list[tuple[Size, list[Block]]]:
    rng = np.random.default_rng(5)
    size = Size(length=kind.length_m[1], width=kind.width_m[0], height=kind.height_m[1])
    return [
        (size, build_shape(kind.name, size, flavour, rng)) for flavour in ("", "rider", "worker")
    ]


def test_catalogue_is_the_ten_classes_and_everything_has_a_place() -> None:
    assert {kind.name for kind in KINDS} == set(CLASS_NAMES)
    assert {kind.name for kind in ALL} == set(PLACES)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_blocks_fill_the_annotated_box_and_stay_inside(kind: Kind) -> None:
    for size, blocks in _shapes(kind):
        low = np.min([block.low for block in blocks], axis=0)
        high = np.max([block.high for block in blocks], axis=0)
        half = np.array([size.length / 2, size.width / 2, 0.0])
        full = np.array([size.length / 2, size.width / 2, size.height])
        assert (low >= -half - 1e-9).all()
        assert (high <= full + 1e-9).all()
        # A box that is annotated larger than its object would teach the wrong size.
        assert ((high - low)[:2] >= [0.9 * size.length, 0.9 * size.width]).all()
        assert high[2] == pytest.approx(size.height)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_blocks_of_one_object_do_not_overlap(kind: Kind) -> None:
    # The painter's order is only right for blocks that a plane can separate.
    for _, blocks in _shapes(kind):
        for index, one in enumerate(blocks):
            for other in blocks[:index]:
                gap = np.maximum(np.subtract(one.low, other.high), np.subtract(other.low, one.high))
                assert gap.max() >= -1e-9, (one, other)
