//! `csrf`: which requests of browsers may use a cookie as a credential. Ours.

use super::Csrf;
use super::error::ConfigError;
use super::fields::Fields;
use super::value::Node;

/// `false` is none.
pub(super) fn csrf(node: &Node<'_>) -> Result<Option<Csrf>, ConfigError> {
    if let Ok(is_on) = node.boolean() {
        return Ok(is_on.then(Csrf::default));
    }
    if node.value.as_object().is_none() {
        return Err(node.expected("true, false, or an object"));
    }
    let mut fields = Fields::of(node.clone())?;
    let mut allowed_origins = Vec::new();
    if let Some(node) = fields.take("allowed_origins")? {
        for item in node.items()? {
            allowed_origins.push(origin(&item)?);
        }
    }
    let allows_same_site = fields.boolean_or("allow_same_site", false)?;
    fields.finish(&[])?;
    Ok(Some(Csrf { allowed_origins, allows_same_site }))
}

/// An origin as browsers write it (RFC 6454 section 6.2).
fn origin(node: &Node<'_>) -> Result<String, ConfigError> {
    let text = node.string()?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(node.expected("an origin such as \"https://app.example\", without a path"));
    }
    Ok(text.to_ascii_lowercase())
}
