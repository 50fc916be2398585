"""One file a resource: parse, call one thing, answer."""
