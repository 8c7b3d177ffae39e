"""Files: bigWig tracks, annotations and regions in, .npy out."""
