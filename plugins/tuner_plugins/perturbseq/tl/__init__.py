"""Tools: each takes an AnnData (or a MuData) and writes what it finds into it.

They run the code of the plug-in `elasticnet` and of ``tuner analyse``. docs/perturbseq.md has the
keys that are written, and docs/perturbseq.ipynb a screen from counts to gene sets.
"""

from tuner_plugins.perturbseq.annotated import coefficient_table as coefficient_table
from tuner_plugins.perturbseq.annotated import knockdown as knockdown
from tuner_plugins.perturbseq.tl.cis import cis_pairs as cis_pairs
from tuner_plugins.perturbseq.tl.downstream import edistance as edistance
from tuner_plugins.perturbseq.tl.downstream import fold_changes as fold_changes
from tuner_plugins.perturbseq.tl.fit import elasticnet as elasticnet
from tuner_plugins.perturbseq.tl.gene_programs import enrich as enrich
from tuner_plugins.perturbseq.tl.gene_programs import programs as programs
from tuner_plugins.perturbseq.tl.gene_programs import rename_programs as rename_programs
from tuner_plugins.perturbseq.tl.gene_programs import score_programs as score_programs
from tuner_plugins.perturbseq.tl.interactions import epistasis as epistasis
from tuner_plugins.perturbseq.tl.responders import responders as responders
