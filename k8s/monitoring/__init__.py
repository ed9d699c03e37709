"""What Prometheus and Grafana are told of the suite: alerts out of hand-written rules, dashboards out of code."""
