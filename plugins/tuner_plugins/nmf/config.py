"""The plug-in's part of a configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tuner.config.paths import InputPath, expand_paths
from tuner_plugins.nmf.io.annotation import Feature
from tuner_plugins.nmf.io.regions import Coordinates, parse_region
from tuner_plugins.nmf.io.remote import is_remote
from tuner_plugins.nmf.kernels.fast_path import MOST_LOADINGS


def _find_tracks(given: Any, info: ValidationInfo) -> list[Path | str]:
    """Return addresses as they are, and local files as `InputPaths` does."""
    items = given if isinstance(given, list | tuple) else [given]
    found: list[Path | str] = []
    for item in items:
        if not isinstance(item, str | Path):
            raise ValueError(f"expected a path or an address of tracks, got {item!r}")
        remote = is_remote(str(item))
        found += [str(item)] if remote else expand_paths([Path(item)], info)
    return found


Tracks = Annotated[
    list[Path | str], BeforeValidator(_find_tracks, json_schema_input_type=str | list[str])
]
"""As `InputPaths`, or addresses (http, https) of bigWig files among them."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaseSection(_Section):
    """One region to factorise.

    Attributes
    ----------
    region : str
        ``chrom:start-end``, or ``chrom`` for all of it; kept as 0-based and half-open. Or several
        whole chromosomes in one factorisation: ``chr1,chr2``, or ``genome`` for all.
    k : int
        Number of loadings.
    bigwigs, annotation
        In place of those of ``data``.
    name : str, optional
        In place of a name made from region and k.
    coordinates : {"0-based", "1-based"}
        How `region` is written; that of ``data`` by default.
    """

    # Not kept: what is kept of the region is 0-based, and workers read it again.
    coordinates: Coordinates = Field(default="0-based", exclude=True)
    region: str
    k: int = Field(ge=1, le=MOST_LOADINGS)
    bigwigs: Tracks | None = None
    annotation: InputPath | None = None
    name: str | None = Field(default=None, pattern=r"^[\w.-]+$")

    @field_validator("region")
    @classmethod
    def _zero_based(cls, text: str, info: ValidationInfo) -> str:
        return str(parse_region(text, info.data.get("coordinates", "0-based")))

    @property
    def label(self) -> str:
        """Name of the case: the given one, or one made from region and k."""
        if self.name is not None:
            return self.name
        region = parse_region(self.region)
        if region.several:
            first, *_, last = region.several
            return f"{first}-to-{last}_{len(region.several)}_chromosomes_k{self.k}"
        span = "" if region.end is None else f"_{region.start}-{region.end}"
        return f"{region.chrom}{span}_k{self.k}"


class DataSection(_Section):
    """Tracks, annotation and regions.

    Attributes
    ----------
    bigwigs : list of Path
        A folder, a glob or a list of bigWig files, local or addresses (http, https): one track
        each.
    annotation : Path
        bigWig (0/1 per base), BED, GTF or GFF of genes.
    coordinates : {"0-based", "1-based"}
        How regions are written: 0-based with the end not included, or 1-based with the end included
        and perhaps commas, as in samtools and IGV.
    cases, held_out : list of CaseSection
        Regions that are tuned on, and regions that only the frozen setting is scored on.
    nan : {"zero", "mean"}
        What a position without data counts as: 0, or the track's mean over the region.
    feature : {"gene_body", "tss"}
        What of a gene is annotated; ``tss`` needs strands, that is BED or GTF.
    tss_window : int
        Bases on either side of a transcription start site.
    correlation : {"signed", "abs"}
        Which correlation is the primary metric: the largest (``r``) or the largest absolute one
        (``r_abs``). Both are reported.
    """

    bigwigs: Tracks | None = None
    annotation: InputPath | None = None
    coordinates: Coordinates = Field(default="0-based", exclude=True)
    cases: list[CaseSection] = Field(min_length=1)
    held_out: list[CaseSection] = []
    nan: Literal["zero", "mean"] = "zero"
    feature: Feature = "gene_body"
    tss_window: int = Field(default=1000, ge=1)
    correlation: Literal["signed", "abs"] = "signed"

    @model_validator(mode="before")
    @classmethod
    def _hand_down(cls, data: Any) -> Any:
        """Return each case the coordinates of all."""
        if not isinstance(data, Mapping) or "coordinates" not in data:
            return data
        shared = {"coordinates": data["coordinates"]}
        handed = {
            key: [{**shared, **case} if isinstance(case, Mapping) else case for case in data[key]]
            for key in ("cases", "held_out")
            if isinstance(data.get(key), list)
        }
        return {**data, **handed}

    @model_validator(mode="after")
    def _complete(self) -> DataSection:
        if self.feature != "tss" and self.tss_window != 1000:
            raise ValueError("tss_window is for feature: tss; set that, or leave tss_window out")
        labels = [case.label for case in [*self.cases, *self.held_out]]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"two cases are called '{label}'; give one another 'name'")
        for case in [*self.cases, *self.held_out]:
            for key in ("bigwigs", "annotation"):
                if getattr(case, key) is None and getattr(self, key) is None:
                    raise ValueError(f"case '{case.label}' has no {key}; give 'data.{key}'")
        return self


Kernels = Literal["both", "source", "binary"]


class ExportSection(_Section):
    """What the script is made of.

    Attributes
    ----------
    kernels : {"both", "source", "binary"}
        How the script carries its C kernels: as C source, which its first run compiles; as a
        library compiled here, for any x86-64 Linux with glibc, which its first run only opens; or
        as both, the source for all other machines. Where no library can be made, or the setting
        has no use for one, the source alone.
    """

    kernels: Kernels = "both"


class NmfConfig(BaseModel):
    """The plug-in's part of a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: DataSection
    export: ExportSection = ExportSection()
