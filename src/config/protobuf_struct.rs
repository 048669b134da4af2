//! Configurations that come as `google.protobuf.Struct` in its binary form.
//!
//! Takes the wire bytes (protobuf encoding; `google/protobuf/struct.proto`), gives the same value as JSON text. Envoy's
//! documentation says that it hands a `Struct` over as JSON; what arrives (seen on 1.40) is the message itself. With it,
//! the configuration of `jwt_authn` can be pasted as YAML. Deliberately knows no other message.

use std::fmt::Write as _;

use crate::json::MAX_DEPTH;

/// Field numbers of `Struct.fields`, of its map entries, of `Value` and of `ListValue.values`.
const FIELDS: u64 = 1;
const KEY: u64 = 1;
const VALUE: u64 = 2;
const NULL_VALUE: u64 = 1;
const NUMBER_VALUE: u64 = 2;
const STRING_VALUE: u64 = 3;
const BOOL_VALUE: u64 = 4;
const STRUCT_VALUE: u64 = 5;
const LIST_VALUE: u64 = 6;
const VALUES: u64 = 1;

/// The `Struct` in `bytes` as JSON text; `None` when it is none.
pub(super) fn to_json(bytes: &[u8]) -> Option<String> {
    let mut json = String::new();
    write_struct(bytes, &mut json, 0)?;
    Some(json)
}

fn write_struct(mut bytes: &[u8], json: &mut String, depth: usize) -> Option<()> {
    check_depth(depth)?;
    json.push('{');
    let mut comma = "";
    while let Some(field) = next_field(&mut bytes)? {
        let Field { number: FIELDS, payload: Payload::Bytes(mut entry) } = field else { return None };
        let (mut key, mut value) = (&[][..], &[][..]);
        while let Some(field) = next_field(&mut entry)? {
            match field {
                Field { number: KEY, payload: Payload::Bytes(bytes) } => key = bytes,
                Field { number: VALUE, payload: Payload::Bytes(bytes) } => value = bytes,
                _ => return None,
            }
        }
        json.push_str(comma);
        write_string(key, json)?;
        json.push(':');
        write_value(value, json, depth)?;
        comma = ",";
    }
    json.push('}');
    Some(())
}

fn write_value(mut bytes: &[u8], json: &mut String, depth: usize) -> Option<()> {
    let Some(Field { number, payload }) = next_field(&mut bytes)? else {
        json.push_str("null");
        return Some(());
    };
    match (number, payload) {
        (NULL_VALUE, Payload::Varint(_)) => json.push_str("null"),
        (NUMBER_VALUE, Payload::Fixed64(bits)) => {
            let number = f64::from_bits(bits);
            number.is_finite().then(|| write!(json, "{number}"))?.ok()?;
        }
        (STRING_VALUE, Payload::Bytes(text)) => write_string(text, json)?,
        (BOOL_VALUE, Payload::Varint(value)) => json.push_str(if value == 0 { "false" } else { "true" }),
        (STRUCT_VALUE, Payload::Bytes(bytes)) => write_struct(bytes, json, depth + 1)?,
        (LIST_VALUE, Payload::Bytes(bytes)) => write_list(bytes, json, depth + 1)?,
        _ => return None,
    }
    bytes.is_empty().then_some(())
}

fn write_list(mut bytes: &[u8], json: &mut String, depth: usize) -> Option<()> {
    check_depth(depth)?;
    json.push('[');
    let mut comma = "";
    while let Some(field) = next_field(&mut bytes)? {
        let Field { number: VALUES, payload: Payload::Bytes(value) } = field else { return None };
        json.push_str(comma);
        write_value(value, json, depth)?;
        comma = ",";
    }
    json.push(']');
    Some(())
}

fn write_string(text: &[u8], json: &mut String) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    json.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

fn check_depth(depth: usize) -> Option<()> {
    (depth <= MAX_DEPTH).then_some(())
}

struct Field<'a> {
    number: u64,
    payload: Payload<'a>,
}

enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// The next field, `Some(None)` at the end, `None` when the bytes are no message.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<Option<Field<'a>>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let tag = varint(bytes)?;
    let payload = match tag & 7 {
        0 => Payload::Varint(varint(bytes)?),
        1 => {
            let (chunk, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Payload::Fixed64(u64::from_le_bytes(*chunk))
        }
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            let (payload, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Payload::Bytes(payload)
        }
        _ => return None,
    };
    Some(Some(Field { number: tag >> 3, payload }))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn put_bytes(number: u8, payload: &[u8], out: &mut Vec<u8>) {
        out.push(number << 3 | 2);
        let mut length = payload.len();
        while length >= 0x80 {
            out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        out.extend(payload);
    }

    /// The `Value` message of a JSON value, as protobuf writes it.
    fn encode_value(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        match value {
            Value::Null => out.extend([1 << 3, 0]),
            Value::Number(number) => {
                out.push(2 << 3 | 1);
                out.extend(number.as_f64().unwrap().to_le_bytes());
            }
            Value::String(text) => put_bytes(3, text.as_bytes(), &mut out),
            Value::Bool(value) => out.extend([4 << 3, u8::from(*value)]),
            Value::Object(_) => put_bytes(5, &encode_struct(value), &mut out),
            Value::Array(items) => {
                let mut list = Vec::new();
                for item in items {
                    put_bytes(1, &encode_value(item), &mut list);
                }
                put_bytes(6, &list, &mut out);
            }
        }
        out
    }

    fn encode_struct(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in value.as_object().unwrap() {
            let mut entry = Vec::new();
            put_bytes(1, name.as_bytes(), &mut entry);
            put_bytes(2, &encode_value(value), &mut entry);
            put_bytes(1, &entry, &mut out);
        }
        out
    }

    #[test]
    fn a_struct_becomes_the_json_that_it_was_written_as() {
        let value = json!({
            "providers": { "a\"b": { "audiences": ["x", "\u{e9}"], "clock_skew_seconds": 30, "forward": true } },
            "rules": [],
            "nothing": null,
            "fraction": 1.5,
            "empty": {},
            "long": "x".repeat(300),
        });
        let json = to_json(&encode_struct(&value)).unwrap();
        assert!(json.contains("\"clock_skew_seconds\":30,"), "{json}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }

    #[test]
    fn json_text_is_no_struct() {
        for text in ["\n{\n  \"providers\": {}\n}", "\n{}", "{}", "\n", "\n\n\n"] {
            assert_eq!(to_json(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut value = json!(1);
        for _ in 0..MAX_DEPTH + 2 {
            value = json!([value]);
        }
        assert_eq!(to_json(&encode_struct(&json!({ "a": value }))), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_struct_or_not_without_a_panic(bytes: Vec<u8>) {
            if let Some(json) = to_json(&bytes) {
                prop_assert!(serde_json::from_str::<Value>(&json).is_ok());
            }
        }
    }
}
