"""AQR, the method: two modality weights a query, and what they do to features or attention.

Needs torch and numpy alone, so that it works inside any CMT codebase. Wherever the two weights meet,
their order is (lidar, camera).

The shapes that its functions share are named here. Letters: B samples, Q queries, K keys, C width,
S window slots (of each query), H heads, c width of a head.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Weights = Float[Tensor, "batch queries 2"]
"""[B, Q, 2], of (lidar, camera)."""

Queries = Float[Tensor, "batch queries width"]
"""[B, Q, C]."""
Keys = Float[Tensor, "batch keys width"]
"""[B, K, C]; values too."""

HeadQueries = Float[Tensor, "batch heads queries c"]
"""[B, H, Q, c]; attended values too."""
HeadKeys = Float[Tensor, "batch heads keys c"]
"""[B, H, K, c]; values too."""
QueryNumbers = Float[Tensor, "batch heads queries"]
"""[B, H, Q], a number for each query in each head."""

SlotIndex = Int[Tensor, "batch queries slots"]
"""[B, Q, S], which key each slot is; no two valid ones of one query name the same."""
SlotMask = Bool[Tensor, "batch queries slots"]
"""[B, Q, S], True where a slot holds a key."""
SlotNumbers = Float[Tensor, "batch queries slots"]
"""[B, Q, S], a number for each slot."""
