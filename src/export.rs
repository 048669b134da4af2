//! Grant -> what access logs and other filters may read.
//!
//! Takes what was verified and what was not, gives properties for the filter state of the request: what `jwt_authn`
//! leaves in dynamic metadata, which no Wasm filter can write. Each is JSON text, under the name that
//! [`export_name`] gives and with `wasm.` in front. Written only where the configuration asks for it. Claims are those
//! of verified tokens alone.

use crate::authorize::Grant;
use crate::config::{Provider, export_name};
use crate::json::{Json, Object};
use crate::rejection::Rejection;

/// A value for the filter state of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Property {
    /// Its name, without the `wasm.` that the host puts in front.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The properties of a request that was granted.
///
/// Of several identities that would leave something under one name, the first does.
pub fn of_grant(grant: &Grant<'_>) -> Vec<Property> {
    let mut properties: Vec<Property> = Vec::new();
    let mut leave = |key: &str, value: String| {
        let property = property(key, value);
        if !properties.iter().any(|known| known.name == property.name) {
            properties.push(property);
        }
    };
    for authenticated in grant.identities() {
        let exports = &authenticated.provider.exports;
        if let Some(key) = &exports.payload {
            let identity = &authenticated.identity;
            let make = || normalised(identity.claims(), &exports.space_delimited_claims);
            let payload = match identity.proof() {
                Some(proof) => proof.exported.get_or_init(|| make().into()).to_string(),
                None => make(),
            };
            leave(key, payload);
        }
        if let Some(key) = &exports.header
            && let Some(Ok(header)) = authenticated.identity.header_text().map(Json::parse)
        {
            leave(key, header.to_string());
        }
    }
    properties
}

/// The property that tells why a token for `provider` was not good.
pub fn of_failure(provider: &Provider, rejection: &Rejection) -> Option<Property> {
    let key = provider.exports.failed_status.as_ref()?;
    let status = rejection.jwt_status();
    Some(property(key, format!(r#"{{"code":{},"message":"{}"}}"#, status.code, status.text)))
}

fn property(key: &str, value: String) -> Property {
    Property { name: export_name(key), value }
}

/// The claims as JSON, with the strings in `lists` split at their spaces.
fn normalised(claims: &Object<'_>, lists: &[String]) -> String {
    let value = |name: &str, value: &Json<'_>| match value {
        Json::String(list) if lists.iter().any(|known| known == name) => {
            let items = list.split(' ').filter(|item| !item.is_empty());
            Json::Array(items.map(|item| Json::String(item.into())).collect()).to_string()
        }
        other => other.to_string(),
    };
    let name = |name: &str| Json::String(name.into()).to_string();
    let members: Vec<_> =
        claims.members().map(|(key, claim)| format!("{}:{}", name(key), value(key, claim))).collect();
    format!("{{{}}}", members.join(","))
}
