//! What the root context and all streams of one configuration share: the engine, who waits, and which calls are out.
//!
//! Takes events from both kinds of context, gives host calls. On hosts with timers all calls are the root context's, so
//! that no client's leaving takes one away from the others; a request that needs keys or an answer sets the timer to
//! fire at once. No request waits longer than its patience, whoever calls. Without timers each waiting request calls for
//! itself, which is all such hosts allow.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::authorize::Awaited;
use crate::call::{self, CallReply, MAX_BODY_BYTES};
use crate::config::{Answers, CallBy, Config};
use crate::engine::{Decided, Decision, Engine};
use crate::export::Property;
use crate::host::attributes;
use crate::host::calls::{self, BufferType, HostError, LogLevel, MapType};
use crate::host::capabilities::Capabilities;
use crate::host::clock;
use crate::host::metrics::Counters;
use crate::host::nginx;
use crate::host::quiet;
use crate::host::shared_data::SharedData;
use crate::host::waiting_room::{Waiting, WaitingRoom};
use crate::host_crypto::HostCrypto;
use crate::keys::{Fetch, Jitter};
use crate::metric::Metric;
use crate::rejection::Rejection;
use crate::request::{Attributes, HeaderEdit, HeaderField, RequestHead};
use crate::rewrite::HeaderEdits;
use crate::session_check::Check;
use crate::time::UnixTime;

/// The shortest period that a host's timer takes.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

/// The most calls for keys that requests make at one time where each makes its own: so many may come before the first
/// answer does.
const MAX_OWN_FETCHES: usize = 128;

/// The most calls that one request makes for itself, one after the other.
const MAX_OWN_CALLS: u8 = 8;

/// A timer that should have fired this long ago is set again.
const LOST_TIMER: Duration = Duration::from_secs(1);

/// Shared by the contexts of one VM, which run one at a time.
#[derive(Clone, Debug)]
pub(super) struct SharedGateway(Rc<RefCell<Gateway>>);

/// The state behind one root context.
#[derive(Debug)]
pub(super) struct Gateway {
    root_id: u32,
    engine: Option<Engine>,
    /// `None` on a host without timers, else when the timer is set to fire.
    timer: Option<Timer>,
    waiting: WaitingRoom,
    calls: BTreeMap<u32, Call>,
    shared_data: SharedData,
    counters: Counters,
    /// The host, where it verifies signatures.
    host_crypto: Option<Rc<HostCrypto>>,
    /// Whether the host makes calls.
    can_call: bool,
    /// Whether the host is nginx; `None` until a request tells.
    is_nginx: Option<bool>,
}

/// What has become of a request that waits; shared by its stream and whoever decides about it.
pub(super) type Fate = Rc<Cell<Settled>>;

/// What has become of a request, as its stream knows it.
#[derive(Debug, Default)]
pub(super) struct OwnFate {
    /// When it came.
    at_once: Cell<Settled>,
    /// Since it had to wait, which few requests do.
    later: OnceCell<Fate>,
}

impl OwnFate {
    pub(super) fn current(&self) -> &Cell<Settled> {
        self.later.get().map_or(&self.at_once, |later| &**later)
    }

    /// From now on it is settled by whoever decides about the waiting requests.
    fn later(&self) -> Fate {
        Rc::clone(self.later.get_or_init(Fate::default))
    }
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Settled {
    /// Nothing yet: it is looked at, or waits.
    #[default]
    No,
    /// It has been let through.
    Passed,
    /// It has been answered.
    Refused,
}

/// When the timer will fire, if it is set.
#[derive(Clone, Copy, Debug, Default)]
struct Timer(Option<UnixTime>);

/// A call that is out.
#[derive(Debug)]
struct Call {
    errand: Errand,
    /// The stream that made the call, or the root.
    context_id: u32,
}

/// What a call is for.
#[derive(Debug)]
enum Errand {
    Keys(Fetch),
    Session(Check),
}

impl Errand {
    fn call(&self) -> call::Call {
        match self {
            Self::Keys(fetch) => fetch.call(),
            Self::Session(check) => check.call().clone(),
        }
    }

