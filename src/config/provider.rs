//! `JwtProvider`, `JwtHeader` and `JwtClaimToHeader`.

use std::cmp::Reverse;
use std::time::Duration;

use super::browser_session::browser_session;
use super::csrf::csrf;
use super::error::ConfigError;
use super::fields::Fields;
use super::header_name::HeaderName;
use super::key_source::{algorithms, key_source};
use super::preset::preset;
use super::required_claim::{claim_path, required_claim, types};
use super::session_check::session_check;
use super::value::{LONGEST_DURATION, Node};
use super::{
    AudienceForm, Audiences, ClaimEncoding, ClaimToHeader, ClaimsFormat, Exports, HeaderPattern,
    HeaderSource, IssuerTemplate, JwtCache, KeyPlace, KeySource, Location, PayloadHeader, Policies, Provider,
    StringMatcher, Surroundings, Wrapping,
};
use crate::json::Object;

/// What `jwt_authn` uses when the field is not given (envoy `jwt_authn` `kClockSkewInSecond`).
const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The same (envoy `JwtCacheConfig.jwt_max_token_size`), in bytes.
const DEFAULT_MAX_CACHED_TOKEN: usize = 4096;

const FIELDS: &[&str] = &[
    "preset",
    "issuer",
    "issuers",
    "issuer_template",
    "audiences",
    "subjects",
    "typ",
    "authorized_parties",
    "required_claims",
    "require_expiration",
    "max_lifetime",
    "clock_skew_seconds",
    "remote_jwks",
    "remote_keys_by_kid",
    "discovery",
    "local_jwks",
    "jwt_key",
    "from_headers",
    "from_params",
    "from_cookies",
    "session_check",
    "algorithms",
    "forward",
    "forward_payload_header",
    "pad_forward_payload_header",
    "claim_to_headers",
    "remove_headers",
    "multiple_credentials",
    "csrf",
    "browser_session",
    "numeric_subject",
    "padded_segments",
    "claims_format",
    "clear_route_cache",
    "payload_in_metadata",
    "normalize_payload_in_metadata",
    "header_in_metadata",
    "failed_status_in_metadata",
    "jwt_cache_config",
];

/// What means less safety when it is missing: a restriction, or a header that would not be taken from clients.
const MUST_NOT_BE_NULL: &[&str] = &[
    "issuer",
    "issuers",
    "issuer_template",
    "audiences",
    "subjects",
    "typ",
    "authorized_parties",
    "required_claims",
    "require_expiration",
    "max_lifetime",
    "forward_payload_header",
    "claim_to_headers",
    "remove_headers",
    "multiple_credentials",
    "csrf",
    "browser_session",
    "claims_format",
];

const NOT_BUILT: &[&str] = &[];

