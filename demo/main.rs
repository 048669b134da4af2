//! The demo: edge-authn in a real Envoy, between a client, an identity provider and an upstream, all on this machine.
//!
//! Takes the built filter, an Envoy and some ports (see `settings`), runs the tour of requests, prints how to send more,
//! and stays up until it is interrupted. With `SERVERS_ONLY=1` it is the identity provider and the upstream of gateways that
//! others run. Deliberately no test suite: the cases behind the tour are in `tests/`.

#![allow(
    clippy::expect_used,
    reason = "a broken invariant may end a demo; what a user can meet is an error sentence"
)]
#![allow(unreachable_pub, reason = "the test suites include these modules too")]

#[allow(clippy::indexing_slicing, reason = "JSON has a `null` for what is not there")]
mod app;
mod gateway;
mod http;
#[allow(clippy::indexing_slicing, reason = "JSON objects of its own making")]
mod idp;
mod settings;
#[allow(
    clippy::indexing_slicing,
    dead_code,
    reason = "JSON objects of its own making; some keys are there for the tests"
)]
mod tokens;
mod tour;
mod upstream;

use std::future::pending;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::gateway::Gateway;
use crate::idp::IdentityProvider;
use crate::settings::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    // Dropping `run` ends Envoy, whichever way it comes about.
    let outcome = tokio::select! {
        outcome = run() => outcome,
        () = interrupted() => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let settings = Settings::from_env()?;
    let ports = &settings.ports;

    let provider = Arc::new(IdentityProvider::new(ports.identity_provider.origin(), ports.gateways()));
    let shared = Arc::clone(&provider);
    let listener = ports.identity_provider.listen_on(settings.identity_provider_address)?;
    tokio::spawn(http::serve(listener, move |request| shared.answer(request)));
    let app = Arc::new(App::new(&ports.gateways(), ports.identity_provider.address()));
    tokio::spawn(http::serve_later(ports.upstream.listen()?, move |request| {
        Arc::clone(&app).answer(request)
    }));

    if settings.servers_only {
        println!(
            "identity provider {}, upstream {}",
            ports.identity_provider.origin(),
            ports.upstream.origin()
        );
        return pending().await;
    }
    let mut gateway = Gateway::start(&settings).await?;

    let all_right = !settings.tour || tour::run(ports.gateway.address(), &provider).await?;
    if settings.once {
        return if all_right { Ok(()) } else { Err("the tour went wrong".to_owned()) };
    }
    print_guide(&settings);
    Err(gateway.ended().await)
}

fn print_guide(settings: &Settings) {
    let ports = &settings.ports;
    let (gateway, provider) = (ports.gateway.origin(), ports.identity_provider.origin());
    println!(
        "
Open {gateway}/ in a browser: sign in with each provider, and see revocation arrive.

  gateway            {gateway}
  upstream           {}
  identity provider  {provider}
  Envoy's admin      {}
  Envoy's log        {}

Try it:

  curl -i {gateway}/orders
  curl -s {gateway}/orders -H \"Authorization: Bearer $(curl -s '{provider}/token?sub=bob')\"
  curl -i {gateway}/orders -H \"Authorization: Bearer $(curl -s '{provider}/token?expires_in=-300')\"
  curl -s -X POST {provider}/rotate && curl -s {gateway}/orders -H \"Authorization: Bearer $(curl -s '{provider}/token?alg=EdDSA')\"
  curl -s {gateway}/public/hello -H 'X-User-Id: admin'

  curl -s -c target/demo/cookies -d user=alice {provider}/authgear/sign-in
  curl -s -b target/demo/cookies {gateway}/authgear/whoami
  curl -s -d user=alice {provider}/authgear/revoke
  curl -s {provider}/

Ctrl-C ends it.",
        ports.upstream.origin(),
        ports.admin.origin(),
        gateway::LOG,
    );
}

async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