    const fn is_check(&self) -> bool {
        matches!(self, Self::Session(_))
    }

    /// For the log.
    const fn what(&self) -> &'static str {
        match self {
            Self::Keys(_) => "keys",
            Self::Session(_) => "session",
        }
    }
}

/// What a stream's callback must tell the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Continue,
    Pause,
}

impl SharedGateway {
    pub(super) fn new(root_id: u32) -> Self {
        Self(Rc::new(RefCell::new(Gateway {
            root_id,
            engine: None,
            timer: None,
            waiting: WaitingRoom::default(),
            calls: BTreeMap::new(),
            shared_data: SharedData::default(),
            counters: Counters::default(),
            host_crypto: None,
            can_call: false,
            is_nginx: None,
        })))
    }

    /// The only way to the state: a borrow cannot outlive the step, so no pattern or nested call meets it borrowed.
    pub(super) fn with<R>(&self, step: impl FnOnce(&mut Gateway) -> R) -> R {
        step(&mut self.0.borrow_mut())
    }

    /// Answers the request of the running stream, or has it wait.
    pub(super) fn answer_or_wait(&self, context_id: u32, fate: &OwnFate) -> Outcome {
        let head = match self.read_head() {
            Ok(head) => head,
            Err(rejection) => {
                fate.current().set(Settled::Refused);
                return self.refuse(&rejection, &RequestHead::default());
            }
        };
        let arrived = clock::now();
        let decided = self.with(|gateway| gateway.decide(&head, arrived));
        let own_errand = self.with(|gateway| gateway.own_errand(&decided.decision));
        // Nobody waits for it: nobody is told when the timer cannot be set, and the next request tries again.
        log_at(LogLevel::Debug, self.with(Gateway::hasten_for_checks));
        let must_wait = own_errand.is_some() || matches!(decided.decision, Decision::Await(_));
        if !must_wait {
            return self.answer(&decided, &head, fate.current());
        }
        let awaited = awaited_by(&decided);
        let until = arrived.after(self.with(|gateway| gateway.patience(awaited)));
        let waiting = Waiting { head, fate: fate.later(), arrived, awaited, until, own_calls: 0 };
        match self.with(|gateway| gateway.wait(context_id, waiting, own_errand)) {
            Ok(()) => Outcome::Pause,
            Err(CannotWait::NothingToWaitFor) => self.answer_again(context_id),
            // A refresh that the request cannot wait for is left to another one.
            Err(CannotWait::Overloaded(waiting)) => self.answer(&decided, &waiting.head, &waiting.fate),
        }
    }

    /// The head of the running request, or why it is refused unread.
    fn read_head(&self) -> Result<RequestHead, Rejection> {
        let fields = match self.with(Gateway::is_nginx) {
            true => nginx::header_fields()?,
            false => calls::header_pairs(MapType::HttpRequestHeaders).map_err(host_failure)?,
        };
        if fields.is_empty() {
            return Err(host_failure(HostError::NO_REQUEST));
        }
        Ok(RequestHead::of(fields).with_attributes(self.with(Gateway::attributes)))
    }

    /// Answers a request that has waited, in its own stream's callback.
    pub(super) fn answer_again(&self, context_id: u32) -> Outcome {
        let waited = self.with(|gateway| {
            let waiting = gateway.waiting.remove(context_id)?;
            Some((gateway.decide_again(&waiting), waiting))
        });
        match waited {
            Some((Decided { decision: Decision::Await(awaited), .. }, waiting)) => {
                self.ask_for_itself(context_id, awaited, waiting)
            }
            Some((decided, Waiting { head, fate, .. })) => self.answer(&decided, &head, &fate),
            None => Outcome::Pause,
        }
    }

