"""Colours for any number of clusters: none repeats, few of them are colour-blind safe."""

from __future__ import annotations

import colorsys

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe & Ito (2008), https://jfly.uni-koeln.de/color/: safe for every colour vision."""

DIVERGING = "RdBu_r"
"""Colour map of signed effects: red up, blue down, safe for red-green blindness."""

SEQUENTIAL = "cividis"
"""Colour map of magnitudes (Nuñez et al. 2018, doi:10.1371/journal.pone.0199239)."""

MISSING = "#D9D9D9"
"""Colour of what has no cluster."""

_GOLDEN = 0.6180339887498949
_LIGHTNESS = (0.42, 0.62, 0.78)
_WALK = 1000
_MIXING = 0x9E3779  # odd, so that no colour comes twice


def palette(n: int) -> list[str]:
    """Return `n` different colours as hexadecimal strings.

    Up to eight are those of Okabe and Ito. No set of more is safe for every colour vision, so
    beyond them hue walks by the golden ratio while lightness cycles, which keeps neighbours in the
    list apart in grey as well; figures label clusters in words too.

    Parameters
    ----------
    n : int
        How many; a fixed list of eight would silently repeat.

    Returns
    -------
    list of str
        Distinct colours, the first ones the same for every `n`.
    """
    colours = dict.fromkeys(OKABE_ITO[:n])
    for step in range(_WALK + 2**24):
        if len(colours) >= n:
            break
        lightness = _LIGHTNESS[step % len(_LIGHTNESS)]
        rgb = colorsys.hls_to_rgb((0.05 + step * _GOLDEN) % 1.0, lightness, 0.65)
        number = int(
            sum(round(part * 255) << shift for part, shift in zip(rgb, (16, 8, 0), strict=True))
        )
        if step >= _WALK:  # the walk has about 2,000 colours: all there are, in mixed order
            number = (step * _MIXING) % 2**24
        colours[f"#{number:06X}"] = None
    return list(colours)
