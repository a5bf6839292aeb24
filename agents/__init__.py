"""The edges: one short file an agent. ``topology`` wires them and reads as the data flow."""
