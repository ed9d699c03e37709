"""What a page is narrowed down to, and the selectors that follow it.

Metrics of a server that know no model, such as those of gRPC, follow the instances that serve the chosen models. Where
nothing runs in Kubernetes no series has a namespace, and all of them match.
"""

from __future__ import annotations

from k8s.monitoring.panels import Variable

NAMESPACE = Variable("namespace", "Namespace", "namespace", "regulars_swaps_total", matching_all=".*")
MODEL = Variable("model", "Model", "model", 'regulars_swaps_total{namespace=~"$namespace"}')
INSTANCE = Variable("instance", "Server", "instance", 'regulars_swaps_total{namespace=~"$namespace", model=~"$model"}')

SERVER = 'namespace=~"$namespace", instance=~"$instance"'
"""Series of the chosen servers."""

SERVICE = 'namespace=~"$namespace", grpc_service=~"regulars[.]$model[.].+|inference[.].+"'
"""Recorded series of the services of the chosen models, whose servers may be gone."""

NAMESPACED = 'namespace=~"$namespace", model=~"$model"'
"""Series that know their model and are no server's: those of sync, and those that the rules record."""

OF_MODEL = 'model=~"$model"'
"""Series of jobs, which run wherever they do."""
