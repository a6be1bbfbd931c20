"""Programs of development: reference pages, import graph, commit subjects, locked versions."""
