"""The rules that must be beaten are given a fair chance."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from model_registry.columns import Columns
from model_registry.schema import Feature
from tests.support.learning import LABEL, dataset
from training.core.baselines import logistic_scores, recency_scores, repeat_scores
from training.core.dataset import Rows


def test_the_longer_away_the_likelier_gone_and_never_is_longest() -> None:
    features = (Feature("spend", "numeric"), Feature("recency_days", "numeric"))
    columns = Columns(np.array([[1, 5], [1, np.nan], [1, 50]], np.float32), np.empty((3, 0), object))
    scores = recency_scores(columns, features)
    assert scores is not None
    assert np.argsort(scores).tolist() == [0, 2, 1]


def test_the_shorter_ago_the_likelier_again_and_never_is_least_likely() -> None:
    features = (Feature("recency_days[tea]", "numeric"), Feature("recency_days", "numeric"))
    columns = Columns(np.array([[5, 1], [np.nan, 2], [50, 3]], np.float32), np.empty((3, 0), object))
    scores = repeat_scores(columns, features, "recency_days[tea]")
    assert scores is not None
    assert np.argsort(-scores).tolist() == [0, 2, 1]


def test_without_recency_there_is_no_recency_rule() -> None:
    columns = Columns(np.ones((2, 1), np.float32), np.empty((2, 0), object))
    assert recency_scores(columns, (Feature("spend", "numeric"),)) is None
    assert repeat_scores(columns, (Feature("spend", "numeric"),)) is None


def test_logistic_regression_ranks_by_numbers_categories_and_missing_values() -> None:
    data = dataset(1000)
    scores = logistic_scores(data.train, data.test.columns, data.features, LABEL)
    recency = recency_scores(data.test.columns, data.features)
    assert recency is not None
    labels = data.test.labels[LABEL]
    assert ((scores > 0) & (scores < 1)).all()
    assert roc_auc_score(labels, scores) > roc_auc_score(labels, recency) > 0.7


def test_a_category_that_training_never_saw_is_scored() -> None:
    data = dataset(300)
    strange = Columns(data.test.columns.numeric, np.full_like(data.test.columns.categorical, "kiosk"))
    assert np.isfinite(logistic_scores(data.train, strange, data.features, LABEL)).all()


def test_a_number_that_was_always_missing_does_no_harm() -> None:
    data = dataset(300)
    data.train.columns.numeric[:, 2] = np.nan
    data.test.columns.numeric[0, 2] = 5.0
    assert np.isfinite(logistic_scores(data.train, data.test.columns, data.features, LABEL)).all()


def test_numbers_alone_are_enough() -> None:
    data = dataset(300)
    numeric = tuple(feature for feature in data.features if feature.kind == "numeric")
    bare = Columns(data.train.columns.numeric, np.empty((len(data.train), 0), object))
    train = Rows(data.train.customer_ids, data.train.dates, bare, data.train.labels)
    assert np.isfinite(logistic_scores(train, bare, numeric, LABEL)).all()
