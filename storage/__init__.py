"""The outside world's stores: protocols, and memory, SQLite, Redis and InfluxDB adapters."""