/// The fields of a provider: those that are read, and those that are known and refused.
pub fn fields() -> (Vec<&'static str>, &'static [&'static str]) {
    (FIELDS.to_vec(), NOT_BUILT)
}

pub(super) fn parse_all(
    node: &Node<'_>,
    policies: &Policies,
    surroundings: Surroundings<'_>,
) -> Result<Vec<Provider>, ConfigError> {
    let members = node.members("an object of providers by their names")?;
    members.into_iter().map(|(name, node)| parse(name, node, policies, surroundings)).collect()
}

fn parse(
    name: &str,
    node: Node<'_>,
    policies: &Policies,
    surroundings: Surroundings<'_>,
) -> Result<Provider, ConfigError> {
    if name.is_empty() {
        return Err(node.error("an empty name", "a provider name"));
    }
    let mut fields = Fields::of(node.clone())?;
    for name in MUST_NOT_BE_NULL {
        fields.refuse_null(name)?;
    }
    let preset = fields.take("preset")?.map(|name| preset(&name)).transpose()?;
    let defaults =
        preset.map_or(Ok(Object::EMPTY), |preset| preset.render(&node, &mut fields, surroundings))?;
    let mut fields = fields.with_defaults(&defaults);
    let issuer = match fields.take("issuer")? {
        None => None,
        Some(node) if !node.string()?.is_empty() => Some(node.string()?),
        Some(node) if ["issuer", "issuer_template"].iter().any(|name| fields.default(name).is_some()) => {
            return Err(node.error("an empty text", "an issuer, or no such field: that of the preset"));
        }
        Some(_) => None,
    };
    let more_issuers = fields
        .take_unless("issuers", &["issuer", "issuers"])?
        .map_or(Ok(Vec::new()), |node| node.strings())?;
    let issuer_template = fields
        .take_unless("issuer_template", &["issuer", "issuers", "issuer_template"])?
        .map(|node| issuer_template(&node))
        .transpose()?;
    let written_audiences = fields.take("audiences")?;
    let audiences = audiences(written_audiences.clone(), policies.audience_form)?;
    if let (Some(node), Some(preset)) = (&written_audiences, preset)
        && audiences.allowed.is_empty()
        && (preset.needs_audiences || fields.default("audiences").is_some())
    {
        let expected = format!("at least one audience: tokens of {} are signed for others, too", preset.name);
        return Err(node.error("none, which means any", expected));
    }
    let subjects = fields.take("subjects")?.map(|node| StringMatcher::parse(&node)).transpose()?;
    let types = types(fields.take("typ")?)?;
    let authorized_parties = match fields.take("authorized_parties")? {
        None => Vec::new(),
        Some(node) if node.strings()?.is_empty() => {
            return Err(node.error("no party", "at least one, or no such field"));
        }
        Some(node) => node.strings()?,
    };
    let required_claims = both(&mut fields, "required_claims")?;
    let required_claims = required_claims.into_iter().map(required_claim).collect::<Result<_, _>>()?;
    let require_expiration = fields.boolean_or("require_expiration", policies.require_expiration)?;
    let max_lifetime = fields
        .take("max_lifetime")?
        .map(|node| node.duration(Duration::ZERO, LONGEST_DURATION))
        .transpose()?;
    let clock_skew = match fields.take("clock_skew_seconds")? {
        Some(node) => Duration::from_secs(node.u32()?.into()),
        None => DEFAULT_CLOCK_SKEW,
    };
    let keys = key_source(&mut fields, issuer, surroundings)?;
    let locations = locations(&mut fields)?;
    let session_check = session_check(&mut fields, &node, (&keys, &locations), surroundings)?;
    let mut issuers: Vec<_> =
        issuer.or_else(|| discovered_issuer(&keys)).into_iter().map(str::to_owned).collect();
    issuers.extend(more_issuers);
    let algorithms = algorithms(&mut fields, &keys)?;
    let forward = fields.boolean_or("forward", false)?;
    let forward_payload_header = payload_header(&mut fields)?;
    let claim_to_headers = match fields.take("claim_to_headers")? {
        Some(node) => {
            let mappings = node.items()?.into_iter();
            mappings.map(|node| claim_to_header(node, policies.claim_encoding)).collect::<Result<_, _>>()?
        }
        None => Vec::new(),
    };
    let removed_headers = both(&mut fields, "remove_headers")?;
    let removed_headers = removed_headers.iter().map(HeaderPattern::parse).collect::<Result<_, _>>()?;
    let (takes_first_place, takes_same_token) = match fields.take("multiple_credentials")? {
        None => (false, false),
        Some(node) => match node.string()? {
            "reject" => (false, false),
            "first" => (true, false),
            "same" => (false, true),
            _ => return Err(node.expected("\"reject\", \"first\" or \"same\"")),
        },
    };
    let csrf = fields.take("csrf")?.map_or(Ok(None), |node| csrf(&node))?;
    let browser_session = match fields.nested("browser_session")? {
        None => None,
        Some(fields) => Some(browser_session(fields, &locations)?),
    };
    let allows_numeric_subject = fields.boolean_or("numeric_subject", false)?;
    let padded_segments = fields.boolean_or("padded_segments", false)?;
    let claims_format = match fields.take("claims_format")? {
        None => ClaimsFormat::Plain,
        Some(node) => match node.string()? {
            "plain" => ClaimsFormat::Plain,
            "clerk" => ClaimsFormat::Clerk,
            _ => return Err(node.expected("\"plain\" or \"clerk\"")),
        },
    };
    let clear_route_cache = fields.boolean_or("clear_route_cache", false)?;
    let exports = exports(&mut fields, &node)?;
    let jwt_cache = jwt_cache(fields.take("jwt_cache_config")?)?;
    fields.finish(NOT_BUILT)?;
    Ok(Provider {
        name: name.to_owned(),
        issuers,
        issuer_template,
        types,
        authorized_parties,
        required_claims,
        audiences,
        subjects,
        keys,
        session_check,
        algorithms,
        locations,
        forward,
        forward_payload_header,
        claim_to_headers,
        removed_headers,
        takes_first_place,
        takes_same_token,
        csrf,
        browser_session,
        allows_numeric_subject,
        padded_segments,
        claims_format,
        clock_skew,
        require_expiration,
        max_lifetime,
        exports,
        clear_route_cache,
        jwt_cache,
    })
}

/// One claim in braces.
fn issuer_template(node: &Node<'_>) -> Result<IssuerTemplate, ConfigError> {
    let parts = node.string()?.split_once('{').and_then(|(before, rest)| {
        let (claim, after) = rest.split_once('}')?;
        let is_whole = !before.is_empty() && !claim.is_empty();
        (is_whole && ![before, claim, after].concat().contains(['{', '}'])).then_some((before, claim, after))
    });
    let expected = "an issuer with one claim in braces, such as \"https://id.example/{tid}/v2.0\"";
    let (before, claim, after) = parts.ok_or_else(|| node.expected(expected))?;
    Ok(IssuerTemplate { before: before.to_owned(), claim: claim.to_owned(), after: after.to_owned() })
}

/// The items of a list that is written and of its default: more of them is never less safe.
fn both<'a>(fields: &mut Fields<'a>, name: &'static str) -> Result<Vec<Node<'a>>, ConfigError> {
    let lists = [fields.default(name), fields.written(name)?];
    let mut items = Vec::new();
    for list in lists.iter().flatten() {
        items.extend(list.items()?);
    }
    Ok(items)
}

/// The issuer of a provider that is found by it.
fn discovered_issuer(keys: &KeySource) -> Option<&str> {
    let KeySource::Remote(remote) = keys else { return None };
    match &remote.place {
        KeyPlace::Discovery(discovery) => Some(&discovery.issuer),
        KeyPlace::Jwks(_) => None,
    }
}

/// Audiences in the form in which they are compared.
pub(super) fn audiences(node: Option<Node<'_>>, form: AudienceForm) -> Result<Audiences, ConfigError> {
    let written = node.map_or(Ok(Vec::new()), |node| node.strings())?;
    let allowed = written.iter().map(|audience| form.of(audience).to_owned()).collect();
    Ok(Audiences { allowed, form })
}

fn payload_header(fields: &mut Fields<'_>) -> Result<Option<PayloadHeader>, ConfigError> {
    let header = fields.take("forward_payload_header")?;
    let is_padded = fields.boolean_or("pad_forward_payload_header", false)?;
    match header {
        Some(node) if !node.string()?.is_empty() => {
            Ok(Some(PayloadHeader { name: HeaderName::parse_output(&node)?, is_padded }))
        }
        _ => Ok(None),
    }
}

fn exports(fields: &mut Fields<'_>, provider: &Node<'_>) -> Result<Exports, ConfigError> {
    let payload = export(fields, "payload_in_metadata")?;
    let space_delimited_claims = match fields.take("normalize_payload_in_metadata")? {
        None => Vec::new(),
        Some(node) => {
            let mut fields = Fields::of(node)?;
            let claims =
                fields.take("space_delimited_claims")?.map_or(Ok(Vec::new()), |node| node.strings())?;
            fields.finish(&[])?;
            claims
        }
    };
    let header = export(fields, "header_in_metadata")?;
    let failed_status = export(fields, "failed_status_in_metadata")?;
    let exports = Exports { payload, space_delimited_claims, header, failed_status };
    let mut names: Vec<_> = exports.names().collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(_) => Err(provider.error(
            "one name for two things",
            "payload_in_metadata, header_in_metadata and failed_status_in_metadata with names of their own",
        )),
        None => Ok(exports),
    }
}

