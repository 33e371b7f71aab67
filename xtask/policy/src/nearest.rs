//! Names that were perhaps meant.

/// In how many letters a known name differs, if that is near: in at most a third of its own, or one.
#[must_use]
pub fn distance(name: &str, known: &str) -> Option<usize> {
    let distance = strsim::osa_distance(name, known);
    (distance <= (known.chars().count() / 3).max(1)).then_some(distance)
}

/// `did you mean "x"?` of the one that is near, else what is known; none where that is too much to list.
pub fn suggestion<'a>(near: Option<&str>, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if let Some(near) = near {
        return Some(format!("did you mean \"{near}\"?"));
    }
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    match known.len() {
        0 => Some("there is none".to_owned()),
        1..=12 => Some(format!("known: {}", known.join(", "))),
        _ => None,
    }
}
