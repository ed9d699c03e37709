"""Python clients of the scoring services."""

from services.client.base import AnyClient, ScoringClient, load_client
from services.client.churn import ChurnClient
from services.client.cltv import CltvClient
from services.client.clustering import ClusteringClient
from services.client.errors import CallError
from services.client.propensity import PropensityClient
from services.client.security import Security, SecurityError
from services.client.tables import customer, customer_table

__all__ = [
    "AnyClient",
    "CallError",
    "ChurnClient",
    "CltvClient",
    "ClusteringClient",
    "PropensityClient",
    "ScoringClient",
    "Security",
    "SecurityError",
    "customer",
    "customer_table",
    "load_client",
]
