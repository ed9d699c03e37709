"""Python clients of the scoring services."""

from services.client.churn import ChurnClient
from services.client.errors import CallError
from services.client.tables import customer, customer_table

__all__ = ["CallError", "ChurnClient", "customer", "customer_table"]
