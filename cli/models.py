"""The models of the suite: the one list that the command reads."""

MODELS = ("churn", "propensity", "cltv", "clustering")
