//! The known name nearest to a mistyped one.

/// The name among `among` that `name` was most likely meant to be, or `None` if none is near: more
/// than two fifths of the characters, and more than one, would have to change.
pub fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<String> {
    let typed: Vec<char> = name.to_lowercase().chars().collect();
    among
        .map(|known| (distance(&typed, &known.chars().collect::<Vec<_>>()), known))
        .filter(|(distance, known)| *distance <= (typed.len().max(known.len()) * 2 / 5).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.to_owned())
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbor
/// (optimal string alignment).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(from != to);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped =
                row > 0 && column > 0 && *from == right[column - 1] && left[row - 1] == *to;
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["naive", "random_walk", "seasonal_naive"];

    #[test]
    fn slips_of_the_finger_find_their_name() {
        let found = |name| nearest(name, KNOWN.into_iter());
        assert_eq!(found("nivae").as_deref(), Some("naive"));
        assert_eq!(found("RandomWalk").as_deref(), Some("random_walk"));
        assert_eq!(found("seasonal-naive").as_deref(), Some("seasonal_naive"));
    }

    #[test]
    fn nothing_is_suggested_for_a_name_unlike_any() {
        assert_eq!(nearest("transformer", KNOWN.into_iter()), None);
        assert_eq!(nearest("", KNOWN.into_iter()), None);
    }

    #[test]
    fn distances_are_those_worked_by_hand() {
        let of = |left: &str, right: &str| {
            distance(
                &left.chars().collect::<Vec<_>>(),
                &right.chars().collect::<Vec<_>>(),
            )
        };
        assert_eq!(of("kitten", "sitting"), 3);
        assert_eq!(of("ab", "ba"), 1);
        assert_eq!(of("", "abc"), 3);
    }
}
