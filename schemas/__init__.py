"""What is said? The records that parts of Penstock say to each other: a leaf, without input or output."""
