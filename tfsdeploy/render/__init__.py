"""Fleet -> artefacts: strict Jinja2 over templates/."""