    /// Has a request that has waited make the call that it needs next, in its own stream's callback.
    fn ask_for_itself(&self, context_id: u32, awaited: Awaited, mut waiting: Waiting) -> Outcome {
        // What is taken on is made: a fetch that was only claimed would keep everybody else from the keys.
        let may_call = waiting.awaited != Some(awaited) && waiting.own_calls < MAX_OWN_CALLS;
        let errand = may_call.then(|| self.with(|gateway| gateway.own_errand(&Decision::Await(awaited))));
        let errand = errand.flatten();
        waiting.own_calls = waiting.own_calls.saturating_add(1);
        if errand.is_none() {
            waiting.fate.set(Settled::Refused);
            return self.refuse(&out_of_patience(awaited), &waiting.head);
        }
        self.with(|gateway| gateway.goes_on(&mut waiting, awaited));
        match self.with(|gateway| gateway.wait(context_id, waiting, errand)) {
            Ok(()) => Outcome::Pause,
            Err(CannotWait::NothingToWaitFor) => self.answer_again(context_id),
            Err(CannotWait::Overloaded(waiting)) => {
                waiting.fate.set(Settled::Refused);
                self.refuse(&Rejection::Overloaded, &waiting.head)
            }
        }
    }

    /// Carries out a decision for the request of the effective context. One that would have to wait is refused.
    fn answer(&self, decided: &Decided, head: &RequestHead, fate: &Cell<Settled>) -> Outcome {
        let is_nginx = self.with(Gateway::is_nginx);
        // nginx has no place for them.
        for Property { name, value } in decided.properties.iter().filter(|_| !is_nginx) {
            log_at(LogLevel::Debug, calls::set_property(name, value.as_bytes()));
        }
        fate.set(Settled::Refused);
        match &decided.decision {
            Decision::Forward(edits) => {
                let outcome = match forward(edits, is_nginx, head) {
                    Ok(()) => {
                        fate.set(Settled::Passed);
                        Outcome::Continue
                    }
                    Err(rejection) => self.refuse(&rejection, head),
                };
                if decided.clears_route {
                    log_at(LogLevel::Debug, calls::clear_route_cache());
                }
                outcome
            }
            Decision::Refuse(rejection) => self.refuse_with(rejection, head, &decided.set_cookies),
            Decision::Await(_) => self.refuse(&Rejection::Overloaded, head),
        }
    }

    /// Decides the waiting requests again whose keys have settled or whose patience has ended, from the root context.
    pub(super) fn answer_settled(&self) {
        self.answer_those(Gateway::settled);
    }

    /// Decides every waiting request again, from the root context.
    pub(super) fn answer_all(&self) {
        self.answer_those(|gateway| gateway.waiting.all());
    }

    fn answer_those(&self, choose: impl FnOnce(&mut Gateway) -> Vec<u32>) {
        let chosen = self.with(choose);
        if chosen.is_empty() {
            return;
        }
        for context_id in chosen {
            self.answer_waiting(context_id);
        }
        let root_id = self.with(|gateway| gateway.root_id);
        log_failure(calls::set_effective_context(root_id));
    }

    fn answer_waiting(&self, context_id: u32) {
        let Some(mut waiting) = self.with(|gateway| gateway.waiting.remove(context_id)) else { return };
        let mut decided = self.with(|gateway| gateway.decide_again(&waiting));
        if let Some(awaited) = awaited_by(&decided) {
            if self.with(|gateway| gateway.waiting.is_full_for(Some(awaited))) {
                decided = Decided::refuse(Rejection::Overloaded);
            } else if self.with(|gateway| gateway.may_wait_on(&mut waiting, awaited)) {
                self.with(|gateway| gateway.waiting.insert(context_id, waiting));
                return;
            } else {
                decided = Decided::refuse(out_of_patience(awaited));
            }
        }
        // A client that has left has no context any more; anything done now would happen to another request.
        if calls::set_effective_context(context_id).is_err() {
            return;
        }
        if self.answer(&decided, &waiting.head, &waiting.fate) == Outcome::Continue {
            resume();
        }
    }

