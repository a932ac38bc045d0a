"""Docker images, and what of this package talks to a Docker engine."""
