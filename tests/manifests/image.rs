//! The image of the filter: what Istio and Envoy Gateway look for in one, and the same bytes each time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::files::{VERSION, at, path};

const MODULE: &str = "target/edge_authn.wasm";

/// A layout with the image of the filter in a folder of that name, and the digest that was printed.
fn image(name: &str) -> (PathBuf, String) {
    let layout = path("target/manifests").join(name);
    fs::create_dir_all(layout.parent().unwrap()).unwrap();
    let output = run(Command::new(path("scripts/image.sh")).arg(path(MODULE)).arg(&layout).arg(VERSION));
    (layout, String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn run(command: &mut Command) -> Output {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: run `make test-manifests`"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// All files below a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path).into_iter().map(|(name, text)| (path.join(name), text)));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
        .into_iter()
        .map(|(path, text)| (path.strip_prefix(folder).unwrap_or(&path).to_owned(), text))
        .collect()
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
}

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn the_image_is_one_layer_with_the_module_and_says_which_kind_it_is() {
    let (layout, digest) = image("image");
    let index = json_of(&layout.join("index.json"));
    assert_eq!(at(&index, "/manifests").as_array().unwrap().len(), 1);
    let entry = at(&index, "/manifests/0");
    assert_eq!(
        (&entry["digest"], &entry["annotations"]["org.opencontainers.image.ref.name"]),
        (&json!(digest), &json!(VERSION))
    );

    let manifest = json_of(&blob(&layout, &entry["digest"]));
    assert_eq!(*at(&manifest, "/annotations"), json!({ "module.wasm.image/variant": "compat" }));
    assert_eq!(*at(&manifest, "/config/mediaType"), "application/vnd.oci.image.config.v1+json");
    let layers = at(&manifest, "/layers").as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");

    let layer = blob(&layout, &layers[0]["digest"]);
    let listed = run(Command::new("tar").arg("-tzf").arg(&layer)).stdout;
    assert_eq!(String::from_utf8(listed).unwrap(), "plugin.wasm\n");
    let module = run(Command::new("tar").arg("-xzOf").arg(&layer).arg("plugin.wasm")).stdout;
    assert!(module == fs::read(path(MODULE)).unwrap());

    for (name, text) in contents(&layout.join("blobs/sha256")) {
        let digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(name, Path::new(&digest));
    }
}

#[test]
fn the_same_module_makes_the_same_image() {
    let ((one, first), (other, second)) = (image("one-image"), image("another-image"));
    assert_eq!(first, second);
    assert!(contents(&one) == contents(&other));
    // Made a second time in its place, it is not added to what was there.
    let (again, _) = image("one-image");
    assert!(contents(&again) == contents(&other));
}

#[test]
fn what_pushes_images_to_registries_takes_it() {
    let (layout, digest) = image("image-to-push");
    let target = path("target/manifests/pushed");
    let _ = fs::remove_dir_all(&target);
    let source = format!("oci:{}:{VERSION}", layout.display());
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", &source])
        .arg(format!("dir:{}", target.display())));
    let manifest = fs::read(target.join("manifest.json")).unwrap();
    let pushed: String = Sha256::digest(manifest).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(format!("sha256:{pushed}"), digest, "a registry has it under the digest that was printed");
}
