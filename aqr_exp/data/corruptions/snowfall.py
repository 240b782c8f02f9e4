"""Snow in a LiDAR's file (Hahner et al., CVPR 2022), as MultiCorrupt's published code draws it.

Each ring looks into a plane of flakes, discs in metres. Echoes of the flakes in a beam and of what lies
behind are added up over the range; the strongest is the point.
"""

import numpy as np
from scipy.constants import speed_of_light

RATES = ((0.5, 1.2), (2.5, 1.6), (1.5, 0.4))  # snowfall (mm/h) and its speed (m/s), by level
AREA_M, LARGEST_M, BEAM_RAD, BIN_M = 80.0, 0.02, 3e-3, 0.1
PULSE_M = speed_of_light * 1e-8
GRID_M = np.round(np.linspace(0, 120 + PULSE_M, int(np.ceil((120 + PULSE_M) / BIN_M))), 2)
# Focus (m) and its slope of the first 32 lasers of a Velodyne HDL-64E, which the benchmark takes for all.
FOCUS = np.full(32, 24.0)
FOCUS[[0, 1, 4, 6, 8, 9, 10, 11, 14]] = (8, 12.5, 18, 13, 23.5, 19.5, 6.5, 21, 14)
FOCUS[[24, 25]] = (11, 21)
SLOPE = np.array((
    95, 100, 70, 75, 50, 75, 200, 75, 40, 60, 120, 110, 70, 85, 120, 75,
    65, 80, 70, 75, 65, 75, 70, 70, 135, 65, 120, 100, 60, 65, 80, 75,
)) / 100  # fmt: skip


def draw_flakes(level: int, rng: np.random.Generator) -> np.ndarray:
    """Range, azimuth and half the angle [3, F] of Gunn and Marshall's spheres, cut by a plane."""
    rate, speed = RATES[level]
    mean_m = 0.01 / (25.5 * (rate / (487 * 0.1 * 0.003 * speed)) ** -0.72)
    area = rate / (3.6e5 * speed) * np.pi * AREA_M**2
    drawn = rng.random((4, int(1.3 * area / (np.pi * mean_m**2 / 3)) + 100))
    size = -mean_m * np.log1p(np.expm1(-LARGEST_M / mean_m) * drawn[0])
    radius = size * np.sqrt(0.25 - (drawn[1] - 0.5) ** 2)
    kept = slice(1 + int(np.searchsorted(np.cumsum(np.pi * radius**2), area)))
    ranges = AREA_M * np.sqrt(drawn[2, kept])
    half = np.arcsin(np.minimum(radius[kept] / ranges, 1))
    return np.stack([ranges, 2 * np.pi * drawn[3, kept], half])