    /// Refuses a request that the host asks about although nobody waits under its context: some hosts let it pass when
    /// nothing is done.
    pub(super) fn refuse_unknown(&self) {
        let detail = "an answer came that no request waits for".to_owned();
        self.refuse(&Rejection::HostFailure { detail }, &RequestHead::default());
    }

    fn refuse(&self, rejection: &Rejection, head: &RequestHead) -> Outcome {
        self.refuse_with(rejection, head, &[])
    }

    fn refuse_with(&self, rejection: &Rejection, head: &RequestHead, set_cookies: &[String]) -> Outcome {
        self.with(|gateway| gateway.count(Metric::Refused(rejection.label())));
        let answers = self.with(|gateway| Some(gateway.engine.as_ref()?.config().answers.clone()));
        let is_nginx = self.with(Gateway::is_nginx);
        send(rejection, &answers.unwrap_or_default(), head, set_cookies, is_nginx)
    }
}

/// What is said to a request that has waited in vain.
const fn out_of_patience(awaited: Awaited) -> Rejection {
    let retry_after = Duration::from_secs(1);
    match awaited {
        Awaited::Keys(_) | Awaited::KeyId(_) => Rejection::KeysUnavailable { retry_after },
        Awaited::Answer(..) => Rejection::CheckUnavailable { retry_after },
    }
}

fn no_configuration() -> Decided {
    Decided::refuse(Rejection::HostFailure { detail: "there is no configuration".to_owned() })
}

const fn awaited_by(decided: &Decided) -> Option<Awaited> {
    match &decided.decision {
        Decision::Await(awaited) => Some(*awaited),
        Decision::Forward(_) | Decision::Refuse(_) => None,
    }
}

/// Why a request that cannot be answered now cannot wait either.
enum CannotWait {
    Overloaded(Box<Waiting>),
    NothingToWaitFor,
}

impl Gateway {
    /// Takes up a configuration. Keys that were fetched under another one are found again if they are from the same
    /// place.
    pub(super) fn configure(
        &mut self,
        config: Config,
        host_crypto: Option<Rc<HostCrypto>>,
        capabilities: Capabilities,
    ) {
        let now = clock::now();
        self.release();
        self.timer = capabilities.timers.then(Timer::default);
        self.can_call = capabilities.calls;
        let mut engine = Engine::new(config, Jitter::from_seed(clock::seed() ^ u64::from(self.root_id)));
        if self.timer.is_none() {
            engine.without_timers();
        }
        if let Some(host_crypto) = &host_crypto {
            engine.verify_by(Rc::<HostCrypto>::clone(host_crypto));
        }
        self.host_crypto = host_crypto;
        engine.sync(now, &mut self.shared_data);
        // Their answers would be taken for those of the providers that have the same place now.
        self.calls.clear();
        self.engine = Some(engine);
    }

