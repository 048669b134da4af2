//! Presets, each against a token in the exact shape of its provider.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use edge_authn::config::{self, Config};
use edge_authn::engine::Decision;
use edge_authn::request::HeaderField;
use edge_authn::session_check::Check;
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::{self, SigningKey};

/// A provider, what it is configured with, and a token of it.
struct Case {
    preset: &'static str,
    parameters: Value,
    /// Where its keys must be asked for.
    keys_at: &'static str,
    /// A key of its kind.
    key: &'static SigningKey,
    header: Value,
    claims: Value,
    /// What the upstream must see.
    headers: &'static [(&'static str, &'static str)],
    /// Changes to header and claims, each of which makes it a token that must not pass.
    bad: Vec<(Value, Value)>,
}

/// Making one takes seconds.
static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rs256("k1"));
static P256: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::es256("k1"));

const INSTANCE: &str = "https://oneauxilia.acme.example";
const STACK: &str = "5b4ac1c2-7ae0-4b1c-a8a1-5c0b9f2b3d4e";

fn cases() -> Vec<Case> {
    let header = |typ: Value| json!({ "typ": typ });
    let claim = |claims: Value| (json!({}), claims);
    vec![
        Case {
            preset: "auth0",
            parameters: json!({ "domain": "acme.eu.auth0.com", "audiences": ["https://api.acme.example"] }),
            keys_at: "https://acme.eu.auth0.com/.well-known/jwks.json",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://acme.eu.auth0.com/", "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
                "aud": ["https://api.acme.example", "https://acme.eu.auth0.com/userinfo"], "azp": "my_client_id",
                "scope": "openid read:orders", "permissions": ["read:orders", "write:orders"], "org_id": "org_9ybsU1dN2dKfDkBi" }),
            headers: &[
                ("x-auth-user-id", "auth0|5f7c8ec7c33c6c004bbafe82"),
                ("x-auth-scope", "openid read:orders"),
                ("x-auth-permissions", "read:orders,write:orders"),
                ("x-auth-org-id", "org_9ybsU1dN2dKfDkBi"),
            ],
            bad: vec![
                claim(json!({ "iss": "https://acme.eu.auth0.com" })),
                claim(json!({ "aud": "my_client_id" })),
                claim(json!({ "aud": null })),
            ],
        },
        Case {
            preset: "authgear",
            parameters: json!({ "endpoint": "https://myapp.authgear.cloud" }),
            keys_at: "https://myapp.authgear.cloud/oauth2/jwks",
            key: &RSA,
            header: header(json!("at+jwt")),
            claims: json!({ "iss": "https://myapp.authgear.cloud", "aud": ["https://myapp.authgear.cloud"],
                "sub": "7a1c8b9e-2a0f-4a53-9f0f-0f2a7a1f5c11", "client_id": "portal", "scope": "openid offline_access",
                "jti": "f0e1", "auth_time": 1_799_999_000_u64, "amr": ["pwd", "mfa", "otp"],
                "https://authgear.com/claims/user/is_anonymous": false,
                "https://authgear.com/claims/user/is_verified": true,
                "https://authgear.com/claims/user/can_reauthenticate": true,
                "https://authgear.com/claims/user/roles": ["admin", "a,b"] }),
            headers: &[
                ("x-authgear-session-valid", "true"),
                ("x-authgear-user-id", "7a1c8b9e-2a0f-4a53-9f0f-0f2a7a1f5c11"),
                ("x-authgear-user-anonymous", "false"),
                ("x-authgear-user-verified", "true"),
                ("x-authgear-user-can-reauthenticate", "true"),
                ("x-authgear-user-roles", "admin,a%2Cb"),
                ("x-authgear-session-amr", "pwd mfa otp"),
                ("x-authgear-session-authenticated-at", "1799999000"),
            ],
            bad: vec![
                // An ID token.
                (header(json!("JWT")), json!({ "aud": "portal" })),
                (header(json!("JWT")), json!({})),
                claim(json!({ "aud": ["https://api.example"] })),
                claim(json!({ "iss": "https://myapp.authgear.cloud/" })),
            ],
        },
        Case {
            preset: "clerk",
            parameters: json!({ "frontend_api": "clerk.acme.example", "authorized_parties": ["https://acme.example"] }),
            keys_at: "https://clerk.acme.example/.well-known/jwks.json",
            key: &RSA,
            header: json!({ "typ": "JWT", "cat": "cl_B7d4PD111AAA" }),
            claims: json!({ "iss": "https://clerk.acme.example", "sub": "user_2aBcD", "sid": "sess_2xYz", "azp": "https://acme.example",
                "iat": START, "nbf": START - 10, "sts": "active", "org_id": "org_1", "org_slug": "acme", "org_role": "org:admin",
                "org_permissions": ["org:a:read", "org:b:manage"], "act": { "sub": "user_admin" } }),
            headers: &[
                ("x-auth-user-id", "user_2aBcD"),
                ("x-auth-session-id", "sess_2xYz"),
                ("x-auth-org-id", "org_1"),
                ("x-auth-org-slug", "acme"),
                ("x-auth-org-role", "org:admin"),
                ("x-auth-org-permissions", "org:a:read,org:b:manage"),
                ("x-auth-actor", "user_admin"),
            ],
            bad: vec![
                (json!({ "cat": "cl_B7d4PD222AAA" }), json!({})),
                (json!({ "cat": "cl_B7d4PD333AAA" }), json!({})),
                (header(json!("at+jwt")), json!({})),
                claim(json!({ "sts": "pending" })),
                claim(json!({ "azp": "https://evil.acme.example" })),
                claim(json!({ "azp": null })),
                claim(json!({ "sub": null })),
                claim(json!({ "sub": 5 })),
                claim(json!({ "iss": "https://clerk.other.example" })),
            ],
        },
        Case {
            preset: "cloudflare_access",
            parameters: json!({ "team": "acme", "audiences": ["4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2"] }),
            keys_at: "https://acme.cloudflareaccess.com/cdn-cgi/access/certs",
            key: &RSA,
            header: header(json!(null)),
            claims: json!({ "iss": "https://acme.cloudflareaccess.com", "type": "app", "sub": "ca639bb9-26ab",
                "aud": ["4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2"], "email": "a@acme.example" }),
            headers: &[("x-auth-user-id", "ca639bb9-26ab"), ("x-auth-email", "a@acme.example")],
            bad: vec![
                claim(json!({ "aud": ["another application"] })),
                claim(json!({ "iss": "https://other.cloudflareaccess.com" })),
            ],
        },
        Case {
            preset: "cognito",
            parameters: json!({ "region": "eu-west-1", "user_pool_id": "eu-west-1_AbCdEf", "client_id": "4p7q8r" }),
            keys_at: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf/.well-known/jwks.json",
            key: &RSA,
            header: header(json!(null)),
            claims: json!({ "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf", "sub": "aaaa-bbbb",
                "token_use": "access", "client_id": "4p7q8r", "username": "alice", "cognito:groups": ["admins"], "scope": "aws.cognito.signin.user.admin" }),
            headers: &[
                ("x-auth-user-id", "aaaa-bbbb"),
                ("x-auth-name", "alice"),
                ("x-auth-groups", "admins"),
                ("x-auth-scope", "aws.cognito.signin.user.admin"),
            ],
            bad: vec![
                claim(json!({ "token_use": "id", "aud": "4p7q8r", "client_id": null })),
                claim(json!({ "client_id": "another" })),
                claim(json!({ "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Other" })),
            ],
        },
        Case {
            preset: "entra",
            parameters: json!({ "tenant": "aaaabbbb-0000-cccc-1111-dddd2222eeee", "audiences": ["11112222-bbbb-3333-cccc-4444dddd5555"] }),
            keys_at: "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/discovery/v2.0/keys",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0", "ver": "2.0",
                "aud": "11112222-bbbb-3333-cccc-4444dddd5555", "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
                "oid": "00aa00aa-bb11", "sub": "pairwise", "scp": "Orders.Read", "roles": ["Admin"] }),
            headers: &[
                ("x-auth-user-id", "00aa00aa-bb11"),
                ("x-auth-tenant-id", "aaaabbbb-0000-cccc-1111-dddd2222eeee"),
                ("x-auth-scope", "Orders.Read"),
                ("x-auth-roles", "Admin"),
            ],
            bad: vec![
                claim(json!({ "tid": "other" })),
                claim(json!({ "aud": "https://graph.microsoft.com" })),
                claim(json!({ "iss": "https://login.microsoftonline.com/other/v2.0" })),
            ],
        },
        Case {
            preset: "entra_multi_tenant",
            parameters: json!({ "audiences": ["11112222-bbbb-3333-cccc-4444dddd5555"] }),
            keys_at: "https://login.microsoftonline.com/common/discovery/v2.0/keys",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0", "ver": "2.0",
                "aud": "11112222-bbbb-3333-cccc-4444dddd5555", "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
                "oid": "00aa00aa-bb11", "sub": "pairwise", "scp": "Orders.Read" }),
            headers: &[
                ("x-auth-user-id", "00aa00aa-bb11"),
                ("x-auth-tenant-id", "aaaabbbb-0000-cccc-1111-dddd2222eeee"),
                ("x-auth-scope", "Orders.Read"),
            ],
            bad: vec![
                claim(json!({ "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeef" })),
                claim(json!({ "tid": null })),
                claim(json!({ "aud": "https://graph.microsoft.com" })),
                claim(json!({ "iss": "https://sts.windows.net/aaaabbbb-0000-cccc-1111-dddd2222eeee/" })),
            ],
        },
        Case {
            preset: "firebase",
            parameters: json!({ "project_id": "acme-prod" }),
            keys_at: "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://securetoken.google.com/acme-prod", "aud": "acme-prod", "sub": "uid1", "user_id": "uid1",
                "auth_time": START, "email": "a@acme.example", "email_verified": true,
                "firebase": { "identities": {}, "sign_in_provider": "password", "tenant": "t1" } }),
            headers: &[
                ("x-auth-user-id", "uid1"),
                ("x-auth-email", "a@acme.example"),
                ("x-auth-email-verified", "true"),
                ("x-auth-tenant-id", "t1"),
            ],
            bad: vec![
                claim(json!({ "aud": "other-prod" })),
                claim(json!({ "sub": "" })),
                claim(json!({ "sub": "x".repeat(129) })),
                claim(json!({ "iss": "https://session.firebase.google.com/acme-prod" })),
            ],
        },
        Case {
            preset: "github_actions",
            parameters: json!({ "owner": "acme", "audiences": ["https://deploy.acme.example"] }),
            keys_at: "https://token.actions.githubusercontent.com/.well-known/jwks",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://token.actions.githubusercontent.com", "aud": "https://deploy.acme.example",
                "sub": "repo:acme/shop:environment:prod", "repository": "acme/shop", "repository_owner": "acme",
                "ref": "refs/heads/main", "environment": "prod", "job_workflow_ref": "acme/shop/.github/workflows/d.yml@refs/heads/main" }),
            headers: &[
                ("x-auth-user-id", "repo:acme/shop:environment:prod"),
                ("x-auth-repository", "acme/shop"),
                ("x-auth-ref", "refs/heads/main"),
                ("x-auth-environment", "prod"),
                ("x-auth-workflow", "acme/shop/.github/workflows/d.yml@refs/heads/main"),
            ],
            bad: vec![
                claim(json!({ "repository_owner": "evil" })),
                claim(json!({ "aud": "https://github.com/acme" })),
            ],
        },
        Case {
            preset: "google",
            parameters: json!({ "audiences": ["123.apps.googleusercontent.com"] }),
            keys_at: "https://www.googleapis.com/oauth2/v3/certs",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "accounts.google.com", "azp": "123.apps.googleusercontent.com", "aud": "123.apps.googleusercontent.com",
                "sub": "110169484474386276334", "email": "a@acme.example", "email_verified": true, "hd": "acme.example" }),
            headers: &[
                ("x-auth-user-id", "110169484474386276334"),
                ("x-auth-email", "a@acme.example"),
                ("x-auth-email-verified", "true"),
                ("x-auth-domain", "acme.example"),
            ],
            bad: vec![
                claim(json!({ "aud": "999.apps.googleusercontent.com" })),
                claim(json!({ "iss": "https://accounts.google.com/" })),
            ],
        },
        Case {
            preset: "hydra",
            parameters: json!({ "url": "https://hydra.acme.example", "audiences": ["orders"] }),
            keys_at: "https://hydra.acme.example/.well-known/jwks.json",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://hydra.acme.example/", "sub": "alice", "aud": ["orders"], "client_id": "c1", "scp": ["read", "write"], "ext": {} }),
            headers: &[
                ("x-auth-user-id", "alice"),
                ("x-auth-client-id", "c1"),
                ("x-auth-scope", "read write"),
            ],
            bad: vec![claim(json!({ "aud": [] })), claim(json!({ "iss": "https://other.acme.example/" }))],
        },
        Case {
            preset: "iap",
            parameters: json!({ "audiences": ["/projects/1234/global/backendServices/5678"] }),
            keys_at: "https://www.gstatic.com/iap/verify/public_key-jwk",
            key: &P256,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://cloud.google.com/iap", "aud": "/projects/1234/global/backendServices/5678",
                "sub": "accounts.google.com:1234", "email": "a@acme.example", "hd": "acme.example", "exp": START + 600 }),
            headers: &[
                ("x-auth-user-id", "accounts.google.com:1234"),
                ("x-auth-email", "a@acme.example"),
                ("x-auth-domain", "acme.example"),
            ],
            bad: vec![
                claim(json!({ "exp": START + 3600 })),
                claim(json!({ "aud": "/projects/1234/apps/5678" })),
            ],
        },
        Case {
            preset: "keycloak",
            parameters: json!({ "url": "https://sso.acme.example", "realm": "shop", "audiences": ["orders"] }),
            keys_at: "https://sso.acme.example/realms/shop/protocol/openid-connect/certs",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://sso.acme.example/realms/shop", "aud": ["orders", "account"], "sub": "f:1", "typ": "Bearer",
                "azp": "web", "preferred_username": "alice", "email": "a@acme.example", "realm_access": { "roles": ["admin", "user"] }, "scope": "profile email" }),
            headers: &[
                ("x-auth-user-id", "f:1"),
                ("x-auth-name", "alice"),
                ("x-auth-email", "a@acme.example"),
                ("x-auth-roles", "admin,user"),
                ("x-auth-scope", "profile email"),
            ],
            bad: vec![
                claim(json!({ "typ": "ID" })),
                claim(json!({ "typ": "Refresh" })),
                claim(json!({ "typ": "Offline" })),
                claim(json!({ "typ": null })),
                claim(json!({ "aud": "account" })),
                claim(json!({ "iss": "https://sso.acme.example/realms/other" })),
            ],
        },
        Case {
            preset: "kubernetes",
            parameters: json!({ "audiences": ["orders"] }),
            keys_at: "https://kubernetes.default.svc.cluster.local/openid/v1/jwks",
            key: &RSA,
            header: header(json!(null)),
            claims: json!({ "iss": "https://kubernetes.default.svc.cluster.local", "aud": ["orders"],
                "sub": "system:serviceaccount:shop:checkout",
                "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "checkout", "uid": "1" } } }),
            headers: &[
                ("x-auth-user-id", "system:serviceaccount:shop:checkout"),
                ("x-auth-namespace", "shop"),
                ("x-auth-service-account", "checkout"),
            ],
            bad: vec![
                claim(json!({ "iss": "kubernetes/serviceaccount", "aud": null, "exp": null })),
                claim(json!({ "aud": ["https://kubernetes.default.svc"] })),
                claim(json!({ "sub": "alice" })),
            ],
        },
        Case {
            preset: "okta",
            parameters: json!({ "domain": "acme.okta.com", "audiences": ["api://default"] }),
            keys_at: "https://acme.okta.com/oauth2/default/v1/keys",
            key: &RSA,
            header: header(json!(null)),
            claims: json!({ "iss": "https://acme.okta.com/oauth2/default", "ver": 1, "aud": "api://default", "cid": "0oa1", "uid": "00u1",
                "sub": "a@acme.example", "scp": ["openid", "read"], "groups": ["Everyone"] }),
            headers: &[
                ("x-auth-user-id", "00u1"),
                ("x-auth-name", "a@acme.example"),
                ("x-auth-client-id", "0oa1"),
                ("x-auth-scope", "openid read"),
                ("x-auth-groups", "Everyone"),
            ],
            bad: vec![
                claim(json!({ "iss": "https://acme.okta.com" })),
                claim(json!({ "aud": "0oa1" })),
                // An ID token has no `cid`.
                claim(json!({ "cid": null })),
            ],
        },
        Case {
            preset: "oneauxilia",
            parameters: json!({ "instance": "https://oneauxilia.acme.example", "authorized_parties": ["https://acme.example"] }),
            keys_at: "https://oneauxilia.acme.example/.well-known/jwks.json",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://oneauxilia.acme.example", "sub": 4711, "sid": "sess_1", "azp": "https://acme.example",
                "org_id": "org_1", "org_slug": "acme", "org_role": "admin", "org_permissions": ["a"] }),
            headers: &[
                ("x-auth-user-id", "4711"),
                ("x-auth-session-id", "sess_1"),
                ("x-auth-org-id", "org_1"),
                ("x-auth-org-slug", "acme"),
                ("x-auth-org-role", "admin"),
                ("x-auth-org-permissions", "a"),
            ],
            bad: vec![
                claim(json!({ "iss": "https://acme.oneauxilia.io" })),
                claim(json!({ "azp": "https://other.example" })),
                claim(json!({ "sub": null })),
                claim(json!({ "sub": true })),
            ],
        },
        Case {
            preset: "stack_auth",
            parameters: json!({ "project_id": STACK }),
            keys_at: "https://api.stack-auth.com/api/v1/projects/5b4ac1c2-7ae0-4b1c-a8a1-5c0b9f2b3d4e/.well-known/jwks.json",
            key: &P256,
            header: header(json!(null)),
            claims: json!({ "iss": format!("https://api.stack-auth.com/api/v1/projects/{STACK}"), "aud": STACK, "sub": "u-1", "project_id": STACK,
                "branch_id": "main", "refresh_token_id": "r-1", "role": "authenticated", "name": "Ann \u{c4}rger", "email": "a@acme.example",
                "email_verified": true, "selected_team_id": null, "is_anonymous": false, "is_restricted": false, "restricted_reason": null }),
            headers: &[
                ("x-auth-user-id", "u-1"),
                ("x-auth-email", "a@acme.example"),
                ("x-auth-email-verified", "true"),
                ("x-auth-name", "Ann %C3%84rger"),
                ("x-auth-session-id", "r-1"),
                ("x-auth-anonymous", "false"),
                ("x-auth-restricted", "false"),
            ],
            bad: vec![
                claim(json!({ "aud": format!("{STACK}:anon"), "is_anonymous": true })),
                claim(json!({ "is_anonymous": true })),
                claim(json!({ "is_restricted": true })),
                claim(json!({ "project_id": "other" })),
                claim(json!({ "branch_id": "dev" })),
                claim(
                    json!({ "iss": format!("https://api.stack-auth.com/api/v1/projects-anonymous-users/{STACK}") }),
                ),
            ],
        },
        Case {
            preset: "supabase",
            parameters: json!({ "project_ref": "abcdefghij" }),
            keys_at: "https://abcdefghij.supabase.co/auth/v1/.well-known/jwks.json",
            key: &P256,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://abcdefghij.supabase.co/auth/v1", "aud": "authenticated", "sub": "u-1", "email": "a@acme.example",
                "role": "authenticated", "session_id": "s-1", "aal": "aal1", "is_anonymous": false, "app_metadata": {}, "user_metadata": { "role": "admin" } }),
            headers: &[
                ("x-auth-user-id", "u-1"),
                ("x-auth-email", "a@acme.example"),
                ("x-auth-role", "authenticated"),
                ("x-auth-session-id", "s-1"),
                ("x-auth-assurance", "aal1"),
            ],
            bad: vec![
                claim(json!({ "aud": "anon" })),
                claim(json!({ "iss": "https://other.supabase.co/auth/v1" })),
            ],
        },
        Case {
            preset: "workos",
            parameters: json!({ "client_id": "client_01" }),
            keys_at: "https://api.workos.com/sso/jwks/client_01",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://api.workos.com/user_management/client_01", "sub": "user_01", "sid": "session_01",
                "org_id": "org_01", "role": "member", "permissions": ["posts:create"] }),
            headers: &[
                ("x-auth-user-id", "user_01"),
                ("x-auth-session-id", "session_01"),
                ("x-auth-org-id", "org_01"),
                ("x-auth-roles", "member"),
                ("x-auth-permissions", "posts:create"),
            ],
            bad: vec![claim(json!({ "iss": "https://api.workos.com/user_management/client_02" }))],
        },
        Case {
            preset: "zitadel",
            parameters: json!({ "domain": "acme.zitadel.cloud", "audiences": ["69234237810729019"] }),
            keys_at: "https://acme.zitadel.cloud/oauth/v2/keys",
            key: &RSA,
            header: header(json!("JWT")),
            claims: json!({ "iss": "https://acme.zitadel.cloud", "aud": ["69234237810729019"], "sub": "77776025198584418",
                "urn:zitadel:iam:user:resourceowner:id": "69629023906488334", "email": "a@acme.example" }),
            headers: &[
                ("x-auth-user-id", "77776025198584418"),
                ("x-auth-org-id", "69629023906488334"),
                ("x-auth-email", "a@acme.example"),
            ],
            bad: vec![claim(json!({ "aud": ["another project"] }))],
        },
    ]
}

