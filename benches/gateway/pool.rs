//! Tokens that are signed before anything is measured.
//!
//! A pool is a file below `target/bench`: on its first line the public key, the time when its tokens expire and what was
//! asked for, then one token a line. It is used again while it is what is asked for and its tokens are good for another
//! day. The private key is forgotten.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::{Value, json};

use crate::now;
use crate::support::tokens::SigningKey;

/// Whose tokens they are.
pub const ISSUER: &str = "https://idp.example.com";
pub const AUDIENCE: &str = "api";

/// What most scenarios send. There are more tokens than any cache of a contender has room for.
pub const RS256: Wanted = Wanted { name: "rs256", algorithm: "RS256", count: MANY, further_claims: 0 };
pub const MANY: usize = 8_000;

const DAY: u64 = 24 * 3600;
const SIGNERS: usize = 2;

/// What tokens are wanted.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// The name of the file, and the `kid`.
    pub name: &'static str,
    pub algorithm: &'static str,
    pub count: usize,
    /// String claims `claim-0`, `claim-1` and so on beside the usual ones.
    pub further_claims: usize,
}

pub struct Pool {
    /// One a line.
    pub file: PathBuf,
    pub tokens: Vec<String>,
    pub jwk: Value,
}

impl Pool {
    pub fn get(directory: &Path, wanted: Wanted) -> Self {
        let file = directory.join(format!("{}.pool", wanted.name));
        let stored = Self::read(&file, wanted);
        let (jwk, tokens) = stored.unwrap_or_else(|| {
            eprintln!("signing {} tokens: {}", wanted.count, wanted.algorithm);
            let key = SigningKey::generate(wanted.algorithm, wanted.name);
            let expires = now() + 2 * DAY;
            let tokens = sign(&key, wanted, expires);
            let head = json!({ "jwk": key.jwk(), "expires": expires, "wanted": wanted.to_json() });
            fs::write(&file, format!("{head}\n{}\n", tokens.join("\n"))).unwrap();
            (key.jwk(), tokens)
        });
        let file = directory.join(format!("{}.tokens", wanted.name));
        write_lines(&file, &tokens);
        Self { file, tokens, jwk }
    }

    /// The first `count` tokens of it.
    #[must_use]
    pub fn first(&self, directory: &Path, count: usize) -> Self {
        let tokens = self.tokens[..count].to_vec();
        self.with_tokens(directory, &format!("first-{count}"), tokens)
    }

    /// The same tokens with signatures that are well-formed and wrong.
    #[must_use]
    pub fn with_bad_signatures(&self, directory: &Path) -> Self {
        // Far from the last characters, which have bits that no byte takes, and from the first, which could make a number
        // that is too large for the key.
        let spoil = |token: &String| {
            let at = token.len() - 40;
            let other = if token[at..].starts_with('A') { "B" } else { "A" };
            format!("{}{other}{}", &token[..at], &token[at + 1..])
        };
        self.with_tokens(directory, "bad-signatures", self.tokens.iter().map(spoil).collect())
    }

    /// One request without a token.
    #[must_use]
    pub fn without_tokens(&self, directory: &Path) -> Self {
        self.with_tokens(directory, "none", vec![String::new()])
    }

    fn with_tokens(&self, directory: &Path, name: &str, tokens: Vec<String>) -> Self {
        let stem = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap();
        let file = directory.join(format!("{stem}-{name}.tokens"));
        write_lines(&file, &tokens);
        Self { file, tokens, jwk: self.jwk.clone() }
    }

    fn read(file: &Path, wanted: Wanted) -> Option<(Value, Vec<String>)> {
        let text = fs::read_to_string(file).ok()?;
        let (head, tokens) = text.split_once('\n')?;
        let mut head: Value = serde_json::from_str(head).ok()?;
        let is_good = head["wanted"] == wanted.to_json() && head["expires"].as_u64()? > now() + DAY;
        let tokens: Vec<String> = tokens.lines().map(ToOwned::to_owned).collect();
        (is_good && tokens.len() == wanted.count).then(|| (head["jwk"].take(), tokens))
    }
}

impl Wanted {
    fn to_json(self) -> Value {
        json!([self.algorithm, self.count, self.further_claims, ISSUER, AUDIENCE])
    }

    fn claims(self, index: usize, expires: u64) -> Value {
        let mut claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": format!("user-{index:08}"),
            "email": format!("user-{index:08}@example.com"),
            "scope": "openid profile email",
            "iat": now(),
            "exp": expires,
            "jti": format!("{index:032x}"),
        });
        for number in 0..self.further_claims {
            claims[format!("claim-{number}")] = json!(format!("value-{number}-of-{index}"));
        }
        claims
    }
}

fn sign(key: &SigningKey, wanted: Wanted, expires: u64) -> Vec<String> {
    let indices: Vec<usize> = (0..wanted.count).collect();
    let sign_part = |part: &[usize]| -> Vec<String> {
        part.iter().map(|index| key.sign(&wanted.claims(*index, expires))).collect()
    };
    thread::scope(|scope| {
        let parts = indices.chunks(wanted.count.div_ceil(SIGNERS));
        let signers: Vec<_> = parts.map(|part| scope.spawn(move || sign_part(part))).collect();
        signers.into_iter().flat_map(|signer| signer.join().unwrap()).collect()
    })
}

fn write_lines(file: &Path, lines: &[String]) {
    fs::write(file, lines.join("\n") + "\n").unwrap();
}
