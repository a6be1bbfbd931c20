"""Functions and classes that workflow code imports."""
