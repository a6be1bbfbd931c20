"""What happens next? Decides, purely: no clock, no chance, no input or output."""
