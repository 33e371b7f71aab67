/// What may have been meant: `did you mean "x"?` where a name is near, else what is known.
pub(super) fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    let near = known
        .iter()
        .map(|known| (strsim::osa_distance(name, known), *known))
        .filter(|(distance, known)| *distance <= (known.chars().count() / 3).max(1))
        .min();
    match (near, known.len()) {
        (Some((_, near)), _) => format!("did you mean \"{near}\"?"),
        (None, 0) => "there is none".to_owned(),
        (None, 1..=12) => format!("known: {}", known.join(", ")),
        (None, _) => "correct the name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_meant() {
        assert_eq!(suggest("bax", ["bar", "foo"]), "did you mean \"bar\"?");
        assert_eq!(suggest("other", ["bar", "foo"]), "known: bar, foo");
        assert_eq!(suggest("x", []), "there is none");
        assert_eq!(suggest("bakc", ["back", "back-grpc"]), "did you mean \"back\"?");
    }
}
