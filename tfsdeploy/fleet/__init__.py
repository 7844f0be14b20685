"""The fleet file: from text to a typed `Fleet`, its pins, edits in place, its schema and reference page."""
