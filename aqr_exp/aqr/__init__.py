"""AQR, the method: two modality weights a query, and what they do to features or attention.

Needs torch and numpy alone, so that it works inside any CMT codebase. Wherever the two weights meet,
their order is (lidar, camera).
"""