fn configured(preset: &str, parameters: &Value) -> Value {
    let mut provider = json!({ "preset": preset, "cluster": "idp" });
    for (name, value) in parameters.as_object().unwrap() {
        provider[name] = value.clone();
    }
    json!({
        "providers": { "it": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "it" } }],
    })
}

fn error(configuration: &Value) -> String {
    Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string()
}

/// With `changes` made; `null` takes away.
fn changed(object: &Value, changes: &Value) -> Value {
    let mut object = object.clone();
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        }
    }
    object
}

fn token(case: &Case, key: &SigningKey, changes: &(Value, Value)) -> String {
    let mut claims = json!({ "iat": START, "exp": START + 300 });
    claims = changed(&claims, &case.claims);
    let mut header = case.header.clone();
    for (name, value) in changes.0.as_object().unwrap() {
        header[name] = value.clone();
    }
    key.sign_with_header(&header, &changed(&claims, &changes.1))
}

/// A request with the token where this provider's SDK puts it.
fn request(case: &Case, token: &str) -> edge_authn::request::RequestHead {
    match case.preset {
        "iap" => get("/", &[("x-goog-iap-jwt-assertion", token)]),
        "cloudflare_access" => get("/", &[("cf-access-jwt-assertion", token)]),
        "stack_auth" => get("/", &[("x-stack-access-token", token)]),
        _ => get_with("/", token),
    }
}

