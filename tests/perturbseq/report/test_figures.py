from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tuner_plugins.perturbseq.colours import palette
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.clustering import cluster
from tuner_plugins.perturbseq.programs.communities import ClusterOptions
from tuner_plugins.perturbseq.report import cis_figures, figures, heatmaps, responder_figures


def screen(n_targets=20, n_genes=60, seed=0):
    """Coefficients with four programs and modules."""
    rng = np.random.default_rng(seed)
    shape = rng.normal(0, 1, (4, 4))
    program, module = np.arange(n_genes) % 4, np.arange(n_targets) % 4
    values = shape[program][:, module] + rng.normal(0, 0.05, (n_genes, n_targets))
    return pd.DataFrame(
        values,
        index=[f"G{i}" for i in range(n_genes)],
        columns=[f"GENE{i:04d}" for i in range(n_targets)],
    )


def table_of(n_targets, n_programs=5, seed=0):
    rng = np.random.default_rng(seed)
    n = n_targets * n_programs
    return pd.DataFrame(
        {
            "program": np.repeat([f"P{i}" for i in range(n_programs)], n_targets),
            "perturbation": np.tile([f"GENE{i:04d}" for i in range(n_targets)], n_programs),
            "effect_size": rng.normal(0, 1, n),
            "q_permutation": rng.random(n) ** 3 + 1e-6,
        }
    )


def volcano_table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    coef = rng.normal(0, 0.3, n)
    p = np.minimum(1, 2 * np.exp(-20 * np.abs(coef)))
    return pd.DataFrame(
        {
            "gene": [f"G{i}" for i in range(n)],
            "perturbation": "T",
            "coef": coef,
            "p": np.maximum(p, 1e-5),
            "q": np.minimum(1, p * 20),
        }
    )


