//! What a configuration is read with besides its text: facts of the host, as arguments.

use std::fmt;

use super::error::ConfigError;
use super::fields::Fields;
use super::value::Node;

/// How a host finds the server that it is to call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CallBy {
    /// By a name of the host's own for it: an Envoy cluster. Every server needs one.
    #[default]
    Cluster,
    /// By the host and the port in its URI. Clusters need not be written, and mean nothing.
    Address,
}

/// What a configuration may ask of the host that it is read on.
#[derive(Clone, Copy)]
pub struct Surroundings<'s> {
    /// Gives the value of an environment variable.
    pub variable: &'s dyn Fn(&str) -> Option<String>,
    /// How servers are found unless the configuration says it itself.
    pub call_by: CallBy,
}

impl Surroundings<'_> {
    /// The same with what the configuration says about calls.
    pub(super) fn with_calls(self, written: Option<&Node<'_>>) -> Result<Self, ConfigError> {
        let call_by = match written.map(|node| node.string().map(|text| (node, text))).transpose()? {
            None | Some((_, "auto")) => self.call_by,
            Some((_, "cluster")) => CallBy::Cluster,
            Some((_, "address")) => CallBy::Address,
            Some((node, _)) => return Err(node.expected("\"auto\", \"cluster\" or \"address\"")),
        };
        Ok(Self { call_by, ..self })
    }

    /// The field `cluster`, which is empty only where none is needed.
    pub(super) fn cluster<'a>(self, fields: &mut Fields<'a>) -> Result<&'a str, ConfigError> {
        match (fields.take("cluster")?, self.call_by) {
            (Some(node), _) => self.cluster_named(&node),
            (None, CallBy::Address) => Ok(""),
            (None, CallBy::Cluster) => fields.require("cluster")?.non_empty_string(),
        }
    }

    /// What is written there; nothing where it means nothing: keys of one address are the same keys.
    pub(super) fn cluster_named<'a>(self, node: &Node<'a>) -> Result<&'a str, ConfigError> {
        match self.call_by {
            CallBy::Cluster => node.non_empty_string(),
            CallBy::Address => node.string().map(|_| ""),
        }
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("call_by", &self.call_by).finish_non_exhaustive()
    }
}
