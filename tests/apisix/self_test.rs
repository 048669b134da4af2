//! The gateway itself: a case can only be as right as what it looks through. Guests written in place take the place of the
//! filter.

use crate::Proxy;
use crate::harness::Program;
use crate::support::{Http1, Request, Upstream};

/// A gateway with a guest that does this with every request, and its upstream.
async fn start(on_request_headers: &str) -> (Proxy, Upstream) {
    let guest = format!(
        r#"(module
             (memory (export "memory") 1)
             (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
             (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
             (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {on_request_headers}))"#
    );
    let upstream = Upstream::start().await;
    let program = Program::from_wat(&guest).unwrap();
    (Proxy::with_filter("", &upstream).program(program).start().await, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_request_reach_the_upstream_unchanged() {
    let (proxy, upstream) = start("(i32.const 0)").await;
    let request = Request::new("PUT", "/a//b/..;c?d=%2f")
        .header("X-Twice", "one")
        .header("x_under", b"\xff\x80")
        .header("x-twice", "two")
        .body("12345");
    let reply = request.send(proxy.gateway()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["path"], "/a//b/..;c?d=%2f");
    let received = upstream.last_request();
    assert_eq!((received.method.as_str(), received.path.as_str()), ("PUT", "/a//b/..;c?d=%2f"));
    assert_eq!(received.header("x-twice"), [b"one", b"two"]);
    assert_eq!(received.header("x_under"), [b"\xff\x80"]);
    assert_eq!(received.header("host"), [proxy.gateway().to_string().as_bytes()]);
    assert_eq!(received.body_length, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_a_head_request_a_chunked_one_an_unreadable_one_and_then_ends() {
    let (proxy, upstream) = start("(i32.const 0)").await;
    let mut client = Http1::connect(proxy.gateway()).await;
    assert_eq!(client.send(&Request::new("HEAD", "/")).await.status, 200);
    let head = "POST /x HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write(format!("{head}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").as_bytes()).await;
    assert_eq!(client.read_reply("POST").await.status, 200);
    assert_eq!(upstream.last_request().body_length, 3);
    client.write(b"GET / HTTP/1.1\r\nno colon\r\n\r\n").await;
    assert_eq!(client.read_reply("GET").await.status, 400);
    assert!(client.is_closed().await);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_crashes_or_would_crash_nginx_fails_the_case() {
    // A trap, and a request that waits for nothing.
    for (on_request_headers, why) in [("unreachable", "trapped"), ("(i32.const 1)", "waits for nothing")] {
        let (proxy, upstream) = start(on_request_headers).await;
        let mut client = Http1::connect(proxy.gateway()).await;
        assert!(client.try_send(&Request::get("/")).await.is_none(), "there is no reply");
        let dropped = tokio::spawn(async move { drop(proxy) }).await;
        let panic = dropped.expect_err("the case fails").into_panic();
        let said = panic.downcast_ref::<String>().unwrap();
        assert!(said.contains(why), "{said}");
        assert!(upstream.requests().is_empty());
    }
}
