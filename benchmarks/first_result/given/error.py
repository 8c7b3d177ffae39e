"""The user's measure: how far smoothed numbers are from the true ones beside the noisy ones."""

import sys

found = [float(line) for line in open(sys.argv[1])]
true = [float(line.split()[1]) for line in open(sys.argv[2])]
print((sum((a - b) ** 2 for a, b in zip(found, true, strict=True)) / len(true)) ** 0.5)
