"""What a model's pipeline gives to the job: the contract that churn and its siblings fulfil."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from features.project import Project
    from model_registry.columns import Columns
    from model_registry.evidence import Comparison, Interval, Requirement
    from model_registry.schema import Schema
    from training.core.champion import Champion
    from training.core.dataset import Dataset

    Progress = Callable[[str], None]
    Scores = Mapping[str, NDArray[np.float32]]
    """Scores (N,) by output name."""


@dataclass(frozen=True)
class Fitted:
    """A trained model, as its graph and as its native self.

    `native` scores in float64 by output name; `thresholds` are where it decides, by numeric column; `importances`
    sum to one. `constants` go into the manifest. `hard_rows` are customers on whom the graph is likeliest to err, where
    thresholds do not tell.
    """

    schema: Schema
    graph: bytes
    native: Callable[[Columns], Mapping[str, NDArray[np.float64]]]
    thresholds: Mapping[int, NDArray[np.float32]]
    parameters: Mapping[str, float | int | str]
    importances: Mapping[str, float]
    constants: Mapping[str, float] = field(default_factory=dict)
    hard_rows: Columns | None = None
    warnings: tuple[str, ...] = ()


FittedT = TypeVar("FittedT", bound=Fitted)


@dataclass(frozen=True)
class Illustration:
    """A figure with what it shows; `name` becomes its file's."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Judgement:
    """What the test part says of the model: figures, the rules it is measured against, and the champion.

    `others` are the metrics of the baselines and the champion by their names; `requirements` are what it must reach
    by itself; `meanings` say in words what a metric is; `limits` what not to conclude. `grade` is one of `GRADES`.
    `documents` are further pages for the run, by file name.
    """

    metrics: dict[str, Interval]
    others: dict[str, dict[str, Interval]]
    baselines: tuple[Comparison, ...]
    champion: Comparison | None
    illustrations: tuple[Illustration, ...]
    meanings: dict[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    grade: str = ""
    documents: dict[str, str] = field(default_factory=dict)


class Pipeline(Protocol[FittedT]):
    """One model's own part of a training. `FittedT` is what its `fit` hands to its `judge`."""

    @property
    def name(self) -> str:
        """The model's name, in the registry and everywhere."""

    def dataset(self, project: Project, as_of: dt.date | None) -> Dataset:
        """What was known at the snapshots and what followed.

        Raises:
            FeaturesError: the project's tables cannot be used as they are.
            TrainingError: there is too little to learn from.
        """

    def fit(self, dataset: Dataset, project: Project, champion: Champion, progress: Progress) -> FittedT:
        """Raises TrainingError where nothing can be learnt."""

    def judge(self, dataset: Dataset, fitted: FittedT, scores: Scores, champion: Champion) -> Judgement:
        """Judges the graph's scores of the test part, beside the champion's if there is one."""
