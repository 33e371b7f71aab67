use std::sync::OnceLock;

/// A short list that only grows, read without a lock.
pub(crate) struct AppendList<K, V>(OnceLock<Box<Node<K, V>>>);

struct Node<K, V> {
    key: K,
    value: V,
    next: AppendList<K, V>,
}

impl<K, V> Default for AppendList<K, V> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<K: PartialEq + Clone, V> AppendList<K, V> {
    pub(crate) fn get_or_insert(&self, key: &K, make: impl Fn() -> V) -> &V {
        let mut list = self;
        loop {
            let node = list.0.get_or_init(|| {
                Box::new(Node { key: key.clone(), value: make(), next: AppendList::default() })
            });
            if node.key == *key {
                return &node.value;
            }
            list = &node.next;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        std::iter::successors(self.0.get(), |node| node.next.0.get()).map(|node| (&node.key, &node.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_made_once_and_found_again() {
        let list = AppendList::default();
        for key in [3, 1, 3, 2, 1] {
            assert_eq!(*list.get_or_insert(&key, || key * 10), key * 10);
        }
        assert_eq!(list.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [3, 1, 2]);
    }
}
