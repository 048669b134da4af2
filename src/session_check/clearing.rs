//! Which cookies an identity provider takes back with a denial.
//!
//! Takes the header of an answer and names of cookies, gives the `set-cookie` lines that do nothing but clear one of
//! these. They are the only thing of an answer that may ever reach a client, so a line with anything else in it is left
//! out: a value, a time that has not passed, a character that a proxy or a browser could read in another way.

use crate::request::HeaderField;

/// The most lines, and the longest one, that are passed on.
const MAX_LINES: usize = 4;
const MAX_LINE_BYTES: usize = 1024;

/// Cookies that expired before this year are old everywhere.
const LONG_AGO: u32 = 2001;

/// The lines that clear one of the cookies `names`.
pub(super) fn clearing_lines(headers: &[HeaderField], names: &[String]) -> Vec<String> {
    let lines = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"set-cookie"));
    let texts = lines.filter_map(|(_, value)| std::str::from_utf8(value).ok());
    let clearing = texts.filter(|line| clears(line, names));
    clearing.take(MAX_LINES).map(str::to_owned).collect()
}

fn clears(line: &str, names: &[String]) -> bool {
    let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if line.len() > MAX_LINE_BYTES || !line.bytes().all(is_plain) {
        return false;
    }
    let mut parts = line.split(';');
    let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return false };
    if !names.iter().any(|known| known == name.trim()) || !matches!(value.trim(), "" | "\"\"") {
        return false;
    }
    let mut is_over = false;
    for attribute in parts {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let is_fine = match name.as_str() {
            "expires" => lies_long_ago(value),
            "max-age" => value == "0" || value.strip_prefix('-').is_some_and(is_number),
            "path" | "domain" | "samesite" | "priority" => !value.contains([',', '=', '"', '\\']),
            "httponly" | "secure" | "partitioned" => value.is_empty(),
            _ => false,
        };
        if !is_fine {
            return false;
        }
        is_over |= matches!(name.as_str(), "expires" | "max-age");
    }
    is_over
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A date of RFC 6265 section 4.1.1, or one of its older forms with dashes.
fn lies_long_ago(date: &str) -> bool {
    let is_of_date = |byte: u8| byte.is_ascii_alphanumeric() || b" ,:-+".contains(&byte);
    let mut years = date.split([' ', '-', ',']).filter(|part| part.len() == 4 && is_number(part));
    let year = years.next().and_then(|year| year.parse::<u32>().ok());
    date.bytes().all(is_of_date)
        && date.matches(',').count() <= 1
        && years.next().is_none()
        && year.is_some_and(|year| year < LONG_AGO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIKE_AUTHGEAR: &str = "session=; Path=/; Domain=acme.example; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax";

    fn clear(line: &str) -> bool {
        clears(line, &["session".to_owned(), "__Host-a.b".to_owned()])
    }

    #[test]
    fn a_line_that_clears_a_listed_cookie_is_one() {
        for line in [
            LIKE_AUTHGEAR,
            "session=;Max-Age=0",
            "session=\"\"; max-age=-1; path=/a/b",
            "__Host-a.b=; EXPIRES=Thu, 01-Jan-1970 00:00:01 GMT; Partitioned; Priority=High",
        ] {
            assert!(clear(line), "{line}");
        }
    }

    #[test]
    fn a_line_that_does_anything_else_is_none() {
        for line in [
            "",
            "session",
            "session=; Path=/",
            "session=x; Max-Age=0",
            "session=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "Session=; Max-Age=0",
            "session2=; Max-Age=0",
            "=session=; Max-Age=0",
            "session==; Max-Age=0",
            "session=; Max-Age=1",
            "session=; Max-Age=",
            "session=; Max-Age=-",
            "session=; Max-Age=0; Max-Age=60",
            "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60",
            "session=; Max-Age=0; Expires=Thu, 01 Jan 2970 00:00:00 GMT",
            "session=; Expires=Thu, 01 Jan 2970 00:00:00 GMT",
            "session=; Expires=1970 2970",
            "session=; Expires=Thu, 01 Jan 70 00:00:00 GMT",
            "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT, other=evil; Path=/",
            "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT,other=evil",
            "session=; Max-Age=0, other=evil",
            "session=; Max-Age=0; Path=/, other=evil",
            "session=; Max-Age=0; Path=/\r\nset-cookie: other=evil",
            "session=; Max-Age=0; Path=/\tx",
            "session=; Max-Age=0; Path=/\u{e9}",
            "session=; Max-Age=0; Path=/\0",
            "session=; Max-Age=0; Secure=x",
            "session=; Max-Age=0; Unknown",
            "session=; Max-Age=0;",
        ] {
            assert!(!clear(line), "{line}");
        }
        assert!(!clear(&format!("session=; Max-Age=0; Path=/{}", "a".repeat(MAX_LINE_BYTES))));
    }

    #[test]
    fn few_lines_are_taken_whatever_their_spelling() {
        let field = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let mut headers = vec![
            field("Set-Cookie", LIKE_AUTHGEAR.as_bytes()),
            field("set-cookie", b"other=; Max-Age=0"),
            field("set-cookie", b"session=\xff; Max-Age=0"),
            field("cookie", b"session=; Max-Age=0"),
        ];
        assert_eq!(clearing_lines(&headers, &["session".to_owned()]), [LIKE_AUTHGEAR]);
        assert!(clearing_lines(&headers, &[]).is_empty());
        headers.extend(vec![field("set-cookie", LIKE_AUTHGEAR.as_bytes()); 9]);
        assert_eq!(clearing_lines(&headers, &["session".to_owned()]).len(), MAX_LINES);
    }
}
