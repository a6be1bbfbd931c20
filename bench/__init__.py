"""How fast is Penstock, and what does it cost? Programs that measure it; README.md says how."""
