//! Many requests over a few connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Http1, Reply, Request};

/// Sends `count` requests, each built from its index, over `connections` keep-alive connections side by side.
/// Gives the replies by index.
pub async fn load(
    address: SocketAddr,
    connections: usize,
    count: usize,
    build: impl Fn(usize) -> Request + Send + Sync + 'static,
) -> Vec<Reply> {
    let build = Arc::new(build);
    let mut clients = JoinSet::new();
    for first in 0..connections {
        let build = Arc::clone(&build);
        clients.spawn(async move {
            let mut client = Http1::connect(address).await;
            let mut replies = Vec::new();
            for index in (first..count).step_by(connections) {
                let reply = client.send(&build(index)).await;
                if reply.header("connection") == Some("close") {
                    client = Http1::connect(address).await;
                }
                replies.push((index, reply));
            }
            replies
        });
    }

    let mut replies: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    replies.sort_by_key(|(index, _)| *index);
    replies.into_iter().map(|(_, reply)| reply).collect()
}
