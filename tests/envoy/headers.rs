//! What the upstream behind a gateway receives.

use std::time::Duration;

use serde_json::json;

use crate::scene::{Scene, assert_alive, assert_no_vm_failure, claims};
use crate::support::{Http1, Request};

const FORGED: [&str; 6] = ["x-user-id", "X-User-Id", "x_user_id", "X_User-ID", "x_roles", "X-PAYLOAD"];

fn forged(request: Request) -> Request {
    FORGED.iter().fold(request, |request, name| request.header(name, "root"))
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_the_upstream_never_sees_a_forged_identity_header() {
    let scene = Scene::start().await;
    let proxy = scene.proxy().await;
    for (request, expected) in [
        (forged(Request::get("/open")), vec![]),
        (forged(Request::get("/optional")), vec![]),
        (forged(scene.good_request("/optional")), vec![&b"alice"[..]]),
        (forged(scene.good_request("/")), vec![&b"alice"[..]]),
    ] {
        assert_eq!(request.send(proxy.gateway()).await.status, 200);
        let received = scene.upstream.last_request();
        assert_eq!(received.header_in_any_spelling("x-user-id"), expected);
        assert!(received.header_in_any_spelling("x-roles").is_empty());
        assert!(!received.header_in_any_spelling("x-payload").contains(&&b"root"[..]));
        assert!(received.header("authorization").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_waited_keeps_its_body() {
    let scene = Scene::start().await;
    scene.idp.hold();
    let proxy = scene.proxy().await;
    let mut good = scene.good_request("/x").body("y".repeat(1000));
    good.method = "POST".to_owned();
    let mut client = Http1::connect(proxy.gateway()).await;
    client.write_request(&good).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.idp.release();
    assert_eq!(client.read_reply("POST").await.status, 200);
    assert_eq!(scene.upstream.last_request().body_length, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_arrive_as_values_that_every_server_can_read() {
    let scene = Scene::start().await;
    let proxy = scene.proxy().await;
    let token = scene.key.sign(&claims(json!({
        "sub": "zo\u{eb}\r\nx-admin: 1\u{0}",
        "roles": ["admin", "a,b", 12_345_678_901_234_567_890_u64],
    })));
    let reply = Request::get("/").bearer(&token).send(proxy.gateway()).await;
    assert_eq!(reply.status, 200);
    let received = scene.upstream.last_request();
    assert_eq!(received.header("x-user-id"), [b"zo%C3%AB%0D%0Ax-admin: 1%00"]);
    assert_eq!(received.header("x-roles"), [b"admin,a%2Cb,12345678901234567890"]);
    assert_eq!(received.header("x-payload"), [token.split('.').nth(1).unwrap().as_bytes()]);
    assert!(received.header("x-admin").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_query_or_a_cookie_is_taken_out_of_the_request() {
    let scene = Scene::start().await;
    let proxy = scene.proxy_with(json!({ "from_params": ["t"], "from_cookies": ["s"] })).await;
    let token = scene.token();
    let request = Request::get(&format!("/a?x=%2F&t={token}&y")).header("cookie", "b=\"2\"");
    assert_eq!(request.send(proxy.gateway()).await.status, 200);
    assert_eq!(scene.upstream.last_request().path, "/a?x=%2F&y");
    let request = Request::get("/a?x").header("cookie", format!("b=\"2\"; s={token}; c=3"));
    assert_eq!(request.send(proxy.gateway()).await.status, 200);
    assert_eq!(scene.upstream.last_request().header("cookie"), [b"b=\"2\"; c=3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_from_a_client_trap_the_vm() {
    let scene = Scene::start().await;
    let proxy = scene
        .proxy_with(json!({
            "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
            "from_params": ["t"], "from_cookies": ["s"],
        }))
        .await;
    let large = "a".repeat(50_000);
    for request in [
        Request::get("/x").header("authorization", b"\xff\xfe"),
        Request::get("/x").header("authorization", b"Bearer \xff\xfe"),
        Request::get("/x").header("authorization", ""),
        Request::get("/x").header("authorization", "Bearer"),
        Request::get("/x").header("authorization", format!("Bearer {large}")),
        Request::get("/x").header("authorization", format!("Bearer {}", ".".repeat(8000))),
        Request::get("/x").header("x-token", b"\x80"),
        Request::get("/x").header("x-token", ""),
        Request::get("/x").header("cookie", b"s=\xff; \xff=s; =; ;;"),
        Request::get("/x").header("x_user_id", b"\xff"),
        Request::get("/x").header("x-other", &large),
        Request::get("/x?t=%ff&%ff=%"),
        Request::get("/x?t=%"),
        Request::get("/%ff%00%zz"),
        Request::new("OPTIONS", "*"),
    ] {
        let reply = request.send(proxy.gateway()).await;
        assert!((400..500).contains(&reply.status), "{} for {request:?}", reply.status);
        assert_alive(&scene, proxy.gateway()).await;
    }
    // What bytes pass must also pass unharmed.
    let request = scene.good_request("/x").header("x-raw", b"\xff\x80").header("x-empty", "");
    assert_eq!(request.send(proxy.gateway()).await.status, 200);
    assert_eq!(scene.upstream.last_request().header("x-raw"), [b"\xff\x80"]);
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_walks_around_a_rule() {
    let scene = Scene::start().await;
    let proxy = scene.proxy().await;
    assert_eq!(Request::get("/open?x=1").send(proxy.gateway()).await.status, 200);
    for path in [
        "/open/../x",
        "//open",
        "/open/",
        "/openx",
        "/%6fpen",
        "/open;x",
        "/open%2f..%2fx",
        "/x/..%2fopen",
        "/open%00",
        "/./open",
        "/open\\..\\x",
        "/x?y=/open",
        "/optional/../x",
        "/optional%2f..%2fx",
        "/optional/..;/x",
    ] {
        let mut client = Http1::connect(proxy.gateway()).await;
        client.write(format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n").as_bytes()).await;
        let reply = client.read_reply("GET").await;
        assert!(matches!(reply.status, 400 | 401), "{} for {path}", reply.status);
    }
    assert_eq!(scene.upstream.requests().len(), 1, "the open one alone");
}
