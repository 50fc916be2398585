"""Pages for people: clients of the public HTTP API alone."""
