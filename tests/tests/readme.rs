//! The README says what is true: its commands run, and it names every command there is.

use kiln_tests::programs::{agent, kiln, repository, run};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).expect("the file is in the repository")
}

/// The subcommands that a program's own help lists.
fn commands(program: &Path) -> BTreeSet<String> {
    let help = run(Command::new(program).arg("--help")).expect_code(0).stdout;
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Continuation lines of a long description are indented further.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("    "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .filter(|name| name != "help")
        .collect()
}

/// Lines of the README's shell blocks, comments and prompts cut off.
fn shell_lines(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            let line = line.split(" #").next().unwrap_or_default().trim();
            lines.extend(
                line.split("&&")
                    .map(|command| command.trim().to_owned())
                    .filter(|command| !command.is_empty()),
            );
        }
    }
    lines
}

#[test]
fn every_command_of_the_programs_has_a_row_in_the_readme() {
    let readme = read("README.md");
    for (program, name) in [(kiln(), "kiln"), (agent(), "kiln-agent")] {
        let commands = commands(&program);
        assert!(commands.contains("check"), "{name} --help lists {commands:?}");
        for command in commands {
            assert!(readme.contains(&format!("| `{name} {command}")), "no row for `{name} {command}`");
        }
    }
}

#[test]
fn every_command_shows_examples() {
    for program in [kiln(), agent()] {
        for command in commands(&program) {
            let help = run(Command::new(&program).args([&command, "--help"])).expect_code(0).stdout;
            assert!(help.contains("Examples:"), "{} {command} --help:\n{help}", program.display());
        }
    }
}

#[test]
fn every_command_in_the_readme_exists() {
    let (kilns, agents) = (commands(&kiln()), commands(&agent()));
    let makefile = read("Makefile");
    let lines = shell_lines(&read("README.md"));
    assert!(lines.len() > 3, "the README shows no commands");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let known = match words[..] {
            ["make", target, ..] => makefile.lines().any(|rule| rule.starts_with(&format!("{target}:"))),
            ["kiln", "-C", _, command, ..] | ["kiln", command, ..] => kilns.contains(command),
            ["kiln-agent", command, ..] => agents.contains(command),
            _ => false,
        };
        assert!(known, "the README shows `{line}`, which no test knows to exist");
    }
}
