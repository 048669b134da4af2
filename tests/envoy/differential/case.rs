//! Groups of cases as data: a configuration, requests, what `jwt_authn` answers, and where the filter differs.

use serde_json::{Value, json};

use super::Mode;
use crate::support::Request;

/// Cases under one configuration of `jwt_authn`.
pub struct Group {
    pub name: &'static str,
    /// The message without `@type`. The filter gets the same, and the same with `"compat": "envoy"`.
    pub configuration: Value,
    pub cases: Vec<Case>,
}

/// A request and what becomes of it.
pub struct Case {
    pub name: String,
    pub request: Sent,
    pub protocol: Protocol,
    /// What `jwt_authn` does. Stated in each case, so that none can pass because everything is broken.
    pub native: Outcome,
    /// Where the filter does something else. In the modes without one it must do the same.
    pub differences: Vec<Difference>,
}

/// What is sent.
pub enum Sent {
    /// A request at any time.
    Always(Request),
    /// A request that depends on the second in which all listeners get it.
    InSecond(Box<dyn Fn(u64) -> Request>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// The filter differs from `jwt_authn` in `mode`, for the reason that a row of the README's table gives.
pub struct Difference {
    pub mode: Mode,
    pub row: String,
    pub outcome: Outcome,
}

/// What must be seen of an answer and of the request that was forwarded. What is not named may be anything.
#[derive(Clone)]
pub struct Outcome {
    pub status: u16,
    pub body: Option<String>,
    /// Headers of the answer.
    pub reply_headers: Vec<(&'static str, Option<String>)>,
    /// Headers of the forwarded request, with several lines joined by a comma; `None` is for absent ones.
    pub headers: Vec<(&'static str, Option<String>)>,
    /// Path and query of the forwarded request.
    pub path: Option<String>,
}

/// The request reaches the upstream.
pub fn passes() -> Outcome {
    status(200)
}

/// The request is refused with 401 and this body.
pub fn refused(text: &str) -> Outcome {
    status(401).saying(text)
}

/// The request is answered with this status, and by the upstream when it is 200.
pub fn status(status: u16) -> Outcome {
    Outcome { status, body: None, reply_headers: Vec::new(), headers: Vec::new(), path: None }
}

impl Outcome {
    #[must_use]
    pub fn saying(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// The same, whatever the body.
    #[must_use]
    pub fn in_any_words(mut self) -> Self {
        self.body = None;
        self
    }

    /// The upstream receives this header.
    #[must_use]
    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, Some(value.into())));
        self
    }

    /// The upstream does not receive this header.
    #[must_use]
    pub fn without(mut self, header: &'static str) -> Self {
        self.headers.push((header, None));
        self
    }

    /// The upstream receives this path and query.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// The answer has this header.
    #[must_use]
    pub fn replying(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.reply_headers.push((header, Some(value.into())));
        self
    }

    /// The answer does not have this header.
    #[must_use]
    pub fn not_replying(mut self, header: &'static str) -> Self {
        self.reply_headers.push((header, None));
        self
    }
}

impl Group {
    pub fn new(name: &'static str, configuration: Value) -> Self {
        Self { name, configuration, cases: Vec::new() }
    }

    /// Adds a case in which the filter must do what `jwt_authn` does, unless a difference follows.
    #[must_use]
    pub fn case(self, name: impl Into<String>, request: Request, native: Outcome) -> Self {
        self.sending(name.into(), Sent::Always(request), native)
    }

    /// The same with a request that is made for the second in which it is sent.
    #[must_use]
    pub fn case_in_a_second(
        self,
        name: impl Into<String>,
        request: impl Fn(u64) -> Request + 'static,
        native: Outcome,
    ) -> Self {
        self.sending(name.into(), Sent::InSecond(Box::new(request)), native)
    }

    /// The same over HTTP/2.
    #[must_use]
    pub fn case_over_http2(self, name: impl Into<String>, request: Request, native: Outcome) -> Self {
        let mut group = self.case(name, request, native);
        group.last().protocol = Protocol::Http2;
        group
    }

    /// The filter does something else with the last case, by default and with `compat`.
    #[must_use]
    pub fn differs(self, row: &str, outcome: Outcome) -> Self {
        self.differs_by_default(row, outcome.clone()).differs_in_compat(row, outcome)
    }

    /// The filter does something else with the last case, but not with `compat`.
    #[must_use]
    pub fn differs_by_default(self, row: &str, outcome: Outcome) -> Self {
        self.differing(Mode::Default, row, outcome)
    }

    /// The filter does something else with the last case, but only with `compat`: by default it is a matter of wording.
    #[must_use]
    pub fn differs_in_compat(self, row: &str, outcome: Outcome) -> Self {
        self.differing(Mode::Compat, row, outcome)
    }

    /// The same cases for many variants.
    #[must_use]
    pub fn for_each<T>(self, variants: impl IntoIterator<Item = T>, add: impl Fn(Self, T) -> Self) -> Self {
        variants.into_iter().fold(self, add)
    }

    /// Whether this is the name of the group, or of a case in it behind the group's.
    pub fn is_or_has(&self, name: &str) -> bool {
        name == self.name || self.cases.iter().any(|case| name == self.name_of(case))
    }

    /// The name that no case of another group has.
    pub fn name_of(&self, case: &Case) -> String {
        format!("{} / {}", self.name, case.name)
    }

    /// The rows of the README that its cases differ for.
    pub fn rows(&self) -> impl Iterator<Item = &str> {
        self.cases.iter().flat_map(|case| &case.differences).map(|difference| difference.row.as_str())
    }

    /// In which modes the filter can be asked.
    pub fn modes(&self) -> impl Iterator<Item = Mode> {
        Mode::ALL.into_iter().filter(|mode| mode.refusal(&self.configuration).is_none())
    }

    fn sending(mut self, name: String, request: Sent, native: Outcome) -> Self {
        let differences = Vec::new();
        self.cases.push(Case { name, request, protocol: Protocol::Http1, native, differences });
        self
    }

    fn differing(mut self, mode: Mode, row: &str, outcome: Outcome) -> Self {
        let (group, case) = (self.name, self.last());
        let is_new = case.differences.iter().all(|difference| difference.mode != mode);
        assert!(is_new, "{group} / {}: two differences in one mode", case.name);
        case.differences.push(Difference { mode, row: row.to_owned(), outcome });
        self
    }

    fn last(&mut self) -> &mut Case {
        self.cases.last_mut().expect("a difference follows its case")
    }
}

/// A configuration in which every path needs what `requires` says.
pub fn requiring(providers: Value, requires: Value) -> Value {
    json!({ "providers": providers, "rules": [{ "match": { "prefix": "/" }, "requires": requires }] })
}

/// `base` with the fields of `extra` added or replaced.
pub fn extended(mut base: Value, extra: Value) -> Value {
    let Value::Object(extra) = extra else { panic!("{extra} is no object") };
    base.as_object_mut().expect("an object is extended").extend(extra);
    base
}

pub fn get(path: &str) -> Request {
    Request::get(path)
}
