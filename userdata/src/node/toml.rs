//! TOML to the tree.

use super::{Fault, Node, Value};
use crate::error::{At, Reason};
use crate::limits::{DEPTH, VALUES};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a document.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = At::Byte(error.span().map_or(0, |span| span.start));
        Fault { at, reason: Reason::Syntax { format: "TOML", problem: error.message().replace('\n', ", ") } }
    })?;
    let mut values = 0;
    let root = map(table.get_ref(), 0, &mut values)?;
    Ok(Node { at: At::Byte(0), value: root })
}

fn node(value: &Spanned<DeValue<'_>>, depth: usize, values: &mut usize) -> Result<Node, Fault> {
    let at = At::Byte(value.span().start);
    *values += 1;
    if *values > VALUES || depth > DEPTH {
        let problem = format!("more than {VALUES} values or {DEPTH} levels");
        return Err(Fault { at, reason: Reason::Syntax { format: "TOML", problem } });
    }
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Plain(number.to_string()),
        DeValue::Float(number) => Value::Plain(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Value::Plain(truth.to_string()),
        DeValue::Datetime(date) => Value::Plain(date.to_string()),
        DeValue::Array(nodes) => {
            Value::List(nodes.iter().map(|one| node(one, depth + 1, values)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => map(table, depth, values)?,
    };
    Ok(Node { at, value })
}

fn map(table: &DeTable<'_>, depth: usize, values: &mut usize) -> Result<Value, Fault> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let at = At::Byte(key.span().start);
        entries.push((key.get_ref().to_string(), at, node(value, depth + 1, values)?));
    }
    // The parser sorts by name; the order of writing is what people mean.
    entries.sort_by_key(|(_, at, _)| if let At::Byte(offset) = at { *offset } else { 0 });
    Ok(Value::Map(entries))
}
