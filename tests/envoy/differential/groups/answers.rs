//! How refusals are put: challenges, bodies, HEAD, gRPC.

use serde_json::json;

use super::says;
use crate::differential::case::{Group, extended, get, passes, refused, requiring, status};
use crate::differential::world::World;
use crate::support::Request;

pub fn groups(world: &World) -> Vec<Group> {
    let configuration = requiring(
        json!({ "a": world.provider(json!({ "audiences": ["api"] })) }),
        json!({ "provider_name": "a" }),
    );
    let stripped = extended(configuration.clone(), json!({ "strip_failure_response": true }));
    let challenge = |path: &str| format!("Bearer realm=\"http://gateway.example{path}\"");
    let error = |path: &str| format!("{}, error=\"invalid_token\"", challenge(path));
    let good = world.token();
    let expired = world.expired_token();
    let other_audience = world.token_with(json!({ "aud": "other" }));
    let grpc = || Request::grpc("/shop.Orders/List");
    let grpc_status =
        |code: &str, text: &str| status(200).replying("grpc-status", code).replying("grpc-message", text);
    let long = format!("/{}", "a".repeat(300));
    vec![
        Group::new("answers", configuration)
            .case("a good token passes", get("/").bearer(&good), passes().with("x-sub", "alice"))
            .case(
                "a missing token is challenged without an error",
                get("/"),
                refused(says::MISSING).replying("www-authenticate", challenge("/")),
            )
            .case(
                "an expired token is an error",
                get("/x").bearer(&expired),
                refused(says::EXPIRED).replying("www-authenticate", error("/x")),
            )
            .case(
                "the challenge names path and query",
                get("/x?a=b"),
                refused(says::MISSING).replying("www-authenticate", challenge("/x?a=b")),
            )
            .case(
                "the challenge names the authority with its port",
                get("/").header("host", "other.example:8080"),
                refused(says::MISSING)
                    .replying("www-authenticate", "Bearer realm=\"http://other.example:8080/\""),
            )
            .case(
                "the challenge names the scheme that a proxy in front has seen",
                get("/").header("x-forwarded-proto", "https"),
                refused(says::MISSING)
                    .replying("www-authenticate", "Bearer realm=\"https://gateway.example/\""),
            )
            .case(
                "the challenge names an absolute target",
                Request::new("GET", "http://other.example/x?y"),
                refused(says::MISSING)
                    .replying("www-authenticate", "Bearer realm=\"http://other.example/x?y\""),
            )
            .case(
                "the challenge names 256 characters of the path at most",
                get(&long),
                refused(says::MISSING).replying("www-authenticate", challenge(&long[..256])),
            )
            .case(
                "a quote in the path does not end the challenge",
                get("/a\"b"),
                refused(says::MISSING).replying("www-authenticate", challenge("/a\"b")),
            )
            .case("OPTIONS of the whole server", Request::new("OPTIONS", "*"), status(404))
            .case("CONNECT matches no prefix", Request::new("CONNECT", "other.example:443"), status(200))
            .differs("connect", status(401))
            .case(
                "another audience is forbidden",
                get("/").bearer(&other_audience),
                status(403).saying(says::AUDIENCE).replying("www-authenticate", error("/")),
            )
            .differs_by_default("audience-status", status(401))
            .case("HEAD without a token", Request::new("HEAD", "/"), status(401).saying(""))
            .case(
                "HEAD with a token",
                Request::new("HEAD", "/").bearer(&good),
                passes().with("x-sub", "alice"),
            )
            .case(
                "POST with a token",
                Request::new("POST", "/").bearer(&good).body("12345"),
                passes().with("x-sub", "alice").with("content-length", "5"),
            )
            .case_over_http2(
                "HTTP/2 without a token",
                get("/"),
                refused(says::MISSING).replying("www-authenticate", challenge("/")),
            )
            .case_over_http2("HTTP/2 with a token", get("/").bearer(&good), passes().with("x-sub", "alice"))
            .case_over_http2("gRPC without a token", grpc(), grpc_status("16", says::MISSING))
            .case_over_http2(
                "gRPC with an expired token",
                grpc().bearer(&expired),
                grpc_status("16", says::EXPIRED),
            )
            .case_over_http2(
                "gRPC with a token for another audience",
                grpc().bearer(&other_audience),
                grpc_status("7", says::AUDIENCE),
            )
            .differs_by_default("audience-status", status(200).replying("grpc-status", "16"))
            .case_over_http2("gRPC with a token", grpc().bearer(&good), passes().with("x-sub", "alice"))
            .case(
                "gRPC over HTTP/1",
                Request::new("POST", "/").header("content-type", "application/grpc"),
                grpc_status("16", says::MISSING),
            ),
        Group::new("stripped answers", stripped)
            .case("a missing token", get("/"), status(401).saying("").not_replying("www-authenticate"))
            .case(
                "an expired token",
                get("/x").bearer(&expired),
                status(401).saying("").not_replying("www-authenticate"),
            )
            .case(
                "another audience",
                get("/").bearer(&other_audience),
                status(403).saying("").not_replying("www-authenticate"),
            )
            .differs_by_default("audience-status", status(401))
            .case_over_http2(
                "gRPC without a token",
                grpc(),
                status(200).replying("grpc-status", "16").not_replying("grpc-message"),
            ),
    ]
}
