"""The release document: which versions are loaded, how traffic is split, and how that may change."""
