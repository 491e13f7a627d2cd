//! What of a failed command's output is worth telling: its last lines, and the first that speak of an error before them, since
//! npm follows its reason with pages of help.

use std::collections::VecDeque;

/// Enough for a stack trace of npm or Python with its cause.
const LAST: usize = 40;
/// Enough for npm's reason and the first packages that it concerns.
const ERRORS: usize = 8;

/// A command's output, as it comes.
#[derive(Debug, Default)]
pub struct Said {
    errors: Vec<String>,
    last: VecDeque<String>,
}

impl Said {
    /// The next line.
    pub fn push(&mut self, line: String) {
        self.last.push_back(line);
        let old = if self.last.len() > LAST { self.last.pop_front() } else { None };
        // A bare "npm error" is an empty line.
        let tells = |line: &String| {
            let line = line.to_lowercase();
            line.contains("error") && !line.trim_end().ends_with("error")
        };
        self.errors.extend(old.filter(|old| self.errors.len() < ERRORS && tells(old)));
    }

    /// The lines to tell, in their order.
    pub fn lines(self) -> Vec<String> {
        let left_out = if self.errors.is_empty() { None } else { Some("…".to_owned()) };
        self.errors.into_iter().chain(left_out).chain(self.last).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_pages_of_help_follow_is_told_with_the_last_lines() {
        let mut said = Said::default();
        for line in
            ["added 1 package", "npm error code EUSAGE", "npm error", "npm error Missing: a@1 from lock file"]
        {
            said.push(line.to_owned());
        }
        (0..50).for_each(|number| said.push(format!("help {number}")));
        let lines = said.lines();
        assert_eq!(lines[..3], ["npm error code EUSAGE", "npm error Missing: a@1 from lock file", "…"]);
        assert_eq!((lines.len(), lines[3].as_str(), lines[42].as_str()), (43, "help 10", "help 49"));
    }

    #[test]
    fn what_is_short_is_told_whole_and_an_endless_one_stays_short() {
        let mut said = Said::default();
        said.push("one".to_owned());
        said.push("an error".to_owned());
        assert_eq!(said.lines(), ["one", "an error"]);
        let mut said = Said::default();
        (0..100_000).for_each(|number| said.push(format!("error {number}")));
        assert_eq!(said.lines().len(), LAST + ERRORS + 1);
    }
}
