use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;

use super::*;

fn program(content: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program");
    std::fs::write(&file, content).unwrap();
    (directory, file)
}

fn image(content: &str) -> Image {
    let (_directory, file) = program(content);
    let labels = [("org.opencontainers.image.title".to_owned(), "baz".to_owned())].into();
    Image::of_program("baz", &file, Platform { architecture: "amd64" }, &labels).unwrap()
}

#[test]
fn the_same_program_has_the_same_digest_wherever_and_whenever_it_is() {
    let one = image("one");
    assert_eq!(image("one").digest(), one.digest());
    let other = image("other");
    assert_ne!(other.digest(), one.digest());
    // Only the program's layer differs.
    assert_eq!(other.layers[0].digest, one.layers[0].digest);
    assert_ne!(other.layers[1].digest, one.layers[1].digest);
}

#[test]
fn the_program_is_the_entrypoint_and_nobody_runs_it() {
    let (_directory, file) = program("one");
    let image =
        Image::of_program("baz", &file, Platform { architecture: "arm64" }, &BTreeMap::new()).unwrap();
    let mut config = Vec::new();
    image.config.write(&mut config).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["config"]["Entrypoint"], json!(["/baz"]));
    assert_eq!(config["config"]["User"], json!("65532:65532"));
    assert_eq!(config["architecture"], json!("arm64"));
    let mut layer = Vec::new();
    image.layers[1].write(&mut layer).unwrap();
    let mut layer = tar::Archive::new(&*layer);
    let mut entry = layer.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(entry.path().unwrap().to_str(), Some("baz"));
    assert_eq!((entry.header().mode().unwrap(), entry.header().uid().unwrap()), (0o755, 0));
    let mut content = String::new();
    entry.read_to_string(&mut content).unwrap();
    assert_eq!(content, "one");
}

#[test]
fn the_base_has_certificates_and_who_runs() {
    let base = layer::base().unwrap();
    let mut archive = tar::Archive::new(&*base);
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    let all = "etc/ etc/ssl/ etc/ssl/certs/ etc/group etc/nsswitch.conf etc/passwd \
               etc/ssl/certs/ca-certificates.crt";
    assert_eq!(names.join(" "), all);
    let text = String::from_utf8_lossy(&base);
    assert!(text.matches("-----BEGIN CERTIFICATE-----\n").count() > 100);
}

/// Path and content of everything in an archive.
fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, content)
    });
    entries.collect()
}

#[test]
fn an_archive_has_every_blob_once_but_those_that_are_there() {
    let (directory, file) = program("one");
    let image =
        Image::of_program("baz", &file, Platform { architecture: "amd64" }, &BTreeMap::new()).unwrap();
    let about = Blob::of_bytes(sbom::MEDIA_TYPE, b"{\"bomFormat\":\"CycloneDX\"}".to_vec());
    let referrer = image.referrer(sbom::MEDIA_TYPE, &about);
    let named = archive::Named {
        reference: "localhost/baz:1".into(),
        image: image.clone(),
        referrers: vec![(referrer.clone(), about.clone())],
    };
    let write = |present: &BTreeSet<Digest>| {
        let mut archive = Vec::new();
        let bytes = archive::write(&[named.clone(), named.clone()], present, &mut archive).unwrap();
        (unpacked(&archive), bytes)
    };
    let (whole, bytes) = write(&BTreeSet::new());
    // Three lists; two layers, configuration and manifest; document, empty configuration and manifest about it.
    assert_eq!(whole.len(), 3 + 4 + 3);
    for (path, content) in &whole {
        if let Some(digest) = path.strip_prefix("blobs/sha256/") {
            assert_eq!(Digest::of(content).hex(), digest);
        }
    }
    assert_eq!(bytes, image.blobs().map(|blob| blob.size).sum::<u64>() + about.size + referrer.size + 2);
    let present: BTreeSet<Digest> = [image.layers[0].digest.clone()].into();
    let (rest, less) = write(&present);
    assert_eq!((rest.len(), less), (whole.len() - 1, bytes - image.layers[0].size));
    drop(directory);
    let index: Value = serde_json::from_slice(&whole["index.json"]).unwrap();
    assert_eq!(index["manifests"][0]["digest"], json!(image.digest().as_str()));
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], json!("localhost/baz:1"));
    let referrer: Value =
        serde_json::from_slice(&whole[&format!("blobs/sha256/{}", referrer.digest.hex())]).unwrap();
    assert_eq!(referrer["subject"]["digest"], json!(image.digest().as_str()));
}
