"""What can be typed? `penstock VERB …`: one function per command, grouped in files by what they are for."""
