"""Emission of whole graphs: every step a component, streams between them."""
