//! The same outside vectors with signatures that Envoy verifies.

use std::collections::BTreeMap;

use crate::vectors::every_vector;

#[tokio::test(flavor = "multi_thread")]
async fn every_outside_vector_comes_out_over_http_as_it_must_where_envoy_verifies() {
    let unanswered = every_vector("host").await;
    assert_eq!(unanswered, BTreeMap::new(), "Envoy had an answer to all of them");
}
