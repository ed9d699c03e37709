"""What is asked of counters and histograms of the chosen servers."""

from __future__ import annotations

from k8s.monitoring.selection import SERVER


def per_second(metric: str, by: str, *matchers: str) -> str:
    """The rate of a counter of the chosen servers, summed up by labels."""
    return f"sum by ({by}) (rate({metric}{{{', '.join((SERVER, *matchers))}}}[$__rate_interval]))"


def in_an_hour(counter: str, by: str, *matchers: str) -> str:
    """The increase of a counter of the chosen servers."""
    return f"sum by ({by}) (increase({counter}{{{', '.join((SERVER, *matchers))}}}[1h]))"


def quantile(share: float, by: str, *matchers: str, metric: str = "grpc_server_handling_seconds") -> str:
    """The time within which a share of the calls is handled, or a share of those that another histogram counts."""
    return f"histogram_quantile({share}, {per_second(f'{metric}_bucket', f'le, {by}', *matchers)})"