def _seen_shares(beams: np.ndarray, offset: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Share of its beam that each flake fills and no earlier one of the same beam hides."""
    _, row, counts = np.unique(beams, return_inverse=True, return_counts=True)
    rank = np.arange(len(beams)) - np.repeat(np.cumsum(counts) - counts, counts)
    sides = np.full((2, len(counts), counts.max()), BEAM_RAD / 2)
    sides[:, row, rank] = np.clip((offset - half, offset + half), -BEAM_RAD / 2, BEAM_RAD / 2)
    edges = np.sort(np.concatenate(list(sides), axis=1), axis=1)
    middle = ((edges[:, 1:] + edges[:, :-1]) / 2)[..., None]
    covers = (sides[0][:, None] < middle) & (middle < sides[1][:, None])
    first = np.where(covers.any(axis=2), covers.argmax(axis=2), -1)
    width = np.diff(edges, axis=1) / BEAM_RAD
    shares = [(width * (first == place)).sum(axis=1) for place in range(counts.max())]
    return np.stack(shares, axis=1)[row, rank]


def _strongest(beams: np.ndarray, ranges: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Bin and strength [2, B] of the strongest sum of echoes, each a pulse that begins at its range."""
    bins = len(GRID_M)
    at = np.ceil(ranges / BIN_M).astype(int)[:, None] + np.arange(int(PULSE_M / BIN_M) + 2)
    inside = at <= np.minimum(np.floor((ranges + PULSE_M) / BIN_M), bins - 1)[:, None]
    phase = np.pi * (GRID_M[np.minimum(at, bins - 1)] - ranges[:, None]) / PULSE_M
    cells = (beams[:, None] * bins + at)[inside]
    echoes = (power[:, None] * np.sin(phase) ** 2)[inside]
    total = np.bincount(cells, echoes, (beams.max() + 1) * bins).reshape(-1, bins)
    return np.stack([total.argmax(axis=1), total.max(axis=1)])


def through_flakes(
    points: np.ndarray, ring: int, flakes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One ring's points [N, 5] among flakes, and the mask of those that are flakes now."""
    snowy, scattered = points.copy(), np.zeros(len(points), dtype=bool)
    distance = np.linalg.norm(points[:, :3], axis=1).astype(np.float64)
    azimuth = np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi)
    order, reach = np.argsort(azimuth), flakes[2] + BEAM_RAD / 2
    around = np.concatenate([azimuth[order] + turn for turn in (-2 * np.pi, 0, 2 * np.pi)])
    low, high = (np.searchsorted(around, flakes[1] + side) for side in (-reach, reach))
    flake = np.repeat(np.arange(len(low)), high - low)
    place = np.arange(len(flake)) - np.repeat(np.cumsum(high - low) - high, high - low)
    beam, offset = order[place % max(len(order), 1)], flakes[1][flake] - around[place]
    pairs = np.lexsort((flakes[0][flake], beam))  # the nearest first
    pairs = pairs[flakes[0][flake[pairs]] < distance[beam[pairs]]]
    if not len(pairs):
        return snowy, scattered
    beam, flake = beam[pairs], flake[pairs]
    shares = _seen_shares(beam, offset[pairs], flakes[2][flake])
    hit, row = np.unique(beam, return_inverse=True)
    ranges = np.concatenate([flakes[0][flake], distance[hit]])
    # What lies behind is as bright as a flake: the published code loses its own brightness.
    power = np.concatenate([shares, 1 - np.bincount(row, shares)]).clip(0) * 0.9 * 255
    power *= np.clip((ranges - 0.9) / 0.1, 0, 1) / np.maximum(ranges, 0.9) ** 2
    at, strength = _strongest(np.concatenate([row, np.arange(len(hit))]), ranges, power)
    seen = at * BIN_M - PULSE_M / 2
    defocus = np.abs((1 - FOCUS[ring] / 131) ** 2 - (1 - seen / 120) ** 2)
    snowy[hit, 3] = np.clip(strength + 255 * SLOPE[ring] * defocus, 0, 255).astype(int)
    moved = np.abs(seen - distance[hit]) >= 2 * BIN_M
    scattered[hit[moved]] = True
    snowy[hit[moved], :3] *= (seen / distance[hit])[moved, None]
    return snowy, scattered


def road(points: np.ndarray, rng: np.random.Generator, keyframe: bool) -> np.ndarray:
    """Mask of the points about the plane that most low points agree on (RANSAC).

    Published are labels for keyframes; for sweeps, slopes per standard deviation are read as per metre.
    """
    low = points[(points[:, 2] < -1.3) & (points[:, 2] > -2.1), :3].astype(np.float64)
    slope, height = np.zeros(2), -1.85
    if len(low) >= 25:
        middle, spread = low[:, :2].mean(axis=0), np.maximum(low[:, :2].std(axis=0), 1e-9)
        design = np.column_stack([(low[:, :2] - middle) / spread, np.ones(len(low))])
        picked = rng.integers(len(low), size=(100, 3))
        planes = (np.linalg.pinv(design[picked]) @ low[picked, 2:])[..., 0]
        near = np.median(np.abs(low[:, 2] - np.median(low[:, 2])))
        agreeing = np.abs(design @ planes.T - low[:, 2:]) <= near
        best = agreeing[:, agreeing.sum(axis=0).argmax()]
        plane = np.linalg.lstsq(design[best], low[best, 2], rcond=None)[0]
        if -2.1 <= plane[2] <= -1.3:
            slope = plane[:2] / (spread if keyframe else 1)
            height = plane[2] - slope @ middle * keyframe
    normal = np.array([*slope, -1.0]) / np.sqrt(1 + slope @ slope)
    return np.asarray(np.abs(points[:, :3] @ normal + height) < (0.2 if keyframe else 0.5))


def noise_floor(points: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Least intensity that is told from noise at each point's range, from the ground's echoes [G, 5]."""
    distance = np.linalg.norm(ground[:, :3], axis=1)
    if len(ground) < 3:
        return np.full(len(points), -np.inf)
    cosine = -ground[:, 2] / distance
    upright = ground[:, 3] / cosine
    window = ((10, 70), (5, max(float(np.abs(upright.max())), 6.0)))
    counts, _, levels = np.histogram2d(distance, upright, bins=(50, 2555), range=window)
    counts[counts == 0] = len(ground)
    least = levels[np.argpartition(counts, 2, axis=1)[:, 0]]
    there = np.flatnonzero(least > 5)
    few = len(there) < 4
    places, values = (distance, upright) if few else (10.6 + 1.2 * there, least[there])
    line = np.polyfit(np.asarray(places), np.asarray(values), 1)
    floor = 0.7 * np.polyval(line, distance) * cosine
    return np.polyval(np.polyfit(distance, floor, 2), np.linalg.norm(points[:, :3], axis=1))


def snow_over(
    points: np.ndarray, level: int, rng: np.random.Generator, keyframe: bool
) -> np.ndarray:
    """Points [N, 5] of a file in snow; what is too weak then is lost."""
    floor = noise_floor(points, points[road(points, rng, keyframe)])
    snowy, kept = points.copy(), np.zeros(len(points), dtype=bool)
    for ring in range(len(SLOPE)):
        own = np.flatnonzero(points[:, 4] == ring)
        snowy[own], kept[own] = through_flakes(points[own], ring, draw_flakes(level, rng))
    return np.asarray(snowy[kept | (snowy[:, 3] > floor)])
