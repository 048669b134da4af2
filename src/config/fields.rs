//! The members of one configuration object, each of which must be known.
//!
//! Takes an object, gives its members by their `snake_case` name, in whichever of protobuf JSON's two spellings they
//! are written. What has not been asked for when the reader is done is an error that names the nearest known field.

use super::error::ConfigError;
use super::value::Node;
use crate::json::{Json, Object};

/// The most edits between a field and the one that is suggested for it.
const MAX_EDITS: usize = 3;

/// An object of which nothing is written.
static NOTHING: Object<'static> = Object::EMPTY;

#[derive(Debug)]
pub(super) struct Fields<'a> {
    node: Node<'a>,
    object: &'a Object<'a>,
    /// What stands for fields that are not written.
    defaults: Option<&'a Object<'a>>,
    known: Vec<&'static str>,
    /// Accepted, but nothing to suggest.
    ignored: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(node: Node<'a>) -> Result<Self, ConfigError> {
        match node.value.as_object() {
            Some(object) => Ok(Self { node, object, defaults: None, known: Vec::new(), ignored: Vec::new() }),
            None => Err(node.expected("an object")),
        }
    }

    /// The same fields, with others for those that are not written.
    pub(super) fn with_defaults(self, defaults: &'a Object<'a>) -> Self {
        Self { defaults: Some(defaults), ..self }
    }

    /// Whether the field `name` is written.
    pub(super) fn has(&self, name: &str) -> bool {
        let written = self.object.get(name).or_else(|| self.object.get(&camel_case(name)));
        written.is_some_and(|value| !matches!(value, Json::Null))
    }

    /// The object `name`, whose members that are not written are those of the default, each for itself.
    pub(super) fn nested(&mut self, name: &'static str) -> Result<Option<Self>, ConfigError> {
        let default = self.default(name);
        let written = self.written(name)?.map(Self::of).transpose()?;
        let Some(node) = default else { return Ok(written) };
        let Json::Object(defaults) = node.value else { return Ok(written) };
        let nothing = Self { node, object: &NOTHING, defaults: None, known: Vec::new(), ignored: Vec::new() };
        Ok(Some(written.unwrap_or(nothing).with_defaults(defaults)))
    }

    /// The same fields without defaults, if something else than its default is written for `name`: they are for what
    /// that field says.
    pub(super) fn unless_other(mut self, name: &'static str) -> Result<Self, ConfigError> {
        let written = self.written(name)?;
        let is_other = written
            .is_some_and(|written| self.default(name).is_some_and(|default| default.value != written.value));
        Ok(if is_other { Self { defaults: None, ..self } } else { self })
    }

    /// The field `name` among the defaults.
    pub(super) fn default(&self, name: &str) -> Option<Node<'a>> {
        let value = self.defaults?.get(name)?;
        Some(self.node.member(name, value))
    }

    /// The field `name`, or its default unless one of `instead` is written.
    pub(super) fn take_unless(
        &mut self,
        name: &'static str,
        instead: &[&str],
    ) -> Result<Option<Node<'a>>, ConfigError> {
        let written = self.written(name)?;
        let is_replaced = instead.iter().any(|other| self.has(other));
        Ok(written.or_else(|| self.default(name).filter(|_| !is_replaced)))
    }

    /// The field `name`, or its default; `null` counts as not given, as in protobuf JSON.
    pub(super) fn take(&mut self, name: &'static str) -> Result<Option<Node<'a>>, ConfigError> {
        Ok(self.written(name)?.or_else(|| self.default(name)))
    }

    /// The field `name` as it is written.
    pub(super) fn written(&mut self, name: &'static str) -> Result<Option<Node<'a>>, ConfigError> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let camel = camel_case(name);
        let written = self.object.get(name).map(|value| (name, value));
        let written_camel = self.object.get(&camel).map(|value| (camel.as_str(), value));
        let (spelling, value) = match (written, written_camel) {
            (Some(_), Some((_, value))) if camel != name => {
                return Err(self
                    .node
                    .member(&camel, value)
                    .error(format!("the same field as {name:?} a second time"), "one of the two"));
            }
            (Some(found), _) | (None, Some(found)) => found,
            (None, None) => return Ok(None),
        };
        Ok(match value {
            Json::Null => None,
            _ => Some(self.node.member(spelling, value)),
        })
    }

    /// The field `name`, which must be there.
    pub(super) fn require(&mut self, name: &'static str) -> Result<Node<'a>, ConfigError> {
        match self.take(name)? {
            Some(node) => Ok(node),
            None => Err(self.node.error("nothing", format!("the field {name:?}"))),
        }
    }

    /// The field `name` as a boolean; `default` when it is not given.
    pub(super) fn boolean_or(&mut self, name: &'static str, default: bool) -> Result<bool, ConfigError> {
        self.take(name)?.map_or(Ok(default), |node| node.boolean())
    }

    /// Refuses `null` for a field whose absence means less safety: a template with a missing value writes it.
    pub(super) fn refuse_null(&self, name: &'static str) -> Result<(), ConfigError> {
        let camel = camel_case(name);
        for spelling in [name, camel.as_str()] {
            if let Some(value @ Json::Null) = self.object.get(spelling) {
                return Err(self.node.member(spelling, value).expected("a value, or no such field"));
            }
        }
        Ok(())
    }

    /// Accepts a field without looking at it.
    pub(super) fn ignore(&mut self, name: &'static str) {
        self.ignored.push(name);
    }

    /// Refuses every member that was neither taken nor ignored. Those in `not_built` get a message of their own.
    pub(super) fn finish(self, not_built: &[&'static str]) -> Result<(), ConfigError> {
        let is = |name: &str, known: &str| name == known || name == camel_case(known);
        for (name, value) in self.object.members() {
            let node = self.node.member(name, value);
            if not_built.iter().any(|known| is(name, known)) {
                return Err(node.error("a field that this version does not support", "no such field"));
            }
            if self.known.iter().chain(&self.ignored).any(|known| is(name, known)) {
                continue;
            }
            let expected = match self.nearest(name) {
                Some(nearest) => format!("{nearest:?}?"),
                None => format!("one of {}", self.known.join(", ")),
            };
            return Err(node.error("an unknown field", expected));
        }
        Ok(())
    }

    fn nearest(&self, name: &str) -> Option<&'static str> {
        let distance =
            |known: &str| strsim::levenshtein(name, known).min(strsim::levenshtein(name, &camel_case(known)));
        let candidates = self.known.iter().map(|known| (distance(known), *known));
        candidates.filter(|(edits, _)| *edits <= MAX_EDITS).min().map(|(_, known)| known)
    }
}

/// `http_uri` as protobuf JSON writes it: `httpUri`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
