"""The Docker target: a fleet as containers of one engine, local or remote."""
