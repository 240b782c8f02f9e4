"""Failures in time: which keyframe's data a sensor delivers in place of the present one's.

Only files are exchanged. Calibration, poses and ground truth stay those of the present keyframe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.data.corruptions.cases import AffectedSensor, CorruptionCase

LONGEST_GAP_S = 1.0
"""Keyframes are half a second apart: a longer gap is one between scenes."""

STUCK = {"stuck_lidar": AffectedSensor.LIDAR, "stuck_cameras": AffectedSensor.CAMERA}
TEMPORAL = "temporal_misalignment"
FRAME_CORRUPTIONS = (TEMPORAL, *STUCK)


@dataclass(frozen=True, kw_only=True)
class Stale:
    """What a sensor delivers late.

    Attributes:
        sensor: `LIDAR` or `CAMERA`.
        sample: Position of the keyframe whose data it delivers.
    """

    sensor: AffectedSensor
    sample: int


def previous_keyframes(infos: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """For each sample the one before it in its scene.

    Args:
        infos: `timestamp` (s) of each, and `scene_token` where the file has it.

    Returns:
        Positions; None for a scene's first keyframe. Where the file has no scenes, a keyframe at most
        a second older is taken to be of the same scene.
    """
    order = sorted(range(len(infos)), key=lambda index: infos[index]["timestamp"])
    found: list[int | None] = [None] * len(infos)
    last: dict[Any, int] = {}
    for index in order:
        scene = infos[index].get("scene_token")
        before = last.get(scene)
        if before is not None:
            gap_s = infos[index]["timestamp"] - infos[before]["timestamp"]
            if scene is not None or gap_s <= LONGEST_GAP_S:
                found[index] = before
        last[scene] = index
    return found


def stale_data(
    case: CorruptionCase, sample: int, token: str, previous: Sequence[int | None]
) -> Stale | None:
    """What a corruption in time makes of a sample; None leaves it as it is.

    Args:
        case: The corruption.
        sample: Position of the sample.
        token: Its token.
        previous: As `previous_keyframes` gives it.
    """
    if case.corruption == TEMPORAL:
        drawn = case.rng(token).random(2)
        before = previous[sample]
        if before is None or drawn[0] >= float(case.severity):
            return None
        return Stale(
            sensor=AffectedSensor.LIDAR if drawn[1] < 0.5 else AffectedSensor.CAMERA, sample=before
        )
    if case.corruption not in STUCK:
        return None
    chain = [sample]
    while (before := previous[chain[-1]]) is not None:
        chain.append(before)
    late = (len(chain) - 1) % int(case.severity)
    return Stale(sensor=STUCK[case.corruption], sample=chain[late]) if late else None


def with_stale_files(
    info: dict[str, Any], stale: Stale, other: Mapping[str, Any]
) -> dict[str, Any]:
    """The sample with the other keyframe's files in a sensor's place.

    Args:
        info: The sample.
        stale: What is late.
        other: The keyframe it is from.

    Returns:
        A new dict: images with other paths, or `lidar_source`, the keyframe the points are of.
    """
    if stale.sensor is AffectedSensor.LIDAR:
        return {**info, "lidar_source": other}
    images = {
        name: {**camera, "img_path": other["images"][name]["img_path"]}
        for name, camera in info["images"].items()
    }
    return {**info, "images": images}
