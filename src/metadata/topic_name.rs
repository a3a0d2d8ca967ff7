//! What a topic may be called.

/// The longest name in bytes.
const MAX_LENGTH: usize = 249;

/// The topics that Kafka keeps for itself: clients see them as internal.
pub const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// The topic that holds the cluster's metadata; it is no topic to clients.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

/// Whether `name` is one of [`INTERNAL_TOPICS`].
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Checks `name` by Kafka's rules; the error is a sentence.
///
/// ```
/// use strandline::metadata::topic_name::validate;
/// assert!(validate("flights.2013_v-1").is_ok());
/// assert_eq!(
///     validate("a b").unwrap_err(),
///     "topic name \"a b\" has ' ': it may hold only ASCII letters, digits, '.', '_' and '-'"
/// );
/// ```
pub fn validate(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the topic name is empty: it must have from 1 to 249 characters".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("topic name {name:?} is a folder's: it must not be '.' or '..'"));
    }
    if name.len() > MAX_LENGTH {
        return Err(format!("topic name {name:?} has {} characters: it may have at most {MAX_LENGTH}", name.len()));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => {
            Err(format!("topic name {name:?} has {c:?}: it may hold only ASCII letters, digits, '.', '_' and '-'"))
        }
        None => Ok(()),
    }
}

/// Whether two names would share their metrics' names, where '.' and '_' are one.
pub fn collide(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).all(|(a, b)| a == b || (matches!(a, b'.' | b'_') && matches!(b, b'.' | b'_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_underscores_collide() {
        assert!(collide("a.b", "a_b") && collide("a.b", "a.b"));
        assert!(!collide("a.b", "a-b") && !collide("a", "ab"));
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", ".", "..", "a/b", "é", &"x".repeat(250)] {
            assert!(validate(name).is_err(), "{name:?}");
        }
        assert!(validate(&"x".repeat(249)).is_ok() && is_internal("__consumer_offsets"));
    }
}
