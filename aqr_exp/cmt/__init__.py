"""CMT, the detector under study, as an mmdet3d plugin.

Importing this package is cheap; `aqr_exp.cmt.detector` registers the modules with mmdet3d.
"""
