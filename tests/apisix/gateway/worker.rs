//! The worker: a thread with the filter in its host, which no other thread may touch.
//!
//! Takes requests, answers to calls, responses and clients that leave, one after the other, as an event loop does; makes
//! the calls that the filter asks for, and says what becomes of each request. The filter's clock follows the real one.
//! Sockets of clients and of the upstream are the front's.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{self, Answer, Hosts};
use super::{Record, SharedRecord};
use crate::harness::{CallId, Host, Outcome, Profile, Program, RootId, StreamId};
use crate::scene;
use crate::support::filter_module;

/// Header fields, or lines of a request.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What the worker is started with.
#[derive(Default)]
pub(super) struct Plan {
    /// By listener.
    pub(super) configurations: BTreeMap<String, String>,
    pub(super) hosts: Hosts,
    /// In place of the built filter.
    pub(super) program: Option<Program>,
    pub(super) environment: Vec<(String, String)>,
}

/// A running worker.
pub(super) struct Worker {
    events: Sender<Event>,
    record: SharedRecord,
    thread: Option<thread::JoinHandle<()>>,
}

/// The way of one front to the worker.
#[derive(Clone)]
pub(super) struct Requests(Sender<Event>);

/// What becomes of a request.
pub(super) enum Verdict {
    /// It goes on like this. Its number is needed to hand the response over.
    Forward {
        number: u32,
        method: String,
        target: String,
        fields: Fields,
    },
    Reply {
        status: u16,
        fields: Fields,
        body: Vec<u8>,
    },
}

enum Event {
    Request { listener: String, fields: Fields, verdict: oneshot::Sender<Verdict> },
    Answered { call: CallId, answer: Option<Answer> },
    Response { number: u32, fields: Fields, filtered: oneshot::Sender<Fields> },
    Left { number: u32 },
    End,
}

