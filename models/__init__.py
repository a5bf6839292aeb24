"""What flows through Backbeat: frozen typed records, and the only code that turns bytes into them.

Everything here is plain data. The package imports nothing of ours, so that every
other package may import it.
"""
