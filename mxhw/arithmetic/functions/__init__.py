"""What a transformer computes between its matrix products, as integer functions: each is the definition of a unit.

Source: arithmetic.md, sections 3, 6 and 7. The hardware is `rtl_templates.function`.
"""
