//! The context of one HTTP stream: its request headers, its trailers, its end.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::host::calls::{self, HostError, LogLevel, MapType};
use crate::host::gateway::{Outcome, SharedGateway, answer_again, answer_or_wait, refuse_unread};
use crate::request::RequestHead;

#[derive(Debug)]
pub(super) struct Stream {
    context_id: u32,
    gateway: SharedGateway,
}

impl Stream {
    pub(super) const fn new(context_id: u32, gateway: SharedGateway) -> Self {
        Self { context_id, gateway }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let outcome = match calls::header_pairs(MapType::HttpRequestHeaders) {
            Ok(fields) if fields.is_empty() => refuse_unread(&self.gateway, HostError::NO_REQUEST),
            Ok(fields) => answer_or_wait(&self.gateway, self.context_id, RequestHead::new(fields)),
            Err(error) => refuse_unread(&self.gateway, error),
        };
        action(outcome)
    }

    /// Some backends merge trailers into the header, so identity headers are taken out of them as well.
    fn on_http_request_trailers(&mut self, _num_trailers: usize) -> Action {
        let map = MapType::HttpRequestTrailers;
        let fields = calls::header_pairs(map).unwrap_or_default();
        let gateway = self.gateway.borrow();
        let Some(engine) = &gateway.engine else { return Action::Pause };
        let names = fields.iter().map(|(name, _)| name.as_slice());
        for name in engine.owned_headers().forged(names) {
            if let Err(error) = calls::remove_header(map, name) {
                calls::log(LogLevel::Error, &format!("edge-authn: request stopped at its trailers: {error}"));
                return Action::Pause;
            }
        }
        Action::Continue
    }
}

impl Context for Stream {
    /// Only on hosts without timers, where a stream makes its own calls.
    fn on_http_call_response(
        &mut self,
        token: u32,
        num_headers: usize,
        body_size: usize,
        _num_trailers: usize,
    ) {
        self.gateway.borrow_mut().take_answer(token, num_headers, body_size);
        if answer_again(&self.gateway, self.context_id) == Outcome::Continue
            && let Err(error) = calls::resume_request()
        {
            calls::log(LogLevel::Error, &format!("edge-authn: a waiting request was not resumed: {error}"));
        }
    }

    fn on_done(&mut self) -> bool {
        self.gateway.borrow_mut().forget(self.context_id);
        true
    }
}

const fn action(outcome: Outcome) -> Action {
    match outcome {
        Outcome::Continue => Action::Continue,
        Outcome::Pause => Action::Pause,
    }
}
