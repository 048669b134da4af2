//! The context of one HTTP stream: its request headers, its trailers, its end.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::host::calls::{self, MapType};
use crate::host::gateway::{Outcome, OwnFate, Settled, SharedGateway, log_failure, resume};

#[derive(Debug)]
pub(super) struct Stream {
    context_id: u32,
    gateway: SharedGateway,
    fate: OwnFate,
}

impl Stream {
    pub(super) fn new(context_id: u32, gateway: SharedGateway) -> Self {
        Self { context_id, gateway, fate: OwnFate::default() }
    }

    fn has_passed(&self) -> bool {
        self.fate.current().get() == Settled::Passed
    }

    /// The names among `names` that no client may send; all of them when there is no configuration to know by.
    fn forged(&self, names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        self.gateway.with(|gateway| match gateway.engine() {
            Some(engine) => {
                let forged = engine.owned_headers().forged(names.iter().map(Vec::as_slice));
                forged.into_iter().map(<[u8]>::to_vec).collect()
            }
            None => names,
        })
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        action(self.gateway.answer_or_wait(self.context_id, &self.fate))
    }

    /// Holds the body of a request that has not been let through. Envoy asks only when the plugin is configured with
    /// `allow_on_headers_stop_iteration`; going on here would then release the request undecided.
    fn on_http_request_body(&mut self, _body_size: usize, _end_of_stream: bool) -> Action {
        if self.has_passed() { Action::Continue } else { Action::Pause }
    }

    /// Some backends merge trailers into the header, so identity headers are taken out of them as well. Trailers that
    /// cannot be read or changed stop the request.
    fn on_http_request_trailers(&mut self, _num_trailers: usize) -> Action {
        let map = MapType::HttpRequestTrailers;
        let removed = calls::header_pairs(map).and_then(|fields| {
            let names = fields.iter().map(|(name, _)| name.to_vec()).collect();
            self.forged(names).iter().try_for_each(|name| calls::remove_header(map, name))
        });
        let may_pass = removed.is_ok() && self.has_passed();
        log_failure(removed);
        if may_pass { Action::Continue } else { Action::Pause }
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
        if self.gateway.with(|gateway| gateway.take_answer(token, num_headers, body_size)) {
            return;
        }
        if self.gateway.answer_again(self.context_id) == Outcome::Continue {
            resume();
        } else if self.fate.current().get() == Settled::No
            && !self.gateway.with(|gateway| gateway.waits(self.context_id))
        {
            self.fate.current().set(Settled::Refused);
            self.gateway.refuse_unknown();
        }
    }
}

/// The request is over, whatever became of it. Like the end of the root not said in `proxy_on_done`.
impl Drop for Stream {
    fn drop(&mut self) {
        self.gateway.with(|gateway| gateway.forget(self.context_id));
    }
}

const fn action(outcome: Outcome) -> Action {
    match outcome {
        Outcome::Continue => Action::Continue,
        Outcome::Pause => Action::Pause,
    }
}
