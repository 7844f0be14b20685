"""Where models live: versions that are complete and recorded, or that do not exist."""
