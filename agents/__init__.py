"""The edges, one short file an agent, and the folds that they apply, in files beside them.

``topology`` wires them and reads as the data flow.
"""