#[test]
fn each_preset_takes_the_tokens_of_its_provider_and_no_others() {
    for case in cases() {
        let name = case.preset;
        let key = case.key;
        let mut gateway = Gateway::new(&configured(name, &case.parameters));
        assert_eq!(gateway.tick(), 1, "{name}");
        let endpoint = gateway.in_flight[0].endpoint.clone();
        let url = format!("{}://{}{}", endpoint.scheme, endpoint.authority, endpoint.path);
        assert_eq!((url.as_str(), endpoint.cluster.as_str()), (case.keys_at, "idp"), "{name}");
        assert!(gateway.answer(200, &tokens::jwks([key]).to_string()), "{name}");

        let unchanged = (json!({}), json!({}));
        let received = match gateway.decide(&request(&case, &token(&case, key, &unchanged))) {
            Decision::Forward(_) => gateway.forward(&request(&case, &token(&case, key, &unchanged))),
            other => panic!("{name}: {other:?}"),
        };
        let seen: Vec<_> = received
            .0
            .iter()
            .filter(|(header, _)| header.starts_with("x-auth"))
            .map(|(header, value)| (header.as_str(), value.as_str()))
            .collect();
        assert_eq!(seen, case.headers, "{name}");

        for changes in &case.bad {
            match gateway.decide(&request(&case, &token(&case, key, changes))) {
                Decision::Refuse(rejection) => assert_eq!(rejection.status(), 401, "{name}: {changes:?}"),
                other => panic!("{name}: {changes:?}: {other:?}"),
            }
        }
        gateway.advance(Duration::from_secs(1000));
        if gateway.tick() > 0 {
            assert!(gateway.answer(200, &tokens::jwks([key]).to_string()), "{name}");
        }
        assert!(
            matches!(gateway.decide(&request(&case, &token(&case, key, &unchanged))), Decision::Refuse(_)),
            "{name}: expired"
        );
    }
}

