"""The package matrix: what users do with well-known packages, done in children of a template. `make safety` runs it."""
