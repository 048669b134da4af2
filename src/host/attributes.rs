//! What the host knows of a request beyond its header.
//!
//! Takes property look-ups of the running stream, gives [`Attributes`]. A host without these properties answers "not
//! found", which reads as "nothing said".

use crate::config::Config;
use crate::host::calls;
use crate::request::{Attributes, RoutePolicy};

/// All metadata of the route that Envoy has chosen.
const ANY_ROUTE_METADATA: &str = "xds\0route_metadata";

/// The part of it in our namespace.
const ROUTE_METADATA: &str = "xds\0route_metadata\0filter_metadata\0edge_authn";

/// What the host says of the running request, as far as the configuration asks for it.
pub(super) fn of_request(config: &Config) -> Attributes {
    let filter_state = config.filter_state_rules.as_ref();
    Attributes {
        route: route(),
        filter_state: filter_state
            .and_then(|rules| calls::property(&format!("filter_state\0{}", rules.name))),
    }
}

/// `disabled: true` or `requirement_name: "..."` of the route. Most routes have no metadata at all, which is told by a
/// message without a byte, in half the time that it takes to look for the namespace; a host that cannot tell is asked
/// for that.
fn route() -> RoutePolicy {
    let has_none = calls::property(ANY_ROUTE_METADATA).is_some_and(|metadata| metadata.is_empty());
    if has_none || calls::property(ROUTE_METADATA).is_none() {
        return RoutePolicy::Rules;
    }
    let field = |name| calls::property(&format!("{ROUTE_METADATA}\0{name}"));
    // A boolean is one byte.
    match (field("disabled").as_deref(), field("requirement_name")) {
        (Some([1]), _) => RoutePolicy::Disabled,
        (Some([0]), None) => RoutePolicy::Rules,
        // A name that is no text is not the name of a requirement either, which refuses the request. So does a
        // namespace with nothing known in it: whoever wrote it wanted something.
        (_, name) => {
            RoutePolicy::Requirement(String::from_utf8_lossy(&name.unwrap_or_default()).into_owned())
        }
    }
}
