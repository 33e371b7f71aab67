use crate::nearest::{distance, suggestion};

/// What may have been meant: `did you mean "x"?` where a name is near, else what is known.
pub(super) fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    let near = known.iter().filter_map(|known| Some((distance(name, known)?, *known))).min();
    suggestion(near.map(|(_, near)| near), known).unwrap_or_else(|| "correct the name".to_owned())
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