/// The presets that ask about sessions, and their parameters.
fn checked() -> [(&'static str, Value); 4] {
    [
        ("authgear_resolver", json!({ "endpoint": "https://myapp.authgear.cloud" })),
        ("kratos", json!({ "url": "https://kratos.acme.example" })),
        (
            "oneauxilia_rest",
            json!({ "instance": INSTANCE, "api": "https://api.acme.example:8443",
                "secret_key": { "environment_variable": "ONEAUXILIA_KEY" }, "authorized_parties": ["https://acme.example"] }),
        ),
        (
            "stack_auth_rest",
            json!({ "project_id": STACK, "secret_key": { "environment_variable": "STACK_KEY" } }),
        ),
    ]
}

/// The parameters of each preset that is tested here.
fn all_parameters() -> BTreeMap<&'static str, Value> {
    let cases = cases().into_iter().map(|case| (case.preset, case.parameters));
    cases.chain(checked()).chain([("alb", crate::alb::parameters())]).collect()
}

#[test]
fn every_preset_has_a_case() {
    let tested: Vec<_> = all_parameters().into_keys().collect();
    assert_eq!(tested, config::presets().map(|(name, _)| name).collect::<Vec<_>>());
}

fn environment(name: &str) -> Option<String> {
    match name {
        "STACK_KEY" => Some("ssk_secret".to_owned()),
        "ONEAUXILIA_KEY" => Some("sk_prod_secret".to_owned()),
        _ => None,
    }
}

