"""VideoFusion on the clip store: network, training, fusion; needs no ffmpeg, dask or Prefect."""
