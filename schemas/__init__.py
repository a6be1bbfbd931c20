"""Records, values, encodings and errors shared by all parts of Penstock; performs no I/O."""
