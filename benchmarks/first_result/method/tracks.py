"""Tracks, binned and smoothed, factorised by scikit-learn; does a loading follow the genes?"""

import glob
import time

import numpy as np
import pyBigWig
from scipy.ndimage import gaussian_filter1d
from sklearn.decomposition import NMF

K = 5
TUNED, HELD_OUT = ("chr1", 0, 200_000), ("chr1", 200_000, 400_000)
BASELINE = {"bin_size": 10, "sigma": 0.0, "max_iter": 200}


def read(path, chrom, start, end):
    with pyBigWig.open(path) as file:
        return np.nan_to_num(file.values(chrom, start, end, numpy=True))


def measure(region, bin_size, sigma, max_iter):
    begin = time.perf_counter()
    signal = np.stack([read(path, *region) for path in sorted(glob.glob("tracks/*.bw"))], axis=1)
    ends = np.arange(0, len(signal), bin_size)
    bins = np.add.reduceat(signal, ends) / np.diff([*ends, len(signal)])[:, None]
    bins = gaussian_filter1d(np.log1p(bins), sigma, axis=0) if sigma else np.log1p(bins)
    model = NMF(K, init="nndsvda", max_iter=max_iter, random_state=0)
    loadings = np.repeat(model.fit_transform(bins), bin_size, axis=0)[: len(signal)]
    seconds = time.perf_counter() - begin
    chrom, start, end = region
    genes = np.zeros(end - start)
    for line in open("tracks/genes.bed"):
        name, low, high = line.split()[:3]
        if name == chrom:
            genes[max(int(low) - start, 0) : max(int(high) - start, 0)] = 1
    return max(np.corrcoef(loading, genes)[0, 1] for loading in loadings.T), seconds
