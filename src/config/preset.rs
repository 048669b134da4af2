//! `preset`: what is known about an identity provider, as the fields that one would have to write otherwise. Ours.
//!
//! Takes a name and its parameters, gives an object of provider fields in JSON. Fields that are written beside the preset
//! take the place of its own, those in `session_check` each for itself; `remove_headers` and `required_claims` are added
//! to them. A preset may name another one in the same way. Where the identity providers say
//! what stands here is in `docs/presets.md`. Deliberately data: what a preset says could be said without it.

use super::error::ConfigError;
use super::fields::Fields;
use super::key_source::KEY_SOURCES;
use super::preset_levels;
use super::surroundings::{CallBy, Surroundings};
use super::value::Node;
use crate::json::{Json, Object};

/// An identity provider that is known.
pub(super) struct Preset {
    pub(super) name: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// Whether its tokens are for many services, so that `audiences` must be written.
    pub(super) needs_audiences: bool,
    /// Provider fields, with parameters in braces.
    fields: &'static str,
}

/// What differs between customers of an identity provider.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    kind: Kind,
    pub(super) default: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// The scheme and the authority of a URL, and a path that does not end in a slash.
    Url,
    /// A host, with a port if need be.
    Host,
    /// A name without anything that means something in a URL or in JSON.
    Name,
    /// What a name begins with, or nothing.
    Prefix,
    /// Also with slashes, as in a URL or a path.
    Text,
    /// A text, or an `environment_variable` that has it. Stands without quotes, and comes last: a secret may hold braces.
    Secret,
}

const fn needed(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, default: None }
}

/// The name of the host for the server of the keys.
const CLUSTER: Parameter = needed("cluster", Kind::Text);

/// Where the API of Stack Auth is.
const STACK_AUTH_URL: Parameter =
    Parameter { name: "url", kind: Kind::Url, default: Some("https://api.stack-auth.com") };

