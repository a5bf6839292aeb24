"""The ``backbeat`` command. Thin: options in, text and exit codes out; the work is elsewhere."""