fn export(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<String>, ConfigError> {
    let Some(node) = fields.take(name)? else { return Ok(None) };
    match node.string()? {
        "" => Ok(None),
        key if key.contains('\0') => Err(node.expected("a name without a NUL")),
        key => Ok(Some(key.to_owned())),
    }
}

/// As in `jwt_authn`, but that without the field it is on, and with a size of 0 off.
fn jwt_cache(node: Option<Node<'_>>) -> Result<JwtCache, ConfigError> {
    let mut cache = JwtCache { max_tokens: usize::MAX, max_token_bytes: DEFAULT_MAX_CACHED_TOKEN };
    let Some(node) = node else { return Ok(cache) };
    let mut fields = Fields::of(node)?;
    let number = |node: Node<'_>| node.u32().map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    if let Some(size) = fields.take("jwt_cache_size")? {
        cache.max_tokens = number(size)?;
    }
    if let Some(size) = fields.take("jwt_max_token_size")? {
        cache.max_token_bytes = number(size)?;
    }
    fields.finish(&[])?;
    Ok(cache)
}

const FROM: [&str; 3] = ["from_headers", "from_params", "from_cookies"];

/// Where tokens travel: the default places only when none is configured, as in `jwt_authn`.
fn locations(fields: &mut Fields<'_>) -> Result<Vec<Location>, ConfigError> {
    let mut locations = Vec::new();
    if let Some(node) = fields.take_unless("from_headers", &FROM)? {
        for item in node.items()? {
            let mut header = Fields::of(item)?;
            let name = HeaderName::parse(&header.require("name")?)?;
            let value_prefix = header.take("value_prefix")?.map_or(Ok(""), |node| node.string())?;
            let wrapping = wrapping(&mut header)?;
            header.finish(&[])?;
            locations.push(Location::Header { name, value_prefix: value_prefix.to_owned(), wrapping });
        }
    }
    if let Some(node) = fields.take_unless("from_params", &FROM)? {
        locations.extend(node.strings()?.into_iter().map(|name| Location::Query(name.into())));
    }
    if let Some(node) = fields.take_unless("from_cookies", &FROM)? {
        locations.extend(node.strings()?.into_iter().map(|name| Location::Cookie(name.into())));
    }
    if locations.is_empty() {
        locations.push(Location::Header {
            name: HeaderName::known("authorization"),
            value_prefix: "Bearer ".to_owned(),
            wrapping: None,
        });
        locations.push(Location::Query("access_token".into()));
    }
    // Of two prefixes of one header, the longer one is the better match.
    locations.sort_by_key(|location| match location {
        Location::Header { value_prefix, .. } => Reverse(value_prefix.len()),
        _ => Reverse(0),
    });
    Ok(locations)
}