/// Two names of one server, which tokens may give as their issuer whichever it is asked by. `{url_alias}` stands for the
/// other name of what `{url}` stands for, or for the same where there is none.
const ALIASES: [(&str, &str); 1] = [("https://api.stack-auth.com", "https://api.hexclave.com")];

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "alb",
        parameters: &[
            needed("region", Kind::Name),
            needed("alb_arn", Kind::Text),
            needed("client_id", Kind::Name),
            needed("issuer", Kind::Text),
            CLUSTER,
        ],
        needs_audiences: false,
        fields: r#"{
            "issuer": "{issuer}",
            "remote_keys_by_kid": {
                "http_uri": { "uri": "https://public-keys.auth.elb.{region}.amazonaws.com/{kid}", "cluster": "{cluster}" },
                "cache_duration": "3600s"
            },
            "algorithms": ["ES256"],
            "padded_segments": true,
            "required_claims": [
                { "claim_name": "signer", "in": "header", "string_match": { "exact": "{alb_arn}" } },
                { "claim_name": "client", "in": "header", "string_match": { "exact": "{client_id}" } },
                { "claim_name": "iss", "in": "header", "string_match": { "exact": "{issuer}" } }
            ],
            "from_headers": [{ "name": "x-amzn-oidc-data" }],
            "remove_headers": ["x-amzn-oidc-*"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-email", "claim_name": "email" },
                { "header_name": "x-auth-name", "claim_name": "name" }
            ]
        }"#,
    },
    Preset {
        name: "auth0",
        parameters: &[needed("domain", Kind::Host), CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer": "https://{domain}/",
            "remote_jwks": { "http_uri": { "uri": "https://{domain}/.well-known/jwks.json", "cluster": "{cluster}" } },
            "algorithms": ["RS256"],
            "typ": ["JWT", "at+jwt", ""],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-scope", "claim_name": "scope" },
                { "header_name": "x-auth-permissions", "claim_name": "permissions" },
                { "header_name": "x-auth-org-id", "claim_name": "org_id" }
            ]
        }"#,
    },
    Preset {
        name: "authgear",
        parameters: &[needed("endpoint", Kind::Url), CLUSTER],
        needs_audiences: false,
        fields: r#"{
            "issuer": "{endpoint}",
            "audiences": ["{endpoint}"],
            "typ": ["at+jwt"],
            "remote_jwks": { "http_uri": { "uri": "{endpoint}/oauth2/jwks", "cluster": "{cluster}" } },
            "algorithms": ["RS256"],
            "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }],
            "clock_skew_seconds": 30,
            "remove_headers": ["x-authgear-*"],
            "claim_to_headers": [
                { "header_name": "x-authgear-session-valid", "value": "true" },
                { "header_name": "x-authgear-user-id", "claim_name": "sub" },
                { "header_name": "x-authgear-user-anonymous", "claim_path": [{ "key": "https://authgear.com/claims/user/is_anonymous" }] },
                { "header_name": "x-authgear-user-verified", "claim_path": [{ "key": "https://authgear.com/claims/user/is_verified" }] },
                { "header_name": "x-authgear-user-can-reauthenticate", "claim_path": [{ "key": "https://authgear.com/claims/user/can_reauthenticate" }] },
                { "header_name": "x-authgear-user-roles", "claim_path": [{ "key": "https://authgear.com/claims/user/roles" }] },
                { "header_name": "x-authgear-session-amr", "claim_name": "amr", "encoding": "space" },
                { "header_name": "x-authgear-session-authenticated-at", "claim_name": "auth_time" }
            ]
        }"#,
    },
    Preset {
        name: "authgear_resolver",
        parameters: &[
            needed("endpoint", Kind::Url),
            Parameter { name: "cookie_prefix", kind: Kind::Prefix, default: Some("") },
            CLUSTER,
        ],
        needs_audiences: false,
        fields: r#"{
            "session_check": {
                "kind": "forward_auth",
                "http_uri": { "uri": "{endpoint}/_resolver/resolve", "cluster": "{cluster}" },
                "request_headers": ["authorization"],
                "cookies": ["{cookie_prefix}app_session", "{cookie_prefix}app_access_token", "{cookie_prefix}session"],
                "cookies_together": true,
                "headers": { "x-forwarded-proto": "https" },
                "allow": { "status": [200], "header": "x-authgear-session-valid", "value": "true" },
                "claims_from_headers": [
                    { "header": "x-authgear-user-id", "claim": "sub" },
                    { "header": "x-authgear-user-anonymous", "claim": "anonymous" },
                    { "header": "x-authgear-user-verified", "claim": "verified" },
                    { "header": "x-authgear-user-can-reauthenticate", "claim": "can_reauthenticate" },
                    { "header": "x-authgear-user-roles", "claim": "roles" },
                    { "header": "x-authgear-session-amr", "claim": "amr" },
                    { "header": "x-authgear-session-authenticated-at", "claim": "auth_time" }
                ]
            },
            "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }],
            "from_cookies": ["{cookie_prefix}app_session", "{cookie_prefix}app_access_token", "{cookie_prefix}session"],
            "subjects": { "safe_regex": { "regex": "(?s).+" } },
            "multiple_credentials": "first",
            "csrf": true,
            "remove_headers": ["x-authgear-*"],
            "claim_to_headers": [
                { "header_name": "x-authgear-session-valid", "value": "true" },
                { "header_name": "x-authgear-user-id", "claim_name": "sub" },
                { "header_name": "x-authgear-user-anonymous", "claim_name": "anonymous" },
                { "header_name": "x-authgear-user-verified", "claim_name": "verified" },
                { "header_name": "x-authgear-user-can-reauthenticate", "claim_name": "can_reauthenticate" },
                { "header_name": "x-authgear-user-roles", "claim_name": "roles" },
                { "header_name": "x-authgear-session-amr", "claim_name": "amr" },
                { "header_name": "x-authgear-session-authenticated-at", "claim_name": "auth_time" }
            ]
        }"#,
    },
    Preset {
        name: "clerk",
        parameters: &[needed("frontend_api", Kind::Host), CLUSTER],
        needs_audiences: false,
        fields: r#"{
            "issuer": "https://{frontend_api}",
            "remote_jwks": {
                "http_uri": { "uri": "https://{frontend_api}/.well-known/jwks.json", "cluster": "{cluster}" },
                "cache_duration": "300s"
            },
            "algorithms": ["RS256"],
            "typ": ["JWT", ""],
            "claims_format": "clerk",
            "subjects": { "safe_regex": { "regex": "(?s).+" } },
            "required_claims": [
                { "claim_name": "cat", "in": "header", "optional": true, "string_match": { "safe_regex": { "regex": "cl_B7d4PD111AAA|cl_I7d4PD111III" } } },
                { "claim_name": "sts", "optional": true, "invert_match": true, "string_match": { "exact": "pending" } }
            ],
            "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }],
            "from_cookies": ["__session"],
            "multiple_credentials": "first",
            "csrf": true,
            "browser_session": { "client_uat_cookie": "__client_uat", "debug_headers": true },
            "clock_skew_seconds": 5,
            "remove_headers": ["x-clerk-*", "x-middleware-*"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-session-id", "claim_name": "sid" },
                { "header_name": "x-auth-org-id", "claim_name": "org_id" },
                { "header_name": "x-auth-org-slug", "claim_name": "org_slug" },
                { "header_name": "x-auth-org-role", "claim_name": "org_role" },
                { "header_name": "x-auth-org-permissions", "claim_name": "org_permissions" },
                { "header_name": "x-auth-actor", "claim_name": "act.sub" }
            ]
        }"#,
    },
    Preset {
        name: "cloudflare_access",
        parameters: &[needed("team", Kind::Name), CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer": "https://{team}.cloudflareaccess.com",
            "remote_jwks": {
                "http_uri": { "uri": "https://{team}.cloudflareaccess.com/cdn-cgi/access/certs", "cluster": "{cluster}" },
                "cache_duration": "3600s"
            },
            "algorithms": ["RS256"],
            "from_headers": [{ "name": "cf-access-jwt-assertion" }],
            "from_cookies": ["CF_Authorization"],
            "multiple_credentials": "first",
            "csrf": true,
            "remove_headers": ["cf-access-authenticated-user-email"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-email", "claim_name": "email" },
                { "header_name": "x-auth-service", "claim_name": "common_name" }
            ]
        }"#,
    },
    Preset {
        name: "cognito",
        parameters: &[
            needed("region", Kind::Name),
            needed("user_pool_id", Kind::Name),
            needed("client_id", Kind::Name),
            CLUSTER,
        ],
        needs_audiences: false,
        fields: r#"{
            "issuer": "https://cognito-idp.{region}.amazonaws.com/{user_pool_id}",
            "remote_jwks": { "http_uri": {
                "uri": "https://cognito-idp.{region}.amazonaws.com/{user_pool_id}/.well-known/jwks.json", "cluster": "{cluster}"
            } },
            "algorithms": ["RS256"],
            "required_claims": [
                { "claim_name": "token_use", "string_match": { "exact": "access" } },
                { "claim_name": "client_id", "string_match": { "exact": "{client_id}" } }
            ],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-name", "claim_name": "username" },
                { "header_name": "x-auth-groups", "claim_path": [{ "key": "cognito:groups" }] },
                { "header_name": "x-auth-scope", "claim_name": "scope" }
            ]
        }"#,
    },
    Preset {
        name: "entra",
        parameters: &[needed("tenant", Kind::Name), CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer": "https://login.microsoftonline.com/{tenant}/v2.0",
            "remote_jwks": { "http_uri": {
                "uri": "https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys", "cluster": "{cluster}"
            } },
            "algorithms": ["RS256"],
            "required_claims": [{ "claim_name": "tid", "string_match": { "exact": "{tenant}" } }],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "oid" },
                { "header_name": "x-auth-tenant-id", "claim_name": "tid" },
                { "header_name": "x-auth-scope", "claim_name": "scp" },
                { "header_name": "x-auth-roles", "claim_name": "roles" }
            ]
        }"#,
    },
    Preset {
        name: "entra_multi_tenant",
        parameters: &[CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer_template": "https://login.microsoftonline.com/{tid}/v2.0",
            "remote_jwks": { "http_uri": {
                "uri": "https://login.microsoftonline.com/common/discovery/v2.0/keys", "cluster": "{cluster}"
            } },
            "algorithms": ["RS256"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "oid" },
                { "header_name": "x-auth-tenant-id", "claim_name": "tid" },
                { "header_name": "x-auth-scope", "claim_name": "scp" },
                { "header_name": "x-auth-roles", "claim_name": "roles" }
            ]
        }"#,
    },
    Preset {
        name: "firebase",
        parameters: &[needed("project_id", Kind::Name), CLUSTER],
        needs_audiences: false,
        fields: r#"{
            "issuer": "https://securetoken.google.com/{project_id}",
            "audiences": ["{project_id}"],
            "remote_jwks": { "http_uri": {
                "uri": "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
                "cluster": "{cluster}"
            }, "cache_duration": "3600s" },
            "algorithms": ["RS256"],
            "subjects": { "safe_regex": { "regex": "(?s).{1,128}" } },
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-email", "claim_name": "email" },
                { "header_name": "x-auth-email-verified", "claim_name": "email_verified" },
                { "header_name": "x-auth-tenant-id", "claim_name": "firebase.tenant" }
            ]
        }"#,
    },
    Preset {
        name: "github_actions",
        parameters: &[needed("owner", Kind::Name), CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer": "https://token.actions.githubusercontent.com",
            "remote_jwks": { "http_uri": {
                "uri": "https://token.actions.githubusercontent.com/.well-known/jwks", "cluster": "{cluster}"
            } },
            "algorithms": ["RS256"],
            "required_claims": [{ "claim_name": "repository_owner", "string_match": { "exact": "{owner}" } }],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-repository", "claim_name": "repository" },
                { "header_name": "x-auth-ref", "claim_name": "ref" },
                { "header_name": "x-auth-environment", "claim_name": "environment" },
                { "header_name": "x-auth-workflow", "claim_name": "job_workflow_ref" }
            ]
        }"#,
    },
    Preset {
        name: "google",
        parameters: &[CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer": "https://accounts.google.com",
            "issuers": ["accounts.google.com"],
            "remote_jwks": { "http_uri": { "uri": "https://www.googleapis.com/oauth2/v3/certs", "cluster": "{cluster}" } },
            "algorithms": ["RS256"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-email", "claim_name": "email" },
                { "header_name": "x-auth-email-verified", "claim_name": "email_verified" },
                { "header_name": "x-auth-domain", "claim_name": "hd" }
            ]
        }"#,
    },
    Preset {
        name: "hydra",
        parameters: &[needed("url", Kind::Url), CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer": "{url}",
            "issuers": ["{url}/"],
            "remote_jwks": { "http_uri": { "uri": "{url}/.well-known/jwks.json", "cluster": "{cluster}" } },
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-client-id", "claim_name": "client_id" },
                { "header_name": "x-auth-scope", "claim_name": "scp", "encoding": "space" }
            ]
        }"#,
    },
    Preset {
        name: "iap",
        parameters: &[CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer": "https://cloud.google.com/iap",
            "remote_jwks": { "http_uri": {
                "uri": "https://www.gstatic.com/iap/verify/public_key-jwk", "cluster": "{cluster}"
            } },
            "algorithms": ["ES256"],
            "from_headers": [{ "name": "x-goog-iap-jwt-assertion" }],
            "clock_skew_seconds": 30,
            "max_lifetime": "660s",
            "remove_headers": ["x-goog-authenticated-user-*"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-email", "claim_name": "email" },
                { "header_name": "x-auth-domain", "claim_name": "hd" }
            ]
        }"#,
    },
    Preset {
        name: "keycloak",
        parameters: &[needed("url", Kind::Url), needed("realm", Kind::Name), CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer": "{url}/realms/{realm}",
            "remote_jwks": { "http_uri": { "uri": "{url}/realms/{realm}/protocol/openid-connect/certs", "cluster": "{cluster}" } },
            "required_claims": [{ "claim_name": "typ", "string_match": { "exact": "Bearer" } }],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-name", "claim_name": "preferred_username" },
                { "header_name": "x-auth-email", "claim_name": "email" },
                { "header_name": "x-auth-roles", "claim_name": "realm_access.roles" },
                { "header_name": "x-auth-scope", "claim_name": "scope" }
            ]
        }"#,
    },
    Preset {
        name: "kratos",
        parameters: &[
            needed("url", Kind::Url),
            Parameter { name: "cookie", kind: Kind::Name, default: Some("ory_kratos_session") },
            CLUSTER,
        ],
        needs_audiences: false,
        fields: r#"{
            "session_check": {
                "kind": "user_info",
                "http_uri": { "uri": "{url}/sessions/whoami", "cluster": "{cluster}" },
                "credential_header": "x-session-token",
                "cookies": ["{cookie}"],
                "deny": [{ "status": 401 }, { "status": 403, "answer": 403 }]
            },
            "required_claims": [
                { "claim_name": "active", "string_match": { "exact": "true" } },
                { "claim_name": "identity.id", "string_match": { "safe_regex": { "regex": "(?s).+" } } }
            ],
            "from_headers": [
                { "name": "x-session-token" },
                { "name": "authorization", "value_prefix": "Bearer " }
            ],
            "from_cookies": ["{cookie}"],
            "multiple_credentials": "first",
            "csrf": true,
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "identity.id" },
                { "header_name": "x-auth-session-id", "claim_name": "id" },
                { "header_name": "x-auth-assurance", "claim_name": "authenticator_assurance_level" }
            ]
        }"#,
    },
    Preset {
        name: "kubernetes",
        parameters: &[
            Parameter {
                name: "url",
                kind: Kind::Url,
                default: Some("https://kubernetes.default.svc.cluster.local"),
            },
            CLUSTER,
        ],
        needs_audiences: true,
        fields: r#"{
            "issuer": "{url}",
            "remote_jwks": { "http_uri": { "uri": "{url}/openid/v1/jwks", "cluster": "{cluster}" } },
            "algorithms": ["RS256", "ES256"],
            "subjects": { "prefix": "system:serviceaccount:" },
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-namespace", "claim_path": [{ "key": "kubernetes.io" }, { "key": "namespace" }] },
                { "header_name": "x-auth-service-account", "claim_path": [{ "key": "kubernetes.io" }, { "key": "serviceaccount" }, { "key": "name" }] }
            ]
        }"#,
    },
    Preset {
        name: "okta",
        parameters: &[
            needed("domain", Kind::Host),
            Parameter { name: "authorization_server", kind: Kind::Name, default: Some("default") },
            CLUSTER,
        ],
        needs_audiences: true,
        fields: r#"{
            "issuer": "https://{domain}/oauth2/{authorization_server}",
            "remote_jwks": { "http_uri": {
                "uri": "https://{domain}/oauth2/{authorization_server}/v1/keys", "cluster": "{cluster}"
            } },
            "algorithms": ["RS256"],
            "required_claims": [{ "claim_name": "cid", "string_match": { "safe_regex": { "regex": "(?s).+" } } }],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "uid" },
                { "header_name": "x-auth-name", "claim_name": "sub" },
                { "header_name": "x-auth-client-id", "claim_name": "cid" },
                { "header_name": "x-auth-scope", "claim_name": "scp", "encoding": "space" },
                { "header_name": "x-auth-groups", "claim_name": "groups" }
            ]
        }"#,
    },
    Preset {
        name: "oneauxilia",
        parameters: &[needed("instance", Kind::Url), CLUSTER],
        needs_audiences: false,
        fields: r#"{
            "issuer": "{instance}",
            "remote_jwks": {
                "http_uri": { "uri": "{instance}/.well-known/jwks.json", "cluster": "{cluster}" },
                "cache_duration": "300s"
            },
            "algorithms": ["RS256"],
            "typ": ["JWT", ""],
            "numeric_subject": true,
            "claims_format": "clerk",
            "subjects": { "safe_regex": { "regex": "(?s).+" } },
            "required_claims": [
                { "claim_name": "cat", "in": "header", "optional": true, "string_match": { "safe_regex": { "regex": "cl_B7d4PD111AAA|cl_I7d4PD111III" } } },
                { "claim_name": "sts", "optional": true, "invert_match": true, "string_match": { "exact": "pending" } }
            ],
            "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }],
            "from_cookies": ["__session"],
            "multiple_credentials": "first",
            "csrf": true,
            "browser_session": {},
            "clock_skew_seconds": 5,
            "remove_headers": ["x-oneauxilia-*", "x-clerk-*", "oneauxiliaauth"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-session-id", "claim_name": "sid" },
                { "header_name": "x-auth-org-id", "claim_name": "org_id" },
                { "header_name": "x-auth-org-slug", "claim_name": "org_slug" },
                { "header_name": "x-auth-org-role", "claim_name": "org_role" },
                { "header_name": "x-auth-org-permissions", "claim_name": "org_permissions" },
                { "header_name": "x-auth-actor", "claim_name": "act.sub" }
            ]
        }"#,
    },
    Preset {
        name: "oneauxilia_rest",
        parameters: &[
            needed("instance", Kind::Url),
            needed("api", Kind::Url),
            CLUSTER,
            needed("secret_key", Kind::Secret),
        ],
        needs_audiences: false,
        fields: r#"{
            "preset": "oneauxilia",
            "session_check": {
                "kind": "session_status",
                "http_uri": { "uri": "{api}/api/v1/sessions/{sid}/verify/", "cluster": "{cluster}" },
                "method": "POST",
                "headers": { "oneauxiliaauth": {secret_key} },
                "deny": [{ "status": 400 }, { "status": 404 }]
            }
        }"#,
    },
    Preset {
        name: "stack_auth",
        parameters: &[needed("project_id", Kind::Name), STACK_AUTH_URL, CLUSTER],
        needs_audiences: false,
        fields: r#"{
            "issuer": "{url}/api/v1/projects/{project_id}",
            "issuers": ["{url_alias}/api/v1/projects/{project_id}"{more_issuers}],
            "audiences": ["{project_id}"{more_audiences}],
            "remote_jwks": {
                "http_uri": {
                    "uri": "{url}/api/v1/projects/{project_id}/.well-known/jwks.json{jwks_query}", "cluster": "{cluster}"
                },
                "cache_duration": "3600s"
            },
            "algorithms": ["ES256"],
            "required_claims": [
                { "claim_name": "project_id", "string_match": { "exact": "{project_id}" } },
                { "claim_name": "branch_id", "string_match": { "exact": "main" } },
                { "any_of": [{users}] }
            ],
            "from_headers": [
                { "name": "x-hexclave-access-token" },
                { "name": "x-stack-access-token" },
                { "name": "x-hexclave-auth", "json_member": "accessToken" },
                { "name": "x-stack-auth", "json_member": "accessToken" },
                { "name": "authorization", "value_prefix": "Bearer hexclave_", "value_encoding": "base64", "json_member": "accessToken" },
                { "name": "authorization", "value_prefix": "Bearer stackauth_", "value_encoding": "base64", "json_member": "accessToken" },
                { "name": "authorization", "value_prefix": "Bearer " }
            ],
            "multiple_credentials": "same",
            "clock_skew_seconds": 5,
            "remove_headers": ["x-stack-*", "x-hexclave-*"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-email", "claim_name": "email" },
                { "header_name": "x-auth-email-verified", "claim_name": "email_verified" },
                { "header_name": "x-auth-name", "claim_name": "name" },
                { "header_name": "x-auth-team-id", "claim_name": "selected_team_id" },
                { "header_name": "x-auth-session-id", "claim_name": "refresh_token_id" },
                { "header_name": "x-auth-anonymous", "claim_name": "is_anonymous" },
                { "header_name": "x-auth-restricted", "claim_name": "is_restricted" }
            ]
        }"#,
    },
    Preset {
        name: "stack_auth_rest",
        parameters: &[
            needed("project_id", Kind::Name),
            STACK_AUTH_URL,
            CLUSTER,
            needed("secret_key", Kind::Secret),
        ],
        needs_audiences: false,
        fields: r#"{
            "session_check": {
                "kind": "user_info",
                "http_uri": { "uri": "{url}/api/v1/users/me", "cluster": "{cluster}" },
                "credential_header": "x-stack-access-token",
                "headers": {
                    "x-stack-access-type": "server",
                    "x-stack-project-id": "{project_id}",
                    "x-stack-secret-server-key": {secret_key}{more_headers}
                },
                "deny": [
                    { "status": 400, "code": "CANNOT_GET_OWN_USER_WITHOUT_USER" },
                    { "status": 401, "code": "UNPARSABLE_ACCESS_TOKEN" },
                    { "status": 401, "code": "ACCESS_TOKEN_EXPIRED" },
                    { "status": 401, "code": "INVALID_PROJECT_FOR_ACCESS_TOKEN" },
                    { "status": 401, "code": "ANONYMOUS_AUTHENTICATION_NOT_ALLOWED" },
                    { "status": 403, "code": "RESTRICTED_USER_NOT_ALLOWED", "answer": 403 }
                ]
            },
            "required_claims": [
                { "claim_name": "id", "string_match": { "safe_regex": { "regex": "(?s).+" } } },
                { "any_of": [{users}] }
            ],
            "from_headers": [
                { "name": "x-hexclave-access-token" },
                { "name": "x-stack-access-token" },
                { "name": "x-hexclave-auth", "json_member": "accessToken" },
                { "name": "x-stack-auth", "json_member": "accessToken" },
                { "name": "authorization", "value_prefix": "Bearer hexclave_", "value_encoding": "base64", "json_member": "accessToken" },
                { "name": "authorization", "value_prefix": "Bearer stackauth_", "value_encoding": "base64", "json_member": "accessToken" },
                { "name": "authorization", "value_prefix": "Bearer " }
            ],
            "multiple_credentials": "same",
            "remove_headers": ["x-stack-*", "x-hexclave-*"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "id" },
                { "header_name": "x-auth-email", "claim_name": "primary_email" },
                { "header_name": "x-auth-email-verified", "claim_name": "primary_email_verified" },
                { "header_name": "x-auth-name", "claim_name": "display_name" },
                { "header_name": "x-auth-team-id", "claim_name": "selected_team_id" },
                { "header_name": "x-auth-anonymous", "claim_name": "is_anonymous" },
                { "header_name": "x-auth-restricted", "claim_name": "is_restricted" }
            ]
        }"#,
    },
    Preset {
        name: "supabase",
        parameters: &[needed("project_ref", Kind::Name), CLUSTER],
        needs_audiences: false,
        fields: r#"{
            "issuer": "https://{project_ref}.supabase.co/auth/v1",
            "audiences": ["authenticated"],
            "remote_jwks": { "http_uri": {
                "uri": "https://{project_ref}.supabase.co/auth/v1/.well-known/jwks.json", "cluster": "{cluster}"
            }, "cache_duration": "600s" },
            "algorithms": ["ES256", "RS256", "EdDSA"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-email", "claim_name": "email" },
                { "header_name": "x-auth-role", "claim_name": "role" },
                { "header_name": "x-auth-session-id", "claim_name": "session_id" },
                { "header_name": "x-auth-assurance", "claim_name": "aal" }
            ]
        }"#,
    },
    Preset {
        name: "workos",
        parameters: &[needed("client_id", Kind::Name), CLUSTER],
        needs_audiences: false,
        fields: r#"{
            "issuer": "https://api.workos.com",
            "issuers": ["https://api.workos.com/", "https://api.workos.com/user_management/{client_id}"],
            "remote_jwks": { "http_uri": { "uri": "https://api.workos.com/sso/jwks/{client_id}", "cluster": "{cluster}" } },
            "algorithms": ["RS256"],
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-session-id", "claim_name": "sid" },
                { "header_name": "x-auth-org-id", "claim_name": "org_id" },
                { "header_name": "x-auth-roles", "claim_name": "role" },
                { "header_name": "x-auth-permissions", "claim_name": "permissions" }
            ]
        }"#,
    },
    Preset {
        name: "zitadel",
        parameters: &[needed("domain", Kind::Host), CLUSTER],
        needs_audiences: true,
        fields: r#"{
            "issuer": "https://{domain}",
            "remote_jwks": { "http_uri": { "uri": "https://{domain}/oauth/v2/keys", "cluster": "{cluster}" } },
            "claim_to_headers": [
                { "header_name": "x-auth-user-id", "claim_name": "sub" },
                { "header_name": "x-auth-org-id", "claim_path": [{ "key": "urn:zitadel:iam:user:resourceowner:id" }] },
                { "header_name": "x-auth-email", "claim_name": "email" }
            ]
        }"#,
    },
];

