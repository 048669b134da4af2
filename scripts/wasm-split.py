#!/usr/bin/env python3
"""Splits a module: split.py BUILT SHIPPED SYMBOLS

SHIPPED is BUILT without its custom section `name`, a fifth of it, which is of use to debuggers alone. SYMBOLS is BUILT as it
is: with it a function index in a stack trace of a proxy's log has a name, and both have the same code.
"""

import sys


def leb128(data, at):
    """The number at `at` and where it ends (WebAssembly core specification, section 5.2.2)."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def without_names(module):
    if module[:8] != b"\0asm\1\0\0\0":
        sys.exit("error: not a WebAssembly module")
    kept = bytearray(module[:8])
    at = 8
    while at < len(module):
        kind = module[at]
        size, start = leb128(module, at + 1)
        end = start + size
        is_names = False
        if kind == 0:
            length, name = leb128(module, start)
            is_names = module[name : name + length] == b"name"
        if not is_names:
            kept += module[at:end]
        at = end
    return bytes(kept)


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def main():
    built, shipped, symbols = sys.argv[1:]
    with open(built, "rb") as file:
        module = file.read()
    write(symbols, module)
    write(shipped, without_names(module))


main()