/// A gateway with a preset that asks about sessions.
fn asking(preset: &str) -> Gateway {
    let configuration = configured(preset, &all_parameters()[preset]);
    let config = Config::parse(configuration.to_string().as_bytes(), &environment).expect(preset);
    Gateway::of(config)
}

fn fields(pairs: &[(&str, &str)]) -> Vec<HeaderField> {
    pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn sent<'c>(check: &'c Check, name: &str) -> Vec<&'c str> {
    let headers = check.call().headers.iter().filter(|(known, _)| known == name);
    headers.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn the_authgear_resolver_is_asked_with_one_credential_and_believed_in_its_headers_alone() {
    let mut gateway = asking("authgear_resolver");
    let request = get(
        "/",
        &[
            ("authorization", "Bearer opaque1"),
            ("cookie", "session=s1.t; analytics=1"),
            ("x-forwarded-host", "evil.example"),
            ("x-authgear-user-id", "root"),
        ],
    );
    let check = gateway.ask(&request);
    let endpoint = &check.call().endpoint;
    assert_eq!(
        (check.call().method, endpoint.authority.as_str(), endpoint.path.as_str()),
        ("GET", "myapp.authgear.cloud", "/_resolver/resolve")
    );
    assert_eq!(sent(&check, "authorization"), ["Bearer opaque1"]);
    assert_eq!(sent(&check, "x-forwarded-proto"), ["https"]);
    assert!(sent(&check, "cookie").is_empty() && sent(&check, "x-forwarded-host").is_empty());
    let answer = fields(&[
        ("X-Authgear-Session-Valid", "true"),
        ("X-Authgear-User-Id", "u-1"),
        ("X-Authgear-User-Anonymous", "false"),
        ("X-Authgear-User-Verified", "true"),
        ("X-Authgear-User-Can-Reauthenticate", "true"),
        ("X-Authgear-User-Roles", "admin,editor"),
        ("X-Authgear-Session-Amr", "pwd otp"),
        ("X-Authgear-Session-Authenticated-At", "1799999000"),
        ("Set-Cookie", "session=; Path=/"),
        ("X-Robots-Tag", "none"),
    ]);
    assert!(gateway.answer_check(check, 200, &answer, b""));
    let received = gateway.forward(&request);
    for (name, value) in [
        ("x-authgear-session-valid", "true"),
        ("x-authgear-user-id", "u-1"),
        ("x-authgear-user-anonymous", "false"),
        ("x-authgear-user-verified", "true"),
        ("x-authgear-user-can-reauthenticate", "true"),
        ("x-authgear-user-roles", "admin,editor"),
        ("x-authgear-session-amr", "pwd otp"),
        ("x-authgear-session-authenticated-at", "1799999000"),
    ] {
        assert_eq!(received.values(name), [value], "{name}");
    }
    assert!(received.values("set-cookie").is_empty() && received.values("x-robots-tag").is_empty());
    assert_eq!(received.values("cookie"), ["analytics=1"]);
}

#[test]
fn each_answer_of_the_authgear_resolver_is_taken_for_what_it_means() {
    let invalid = [("x-authgear-session-valid", "false"), ("set-cookie", "session=; Path=/")];
    for (name, status, headers, expected) in [
        ("no header at all, for a bad token", 200, &[][..], 401),
        ("a session that is over, a user who is disabled", 200, &invalid, 401),
        ("the wrong method or host", 404, &[], 503),
        ("its database is gone", 500, &[], 503),
        ("a redirect", 302, &[("location", "https://evil.example/")], 503),
    ] {
        for credential in [("authorization", "Bearer eyJ.opaque"), ("cookie", "session=s1.t")] {
            let mut gateway = asking("authgear_resolver");
            let request = get("/", &[credential]);
            let check = gateway.ask(&request);
            assert_eq!(sent(&check, "cookie").len(), usize::from(credential.0 == "cookie"));
            gateway.answer_check(check, status, &fields(headers), b"");
            assert_eq!(gateway.refuse(&request).status(), expected, "{name}: {credential:?}");
        }
    }
    let mut gateway = asking("authgear_resolver");
    assert_eq!(gateway.refuse(&get("/", &[("cookie", "analytics=1")])).label(), "missing_credential");
    assert!(gateway.checks().is_empty(), "without a credential nobody is asked");
}

#[test]
fn stack_auth_is_asked_with_our_key_and_nothing_of_the_clients_but_the_token() {
    let mut gateway = asking("stack_auth_rest");
    let request = get(
        "/",
        &[
            ("x-stack-access-token", "t1.t2.t3"),
            ("x-stack-override-error-status", "true"),
            ("x-stack-allow-anonymous-user", "true"),
            ("x-stack-secret-server-key", "forged"),
        ],
    );
    let check = gateway.ask(&request);
    assert_eq!(sent(&check, "x-stack-access-token"), ["t1.t2.t3"]);
    assert_eq!(sent(&check, "x-stack-secret-server-key"), ["ssk_secret"]);
    assert_eq!(sent(&check, "x-stack-access-type"), ["server"]);
    assert_eq!(sent(&check, "x-stack-project-id"), [STACK]);
    for other in ["x-stack-override-error-status", "x-stack-allow-anonymous-user", "authorization", "cookie"]
    {
        assert!(sent(&check, other).is_empty(), "{other}");
    }
    let user = json!({ "id": "u-1", "primary_email": "a@acme.example", "primary_email_verified": true,
        "display_name": null, "selected_team_id": "team-1", "is_anonymous": false, "server_metadata": { "x": 1 } });
    assert!(gateway.answer_check(check, 200, &[], user.to_string().as_bytes()));
    let received = gateway.forward(&request);
    for (name, values) in [
        ("x-auth-user-id", &["u-1"][..]),
        ("x-auth-email", &["a@acme.example"]),
        ("x-auth-email-verified", &["true"]),
        ("x-auth-name", &[]),
        ("x-auth-team-id", &["team-1"]),
        ("x-auth-anonymous", &["false"]),
    ] {
        assert_eq!(received.values(name), values, "{name}");
    }
    assert!(!received.0.iter().any(|(name, _)| name.starts_with("x-stack")));
}

