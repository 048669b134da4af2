//! A headless Chromium with one page, spoken to in the DevTools protocol over a pair of pipes.
//!
//! Deliberately blocking and without a library: a message is JSON and a NUL, and each command has one answer.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Longer than any step may take on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// No network but the page's, no questions to a person, and no sandbox: the page is our own, and containers have none.
const FLAGS: [&str; 12] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--window-size=1280,1100",
];

/// Chromium takes commands from the file descriptor 3 and answers on 4, which a shell makes of the usual two.
const WITH_PIPES: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null"#;

/// A running browser with one page; dropping it ends the process.
pub struct Chromium {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    profile: PathBuf,
    session: Option<String>,
    last_id: u64,
    /// What the page or its policy complained about.
    complaints: Vec<Value>,
}

impl Chromium {
    pub fn start() -> Self {
        let program = env::var("CHROMIUM").expect("CHROMIUM is not set: run `make test-browser`");
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{}", std::process::id()));
        let mut process = Command::new("sh")
            .args(["-c", WITH_PIPES, "sh", &program])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("DevTools speaks JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser =
            Self { process, commands, messages, profile, session: None, last_id: 0, complaints: Vec::new() };
        let page = browser.command("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.command("Target.attachToTarget", target);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.command(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a page and waits until it is there.
    pub fn open(&mut self, url: &str) {
        let answer = self.command("Page.navigate", json!({ "url": url }));
        assert_eq!(answer["errorText"], Value::Null, "{url}");
        let started = Instant::now();
        while self.evaluate("document.readyState") != "complete" {
            assert!(started.elapsed() < ANSWER_TIMEOUT, "{url} does not load");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The value of an expression in the page, of what it promises if it is a promise; `null` while a page is loading.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.try_command("Runtime.evaluate", parameters);
        let Ok(answer) = answer else { return Value::Null };
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Clicks into the middle of an element, with the mouse; again, as a person would, when it has moved away from under
    /// it.
    pub fn click(&mut self, selector: &str) {
        let middle = format!(
            "(() => {{ const element = document.querySelector({selector:?}); if (!element) return null; \
             globalThis.isHit = false; \
             element.addEventListener('click', () => {{ globalThis.isHit = true; }}, {{ once: true }}); \
             element.scrollIntoView({{ block: 'center' }}); const box = element.getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let started = Instant::now();
        loop {
            let middle = self.evaluate(&middle);
            if middle.is_array() {
                for kind in ["mousePressed", "mouseReleased"] {
                    let event = json!({ "type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1 });
                    self.command("Input.dispatchMouseEvent", event);
                }
                // Where it has led to another page, nothing is known of it any more.
                if self.evaluate("globalThis.isHit") != json!(false) {
                    return;
                }
            }
            assert!(
                started.elapsed() < ANSWER_TIMEOUT,
                "there is no {selector}, or it does not stay where it is"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key and lets it go.
    pub fn press(&mut self, key: &str, text: &str) {
        let code = if key == "Tab" { 9 } else { 13 };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.command("Input.dispatchKeyEvent", event);
        }
    }

    /// Fails if a script of the page has failed, or something was against its policy.
    pub fn assert_no_complaint(&mut self) {
        self.evaluate("0");
        assert!(self.complaints.is_empty(), "{:#?}", self.complaints);
    }

    /// Writes what a person would see to a file.
    pub fn screenshot(&mut self, file: &str) {
        let picture = self.command("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        fs::write(file, STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.try_command(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_command(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("the browser is there");
        loop {
            let message = self.messages.recv_timeout(ANSWER_TIMEOUT);
            let mut message = message.unwrap_or_else(|error| panic!("{method}: no answer: {error}"));
            if message["id"] == self.last_id {
                let error = message["error"].take();
                return if error.is_null() { Ok(message["result"].take()) } else { Err(error) };
            }
            self.note(message);
        }
    }

    fn note(&mut self, event: Value) {
        let is_complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["source"] == "security",
            _ => false,
        };
        if is_complaint {
            self.complaints.push(event["params"].clone());
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser ends its own processes when it is asked to; the pipe may be gone already.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let started = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if started.elapsed() > Duration::from_secs(5) {
                let _ = self.process.kill();
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = fs::remove_dir_all(&self.profile);
    }
}