/// The preset that `node` names.
pub(super) fn preset(node: &Node<'_>) -> Result<&'static Preset, ConfigError> {
    let name = node.string()?;
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        node.expected(format!("one of {}", names.join(", ")))
    })
}

impl Preset {
    /// Its fields, with the parameters that `fields` has.
    pub(super) fn render(
        &self,
        provider: &Node<'_>,
        fields: &mut Fields<'_>,
        surroundings: Surroundings<'_>,
    ) -> Result<Object<'static>, ConfigError> {
        if self.needs_audiences && !fields.has("audiences") {
            let expected = format!("the field \"audiences\": tokens of {} are for many services", self.name);
            return Err(provider.error("nothing", expected));
        }
        // Nothing is fetched for keys that are written beside the preset; a session is still asked about.
        let calls =
            self.fields.contains("\"session_check\"") || !KEY_SOURCES.iter().any(|source| fields.has(source));
        let needs_cluster = calls && surroundings.call_by == CallBy::Cluster;
        let text = preset_levels::fill(self.name, self.fields, fields)?;
        let mut values = Vec::new();
        for Parameter { name, kind, default } in self.parameters {
            let value = match (fields.take(name)?, default) {
                (Some(node), _) => kind.read(&node)?,
                (None, Some(default)) => (*default).to_owned(),
                (None, None) if *name == CLUSTER.name && !needs_cluster => "none".to_owned(),
                (None, None) => return Err(provider.error("nothing", format!("the field {name:?}"))),
            };
            values.push((format!("{{{name}_alias}}"), alias(&value).to_owned()));
            values.push((format!("{{{name}}}"), value));
        }
        with_values(&text, &values)
            .ok_or_else(|| provider.error("a preset that cannot be read", "another version of the filter"))
    }
}

