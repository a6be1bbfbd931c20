"""Declaration of activities, and the information available to their code."""
