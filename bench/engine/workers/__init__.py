"""The same job in each system, a process each."""
