//! What a program's content is called: an id that is the same for the same bytes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Hexadecimal digits of an id: 48 bits of a hash.
pub const ID: usize = 12;

/// Longer notes than any linker writes are not read.
const NOTES: u64 = 1 << 16;

/// The first digits of the hash of the content that the linker put into an ELF program, its build id: to read
/// it takes no time, to hash a program of 40 MB takes 30 ms. None without one, and for other formats.
/// A linker can be told to take something else than a hash (`--build-id=0x...`): compare before trusting.
/// Source: `elf(5)`, and gABI's note sections.
pub fn linked(program: &Path) -> Option<String> {
    let file = File::open(program).ok()?;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).ok()?;
    // 64 bits, little-endian.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (u64_at(&header, 32)?, u16_at(&header, 54)?, u16_at(&header, 56)?);
    (0..count).find_map(|segment| {
        let mut header = [0; 56];
        file.read_exact_at(&mut header, table.checked_add(u64::from(size) * u64::from(segment))?).ok()?;
        let (kind, offset, length) = (u32_at(&header, 0)?, u64_at(&header, 8)?, u64_at(&header, 32)?);
        if kind != 4 || length > NOTES {
            return None;
        }
        let mut notes = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut notes, offset).ok()?;
        build_id(&notes).map(digits)
    })
}

/// The first digits of the SHA-256 of the content.
pub fn hashed(program: &Path) -> io::Result<String> {
    let mut file = File::open(program)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digits(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Whether both have the same content.
pub fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let mut left = one.metadata()?.len();
    if left != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(a.len());
        one.read_exact(&mut a[..part])?;
        other.read_exact(&mut b[..part])?;
        if a[..part] != b[..part] {
            return Ok(false);
        }
        left -= part as u64;
    }
    Ok(true)
}

/// The build id among the notes of a segment: of GNU's notes the one of type 3.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    while !notes.is_empty() {
        let (name, content, kind) = (u32_at(notes, 0)?, u32_at(notes, 4)?, u32_at(notes, 8)?);
        let content = padded(12, name)?..padded(12, name)?.checked_add(usize::try_from(content).ok()?)?;
        // Shorter than this it is no hash.
        if kind == 3 && notes.get(12..16)? == b"GNU\0" && content.len() * 2 >= ID {
            return notes.get(content);
        }
        notes = notes.get(padded(content.start, u32::try_from(content.len()).ok()?)?..)?;
    }
    None
}

/// Where what follows `length` bytes at `start` begins: names and contents are padded to four bytes.
fn padded(start: usize, length: u32) -> Option<usize> {
    usize::try_from(length).ok()?.checked_next_multiple_of(4)?.checked_add(start)
}

fn digits(hash: &[u8]) -> String {
    let mut digits = String::with_capacity(ID);
    for byte in hash.iter().take(ID / 2) {
        for half in [byte >> 4, byte & 15] {
            digits.extend(char::from_digit(half.into(), 16));
        }
    }
    digits
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The smallest ELF file with this build id, and something else in it.
    pub fn elf(build_id: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut note = vec![4, 0, 0, 0, u8::try_from(build_id.len()).unwrap(), 0, 0, 0, 3, 0, 0, 0];
        note.extend(b"GNU\0");
        note.extend(build_id);
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        // One program header right behind: the notes, right behind that.
        (file[32], file[54], file[56]) = (64, 56, 1);
        (file[64], file[64 + 8], file[64 + 32]) = (4, 64 + 56, u8::try_from(note.len()).unwrap());
        file.extend(note);
        file.extend(rest);
        file
    }

    fn linked_in(content: &[u8]) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("program"), content).unwrap();
        linked(&directory.path().join("program"))
    }

    #[test]
    fn a_build_id_is_read_from_where_the_linker_put_it() {
        let id = [0xab, 0xcd, 0xef, 1, 2, 3, 4, 5];
        assert_eq!(linked_in(&elf(&id, b"rest")).as_deref(), Some("abcdef010203"));
        assert_eq!(linked_in(&elf(&id[..4], b"rest")), None);
        assert_eq!(linked_in(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn other_notes_before_it_are_passed_over() {
        let mut notes = vec![5, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0];
        notes.extend(b"Some\0\0\0\0!\0\0\0");
        notes.extend([4, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0]);
        notes.extend(b"GNU\0content!");
        assert_eq!(build_id(&notes), Some(&b"content!"[..]));
    }

    #[test]
    fn contents_are_the_same_when_every_byte_is() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        let mut content = vec![7; (1 << 18) + 5];
        std::fs::write(&one, &content).unwrap();
        std::fs::write(&other, &content).unwrap();
        assert!(same(&one, &other).unwrap());
        *content.last_mut().unwrap() = 8;
        std::fs::write(&other, &content).unwrap();
        assert!(!same(&one, &other).unwrap());
        std::fs::write(&other, &content[1..]).unwrap();
        assert!(!same(&one, &other).unwrap());
    }

    proptest! {
        #[test]
        fn no_notes_make_it_panic(notes in proptest::collection::vec(prop_oneof![0..20_u8, any::<u8>()], 0..80)) {
            let _ = build_id(&notes);
            let _ = linked_in(&elf(&[1; 8], &notes)[..64]);
        }
    }
}
