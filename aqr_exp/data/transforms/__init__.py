"""The steps from files to a packed sample; every one keeps `lidar2img` true."""
