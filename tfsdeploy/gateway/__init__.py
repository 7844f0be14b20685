"""Which version of which model is where, and the Envoy configuration that follows from it; pure."""
