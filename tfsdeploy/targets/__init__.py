"""Places where a fleet can live: this machine, Docker, Kubernetes."""
