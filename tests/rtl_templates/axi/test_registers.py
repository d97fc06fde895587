"""The table of registers: nothing overlaps, and its text says what the hardware has."""

from mxhw.rtl_templates.axi import AxiStream, describe_registers, register_map

STREAMS = [AxiStream("x", True, 8, 4), AxiStream("y", False, 16)]


def test_registers_and_fields_do_not_overlap() -> None:
    registers = register_map(STREAMS)
    offsets = [register.offset for register in registers]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 and offset < 1 << 12 for offset in offsets)
    for register in registers:
        bits = [bit for field in register.fields for bit in range(field.low, field.low + field.width)]
        assert len(bits) == len(set(bits))
        assert set(bits) <= set(range(32))
        assert [field.low for field in register.fields] == sorted(field.low for field in register.fields)


def test_the_text_has_a_line_for_every_field() -> None:
    text = describe_registers(STREAMS)
    for register in register_map(STREAMS):
        for name, field in register.named_fields:
            line = next(line for line in text.splitlines() if f"  {name}  " in f"  {line}  " and field.text in line)
            assert field.bits in line
            assert (f"0x{register.offset:03X}" in line) == (field is register.fields[0])
