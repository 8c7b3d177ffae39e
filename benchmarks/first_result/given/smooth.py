"""The user's program: smooths the numbers of a file by a window, so many times."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--width", type=int, default=3)
parser.add_argument("--rounds", type=int, default=1)
parser.add_argument("-o", "--output", required=True)
told = parser.parse_args()

values = [float(line.split()[0]) for line in open(told.file)]
for _ in range(told.rounds):
    spans = [values[max(0, i - told.width) : i + told.width + 1] for i in range(len(values))]
    values = [sum(span) / len(span) for span in spans]
open(told.output, "w").writelines(f"{value}\n" for value in values)
