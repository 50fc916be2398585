"""What Prometheus is told of requests; other parts add theirs to the same default registry."""

from prometheus_client import Counter, Gauge, Histogram

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

REQUESTS = Counter("posneg_http_requests", "Requests answered.", ("route", "method", "status"))
LATENCY = Histogram(
    "posneg_http_request_duration_seconds",
    "Time from the request's head to the end of its answer.",
    ("route", "method"),
    buckets=BUCKETS_S,
)
IN_FLIGHT = Gauge("posneg_http_requests_in_flight", "Requests being answered.")
