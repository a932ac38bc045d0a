"""Docker images: what of this package talks to an engine, and what makes an image of a notebook, a script or a run."""
