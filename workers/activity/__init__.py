"""Declaration of activities, and what their code may ask for."""