#[test]
fn each_error_of_stack_auth_is_taken_for_what_it_means() {
    for (status, code, expected) in [
        (400, "CANNOT_GET_OWN_USER_WITHOUT_USER", 401),
        (401, "UNPARSABLE_ACCESS_TOKEN", 401),
        (401, "ACCESS_TOKEN_EXPIRED", 401),
        (401, "INVALID_PROJECT_FOR_ACCESS_TOKEN", 401),
        (401, "ANONYMOUS_AUTHENTICATION_NOT_ALLOWED", 401),
        (403, "RESTRICTED_USER_NOT_ALLOWED", 403),
        // Ours to mend, not the user's fault.
        (401, "INVALID_SECRET_SERVER_KEY", 503),
        (401, "SERVER_AUTHENTICATION_REQUIRED", 503),
        (401, "INVALID_PUBLISHABLE_CLIENT_KEY", 503),
        (400, "CURRENT_PROJECT_NOT_FOUND", 503),
        (400, "ACCESS_TYPE_WITHOUT_PROJECT_ID", 503),
        (400, "SCHEMA_ERROR", 503),
        (400, "BRANCH_DOES_NOT_EXIST", 503),
        (429, "RATE_LIMITED", 503),
        (500, "", 503),
    ] {
        let mut gateway = asking("stack_auth_rest");
        let request = get("/", &[("x-stack-access-token", "t1.t2.t3")]);
        let check = gateway.ask(&request);
        gateway.answer_check(
            check,
            status,
            &[],
            json!({ "code": code, "error": "text" }).to_string().as_bytes(),
        );
        assert_eq!(gateway.refuse(&request).status(), expected, "{status} {code}");
    }
}

/// A gateway with the preset `oneauxilia_rest`, changed like that, and its keys.
fn oneauxilia_rest(changes: &Value) -> Gateway {
    let configuration =
        configured("oneauxilia_rest", &changed(&all_parameters()["oneauxilia_rest"], changes));
    let config = Config::parse(configuration.to_string().as_bytes(), &environment).unwrap();
    let mut gateway = Gateway::of(config);
    gateway.tick();
    assert!(gateway.answer(200, &tokens::jwks([&*RSA]).to_string()));
    gateway
}

/// A session token of OneAuxilia, with these claims on top.
fn session_token(changes: &Value) -> String {
    let case = cases().into_iter().find(|case| case.preset == "oneauxilia").unwrap();
    token(&case, case.key, &(json!({}), changes.clone()))
}

#[test]
fn oneauxilia_is_asked_about_the_session_with_our_key_and_without_the_token() {
    let mut gateway = oneauxilia_rest(&json!({}));
    let token = session_token(&json!({}));
    let request = get(
        "/",
        &[
            ("authorization", format!("Bearer {token}").as_str()),
            ("OneAuxiliaAuth", "sk_forged"),
            ("cookie", "accessToken=x"),
        ],
    );
    let check = gateway.ask(&request);
    let call = check.call();
    let url = format!("{}://{}{}", call.endpoint.scheme, call.endpoint.authority, call.endpoint.path);
    assert_eq!(
        (call.method, url.as_str(), call.endpoint.cluster.as_str()),
        ("POST", "https://api.acme.example:8443/api/v1/sessions/sess_1/verify/", "idp")
    );
    assert_eq!(sent(&check, "oneauxiliaauth"), ["sk_prod_secret"]);
    assert!(sent(&check, "authorization").is_empty() && sent(&check, "cookie").is_empty());
    assert!(!format!("{call:?}").contains(&token) && call.body.is_empty());
    let body = json!({ "code": 200, "data": { "user_id": 1, "sub": "root" }, "message": "success" });
    assert!(gateway.answer_check(check, 200, &[], body.to_string().as_bytes()));
    let received = gateway.forward(&request);
    assert_eq!(
        (received.values("x-auth-user-id"), received.values("x-auth-session-id")),
        (vec!["4711"], vec!["sess_1"])
    );
    assert!(received.values("oneauxiliaauth").is_empty());
    // Another token of this session needs no call.
    gateway.forward(&get_with("/", &session_token(&json!({ "iat": START + 1 }))));
    let rejection = gateway.refuse(&get_with("/", &session_token(&json!({ "sid": null }))));
    assert_eq!((rejection.label(), rejection.status()), ("claim", 401));
    let rejection =
        gateway.refuse(&get_with("/", &session_token(&json!({ "azp": "https://other.example" }))));
    assert_eq!(rejection.label(), "authorized_party", "all of its base holds");
}

#[test]
fn each_answer_of_oneauxilia_is_taken_for_what_it_means() {
    for (status, expected) in
        [(400, 401), (404, 401), (401, 503), (403, 503), (405, 503), (302, 503), (429, 503), (500, 503)]
    {
        let mut gateway = oneauxilia_rest(&json!({}));
        let request = get_with("/", &session_token(&json!({})));
        let check = gateway.ask(&request);
        let body = json!({ "code": status, "error": "text", "message": "text" }).to_string();
        gateway.answer_check(check, status, &[], body.as_bytes());
        assert_eq!(gateway.refuse(&request).status(), expected, "{status}");
    }
}

#[test]
fn oneauxilia_can_be_asked_off_the_path_of_requests() {
    let mut gateway =
        oneauxilia_rest(&json!({ "session_check": { "mode": "background", "interval": "5s" } }));
    gateway.forward(&get_with("/", &session_token(&json!({}))));
    let check = gateway.engine.checks(gateway.now).pop().unwrap();
    assert_eq!(sent(&check, "oneauxiliaauth"), ["sk_prod_secret"]);
    assert!(gateway.answer_check(check, 404, &[], b""));
    let refreshed = get_with("/", &session_token(&json!({ "exp": START + 600 })));
    assert_eq!(gateway.refuse(&refreshed).label(), "session_denied");
}

