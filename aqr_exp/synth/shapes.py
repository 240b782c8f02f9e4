"""Appearance of each kind of object: blocks, colours and patches, varied between objects."""

from collections.abc import Callable

import numpy as np

from aqr_exp.synth.actors import Block, Colour, Decal, Size

ROUND: tuple[str, ...] = ("front", "back", "left", "right")
SIDES: tuple[str, ...] = ("left", "right")
GLASS: Colour = (70, 55, 45)
TYRE: Colour = (22, 22, 24)
SKIN: Colour = (120, 150, 205)

CAR_PAINTS: tuple[Colour, ...] = (
    (185, 185, 185),
    (225, 225, 228),
    (48, 46, 46),
    (110, 105, 100),
    (95, 60, 40),
    (45, 40, 120),
)
SHIRTS: tuple[Colour, ...] = (
    (60, 60, 190),
    (170, 90, 50),
    (200, 200, 205),
    (80, 120, 60),
    (130, 60, 120),
)


def varied(colour: Colour, rng: np.random.Generator, spread: float = 14.0) -> Colour:
    """The same colour a little lighter or darker, and slightly off in hue."""
    common, each = rng.normal(0.0, spread), rng.normal(0.0, 0.4 * spread, 3)
    blue, green, red = np.clip(np.asarray(colour) + common + each, 0, 255).astype(int).tolist()
    return (blue, green, red)