    /// Leaves fetches that are under way to other VMs.
    pub(super) fn release(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.release(&mut self.shared_data);
        }
    }

    pub(super) const fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The answer to a request as it stands now.
    fn decide(&mut self, head: &RequestHead, now: UnixTime) -> Decided {
        let Some(engine) = &mut self.engine else { return no_configuration() };
        let decided = engine.decide(head, now);
        self.count_signatures();
        decided
    }

    /// The answer to one that has waited.
    fn decide_again(&mut self, waiting: &Waiting) -> Decided {
        let Some(engine) = &mut self.engine else { return no_configuration() };
        let decided = engine.decide_again(&waiting.head, waiting.arrived, clock::now());
        self.count_signatures();
        decided
    }

    /// Counts the signatures of the request just decided that the host had no answer to.
    fn count_signatures(&mut self) {
        let failures = self.host_crypto.as_ref().map(|host| host.take_failures());
        for algorithm in failures.into_iter().flatten() {
            self.count(Metric::HostCryptoFailed(algorithm.name()));
        }
    }

    /// Whether the host is nginx, which only a request can tell. Not asked where there are timers: nginx has none.
    fn is_nginx(&mut self) -> bool {
        self.timer.is_none() && *self.is_nginx.get_or_insert_with(nginx::is_host)
    }

    /// What the host says of the running request.
    fn attributes(&mut self) -> Attributes {
        // It has neither metadata of routes nor a filter state.
        if self.is_nginx() {
            return Attributes::default();
        }
        let config = self.engine.as_ref().map(Engine::config);
        config.map(attributes::of_request).unwrap_or_default()
    }

    /// The call that the request just decided must make itself: none where the root can.
    fn own_errand(&mut self, decision: &Decision) -> Option<Errand> {
        if self.timer.is_some() || self.waiting.is_full_for(None) {
            return None;
        }
        let fetches = self.calls.values().filter(|call| !call.errand.is_check()).count();
        let (engine, now) = (self.engine.as_mut()?, clock::now());
        match decision {
            Decision::Await(Awaited::Answer(..)) => engine.own_check(now).map(Errand::Session),
            Decision::Await(Awaited::Keys(_) | Awaited::KeyId(_)) if fetches >= MAX_OWN_FETCHES => None,
            Decision::Await(Awaited::Keys(_) | Awaited::KeyId(_)) => {
                engine.own_fetch(decision, now, &mut self.shared_data).map(Errand::Keys)
            }
            Decision::Forward(_) | Decision::Refuse(_) => match engine.own_check(now) {
                Some(check) => Some(Errand::Session(check)),
                None => engine.own_fetch(decision, now, &mut self.shared_data).map(Errand::Keys),
            },
        }
    }

    /// The longest that a request waits for this.
    fn patience(&self, awaited: Option<Awaited>) -> Duration {
        let engine = self.engine.as_ref();
        let patience = engine.zip(awaited).map(|(engine, awaited)| engine.patience(awaited));
        patience.unwrap_or_default()
    }

    /// Whether a request that has waited, and would have to go on doing so for this, can: nothing is under way for it on
    /// a host without timers.
    fn may_wait_on(&self, waiting: &mut Waiting, awaited: Awaited) -> bool {
        self.goes_on(waiting, awaited);
        self.timer.is_some() && clock::now() < waiting.until
    }

    fn goes_on(&self, waiting: &mut Waiting, awaited: Awaited) {
        waiting.goes_on_for(awaited, clock::now(), self.patience(Some(awaited)));
    }

    /// The waiting requests that can be decided again.
    fn settled(&mut self) -> Vec<u32> {
        let now = clock::now();
        let (settled, answered) = match &mut self.engine {
            Some(engine) => (engine.take_settled(), engine.take_answered()),
            None => Default::default(),
        };
        self.waiting.due(&settled, &answered, now)
    }

    /// Has a request wait, for a call of its own or for the root's.
    fn wait(
        &mut self,
        context_id: u32,
        waiting: Waiting,
        own_errand: Option<Errand>,
    ) -> Result<(), CannotWait> {
        if self.waiting.is_full_for(waiting.awaited) {
            self.give_up(own_errand);
            return Err(CannotWait::Overloaded(Box::new(waiting)));
        }
        self.waiting.insert(context_id, waiting);
        let is_on_its_way = match own_errand {
            Some(errand) => self.send(errand, context_id),
            None => self.timer.is_some() && self.hasten_timer().is_ok(),
        };
        if is_on_its_way { Ok(()) } else { Err(CannotWait::NothingToWaitFor) }
    }

    /// An errand that nobody goes on.
    fn give_up(&mut self, errand: Option<Errand>) {
        if let (Some(Errand::Keys(fetch)), Some(engine)) = (errand, &mut self.engine) {
            engine.abandon(&fetch, clock::now(), &mut self.shared_data);
        }
    }

    /// Whether the request of this context waits for an answer.
    pub(super) fn waits(&self, context_id: u32) -> bool {
        self.waiting.contains(context_id)
    }

    /// The request of this context is over, whatever became of it.
    pub(super) fn forget(&mut self, context_id: u32) {
        self.waiting.remove(context_id);
        // Hosts whose streams make calls cancel them with the stream.
        let calls = self.calls.iter().filter(|(_, call)| call.context_id == context_id);
        let gone: Vec<_> = calls.map(|(token, _)| *token).collect();
        for token in gone {
            let call = self.calls.remove(&token);
            self.give_up(call.map(|call| call.errand));
        }
    }

    /// The timer fired; it will again after the same period unless it is set anew.
    pub(super) const fn timer_fired(&mut self) {
        if let Some(timer) = &mut self.timer {
            timer.0 = None;
        }
    }

    /// Sets the timer for what the engine plans next, from the root context.
    pub(super) fn set_timer(&mut self) -> Result<(), HostError> {
        let planned = self.planned(clock::now());
        self.set_timer_to(planned)
    }

    /// Sets the timer for what the engine plans next, unless it fires before that anyway: setting it starts it anew, so
    /// requests that come faster than it fires would put it off for ever.
    fn hasten_timer(&mut self) -> Result<(), HostError> {
        let now = clock::now();
        let planned = self.planned(now);
        let is_early_enough = |fires_at: UnixTime| {
            planned.is_none_or(|(_, due)| fires_at <= due) && now <= fires_at.after(LOST_TIMER)
        };
        match self.timer {
            Some(Timer(Some(fires_at))) if is_early_enough(fires_at) => Ok(()),
            _ => self.set_timer_to(planned),
        }
    }

    /// Sets the timer for checks that no request waits for, if there are new ones.
    fn hasten_for_checks(&mut self) -> Result<(), HostError> {
        let is_sooner = self.engine.as_mut().is_some_and(Engine::take_sooner);
        if is_sooner && self.timer.is_some() { self.hasten_timer() } else { Ok(()) }
    }

    /// How long from now until the engine wants to be asked again, and when that is.
    fn planned(&self, now: UnixTime) -> Option<(Duration, UnixTime)> {
        let give_up_at = self.waiting.next_to_give_up();
        let wake_at = self.engine.as_ref()?.wake_at().into_iter().chain(give_up_at).min()?;
        let period = now.until(wake_at).max(SHORTEST_PERIOD);
        Some((period, now.after(period)))
    }

    fn set_timer_to(&mut self, planned: Option<(Duration, UnixTime)>) -> Result<(), HostError> {
        let Some(timer) = &mut self.timer else { return Ok(()) };
        calls::set_tick_period(planned.map(|(period, _)| period))?;
        timer.0 = planned.map(|(_, due)| due);
        Ok(())
    }

    pub(super) fn stop_timer(&mut self) -> Result<(), HostError> {
        match self.timer.take() {
            Some(Timer(Some(_))) => calls::set_tick_period(None),
            _ => Ok(()),
        }
    }

    /// Makes every call that is due, from the root context.
    pub(super) fn send_due_calls(&mut self) {
        // Without timers the root may not call: whoever needs something asks for it.
        if self.timer.is_none() {
            return;
        }
        let Self { engine, shared_data, root_id, .. } = self;
        let (Some(engine), root_id, now) = (engine, *root_id, clock::now()) else { return };
        let fetches = engine.fetches(now, shared_data).into_iter().map(Errand::Keys);
        let due: Vec<_> = fetches.chain(engine.checks(now).into_iter().map(Errand::Session)).collect();
        for errand in due {
            self.send(errand, root_id);
        }
    }

    /// Makes a call from the context that is running. Whether it is out.
    fn send(&mut self, errand: Errand, context_id: u32) -> bool {
        let call = errand.call();
        let call_by = self.engine.as_ref().map(|engine| engine.config().call_by).unwrap_or_default();
        let sent = match self.can_call {
            true => calls::dispatch_http_call(&call, call_by),
            false => Err(HostError::NO_CALLS),
        };
        match sent {
            Ok(token) => {
                self.calls.insert(token, Call { errand, context_id });
                true
            }
            Err(error) => {
                let (upstream, what) = (call.endpoint.upstream(call_by), errand.what());
                let kind = if call_by == CallBy::Cluster { "cluster" } else { "address" };
                warn(
                    &format!("edge-authn: {what} not asked for at {kind} {upstream:?}: {error}"),
                    self.timer.is_some(),
                );
                self.settle(errand, CallReply::Failure);
                false
            }
        }
    }

    /// Takes in the answer to a call of the context that is running. Whether its fetch goes on with another call.
    pub(super) fn take_answer(&mut self, token: u32, num_headers: usize, body_size: usize) -> bool {
        let Some(Call { errand, context_id }) = self.calls.remove(&token) else { return false };
        let next = match read_answer(num_headers, body_size) {
            CallAnswer::Response { status, headers, body } => {
                self.settle(errand, CallReply::Response { status, headers: &headers, body: &body })
            }
            CallAnswer::TooLarge { bytes } => self.settle(errand, CallReply::TooLarge { bytes }),
            CallAnswer::Failure => self.settle(errand, CallReply::Failure),
        };
        next.is_some_and(|next| self.send(Errand::Keys(next), context_id))
    }

    /// Takes in what came of a call, and gives the next call of the same fetch.
    fn settle(&mut self, errand: Errand, reply: CallReply<'_>) -> Option<Fetch> {
        match errand {
            Errand::Keys(fetch) => self.settle_fetch(fetch, reply),
            Errand::Session(check) => {
                self.settle_check(check, reply);
                None
            }
        }
    }

    fn count(&mut self, metric: Metric<'_>) {
        let prefix = self.engine.as_ref().map(|engine| engine.config().stat_prefix.as_str());
        self.counters.count(metric, prefix.unwrap_or_default());
    }

    fn settle_check(&mut self, check: Check, reply: CallReply<'_>) {
        let Some(engine) = &mut self.engine else { return };
        let provider = check.provider();
        if let Err(error) = engine.settle_check(check, reply, clock::now()) {
            let config = engine.config();
            let name = config.provider(provider).map(|provider| provider.name.as_str()).unwrap_or_default();
            let line = format!("edge-authn: session not checked by provider {name:?}: {error}");
            warn(&line, self.timer.is_some());
            let metric = match error.is_of_gateway() {
                true => Metric::CheckRejected(name),
                false => Metric::CheckFailed(name),
            };
            self.counters.count(metric, &config.stat_prefix);
        }
    }

    fn settle_fetch(&mut self, fetch: Fetch, reply: CallReply<'_>) -> Option<Fetch> {
        let has_timers = self.timer.is_some();
        let Self { engine, shared_data, counters, .. } = self;
        let engine = engine.as_mut()?;
        let provider = fetch.provider;
        let settled = engine.settle(fetch, reply, clock::now(), shared_data);
        let config = engine.config();
        let name = config.provider(provider).map(|provider| provider.name.as_str()).unwrap_or_default();
        match settled {
            Ok(Some(next)) => Some(next),
            Ok(None) => {
                calls::log(LogLevel::Debug, &format!("edge-authn: keys of provider {name:?} fetched"));
                counters.count(Metric::KeysFetched(name), &config.stat_prefix);
                None
            }
            Err(error) => {
                warn(&format!("edge-authn: keys of provider {name:?} not fetched: {error}"), has_timers);
                counters.count(Metric::KeysFailed(name), &config.stat_prefix);
                None
            }
        }
    }
}