#[test]
fn a_secret_of_a_preset_is_a_text_or_a_variable_and_shown_nowhere() {
    let parse = |secret: Value| {
        let parameters = changed(&all_parameters()["oneauxilia_rest"], &json!({ "secret_key": secret }));
        Config::parse(configured("oneauxilia_rest", &parameters).to_string().as_bytes(), &environment)
    };
    let config = parse(json!("sk_\"{cluster}{api}\\")).unwrap();
    let config::CheckKind::SessionStatus(kind) = &config.providers[0].session_check.as_ref().unwrap().kind
    else {
        panic!()
    };
    assert_eq!(kind.headers[0].value.reveal(), "sk_\"{cluster}{api}\\");
    assert!(!format!("{config:?}").contains("sk_"));
    for (secret, expected) in [
        (json!(5), "providers.it.secret_key: found a number, expected a string"),
        (json!(["sk_1"]), "providers.it.secret_key: found an array"),
        (json!(""), "providers.it.session_check.headers.oneauxiliaauth: found nothing"),
        (json!("sk_1\r\nx: y"), "providers.it.session_check.headers.oneauxiliaauth: found something else"),
        (json!({ "environment_variable": "NOPE" }), "found the string \"NOPE\""),
        (json!({ "file": "sk_1" }), "found nothing, expected the field \"environment_variable\""),
    ] {
        let message = parse(secret).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("sk_1"), "{message}");
    }
}

