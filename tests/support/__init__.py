"""What tests share: real servers on loopback, each a class and a session-scoped fixture."""
