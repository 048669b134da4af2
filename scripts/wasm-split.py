#!/usr/bin/env python3
"""Splits a module: split.py BUILT SHIPPED SYMBOLS

SHIPPED is BUILT without its custom section `name`, a fifth of it, which is of use to debuggers alone, and without the
callbacks that the filter does nothing in: the SDK exports all that there are, and a host enters the VM for each that is
exported. One of those that remain is the filter's own in place of the SDK's. SYMBOLS is BUILT as it is: with it a function index in a stack trace of a proxy's log has a name, and both have
the same code.
"""

import sys


# Under the names in front the filter has its own of what the SDK exports under those behind.
OWN = {b"edge_authn_on_done": b"proxy_on_done"}

# What hosts look for. All others are the SDK's.
EXPORTS = {
    *OWN.values(),
    b"memory",
    b"_initialize",
    b"proxy_abi_version_0_2_1",
    b"proxy_on_memory_allocate",
    b"proxy_on_context_create",
    b"proxy_on_vm_start",
    b"proxy_on_configure",
    b"proxy_on_tick",
    b"proxy_on_request_headers",
    b"proxy_on_request_body",
    b"proxy_on_request_trailers",
    b"proxy_on_http_call_response",
    b"proxy_on_delete",
}

EXPORT_SECTION = 7


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


def to_leb128(value):
    encoded = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        encoded.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


def needed_exports(section):
    """The export section (core specification, section 5.5.10) with nothing but EXPORTS, all of which must be there."""
    count, at = leb128(section, 0)
    kept = {}
    for _ in range(count):
        start = at
        length, at = leb128(section, at)
        name = section[at : at + length]
        item = at + length
        # Behind the name are a byte for the kind and an index.
        _, at = leb128(section, item + 1)
        if name in OWN:
            name = OWN[name]
            kept[name] = to_leb128(len(name)) + name + section[item:at]
        elif name in EXPORTS and name not in OWN.values():
            kept[name] = section[start:at]
    missing = EXPORTS - kept.keys()
    if missing:
        sys.exit(f"error: the module does not export {sorted(missing)}")
    return to_leb128(len(kept)) + b"".join(kept.values())


def shipped_form(module):
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
        if kind == EXPORT_SECTION:
            section = needed_exports(module[start:end])
            kept += bytes([kind]) + to_leb128(len(section)) + section
        elif not is_names:
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
    write(shipped, shipped_form(module))


main()
