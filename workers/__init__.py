"""How are activities run? From a task record to a result record."""