/// The fields of a preset over those of the preset that it names, which has no other parameters.
fn with_values(text: &str, values: &[(String, String)]) -> Option<Object<'static>> {
    let fill = |text: String, (name, value): &(String, String)| text.replace(name, value);
    let text = values.iter().fold(text.to_owned(), fill);
    let fields = Object::parse(text.as_bytes()).ok()?;
    let base = fields.get("preset").and_then(Json::as_str);
    let base = base.map(|name| with_values(preset_fields(name)?, values));
    Some(match base {
        Some(base) => base?.with(&fields).into_owned(),
        None => fields.into_owned(),
    })
}

/// The other name of a server, or the same.
fn alias(name: &str) -> &str {
    let mut pairs = ALIASES.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]);
    pairs.find(|(known, _)| *known == name).map_or(name, |(_, other)| other)
}

impl Kind {
    /// Nothing that is let through here means anything in JSON.
    fn read(self, node: &Node<'_>) -> Result<String, ConfigError> {
        if matches!(self, Self::Secret) {
            // Judged where it is sent, which does not show it either.
            return match node.value {
                Json::String(_) | Json::Object(_) => Ok(node.value.to_string()),
                other => Err(node.error(other.kind(), "a string or {\"environment_variable\": ...}")),
            };
        }
        let text = node.string()?;
        let is_of = |text: &str, others: &[u8]| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
        };
        let (is_valid, expected) = match self {
            Self::Url => {
                let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
                let is_valid = rest.is_some_and(|rest| is_of(rest, b"-._~:/")) && !text.ends_with('/');
                (is_valid, "a URL such as \"https://id.example\", without a slash at its end")
            }
            Self::Host => (is_of(text, b"-.:"), "a host such as \"id.example\", without a scheme"),
            Self::Name => (is_of(text, b"-._"), "a name of letters, digits, \"-\", \"_\" and \".\""),
            Self::Prefix => (
                text.is_empty() || is_of(text, b"-._"),
                "letters, digits, \"-\", \"_\" and \".\", or nothing",
            ),
            Self::Text | Self::Secret => {
                (is_of(text, b"-._~:/|"), "a name of letters, digits and \"-._~:/|\"")
            }
        };
        if is_valid { Ok(text.to_owned()) } else { Err(node.expected(expected)) }
    }
}

/// The fields of the preset of this name, in JSON with its parameters in braces.
pub fn preset_fields(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|preset| preset.name == name).map(|preset| preset.fields)
}

/// The names of all presets, each with those of its parameters that have no default.
pub fn presets() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    PRESETS.iter().map(|preset| {
        let needed = preset.parameters.iter().filter(|parameter| parameter.default.is_none());
        let audiences = preset.needs_audiences.then_some("audiences");
        (preset.name, needed.map(|parameter| parameter.name).chain(audiences).collect())
    })
}
