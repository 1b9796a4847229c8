//! What survived, against the list of what is known to be equivalent.

use super::Found;
use crate::tally::Tally;
use crate::terminal;

/// Counts the results; answers what survived and is not among `explained`, from which is taken what is.
pub fn judge(found: &Found, explained: &mut Vec<String>, tally: &mut Tally) -> Vec<String> {
    let mut unexplained = Vec::new();
    for mutant in &found.missed {
        match explained.iter().position(|known| *known == without_place(mutant)) {
            Some(index) => drop(explained.swap_remove(index)),
            None => unexplained.push(mutant.clone()),
        }
    }
    let Found { caught, timeouts, unviable, missed } = found;
    let (caught, missed, known) = (caught + timeouts, missed.len(), missed.len() - unexplained.len());
    terminal::detail(format_args!(
        "{caught} caught, {timeouts} of them by taking for ever; {missed} survived, {known} of them explained in {LIST}; \
         {unviable} do not compile"
    ));
    tally.passed += caught + known;
    tally.failed += unexplained.len();
    unexplained
}

/// The mutants of the list: rows of a table that begin with the mutant's name in backticks, without line and column. A `|` in
/// it is escaped, since it would end the cell.
pub fn explained_in(list: &str) -> Vec<String> {
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.filter(|(_, reason)| reason.chars().any(char::is_alphabetic))
        .map(|(name, _)| name.replace("\\|", "|"))
        .collect()
}

/// `src/cipher/gcm.rs:12:34: replace ..` without the numbers, which change with every edit.
fn without_place(mutant: &str) -> String {
    let Some((place, what)) = mutant.split_once(": ") else { return mutant.to_owned() };
    let file = place.split(':').next().unwrap_or(place);
    format!("{}: {what}", file.rsplit("../").next().unwrap_or(file))
}

/// Where it stands.
pub const LIST: &str = "docs/mutants.md";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_are_compared_without_their_place_in_the_file() {
        assert_eq!(
            without_place("src/cipher/gcm.rs:12:34: replace + with - in Gcm::update"),
            "src/cipher/gcm.rs: replace + with - in Gcm::update"
        );
        assert_eq!(without_place("tests/portable/../../src/cipher/gcm.rs:1:2: x"), "src/cipher/gcm.rs: x");
    }

    #[test]
    fn only_rows_with_a_reason_explain_a_mutant() {
        let list =
            "| mutant | why |\n|---|---|\n| `src/a.rs: replace \\| with ^` | both are 0 |\n| `src/b.rs: x` | |\n";
        assert_eq!(explained_in(list), ["src/a.rs: replace | with ^"]);
    }

    #[test]
    fn a_survivor_is_explained_once_for_each_row() {
        let survivor = "src/a.rs:1:2: replace a with b";
        let missed = vec![survivor.to_owned(), survivor.to_owned()];
        let found = Found { caught: 2, timeouts: 1, unviable: 7, missed };
        let mut tally = Tally::default();
        let unexplained = judge(&found, &mut vec!["src/a.rs: replace a with b".to_owned()], &mut tally);
        assert_eq!(unexplained, [survivor]);
        assert_eq!(tally, Tally { passed: 4, failed: 1, skipped: 0 });
    }
}