/// Lets the request of the effective context go on.
pub(super) fn resume() {
    log_failure(calls::resume_request());
}

/// Makes the edits. When the host does not make one of them, the request must be refused: a header that should have been
/// removed could be a forged identity.
fn forward(edits: &HeaderEdits, is_nginx: bool, head: &RequestHead) -> Result<(), Rejection> {
    let map = MapType::HttpRequestHeaders;
    edits.iter().try_for_each(|edit| match edit {
        HeaderEdit::Replace { name, value } if is_nginx && name == b":path" => {
            nginx::set_target(head.target(), value)
        }
        HeaderEdit::Remove { name } => calls::remove_header(map, name).map_err(host_failure),
        HeaderEdit::Replace { name, value } => calls::replace_header(map, name, value).map_err(host_failure),
    })
}

fn send(
    rejection: &Rejection,
    answers: &Answers,
    head: &RequestHead,
    set_cookies: &[String],
    is_nginx: bool,
) -> Outcome {
    // nginx writes the request line behind whatever is logged within a request, and a token may stand there.
    let is_warning = rejection.status() >= 500 && !is_nginx;
    let level = if is_warning { LogLevel::Warn } else { LogLevel::Debug };
    calls::log(level, &format!("edge-authn: refused: {rejection}"));
    let mut reply = rejection.reply(answers, head);
    reply.headers.extend(set_cookies.iter().map(|line| ("set-cookie", line.clone())));
    if is_nginx && reply.body.is_empty() {
        reply = nginx::with_body(reply);
    }
    if let Err(error) = calls::send_reply(&reply) {
        log_failure(Err(error));
        // Some hosts cannot keep a request for nothing. When this fails, too, it stays paused, which is closed.
        log_failure(calls::send_reply(&host_failure(error).reply(answers, head)));
    }
    Outcome::Pause
}