def drawn_texts(figure: Figure):
    """Return the visible texts of a figure and their boxes in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [t for t in figure.findobj(mpl.text.Text) if t.get_visible() and t.get_text().strip()]
    return [(t, t.get_window_extent(canvas.get_renderer())) for t in texts]


def named(figure: Figure):
    """Return the axes whose columns are named after perturbations."""
    return max(
        figure.axes,
        key=lambda a: sum(t.get_text().startswith("GENE") for t in a.get_xticklabels()),
    )


def overlapping(labels, figure) -> int:
    # of the words alone: the box of an annotation has its line in it
    boxes = [mpl.text.Text.get_window_extent(label) for label in labels if label.get_text()]
    return sum(
        a.x0 < b.x1 - 0.5 and b.x0 < a.x1 - 0.5 and a.y0 < b.y1 - 0.5 and b.y0 < a.y1 - 0.5
        for i, a in enumerate(boxes)
        for b in boxes[i + 1 :]
    )


@pytest.mark.parametrize("n_targets", [20, 110, 2000])
def test_the_coefficient_heatmap_is_legible(n_targets):
    coef = screen(n_targets)
    options = ClusterOptions(n_neighbors=5, resolution=0.3)
    programs, modules = cluster(coef, options), cluster(coef.T, options, prefix="M")
    figure = heatmaps.coefficient_heatmap(coef, programs, modules)
    assert max(figure.get_size_inches()) <= 18
    drawn_texts(figure)
    main = max(figure.axes, key=lambda a: a.get_window_extent().width * a.bbox.height)
    labels = main.get_xticklabels()
    assert overlapping(labels, figure) == 0
    assert len(labels) == (n_targets if n_targets <= heatmaps.MAX_NAMED else 0)
    strips = [a for a in figure.axes if a is not main and a.axison]
    for axes in strips:
        assert overlapping(axes.get_xticklabels() + axes.get_yticklabels(), figure) == 0


def test_the_heatmap_shows_the_coefficient_of_its_labels():
    coef = screen(20)
    programs, modules = cluster(coef), cluster(coef.T, prefix="M")
    figure = heatmaps.coefficient_heatmap(coef, programs, modules)
    main = next(a for a in figure.axes if len(a.get_xticklabels()) == 20)
    image = main.get_images()[0].get_array()
    names = [label.get_text() for label in main.get_xticklabels()]
    assert names == modules.order
    expected = coef.loc[programs.order, names].to_numpy()
    np.testing.assert_allclose(np.asarray(image), expected)


@pytest.mark.parametrize("n_targets", [3, 20, 2000])
@pytest.mark.parametrize("draw", [heatmaps.program_clustermap, heatmaps.dotplot])
def test_figures_of_programs_are_legible(n_targets, draw):
    figure = draw(table_of(n_targets))
    assert max(figure.get_size_inches()) <= 18
    texts = drawn_texts(figure)
    main = named(figure)
    labels = main.get_xticklabels()
    assert len(labels) == min(n_targets, heatmaps.MAX_SHOWN)
    assert overlapping(labels, figure) == 0
    said = " ".join(text.get_text() for text, _ in texts)
    assert ("60 most significant of 2,000" in said) == (n_targets == 2000)


def test_the_dotplot_sizes_and_colours_are_those_of_the_table():
    table = table_of(4, 3)
    figure = heatmaps.dotplot(table)
    axes = figure.axes[0]
    dots = axes.collections[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    programs = [label.get_text() for label in axes.get_yticklabels()]
    indexed = table.set_index(["program", "perturbation"])
    for (x, y), area, value in zip(
        dots.get_offsets(), dots.get_sizes(), dots.get_array(), strict=True
    ):
        row = indexed.loc[(programs[int(y)], names[int(x)])]
        assert value == pytest.approx(row["effect_size"])
        grown = min(-np.log10(row["q_permutation"]), 5.0)
        assert area == pytest.approx(4 + 66 * grown / 5.0)


def test_the_most_significant_perturbations_are_shown():
    table = table_of(100)
    table.loc[table["perturbation"] == "GENE0077", "q_permutation"] = 1e-9
    figure = heatmaps.program_clustermap(table)
    main = named(figure)
    assert "GENE0077" in {label.get_text() for label in main.get_xticklabels()}


def test_untested_perturbations_are_left_out():
    table = table_of(10)
    table.loc[table["perturbation"] == "GENE0003", ["effect_size", "q_permutation"]] = np.nan
    main = named(heatmaps.dotplot(table))
    assert "GENE0003" not in {label.get_text() for label in main.get_xticklabels()}


@pytest.mark.parametrize("n_targets", [3, 26, 300])
def test_the_figure_of_responders_is_legible(n_targets):
    rng, names = np.random.default_rng(0), [f"GENE{i:04d}" for i in range(n_targets)]
    share = np.sort(rng.uniform(0.1, 1.0, n_targets))[::-1]
    ends = {"share_low": share - 0.1, "share_high": np.minimum(share + 0.1, 1)}
    table = pd.DataFrame({"perturbation": names, "share": share, **ends})
    table = table.assign(separation=rng.uniform(1, 6, n_targets), note="")
    table.loc[n_targets - 1, "note"] = "its cells lie as control cells do"
    cells = pd.DataFrame({"responder_of": np.repeat(names, 40)})
    cells["responder_score"] = rng.normal(2, 2, len(cells))
    cells["responder_posterior"] = 1 / (1 + np.exp(2 - cells["responder_score"]))
    figure = responder_figures.responders(table, cells)
    assert max(figure.get_size_inches()) <= 18
    texts = drawn_texts(figure)
    words = [text for text, _ in texts if re.search("[a-z]|GENE", text.get_text())]
    assert overlapping(words, figure) == 0  # of numbers, those beyond the axes count as well
    shown = [text.get_text() for text, _ in texts if text.get_text().startswith("GENE")]
    assert len(shown) == min(n_targets - 1, 60)
    assert names[-1] not in shown
    said = " ".join(text.get_text() for text, _ in texts)
    assert ("60 told apart best of 300" in said) == (n_targets == 300)


@pytest.mark.parametrize("n_pairs", [1, 40, 5000])
def test_the_figure_of_pairs_names_genes_apart(n_pairs):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"gene": [f"GENE{i:05d}" for i in range(n_pairs)]})
    table["distance"] = rng.integers(-(10**6), 10**6, n_pairs)
    table = table.assign(p=rng.random(n_pairs) ** 8, log2fc=rng.normal(size=n_pairs))
    table["q"] = table["p"] * 4
    figure = cis_figures.cis_pairs(table)
    texts = drawn_texts(figure)
    named = [text for text, _ in texts if text.get_text().startswith("GENE")]
    assert len(named) == min(n_pairs, 8) or n_pairs == 40
    assert overlapping(named, figure) == 0
    assert n_pairs == 1 or table.nsmallest(1, "p")["gene"].item() == named[0].get_text()


def test_the_volcano_names_the_most_significant_genes_apart():
    table = volcano_table()
    figure = figures.volcano(table, "T")
    drawn_texts(figure)
    axes = figure.axes[0]
    names = axes.texts
    assert len(names) == 12
    assert overlapping(names, figure) == 0
    best = table[table["q"] < 0.05].nsmallest(1, "p")["gene"].item()
    assert best in {name.get_text() for name in names}
    up = ((table["q"] < 0.05) & (table["coef"] > 0)).sum()
    assert f"{up} up" in axes.get_title()


def test_a_volcano_without_any_significant_gene_is_drawn():
    figure = figures.volcano(volcano_table().assign(q=1.0), "T")
    assert len(figure.axes[0].texts) == 0
    assert "0 up, 0 down" in figure.axes[0].get_title()


def test_qq_follows_the_line_for_uniform_p_and_leaves_out_nan():
    p = np.append(np.random.default_rng(0).random(5000), np.nan)
    line = figures.qq({"null": p}).axes[0].lines[0]
    x, y = line.get_data()
    assert np.abs(y - x)[x < 2].max() < 0.2
    assert x.max() == pytest.approx(-np.log10(0.5 / 5000))


def test_r2_surface_marks_the_chosen_setting():
    alphas, ratios = [1e-2, 1e-4, 1e-3], [0.1, 0.5, 1.0]
    r2 = np.arange(9.0).reshape(3, 3)
    figure = figures.r2_surface(r2, alphas, ratios, (1e-3, 0.5))
    left = figure.axes[0]
    np.testing.assert_array_equal(left.get_images()[0].get_array(), r2[[1, 2, 0]])
    assert left.lines[0].get_xdata() == [1]
    assert left.lines[0].get_ydata() == [1]


@pytest.mark.parametrize("n_categories", [3, 26, 400])
def test_embeddings_have_as_many_colours_as_categories(n_categories):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"label": [f"c{i % n_categories}" for i in range(2000)]})
    figure = figures.embeddings(rng.normal(size=(2000, 2)), obs)
    axes = figure.axes[0]
    colours = {tuple(c) for c in axes.collections[0].get_facecolors()}
    assert len(colours) == n_categories
    assert (axes.get_legend() is not None) == (n_categories <= figures.MAX_LEGEND)


def test_a_number_is_drawn_on_a_scale():
    obs = pd.DataFrame({"depth": np.linspace(0, 1, 100)})
    figure = figures.embeddings(np.random.default_rng(0).normal(size=(100, 2)), obs)
    assert len(figure.axes) == 2


def deuteranopia(colour: str) -> np.ndarray:
    """Return linear RGB as seen without green cones (Machado et al. 2009, severity 1)."""
    matrix = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    )
    return matrix @ np.array(mpl.colors.to_rgb(colour)) ** 2.2


def test_the_first_eight_colours_differ_without_green_cones():
    seen = [deuteranopia(colour) for colour in palette(8)]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[i + 1 :]]
    assert min(apart) > 0.08


def test_a_diverging_map_tells_up_from_down_without_green_cones():
    up, down = (mpl.colors.to_hex(mpl.colormaps["RdBu_r"](v)) for v in (0.9, 0.1))
    assert np.linalg.norm(deuteranopia(up) - deuteranopia(down)) > 0.2


def test_saved_files_are_the_same_twice_and_text_stays_text(tmp_path):
    table = volcano_table()
    first = figures.save(figures.volcano(table, "T"), tmp_path / "a" / "x")
    again = figures.save(figures.volcano(table, "T"), tmp_path / "b" / "x")
    assert [p.name for p in first] == ["x.png", "x.pdf"]
    for one, two in zip(first, again, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["x.pdf", "x.png"]
    pdf = first[1].read_bytes()
    assert b"/Type3" not in pdf
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    content = b"".join(zlib.decompress(s) for s in streams if s[:1] == b"x")
    assert b" Tj" in content or b" TJ" in content


def test_a_file_is_put_where_a_link_leads_and_never_over_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link, pipe = tmp_path / "disk" / "page", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    assert figures.write_whole(link, lambda path: path.write_text("page")) == link
    assert (link.is_symlink(), target.read_text()) == (True, "page")
    os.mkfifo(pipe)
    with pytest.raises(AnalysisError, match="it is no regular file; move it away"):
        figures.write_whole(pipe, lambda path: path.write_text("page"))
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "link", "page", "pipe"]
