"""Pipeline steps from files to a packed sample; each keeps `lidar2img` correct."""