/// `json_member` and `value_encoding`.
fn wrapping(header: &mut Fields<'_>) -> Result<Option<Wrapping>, ConfigError> {
    let member = header.take("json_member")?;
    let encoding = header.take("value_encoding")?;
    let is_base64 = match &encoding {
        None => false,
        Some(node) => match node.string()? {
            "base64" => true,
            _ => return Err(node.expected("\"base64\", or no such field")),
        },
    };
    match (member, encoding) {
        (Some(member), _) => Ok(Some(Wrapping { member: member.non_empty_string()?.to_owned(), is_base64 })),
        (None, Some(encoding)) => Err(encoding.error("an encoding of nothing", "\"json_member\" beside it")),
        (None, None) => Ok(None),
    }
}

fn claim_to_header(node: Node<'_>, default: ClaimEncoding) -> Result<ClaimToHeader, ConfigError> {
    let mut fields = Fields::of(node.clone())?;
    let header = HeaderName::parse_output(&fields.require("header_name")?)?;
    let source = match fields.take("value")? {
        None => HeaderSource::Claim(claim_path(&mut fields, &node)?),
        Some(text) => {
            for claim in ["claim_name", "claim_path"] {
                if let Some(second) = fields.take(claim)? {
                    return Err(second.error("a second source", "a claim or a value alone"));
                }
            }
            HeaderSource::Text(text.non_empty_string()?.to_owned())
        }
    };
    let encoding = match fields.take("encoding")? {
        None => default,
        Some(node) => match node.string()? {
            "csv" => ClaimEncoding::Csv,
            "json" => ClaimEncoding::Json,
            "base64url" => ClaimEncoding::Base64url,
            "space" => ClaimEncoding::Space,
            _ => return Err(node.expected("\"csv\", \"space\", \"json\" or \"base64url\"")),
        },
    };
    fields.finish(&[])?;
    Ok(ClaimToHeader { header, source, encoding })
}