pub(super) fn host_failure(error: HostError) -> Rejection {
    Rejection::HostFailure { detail: error.to_string() }
}

pub(super) fn log_failure(result: Result<(), HostError>) {
    log_at(LogLevel::Error, result);
}

/// Says what is wrong with an identity provider; where requests find it out, not for each of them.
fn warn(line: &str, has_timers: bool) {
    if has_timers || quiet::is_news(line) {
        calls::log(LogLevel::Warn, line);
    }
}

fn log_at(level: LogLevel, result: Result<(), HostError>) {
    if let Err(error) = result {
        calls::log(level, &format!("edge-authn: {error}"));
    }
}

enum CallAnswer {
    Response { status: u16, headers: Vec<HeaderField>, body: Vec<u8> },
    TooLarge { bytes: usize },
    Failure,
}

/// The answer to a call. Without header there was none (reset); a timeout and a refused connection come as the host's
/// own 504 and 503.
fn read_answer(num_headers: usize, body_size: usize) -> CallAnswer {
    if num_headers == 0 {
        return CallAnswer::Failure;
    }
    let headers = calls::header_pairs(MapType::HttpCallResponseHeaders).unwrap_or_default();
    let headers: Vec<HeaderField> =
        headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let status =
        headers.iter().find(|(name, _)| name == b":status").and_then(|(_, value)| parse_status(value));
    match status {
        None => CallAnswer::Failure,
        Some(_) if body_size > MAX_BODY_BYTES => CallAnswer::TooLarge { bytes: body_size },
        Some(status) if body_size == 0 => CallAnswer::Response { status, headers, body: Vec::new() },
        Some(status) => match calls::buffer(BufferType::HttpCallResponseBody, body_size) {
            Ok(body) => CallAnswer::Response { status, headers, body },
            Err(_) => CallAnswer::Failure,
        },
    }
}

fn parse_status(value: &[u8]) -> Option<u16> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
