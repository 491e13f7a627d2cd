//! Kills a command by SIGKILL at every call of AWS in turn, before the call is carried out and after; then one run goes
//! on with `kiln resume`, another takes back with `kiln abort`. What exists afterwards is all or nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::programs::run;
use crate::publication::Publication;

/// What is left of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// All of it.
    Everything,
    /// Not a trace.
    Nothing,
}

/// Emulators that work side by side.
const LANES: usize = 3;

/// What is killed.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The command, as it is typed.
    pub command: &'static [&'static str],
    /// The first call that its journal knows of, counted from 1: killed before, it has never begun.
    pub begins: usize,
    /// What of it there is, or an account of what else.
    pub left: fn(&Emulator) -> Result<Left, String>,
}

/// An account with nothing of ours in it, where things are quick, and instances play their part by themselves.
pub fn ready(aws: &Emulator) {
    aws.wipe();
    aws.set(&json!({"snapshot_looks": 1, "image_looks": 1, "builder_looks": 1}));
    aws.furnish();
}

impl Case {
    /// Kills it at each call in turn, and fails unless all is finished by `resume` and removed by `abort`.
    pub fn at_every_call(self, shop: &Publication) {
        let aws = Emulator::start();
        ready(&aws);
        run(&mut shop.kiln(&aws, self.command)).expect_code(0);
        assert_eq!((self.left)(&aws), Ok(Left::Everything));
        let last = aws.all_calls().len();
        let before = aws.all_calls().len();
        let again = run(&mut shop.kiln(&aws, self.command)).expect_code(0);
        let again: Value = serde_json::from_str(&again.stdout).expect("a receipt");
        assert_eq!((&again["adopted"], &again["changed"]), (&json!(true), &json!([])));
        let asked = aws.all_calls().split_off(before);
        let reads = |call: &Value| {
            call["operation"]
                .as_str()
                .is_some_and(|name| name.starts_with("Describe") || name.starts_with("Get"))
        };
        assert!(asked.iter().all(reads), "what is published is only looked at");

        let next = AtomicUsize::new(1);
        let table = Mutex::new(BTreeMap::new());
        std::thread::scope(|lanes| {
            for _ in 0..LANES {
                lanes.spawn(|| {
                    let (shop, aws) = (shop.elsewhere(true), Emulator::start());
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number > last {
                            break;
                        }
                        let row = self.row(&shop, &aws, number, last);
                        table.lock().expect("no lane panics with it").insert(number, row);
                    }
                });
            }
        });
        let table = table.into_inner().expect("no lane panicked");
        let leaks =
            table.values().flat_map(|row: &Row| &row.cells).filter(|cell| cell.starts_with("LEAK")).count();
        show(&table, leaks);
        assert_eq!(leaks, 0, "of {} cases", 4 * last);
    }
    fn row(self, shop: &Publication, aws: &Emulator, number: usize, last: usize) -> Row {
        let mut row = Row { operation: String::new(), cells: Vec::new() };
        for (after, command) in [(false, "resume"), (true, "resume"), (false, "abort"), (true, "abort")] {
            row.operation = self.killed(shop, aws, &json!([{"kind": "hold", "at": number, "after": after}]));
            let ended = run(&mut shop.kiln(aws, &[command]));
            let found = (self.left)(aws);
            let settled = number == last && after;
            let resumed = command == "resume" && number >= self.begins;
            let wanted = if resumed || settled { Left::Everything } else { Left::Nothing };
            let good = ended.code == Some(0) && found == Ok(wanted) && shop.journals() == 0;
            row.cells.push(match (&found, good) {
                (Ok(found), true) => format!("{found:?}").to_lowercase(),
                _ => format!("LEAK {found:?} exit {:?} {}", ended.code, ended.stderr.trim()),
            });
        }
        row
    }

    /// Kills it while a call is held; the operation.
    pub fn killed(self, shop: &Publication, aws: &Emulator, faults: &Value) -> String {
        ready(aws);
        shop.forget();
        shop.killed(aws, self.command, faults)
    }
}

/// What became of a publication that was killed at one call, in four ways.
struct Row {
    operation: String,
    cells: Vec<String>,
}

#[expect(clippy::print_stdout, reason = "the table is what the story is about")]
fn show(table: &BTreeMap<usize, Row>, leaks: usize) {
    println!("killed at                        before, resume  after, resume   before, abort   after, abort");
    for (number, Row { operation, cells }) in table {
        let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:<15}")).collect();
        println!("{number:>3} {operation:<28} {}", cells.join(" "));
    }
    println!("{} cases, {leaks} leaks", 4 * table.len());
}

/// The entries of a list, none of what is no list.
pub fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}
