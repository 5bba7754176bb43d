//! Which names are fit for roles, channels and groups, and which known name a wrong one is closest to.

/// Whether a text may name a role or a channel: 1-64 of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

/// What [`is_name`] asks for, to be said in a hint.
pub(crate) const NAME_RULE: &str =
    "use 1 to 64 letters, digits, dots, underscores and hyphens, beginning with a letter or digit";

/// Whether a text may name a group: names joined by `/`, as Flame's realms are (`default/us`), 128 bytes at most.
pub(crate) fn is_group(text: &str) -> bool {
    text.len() <= 128 && text.split('/').all(is_name)
}

/// What [`is_group`] asks for.
pub(crate) const GROUP_RULE: &str =
    "use letters, digits, dots, underscores and hyphens, with a slash between levels, 128 at most";

/// Longest name, in bytes, that is compared with another, and most names that one is compared with.
const LONGEST: usize = 64;
const MOST_KNOWN: usize = 1000;

/// A name in a message: cut, and in quotes where it would not be seen.
pub(crate) fn shown(name: &str) -> String {
    let cut: String = name.chars().take(LONGEST).collect();
    if cut.trim().is_empty() { format!("{cut:?}") } else { cut }
}

/// The known name that `text` was probably meant to be.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a name of a thousand letters or knows a thousand by heart, and the distance is quadratic.
    if text.len() > LONGEST {
        return None;
    }
    let text = text.to_lowercase();
    known
        .into_iter()
        .take(MOST_KNOWN)
        .filter(|name| name.len() <= LONGEST)
        .map(|name| (distance(&text, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.len().max(text.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A hint that names the nearest of the known names, or all of them.
pub(crate) fn suggest<'a>(text: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(text, known.clone()) {
        Some(name) => format!("did you mean {name}?"),
        None => format!("known: {}", listed(known)),
    }
}

/// Names in a sentence; a long list is cut.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 24;
    let names: Vec<&str> = names.into_iter().collect();
    let text = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        return format!("{text} and {} more", names.len() - SHOWN);
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

/// Levenshtein's edit distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (cb, up) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(ca != *cb)).min(left + 1).min(up + 1);
            diagonal = *up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let known = ["designId", "dataSpec", "schemaVersion", "seed"];
        assert_eq!(nearest("designID", known), Some("designId"));
        assert_eq!(nearest("dataspec", known), Some("dataSpec"));
        assert_eq!(nearest("sed", known), Some("seed"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn groups_may_have_levels_and_names_may_not() {
        assert!(is_group("default/us") && is_group("eu"));
        assert!(!is_group("") && !is_group("/us") && !is_group("a//b") && !is_group("a/+") && !is_group("../b"));
        assert!(is_name("param-channel") && !is_name("a/b") && !is_name("#"));
    }
}
