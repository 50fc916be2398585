"""Training as durable background jobs: a queue, workers that drain it, a trainer process a job."""