#[test]
fn fields_of_a_session_check_take_the_place_of_those_of_the_preset_each_for_itself() {
    let config = |preset: &str, check: Value| {
        let mut parameters = all_parameters()[preset].clone();
        parameters["session_check"] = check;
        Config::parse(configured(preset, &parameters).to_string().as_bytes(), &environment)
    };
    let check = |preset, check| config(preset, check).unwrap().providers.remove(0).session_check.unwrap();
    let plain = check("authgear_resolver", json!({}));
    let merged = check(
        "authgear_resolver",
        json!({ "cacheTtl": "30s", "cookies": ["p_session"], "http_uri": { "uri": "https://a/r", "cluster": "c" } }),
    );
    assert_eq!((plain.cache_ttl, merged.cache_ttl), (Duration::from_secs(10), Duration::from_secs(30)));
    assert_eq!((merged.endpoint.authority.as_str(), merged.endpoint.path.as_str()), ("a", "/r"));
    let (config::CheckKind::ForwardAuth(plain), config::CheckKind::ForwardAuth(merged)) =
        (&plain.kind, &merged.kind)
    else {
        panic!()
    };
    assert_eq!(plain.cookies.len(), 3);
    assert_eq!(*merged, config::ForwardAuth { cookies: vec!["p_session".to_owned()], ..plain.clone() });
    // The same kind is no other one.
    let same = check("authgear_resolver", json!({ "kind": "forward_auth", "deny_status": [403] }));
    let config::CheckKind::ForwardAuth(same) = &same.kind else { panic!() };
    assert_eq!((same.claims.len(), same.denied_statuses.as_slice()), (7, &[403][..]));
    // With another kind nothing of the preset's is left.
    let place = json!({ "uri": "https://a/userinfo", "cluster": "c" });
    let other = check("authgear_resolver", json!({ "kind": "user_info", "http_uri": place }));
    let config::CheckKind::UserInfo(other) = &other.kind else { panic!() };
    assert!(other.headers.is_empty(), "{other:?}");
    for (preset, written, expected) in [
        (
            "authgear_resolver",
            json!({ "kind": "user_info" }),
            "providers.it.session_check: found nothing, expected the field \"http_uri\"",
        ),
        ("authgear_resolver", json!({ "kind": null }), "providers.it.session_check.kind: found null"),
        (
            "authgear_resolver",
            json!({ "cache_ttl": null }),
            "providers.it.session_check.cache_ttl: found null",
        ),
        (
            "authgear_resolver",
            json!({ "cache_ttl": 5 }),
            "providers.it.session_check.cache_ttl: found the number 5",
        ),
        (
            "authgear_resolver",
            json!({ "cache_tll": "5s" }),
            "providers.it.session_check.cache_tll: found an unknown field, expected \"cache_ttl\"?",
        ),
        (
            "authgear_resolver",
            json!({ "code_member": "x" }),
            "providers.it.session_check.code_member: found an unknown field",
        ),
        (
            "authgear_resolver",
            json!({ "http_uri": { "timeout": "1s" } }),
            "providers.it.session_check.http_uri: found nothing, expected the field \"uri\"",
        ),
        (
            "authgear_resolver",
            json!({ "headers": { "authorization": "x" } }),
            "providers.it.session_check.headers.authorization: found a header that is sent already",
        ),
        (
            "authgear_resolver",
            json!("always"),
            "providers.it.session_check: found the string \"always\", expected an object",
        ),
        ("authgear_resolver", json!(null), "providers.it.session_check: found null"),
        (
            "oneauxilia_rest",
            json!({ "mode": "opaque" }),
            "providers.it.session_check.mode: found a mode for what is no token",
        ),
        (
            "oneauxilia_rest",
            json!({ "interval": "5s" }),
            "providers.it.session_check.interval: found a field of another mode",
        ),
    ] {
        let message = config(preset, written).expect_err(expected).to_string();
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_good_answer_that_names_no_user_lets_nobody_in() {
    let disguised = json!({ "code": "INVALID_SECRET_SERVER_KEY", "error": "text" }).to_string();
    let valid = [("x-authgear-session-valid", "true")];
    for (preset, headers, body, label) in [
        ("authgear_resolver", &valid[..], "", "subject"),
        ("stack_auth_rest", &[("x-stack-actual-status", "401")], disguised.as_str(), "claim"),
        ("stack_auth_rest", &[], r#"{ "primary_email": "root@acme.example" }"#, "claim"),
        ("stack_auth_rest", &[], r#"{ "id": null }"#, "claim"),
        ("stack_auth_rest", &[], r#"{ "id": "" }"#, "claim"),
    ] {
        let mut gateway = asking(preset);
        let request = get("/", &[("authorization", "Bearer opaque1")]);
        let check = gateway.ask(&request);
        assert!(gateway.answer_check(check, 200, &fields(headers), body.as_bytes()));
        assert_eq!(gateway.refuse(&request).label(), label, "{preset}: {body}");
    }
}

#[test]
fn each_preset_says_what_it_needs() {
    let parameters = all_parameters();
    for (name, needed) in config::presets() {
        let complete = configured(name, &parameters[name]);
        let config = Config::parse(complete.to_string().as_bytes(), &environment).expect(name);
        let config = format!("{config:?}");
        for parameter in needed {
            assert!(
                !config.contains(&format!("{{{parameter}}}")),
                "{name}: {parameter} is left as it stands"
            );
            let mut lacking = complete.clone();
            lacking["providers"]["it"].as_object_mut().unwrap().remove(parameter);
            let error = error(&lacking);
            assert!(
                error.starts_with(&format!("providers.it: found nothing, expected the field {parameter:?}")),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn parameters_mean_nothing_but_themselves() {
    for (preset, parameter, values) in [
        ("auth0", "domain", &["https://a", "a/b", "a\"b", "a b", "", "a{cluster}", "a\\", "a@b", "a?b"][..]),
        (
            "authgear",
            "endpoint",
            &[
                "a.example",
                "ftp://a",
                "https://",
                "https://a/",
                "https://a?b",
                "https://a#b",
                "https://u@a",
                "https://a\"b",
            ],
        ),
        ("entra", "tenant", &["a/b", "{tenantid}", "a\"", ""]),
        ("entra", "cluster", &["a\"b", "a b", ""]),
    ] {
        let case = cases().into_iter().find(|case| case.preset == preset).unwrap();
        for value in values {
            let mut configuration = configured(preset, &case.parameters);
            configuration["providers"]["it"][parameter] = json!(value);
            let error = error(&configuration);
            assert!(
                error.starts_with(&format!("providers.it.{parameter}: found the string")),
                "{preset}: {error}"
            );
        }
    }
}

#[test]
fn what_is_written_beside_a_preset_takes_its_place() {
    let mut configuration = configured("clerk", &json!({ "frontend_api": "clerk.acme.example" }));
    let provider = &mut configuration["providers"]["it"];
    provider.as_object_mut().unwrap().remove("cluster");
    provider["local_jwks"] = json!({ "inline_string": tokens::jwks([&*RSA]).to_string() });
    provider["from_headers"] = json!([{ "name": "x-token" }]);
    provider["clock_skew_seconds"] = json!(1);
    provider["remove_headers"] = json!(["x-mine"]);
    provider["claimToHeaders"] = json!([{ "header_name": "x-who", "claim_name": "sub" }]);
    let config = Config::parse(configuration.to_string().as_bytes(), &|_| None).unwrap();
    let provider = &config.providers[0];
    assert!(matches!(provider.keys, config::KeySource::Local(_)));
    assert_eq!(provider.locations.len(), 1, "{:?}", provider.locations);
    assert_eq!(provider.clock_skew, Duration::from_secs(1));
    assert_eq!(provider.claim_to_headers.len(), 1);
    let removed =
        |name: &str| provider.removed_headers.iter().any(|pattern| pattern.matches(name.as_bytes()));
    assert!(removed("x-mine") && removed("x-clerk-auth-status"), "both are removed");
    assert_eq!(provider.required_claims.len(), 2, "those of the preset stay");
    assert_eq!(provider.issuers, ["https://clerk.acme.example"]);
}

#[test]
fn a_preset_that_asks_needs_a_server_to_ask_whatever_keys_there_are() {
    for (preset, parameters) in checked() {
        let mut configuration = configured(preset, &parameters);
        let provider = &mut configuration["providers"]["it"];
        provider.as_object_mut().unwrap().remove("cluster");
        provider["local_jwks"] = json!({ "inline_string": tokens::jwks([&*P256]).to_string() });
        let error = error(&configuration);
        assert!(error.ends_with("expected the field \"cluster\""), "{preset}: {error}");
    }
}

#[test]
fn an_issuer_that_is_written_is_the_only_one() {
    let parameters = json!({ "client_id": "client_01", "issuer": "https://auth.acme.example" });
    let config = Config::parse(configured("workos", &parameters).to_string().as_bytes(), &|_| None).unwrap();
    assert_eq!(config.providers[0].issuers, ["https://auth.acme.example"]);
}

#[test]
fn a_preset_that_is_not_known_is_refused_with_those_that_are() {
    let error = error(&configured("auth1", &json!({})));
    assert!(
        error.starts_with(
            "providers.it.preset: found the string \"auth1\", expected one of alb, auth0, authgear, authgear_resolver, clerk,"
        ),
        "{error}"
    );
}

#[test]
fn a_session_cookie_of_clerk_counts_when_there_is_no_bearer_token() {
    let case = cases().into_iter().find(|case| case.preset == "clerk").unwrap();
    let key = case.key;
    let mut gateway = Gateway::new(&configured("clerk", &case.parameters));
    gateway.tick();
    assert!(gateway.answer(200, &tokens::jwks([key]).to_string()));
    let session = token(&case, key, &(json!({}), json!({ "sub": "user_cookie" })));
    let cookie = ("cookie", format!("a=1; __session={session}; __client_uat=1"));
    let received = gateway.forward(&get("/", std::slice::from_ref(&cookie)));
    assert_eq!(received.values("x-auth-user-id"), ["user_cookie"]);
    assert_eq!(received.values("cookie"), ["a=1"]);
    let bearer = token(&case, key, &(json!({}), json!({ "sub": "user_header" })));
    let both = get(
        "/",
        &[
            ("authorization", format!("Bearer {bearer}")),
            cookie.clone(),
            ("x-clerk-auth-status", "signed-in".to_owned()),
        ],
    );
    let received = gateway.forward(&both);
    assert_eq!(received.values("x-auth-user-id"), ["user_header"]);
    assert_eq!(received.values("cookie"), ["a=1"], "the other one was verified by nobody");
    assert!(received.values("x-clerk-auth-status").is_empty());
    let bad = get("/", &[("authorization", "Bearer a.b.c".to_owned()), cookie]);
    assert_eq!(gateway.refuse(&bad).status(), 401, "the cookie is not tried");
}

#[test]
fn two_tokens_in_the_two_headers_of_stack_auth_are_refused() {
    let case = cases().into_iter().find(|case| case.preset == "stack_auth").unwrap();
    let key = case.key;
    let mut gateway = Gateway::new(&configured("stack_auth", &case.parameters));
    gateway.tick();
    assert!(gateway.answer(200, &tokens::jwks([key]).to_string()));
    let of = |user: &str| token(&case, key, &(json!({}), json!({ "sub": user })));
    let two = get("/", &[("x-stack-access-token", of("a")), ("x-hexclave-access-token", of("b"))]);
    assert_eq!(gateway.refuse(&two).status(), 400);
    let forged = get(
        "/",
        &[
            ("x-hexclave-access-token", of("a")),
            ("x-stack-override-error-status", "true".to_owned()),
            ("x-hexclave-secret-server-key", "ssk".to_owned()),
        ],
    );
    let received = gateway.forward(&forged);
    assert_eq!(received.values("x-auth-user-id"), ["a"]);
    assert!(
        !received.0.iter().any(|(name, _)| name.starts_with("x-stack") || name.starts_with("x-hexclave"))
    );
}