impl Worker {
    /// Starts the filter with all configurations; panics with its log when it refuses one.
    pub(super) async fn start(plan: Plan) -> Self {
        let (events, to_come) = channel();
        let record = SharedRecord::default();
        let (started, is_started) = oneshot::channel();
        let (back, kept, runtime) = (events.clone(), Arc::clone(&record), Handle::current());
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let mut state = State::start(plan, back, runtime, &kept);
                // Nobody waits for it when the case has ended meanwhile.
                let _ = started.send(());
                state.run(&to_come);
            }));
            if let Err(panic) = ended {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                locked(&kept).failure = Some(text.unwrap_or_else(|| "it panicked".to_owned()));
            }
        };
        let thread = thread::Builder::new().name("worker".to_owned()).spawn(run).unwrap();
        let worker = Self { events, record, thread: Some(thread) };
        if is_started.await.is_err() {
            panic!("the filter does not start: {:?}\n{}", worker.failure(), worker.log());
        }
        worker
    }

    pub(super) fn requests(&self) -> Requests {
        Requests(self.events.clone())
    }

    pub(super) fn log(&self) -> String {
        let lines = locked(&self.record).log.clone();
        lines.join("\n")
    }

    pub(super) fn failure(&self) -> Option<String> {
        locked(&self.record).failure.clone()
    }

    /// Ends it, and waits until it has ended.
    pub(super) fn end(&mut self) {
        let _ = self.events.send(Event::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A panic of the worker is looked at where it matters, not wherever its record is.
fn locked(record: &SharedRecord) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Requests {
    /// What becomes of a request with these lines, pseudo-headers before them. Dropping what is given says that the
    /// client has left. No verdict comes from a worker that has failed.
    pub(super) fn ask(&self, listener: &str, fields: Fields) -> oneshot::Receiver<Verdict> {
        let (verdict, decided) = oneshot::channel();
        let _ = self.0.send(Event::Request { listener: listener.to_owned(), fields, verdict });
        decided
    }

    /// The header of a response as the filter leaves it. `None`: the worker has failed.
    pub(super) async fn respond(&self, number: u32, fields: Fields) -> Option<Fields> {
        let (filtered, seen) = oneshot::channel();
        self.0.send(Event::Response { number, fields, filtered }).ok()?;
        seen.await.ok()
    }

    /// The client of a request that was forwarded has gone, or its upstream has.
    pub(super) fn left(&self, number: u32) {
        let _ = self.0.send(Event::Left { number });
    }
}

struct State {
    host: Host,
    roots: BTreeMap<String, RootId>,
    hosts: Arc<Hosts>,
    /// Requests without a verdict.
    undecided: BTreeMap<StreamId, oneshot::Sender<Verdict>>,
    /// Calls that are being made.
    out: BTreeSet<CallId>,
    /// When the filter was started, by the real clock and by its own.
    started: (Instant, Duration),
    logged: usize,
    events: Sender<Event>,
    runtime: Handle,
    record: SharedRecord,
}

impl State {
    fn start(plan: Plan, events: Sender<Event>, runtime: Handle, record: &SharedRecord) -> Self {
        let Plan { configurations, hosts, program, environment } = plan;
        let program = program.map_or_else(|| Program::open(filter_module()), Ok);
        let host = program.and_then(|program| Host::new(&program, Profile::apisix()));
        let mut host = host.unwrap_or_else(|error| panic!("{error}"));
        let started = (Instant::now(), scene::since_epoch());
        host.set_time(started.1);
        for (name, value) in &environment {
            host.environment_variable(name, value);
        }
        let (out, undecided, roots) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let (hosts, record) = (Arc::new(hosts), Arc::clone(record));
        let mut state =
            Self { host, roots, hosts, undecided, out, started, logged: 0, events, runtime, record };
        for (listener, configuration) in configurations {
            match state.host.start(&configuration) {
                Ok(root) => state.roots.insert(listener, root),
                Err(refused) => panic!("{listener}: {refused}"),
            };
        }
        state.keep_log();
        state
    }

    fn run(&mut self, to_come: &Receiver<Event>) {
        while let Ok(event) = to_come.recv() {
            if matches!(event, Event::End) {
                return;
            }
            let (started, since_epoch) = self.started;
            let now = since_epoch + started.elapsed();
            self.host.advance(now.saturating_sub(self.host.now()));
            // The log comes first: whoever gets an answer may look for what was said about it.
            self.handle(event);
            self.keep_log();
            self.make_calls();
            self.tell_verdicts();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request { listener, fields, verdict } => {
                let stream = self.host.request_to(self.roots[&listener], fields);
                self.undecided.insert(stream, verdict);
            }
            Event::Answered { call, answer } => {
                self.leave_those_who_left();
                self.out.remove(&call);
                match answer {
                    Some((fields, body)) => self.host.answer_as_is(call, fields, body),
                    None => self.host.answer_reset(call),
                }
            }
            Event::Response { number, fields, filtered } => {
                let stream = StreamId(number);
                self.host.respond(stream, fields);
                let _ = filtered.send(self.host.response_headers(stream).pairs().to_vec());
                self.host.close(stream);
            }
            Event::Left { number } => {
                self.host.close(StreamId(number));
            }
            Event::End => {}
        }
    }

    /// nginx learns that a client has left, and lets the call end all the same.
    fn leave_those_who_left(&mut self) {
        let left: Vec<_> = self.undecided.extract_if(.., |_, verdict| verdict.is_closed()).collect();
        for (stream, _) in left {
            self.host.close(stream);
        }
    }

    fn keep_log(&mut self) {
        let lines = self.host.logs()[self.logged..].iter().map(ToString::to_string);
        locked(&self.record).log.extend(lines);
        self.logged = self.host.logs().len();
    }

    fn make_calls(&mut self) {
        for call in self.host.calls() {
            if !self.out.insert(call.id) {
                continue;
            }
            // Timeouts are the call's, one for each of its steps.
            self.host.forget_timeout(call.id);
            let (hosts, events) = (Arc::clone(&self.hosts), self.events.clone());
            self.runtime.spawn(async move {
                let answer = call::make(&call, &hosts).await;
                let _ = events.send(Event::Answered { call: call.id, answer });
            });
        }
    }

    fn tell_verdicts(&mut self) {
        let is_decided = |stream: &StreamId| self.host.outcome(*stream) != Outcome::Paused;
        let decided: Vec<_> = self.undecided.extract_if(.., |stream, _| is_decided(stream)).collect();
        for (stream, verdict) in decided {
            let is_forwarded = self.host.outcome(stream) == Outcome::Continued;
            let is_told = verdict.send(self.verdict(stream)).is_ok();
            if !(is_forwarded && is_told) {
                self.host.close(stream);
            }
        }
    }

    fn verdict(&self, stream: StreamId) -> Verdict {
        let is_field = |(name, _): &&(Vec<u8>, Vec<u8>)| !name.starts_with(b":");
        match self.host.outcome(stream) {
            Outcome::Continued => {
                let headers = self.host.request_headers(stream);
                Verdict::Forward {
                    number: stream.0,
                    method: text(headers.get(":method").unwrap_or_default()),
                    target: text(&self.host.upstream_target(stream)),
                    fields: headers.pairs().iter().filter(is_field).cloned().collect(),
                }
            }
            Outcome::Replied(reply) => {
                let fields = self.host.response_headers(stream).pairs();
                Verdict::Reply {
                    status: u16::try_from(reply.status).unwrap(),
                    fields: fields.iter().filter(is_field).cloned().collect(),
                    body: reply.body,
                }
            }
            other => panic!("nginx knows no such thing: {other:?}"),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
