"""Golden rows: customers that every server scores before it serves, and after every change of machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.bundle import Golden
from model_registry.columns import Columns
from training.core.parity import UNSEEN_CATEGORY

if TYPE_CHECKING:
    from model_registry.servable import Servable

PLAIN_ROWS = 40
MISSING_ROWS = 5
UNSEEN_ROWS = 5


def golden_rows(servable: Servable, holdout: Columns) -> Golden:
    """About 50 customers with their scores: spread over the first output, some missing all they may, some unseen.

    They carry no ids, so a bundle names nobody.
    """
    order = np.argsort(servable.run(holdout)[0], kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, PLAIN_ROWS + MISSING_ROWS + UNSEEN_ROWS).astype(np.intp)]
    # A stride that shares no factor with their number mixes low and high scores into each kind of row.
    chosen = chosen[np.arange(len(chosen)) * 7 % len(chosen)]
    columns = Columns(holdout.numeric[chosen], holdout.categorical[chosen])
    nullable = [position for position, feature in enumerate(servable.schema.numeric) if feature.nullable]
    columns.numeric[PLAIN_ROWS : PLAIN_ROWS + MISSING_ROWS, nullable] = np.nan
    columns.categorical[PLAIN_ROWS + MISSING_ROWS :] = UNSEEN_CATEGORY
    names = [output.name for output in servable.schema.outputs]
    return Golden(columns, dict(zip(names, servable.run(columns), strict=True)))
