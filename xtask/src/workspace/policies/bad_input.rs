//! What no editor would save: an error with its place, and an end.

use std::fmt::Write as _;
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn said(bytes: &[u8]) -> String {
    let mut problems = Vec::new();
    Policies::parse([(PathBuf::from("p.yaml"), bytes.to_vec())], &mut problems);
    Problems::check(problems).map_or_else(|problems| problems.to_string(), |()| "nothing".to_owned())
}

const GOOD: &str = include_str!("good.yaml");

#[test]
fn what_is_no_text_is_told() {
    assert_snapshot!(said(b""), @"p.yaml: holds no object; write one, or remove the file");
    assert_snapshot!(said(b"# nothing but this\n---\n---\n"), @"p.yaml: holds no object; write one, or remove the file");
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("kind: Server\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_snapshot!(said(&utf16), @"p.yaml:1: UTF-16 text; save the file as UTF-8");
    let big: Vec<u8> = "kind: Server\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_snapshot!(said(&big), @"p.yaml:1: not text, or UTF-16: it has a NUL byte; save the file as UTF-8");
    assert_snapshot!(said(b"kind: Server\nmetadata: {name: caf\xe9}\n"), @"p.yaml:2: not UTF-8 text; save the file as UTF-8");
    assert_snapshot!(said(b"kind: \x00Server\n"), @"p.yaml:1: not text, or UTF-16: it has a NUL byte; save the file as UTF-8");
    assert_snapshot!(said(b"\xef\xbb\xbfkind: Server\n"), @r#"p.yaml:1:1: missing field "apiVersion"; add it"#);
}

#[test]
fn what_is_no_object_is_told() {
    assert_snapshot!(said(b"just words\n"), @"p.yaml:1:1: not an object: a manifest has apiVersion, kind, metadata");
    assert_snapshot!(said(b"- kind: Server\n- kind: Server\n"), @"p.yaml:1:1: not an object: a manifest has apiVersion, kind, metadata");
    assert_snapshot!(said(b"42\n"), @"p.yaml:1:1: not an object: a manifest has apiVersion, kind, metadata");
    assert_snapshot!(said(b"kind: [Server]\napiVersion: v1\n"), @"p.yaml:1:1: wrong type in kind: expected a string");
    assert_snapshot!(said(b"kind: Server\nkind: Server\napiVersion: policy.linkerd.io/v1beta3\nmetadata: {name: a, name: b}\nspec: {port: 1, podSelector: {}}\n"), @r#"
    p.yaml:2:1: duplicate key "kind" in Server, first on line 1; remove one
    p.yaml:4:21: duplicate key "name" in Server.metadata, first on line 4; remove one
    "#);
}

#[test]
fn what_is_deep_wide_or_explodes_ends_early() {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let deep = format!("kind: Server\nspec: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
        let mappings = format!("kind: Server\nspec: {}1{}\n", "{a: ".repeat(100_000), "}".repeat(100_000));
        let mut bomb = "kind: Server\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = level - 1;
            let all = vec![format!("*a{before}"); 10].join(", ");
            let _ = writeln!(bomb, "a{level}: &a{level} [{all}]");
        }
        let wide = "kind: Server\n".to_owned() + &"k: v\n".repeat(190_000);
        let long = format!("kind: Server\nname: {}\n", "x".repeat(1_000_000));
        for bytes in [deep, mappings, bomb, wide, long] {
            done.send(said(bytes.as_bytes())).unwrap();
        }
    });
    let next = || {
        let text = wait.recv_timeout(Duration::from_secs(120)).expect("reading ends");
        text.lines().next().unwrap_or_default().to_owned()
    };
    assert_snapshot!(next(), @"p.yaml:2:262: nested more than 64 deep: this is no Kubernetes object");
    assert_snapshot!(next(), @"p.yaml:2:259: nested more than 64 deep: this is no Kubernetes object");
    assert_snapshot!(next(), @"p.yaml:7:10: more than 200000 values with its aliases written out");
    assert_snapshot!(next(), @"p.yaml:100001:1: more than 200000 values with its aliases written out");
    assert_snapshot!(next(), @r#"p.yaml:1:1: missing field "apiVersion"; add it"#);
}

#[test]
fn a_file_of_ten_megabytes_is_not_read() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("p.yaml"), vec![b'#'; 10 << 20]).unwrap();
    assert_snapshot!(Policies::read(root.path(), &["p.yaml".into()]).unwrap_err(), @"p.yaml: 10240 KiB is more than a manifest may have (1024 KiB); split it");
}

/// Text that is nearly policies: bytes changed, lines repeated, moved and cut, words put in others' places.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8usize, any::<u8>());
    prop::collection::vec(edit, 1..16).prop_map(|edits| {
        let mut text = GOOD.as_bytes().to_vec();
        for (at, other, how, byte) in edits {
            if text.is_empty() {
                break;
            }
            let (at, other) = (at.index(text.len()), other.index(text.len()));
            let (low, high) = (at.min(other), at.max(other));
            match how {
                0 => text.insert(at, byte),
                1 => drop(text.remove(at)),
                2 => text.insert(at, b"-:{}[]&*!|>\"'#\n%@`,?~ "[usize::from(byte) % 22]),
                3 => text[at] = byte,
                4 => drop(text.drain(low..high.min(low + 40))),
                5 => {
                    let part = text[low..high.min(low + 60)].to_vec();
                    text.splice(at..at, part);
                }
                6 => {
                    let part = text[low..high.min(low + 20)].to_vec();
                    let to = other.min(text.len());
                    text.splice(to..to, part);
                }
                _ => {
                    let words: [&[u8]; 8] =
                        [b"null", b"[]", b"{}", b"-1", b"1.5", b"\"\"", b"99999999999999999999", b"*a"];
                    text.splice(at..at, words[usize::from(byte) % 8].iter().copied());
                }
            }
        }
        text
    })
}

proptest! {
    #[test]
    fn reading_any_bytes_ends_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!said(&bytes).is_empty());
    }

    #[test]
    fn reading_what_is_nearly_policies_ends_without_panic(bytes in mangled()) {
        let mut problems = Vec::new();
        let policies = Policies::parse([(PathBuf::from("p.yaml"), bytes)], &mut problems);
        prop_assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        // What was read can be judged.
        let mut objects = Objects::default();
        policies.add_to(&mut objects);
        let found = ::policy::check::check(&objects, &::policy::cluster::ClusterInfo::default(), &[]);
        prop_assert!(found.iter().all(|found| !found.cause.is_empty() && !found.remedy.is_empty()));
    }

    #[test]
    fn the_order_of_objects_does_not_matter(order in Just(GOOD.split("---\n").collect::<Vec<_>>()).prop_shuffle()) {
        let mut problems = Vec::new();
        let policies =
            Policies::parse([(PathBuf::from("p.yaml"), order.join("---\n").into_bytes())], &mut problems);
        prop_assert_eq!(problems, Vec::new());
        prop_assert_eq!(policies.count(), order.len());
    }
}
