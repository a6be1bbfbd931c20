"""Tests: a folder for each folder of the package, and the code that tests share."""
