//! A JSON value together with its path, and its readings as the scalar types of protobuf JSON.

use std::str::FromStr;
use std::time::Duration;

use super::error::{ConfigError, describe};
use crate::json::Json;

/// The longest of Envoy's durations that is not an obvious mistake: 365 days.
pub(super) const LONGEST_DURATION: Duration = Duration::from_secs(31_536_000);

/// A value of the configuration and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) path: String,
    pub(super) value: &'a Json<'a>,
}

impl<'a> Node<'a> {
    pub(super) const fn root(value: &'a Json<'a>) -> Self {
        Self { path: String::new(), value }
    }

    pub(super) fn member(&self, name: &str, value: &'a Json<'a>) -> Self {
        let is_word = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let path = match (is_word, self.path.is_empty()) {
            (true, true) => name.to_owned(),
            (true, false) => format!("{}.{name}", self.path),
            (false, _) => format!("{}[{name:?}]", self.path),
        };
        Self { path, value }
    }

    /// An error about this value, with the value shown.
    pub(super) fn expected(&self, expected: impl Into<String>) -> ConfigError {
        self.error(describe(self.value), expected)
    }

    /// An error about this value that does not show it.
    pub(super) fn error(&self, found: impl Into<String>, expected: impl Into<String>) -> ConfigError {
        ConfigError { path: self.path.clone(), found: found.into(), expected: expected.into() }
    }

    pub(super) fn string(&self) -> Result<&'a str, ConfigError> {
        self.value.as_str().ok_or_else(|| self.expected("a string"))
    }

    pub(super) fn non_empty_string(&self) -> Result<&'a str, ConfigError> {
        match self.string()? {
            "" => Err(self.expected("a string that is not empty")),
            string => Ok(string),
        }
    }

    pub(super) fn boolean(&self) -> Result<bool, ConfigError> {
        match self.value {
            Json::Bool(value) => Ok(*value),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A `uint32`.
    pub(super) fn u32(&self) -> Result<u32, ConfigError> {
        self.number().ok_or_else(|| self.expected("a whole number between 0 and 4294967295"))
    }

    /// An `int64`.
    pub(super) fn i64(&self) -> Result<i64, ConfigError> {
        self.number().ok_or_else(|| self.expected("a whole number of 64 bits"))
    }

    /// A number, which protobuf JSON also allows as a string.
    fn number<N: FromStr>(&self) -> Option<N> {
        let text = match self.value {
            Json::Number(number) => number.as_str(),
            value => value.as_str()?,
        };
        text.parse().ok()
    }

    /// The items of a list. An empty object counts as an empty list: APISIX hands lists over like that.
    pub(super) fn items(&self) -> Result<Vec<Self>, ConfigError> {
        let items: &[Json<'a>] = match self.value {
            Json::Array(items) => items,
            Json::Object(object) if object.members().next().is_none() => &[],
            _ => return Err(self.expected("an array")),
        };
        let item = |(index, value)| Node { path: format!("{}[{index}]", self.path), value };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// The members of an object in the order of the text. An empty list counts as an empty object: APISIX hands
    /// empty maps over like that.
    pub(super) fn members(&self, expected: &str) -> Result<Vec<(&'a str, Self)>, ConfigError> {
        match self.value {
            Json::Array(items) if items.is_empty() => Ok(Vec::new()),
            Json::Object(object) => {
                Ok(object.members().map(|(name, value)| (name, self.member(name, value))).collect())
            }
            _ => Err(self.expected(expected)),
        }
    }

    pub(super) fn strings(&self) -> Result<Vec<String>, ConfigError> {
        self.items()?.iter().map(|item| item.non_empty_string().map(str::to_owned)).collect()
    }

    /// A `google.protobuf.Duration` in its JSON form: seconds with up to nine decimals and an `s`, from `min` to `max`.
    pub(super) fn duration(&self, min: Duration, max: Duration) -> Result<Duration, ConfigError> {
        let duration =
            self.value.as_str().and_then(parse_duration).filter(|found| (min..=max).contains(found));
        duration.ok_or_else(|| {
            let (min, max) = (min.as_secs_f64(), max.as_secs_f64());
            self.expected(format!("a duration such as \"5s\" or \"1.5s\", from {min}s to {max}s"))
        })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(seconds) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(seconds.parse().ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_protobuf_json() {
        assert_eq!(parse_duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("0.000000001s"), Some(Duration::from_nanos(1)));
        for bad in [
            "5",
            "s",
            ".5s",
            "5.s",
            "-1s",
            "+1s",
            "5m",
            "5ms",
            "1e3s",
            " 5s",
            "1.0000000001s",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