def pick(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """One of the colours, varied."""
    return varied(colours[int(rng.integers(len(colours)))], rng)


def _lights(up: tuple[float, float]) -> tuple[Decal, ...]:
    white, red = (225, 250, 255), (30, 30, 235)
    return (
        Decal(("front",), (0.04, 0.2), up, white, glows=True),
        Decal(("front",), (0.8, 0.96), up, white, glows=True),
        Decal(("back",), (0.04, 0.16), up, red, glows=True),
        Decal(("back",), (0.84, 0.96), up, red, glows=True),
    )


def _wheels(axles: tuple[float, ...], half: float, up: float) -> tuple[Decal, ...]:
    return tuple(Decal(SIDES, (x - half, x + half), (0.0, up), TYRE) for x in axles)


def _car(size: Size, rng: np.random.Generator) -> list[Block]:
    paint = pick(CAR_PAINTS, rng)
    glass = (Decal(ROUND, (0.08, 0.92), (0.15, 0.85), GLASS),)
    body = (*_wheels((0.2, 0.8), 0.08, 0.45), *_lights((0.5, 0.75)))
    return [
        size.block((-1, 1), (-1, 1), (0.1, 0.58), paint, 0.45, body),
        size.block((-0.75, 0.35), (-0.88, 0.88), (0.58, 1), paint, 0.35, glass),
    ]


def _truck(size: Size, rng: np.random.Generator) -> list[Block]:
    cab = pick(((190, 80, 30), (40, 130, 60), (160, 60, 20)), rng)
    cargo = varied((222, 222, 220), rng, 10)
    window = (
        Decal(("front",), (0.08, 0.92), (0.5, 0.88), GLASS),
        Decal(SIDES, (0.2, 0.85), (0.5, 0.85), GLASS),
        *_lights((0.1, 0.22)),
    )
    load = (
        *_wheels((0.2, 0.36, 0.9), 0.07, 0.2),
        Decal(("back",), (0.48, 0.52), (0.1, 0.95), (120, 120, 120)),
        *_lights((0.06, 0.14))[2:],
    )
    return [
        size.block((-1, 0.5), (-1, 1), (0.1, 1), cargo, 0.5, load),
        size.block((0.54, 1), (-0.96, 0.96), (0.1, 0.92), cab, 0.4, window),
    ]


def _bus(size: Size, rng: np.random.Generator) -> list[Block]:
    paint = pick(((60, 175, 40), (75, 195, 60), (50, 150, 30)), rng)
    panes = tuple(
        Decal(SIDES, (x, x + 0.13), (0.48, 0.82), GLASS)
        for x in (0.03, 0.19, 0.35, 0.51, 0.67, 0.83)
    )
    body = (
        *panes,
        Decal(("front", "back"), (0.08, 0.92), (0.42, 0.84), GLASS),
        Decal(("front",), (0.25, 0.75), (0.88, 0.97), (60, 200, 255), glows=True),
        *_wheels((0.2, 0.78), 0.05, 0.2),
        *_lights((0.1, 0.2)),
    )
    return [size.block((-1, 1), (-1, 1), (0.08, 1), paint, 0.5, body)]


def _trailer(size: Size, rng: np.random.Generator) -> list[Block]:
    canvas = pick(((130, 30, 130), (150, 45, 120), (110, 20, 110)), rng)
    stripe = varied((205, 205, 210), rng)
    body = (
        Decal(SIDES, (0.0, 1.0), (0.42, 0.56), stripe),
        *_wheels((0.12, 0.24, 0.36), 0.05, 0.16),
        *_lights((0.03, 0.1))[2:],
    )
    return [
        size.block((-1, 0.96), (-1, 1), (0.12, 1), canvas, 0.45, body),
        size.block((0.97, 1), (-0.2, 0.2), (0.08, 0.2), (60, 60, 60), 0.3),
    ]


def _construction(size: Size, rng: np.random.Generator) -> list[Block]:
    yellow = varied((20, 190, 245), rng, 8)
    cab = (Decal(ROUND, (0.12, 0.88), (0.3, 0.9), GLASS),)
    stripes = (
        *_wheels((0.2, 0.75), 0.14, 0.75),
        Decal(("front", "back"), (0.1, 0.4), (0.4, 0.9), (25, 25, 25)),
        Decal(("front", "back"), (0.6, 0.9), (0.4, 0.9), (25, 25, 25)),
    )
    return [
        size.block((-1, 0.7), (-1, 1), (0.05, 0.5), yellow, 0.4, stripes),
        size.block((-0.95, -0.1), (-0.85, 0.85), (0.5, 1), yellow, 0.35, cab),
        size.block((0.0, 0.6), (-0.3, 0.3), (0.5, 0.78), yellow, 0.4),
        size.block((0.72, 1), (-1, 1), (0.03, 0.42), varied((30, 160, 220), rng), 0.45),
    ]


def _rider(size: Size, rng: np.random.Generator, suit: Colour) -> list[Block]:
    return [
        size.block((-0.35, 0.2), (-0.6, 0.6), (0.5, 0.86), varied(suit, rng), 0.35),
        size.block((-0.15, 0.15), (-0.3, 0.3), (0.86, 1), varied((35, 35, 40), rng), 0.3),
    ]


def _motorcycle(size: Size, rng: np.random.Generator, *, rider: bool) -> list[Block]:
    red = varied((25, 25, 185), rng)
    machine = (*_wheels((0.17, 0.83), 0.16, 0.62), *_lights((0.7, 0.9))[:1])
    top = 0.5 if rider else 0.72
    blocks = [
        size.block((-1, 1), (-0.4, 0.4), (0.0, top), red, 0.35, machine),
        size.block((0.3, 0.45), (-1, 1), (top, top + 0.12), TYRE, 0.2),
    ]
    if rider:
        return [*blocks, *_rider(size, rng, (40, 30, 120))]
    return [*blocks, size.block((-0.6, 0.2), (-0.5, 0.5), (top, 1), TYRE, 0.2)]


def _bicycle(size: Size, rng: np.random.Generator, *, rider: bool) -> list[Block]:
    frame = pick(((225, 205, 20), (235, 180, 0), (205, 215, 60)), rng)
    top = 0.5 if rider else 0.72
    blocks = [
        size.block((-1, -0.25), (-0.22, 0.22), (0.0, top), frame, 0.3),
        size.block((0.25, 1), (-0.22, 0.22), (0.0, top), frame, 0.3),
        size.block((-0.25, 0.25), (-0.22, 0.22), (0.5 * top, top), frame, 0.3),
        size.block((0.4, 0.55), (-1, 1), (top, top + 0.1), frame, 0.2),
    ]
    if rider:
        return [*blocks, *_rider(size, rng, (235, 225, 120))]
    return [*blocks, size.block((-0.4, -0.15), (-0.3, 0.3), (top, 1), frame, 0.2)]


def _pedestrian(size: Size, rng: np.random.Generator, *, worker: bool) -> list[Block]:
    shirt = (30, 140, 255) if worker else pick(SHIRTS, rng)
    band = (Decal(ROUND, (0.0, 1.0), (0.3, 0.5), (150, 255, 235)),) if worker else ()
    hat = (20, 210, 250) if worker else pick(((30, 35, 45), (40, 60, 90)), rng)
    face = (Decal(("front",), (0.1, 0.9), (0.0, 0.6), SKIN),)
    trousers = pick(((90, 55, 35), (60, 60, 60)), rng)
    return [
        # One leg behind, one before: the annotated box holds the stride.
        size.block((-1, -0.1), (-0.7, -0.05), (0.0, 0.47), trousers, 0.3),
        size.block((0.1, 1), (0.05, 0.7), (0.0, 0.47), trousers, 0.3),
        size.block((-0.5, 0.5), (-0.95, 0.95), (0.47, 0.86), shirt, 0.35, band),
        size.block((-0.35, 0.35), (-0.35, 0.35), (0.86, 1), hat, 0.35, face),
    ]


def _barrier(size: Size, rng: np.random.Generator) -> list[Block]:
    white, red = varied((235, 235, 238), rng, 8), varied((35, 30, 215), rng, 8)
    stripes = tuple(Decal(ROUND, (x, x + 0.17), (0.1, 1.0), red) for x in (0.0, 0.33, 0.66))
    top = tuple(Decal(("top",), (x, x + 0.17), (0.0, 1.0), red) for x in (0.0, 0.33, 0.66))
    return [
        size.block((-1, 1), (-1, 1), (0.0, 0.22), white, 0.6),
        size.block((-0.55, 0.55), (-1, 1), (0.22, 1), white, 0.7, (*stripes, *top)),
    ]


def _cone(size: Size, rng: np.random.Generator) -> list[Block]:
    orange, white = varied((0, 105, 255), rng, 8), (240, 240, 240)
    return [
        size.block((-1, 1), (-1, 1), (0.0, 0.08), (30, 40, 60), 0.3),
        size.block((-0.7, 0.7), (-0.7, 0.7), (0.08, 0.4), orange, 0.5),
        size.block((-0.5, 0.5), (-0.5, 0.5), (0.4, 0.62), white, 0.9),
        size.block((-0.3, 0.3), (-0.3, 0.3), (0.62, 1), orange, 0.5),
    ]


def _plain(colours: tuple[Colour, ...], reflectivity: float) -> Callable[..., list[Block]]:
    def build(size: Size, rng: np.random.Generator) -> list[Block]:
        return [size.block((-1, 1), (-1, 1), (0, 1), pick(colours, rng), reflectivity)]

    return build


def _building(size: Size, rng: np.random.Generator) -> list[Block]:
    wall = pick(((150, 165, 175), (120, 135, 150), (140, 140, 145), (165, 180, 190)), rng)
    floors = max(1, int(size.height / 3.2))
    rows = tuple(
        Decal(ROUND, (0.04, 0.96), ((n + 0.4) / floors, (n + 0.75) / floors), (105, 90, 80))
        for n in range(floors)
    )
    return [size.block((-1, 1), (-1, 1), (0, 1), wall, 0.35, rows)]


def _tree(size: Size, rng: np.random.Generator) -> list[Block]:
    leaves = pick(((55, 95, 60), (45, 80, 45), (60, 105, 75)), rng)
    return [
        size.block((-0.13, 0.13), (-0.13, 0.13), (0, 0.4), (55, 75, 95), 0.3),
        size.block((-1, 1), (-1, 1), (0.4, 0.85), leaves, 0.25),
        size.block((-0.6, 0.6), (-0.6, 0.6), (0.85, 1), leaves, 0.25),
    ]


def build_shape(name: str, size: Size, flavour: str, rng: np.random.Generator) -> list[Block]:
    """The blocks of one object, inside its size.

    `flavour` is `rider` for a ridden cycle, `worker` for a construction worker, else empty.
    """
    if name == "motorcycle":
        return _motorcycle(size, rng, rider=flavour == "rider")
    if name == "bicycle":
        return _bicycle(size, rng, rider=flavour == "rider")
    if name == "pedestrian":
        return _pedestrian(size, rng, worker=flavour == "worker")
    return _BUILDERS[name](size, rng)


_BUILDERS: dict[str, Callable[..., list[Block]]] = {
    "car": _car,
    "truck": _truck,
    "bus": _bus,
    "trailer": _trailer,
    "construction_vehicle": _construction,
    "barrier": _barrier,
    "traffic_cone": _cone,
    "container": _plain(((95, 95, 90), (110, 105, 95)), 0.45),
    "kiosk": _plain(((110, 115, 105), (85, 95, 85)), 0.4),
    "planter": _plain(((60, 105, 70), (70, 90, 75)), 0.4),
    "bin": _plain(((60, 70, 60), (80, 80, 78)), 0.4),
    "post": _plain(((115, 118, 120), (90, 95, 92)), 0.35),
    "rack": _plain(((100, 100, 98), (120, 122, 122)), 0.35),
    "building": _building,
    "tree": _tree,
}
