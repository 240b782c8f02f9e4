"""AQR, the method: two modality weights a query, and what they do to features or attention.

Needs torch and numpy alone, so that it works inside any CMT codebase. Wherever the two weights meet,
their order is (lidar, camera).

The shapes that its functions share are named here. Letters: B samples, Q queries, K keys, C width,
S window slots of a query, H heads, c width of a head, V views.
"""

from collections.abc import Iterable

from jaxtyping import Bool, Float, Int
from torch import Tensor

# A query: its encoding or content, point in metres or reference point, and two numbers (lidar, camera).
Queries = Float[Tensor, "batch queries width"]
Points = Float[Tensor, "batch queries 3"]
Pairs = Float[Tensor, "batch queries 2"]
# A token: its encoding or content.
Keys = Float[Tensor, "batch keys width"]
# Split by heads: queries and attended values; keys and values; a number for each query.
HeadQueries = Float[Tensor, "batch heads queries c"]
HeadKeys = Float[Tensor, "batch heads keys c"]
QueryNumbers = Float[Tensor, "batch heads queries"]
WindowSums = Float[Tensor, "batch queries heads 4"]
# Which key each slot is (no two valid ones of one query name the same), True where it is one, a number.
SlotIndex = Int[Tensor, "batch queries slots"]
SlotMask = Bool[Tensor, "batch queries slots"]
SlotNumbers = Float[Tensor, "batch queries slots"]
# Feature maps (those of cameras: [B V, C, H, W]); matrices from LiDAR frame (m) to images (px), or back.
BevMap = Float[Tensor, "batch width rows columns"]
CameraMaps = Float[Tensor, "images width img_rows img_columns"]
Projections = Float[Tensor, "batch views 4 4"]


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse an unknown name of an option, by a ValueError."""
    if name not in known:
        raise ValueError(f"{what}={name!r}: must be one of {', '.join(known)}")
