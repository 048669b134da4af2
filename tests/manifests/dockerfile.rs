//! The Dockerfile does little itself: what it runs also runs outside Docker.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::files::{path, text};

/// The instructions with this name, without it.
fn instructions(name: &str) -> Vec<String> {
    let file = text("Dockerfile");
    let lines = file.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.map(str::to_owned).collect()
}

#[test]
fn each_step_is_a_make_target_or_a_script_that_others_use() {
    let makefile = text("Makefile");
    let steps = instructions("RUN");
    assert_eq!(steps.len(), 3);
    for step in steps {
        let (program, target) = step.split_once(' ').unwrap();
        if program == "make" {
            assert!(makefile.contains(&format!("\n.PHONY: {target}\n{target}:")), "{step}");
        } else {
            let mode = fs::metadata(path(program)).unwrap().permissions().mode();
            assert!(program.starts_with("scripts/") && mode & 0o111 != 0, "{step}");
        }
    }
    // What is built there is built here before these tests run: the filter, and the program that they start.
    assert!(makefile.contains("\ntest-manifests: wasm demo-servers"), "see the steps of the Dockerfile");
}

#[test]
fn images_are_pinned_and_the_compiler_is_one_that_the_crate_takes() {
    let images = instructions("FROM");
    assert_eq!(images, ["rust:1.95.0-bookworm AS build", "debian:12.12-slim"]);
    let version = images[0].strip_prefix("rust:").unwrap().split('-').next().unwrap();
    assert!(instructions("ENV").contains(&format!("RUSTUP_TOOLCHAIN={version}")));
    let needed = text("Cargo.toml");
    let (_, needed) = needed.split_once("rust-version = \"").unwrap();
    assert!(version.starts_with(needed.split('"').next().unwrap()));
}

#[test]
fn what_is_copied_is_there_once_the_steps_have_run() {
    let root = "/edge-authn/";
    for copy in instructions("COPY") {
        let words: Vec<_> = copy.split(' ').filter(|word| !word.starts_with("--")).collect();
        let [from, _] = words[..] else { panic!("{copy}") };
        assert!(path(from.strip_prefix(root).unwrap_or(from)).exists(), "{copy}");
    }
    // A target folder of this machine would be taken for that of the image.
    assert_eq!(text(".dockerignore").lines().collect::<Vec<_>>(), [".git", "target"]);
}
