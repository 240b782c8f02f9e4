"""The 13 nuScenes tables row by row: the columns that are read here, typed."""

import msgspec

Numbers = list[float]


class Row(msgspec.Struct, gc=False):
    """What every table's rows have."""

    token: str


class Named(Row, gc=False):
    """A row of `attribute` or `category`."""

    name: str


class Visibility(Row, gc=False):
    """A row of `visibility`."""


class Log(Row, gc=False):
    """A row of `log`."""


class Sensor(Row, gc=False):
    """A row of `sensor`; `modality` is `camera`, `lidar` or `radar`."""

    channel: str
    modality: str


class Map(Row, gc=False):
    """A row of `map`."""

    log_tokens: list[str]
    filename: str


class Scene(Row, gc=False):
    """A row of `scene`."""

    name: str
    log_token: str
    first_sample_token: str
    last_sample_token: str
    nbr_samples: int


class Sample(Row, gc=False):
    """A row of `sample`; `timestamp` in microseconds."""

    scene_token: str
    timestamp: int
    prev: str
    next: str


class SampleData(Row, gc=False):
    """A row of `sample_data`; sizes in pixels, of images only."""

    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    filename: str
    timestamp: int
    is_key_frame: bool
    prev: str
    next: str
    height: int | str | None = None
    width: int | str | None = None


class Pose(Row, gc=False):
    """A row of `ego_pose`; metres, quaternion (w, x, y, z)."""

    translation: Numbers
    rotation: Numbers


class Calibration(Row, gc=False):
    """A row of `calibrated_sensor`; `camera_intrinsic` is 3 x 3, empty for other sensors."""

    sensor_token: str
    translation: Numbers
    rotation: Numbers
    camera_intrinsic: list[Numbers]


class Instance(Row, gc=False):
    """A row of `instance`."""

    category_token: str
    first_annotation_token: str
    last_annotation_token: str


class Annotation(Row, gc=False):
    """A row of `sample_annotation`; `size` is (width, length, height) in metres."""

    sample_token: str
    instance_token: str
    visibility_token: str
    attribute_tokens: list[str]
    translation: Numbers
    size: Numbers
    rotation: Numbers
    prev: str
    next: str
    num_lidar_pts: int
    num_radar_pts: int


ROW_TYPES: dict[str, type[Row]] = {
    "attribute": Named,
    "calibrated_sensor": Calibration,
    "category": Named,
    "ego_pose": Pose,
    "instance": Instance,
    "log": Log,
    "map": Map,
    "sample": Sample,
    "sample_annotation": Annotation,
    "sample_data": SampleData,
    "scene": Scene,
    "sensor": Sensor,
    "visibility": Visibility,
}

# Column, the table it points into, and whether it may be empty (the ends of chains).
REFERENCES: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "calibrated_sensor": (("sensor_token", "sensor", False),),
    "instance": (
        ("category_token", "category", False),
        ("first_annotation_token", "sample_annotation", False),
        ("last_annotation_token", "sample_annotation", False),
    ),
    "sample": (
        ("scene_token", "scene", False),
        ("prev", "sample", True),
        ("next", "sample", True),
    ),
    "sample_annotation": (
        ("sample_token", "sample", False),
        ("instance_token", "instance", False),
        ("visibility_token", "visibility", True),
        ("attribute_tokens", "attribute", False),
        ("prev", "sample_annotation", True),
        ("next", "sample_annotation", True),
    ),
    "sample_data": (
        ("sample_token", "sample", False),
        ("ego_pose_token", "ego_pose", False),
        ("calibrated_sensor_token", "calibrated_sensor", False),
        ("prev", "sample_data", True),
        ("next", "sample_data", True),
    ),
    "scene": (
        ("log_token", "log", False),
        ("first_sample_token", "sample", False),
        ("last_sample_token", "sample", False),
    ),
}
