//! YAML to the tree: one document, aliases within a bound, no tags but the core ones.

use super::{Fault, Node, Value};
use crate::error::{At, Reason};
use crate::limits::{DEPTH, UNPACKED, VALUES};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Reads a document; an empty one is an empty map.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    if let Some(offset) = text.find('\0') {
        // The parser would take it for the end of the text and drop what follows.
        return Err(syntax(At::Byte(offset), "a zero byte"));
    }
    let mut builder =
        Builder { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), values: 0, bytes: 0 };
    let mut root = None;
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            Event::DocumentStart(_) if root.is_none() => {
                let (event, span) = builder.next()?;
                root = Some(builder.node(event, span, 0)?);
            }
            Event::StreamEnd => break,
            _ => return Err(syntax(at(span), "a second document: make it a part of its own")),
        }
    }
    let empty = Node { at: At::Line(1, 1), value: Value::Map(Vec::new()) };
    Ok(root.filter(|node| !node.is_null()).unwrap_or(empty))
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    values: usize,
    bytes: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(scan(&error)),
            None => Err(syntax(At::Line(1, 1), "the document ends early")),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let at = at(span);
        self.count(at, 0)?;
        if depth > DEPTH {
            return Err(syntax(at, &format!("more than {DEPTH} levels")));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(at, text.len())?;
                (anchor, scalar(text, style, tag.as_deref(), at)?)
            }
            Event::SequenceStart(anchor, tag) => {
                core_tag(tag.as_deref(), "seq", at)?;
                (anchor, self.list(depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                core_tag(tag.as_deref(), "map", at)?;
                (anchor, self.map(depth)?)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(syntax(at, "an alias within its own anchor"));
                };
                self.count_all(at, &node)?;
                return Ok(node);
            }
            _ => return Err(syntax(at, "the document ends early")),
        };
        let node = Node { at, value };
        if anchor > 0 {
            // The copy that is kept for aliases costs as much as one of them.
            self.count_all(at, &node)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(nodes)),
                (event, span) => nodes.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let key_at = at(span);
            let (Value::Text(key) | Value::Plain(key)) = self.node(event, span, depth + 1)?.value else {
                return Err(syntax(key_at, "a key that is not a string"));
            };
            if !seen.insert(key.clone()) {
                return Err(syntax(key_at, "a key that is there already"));
            }
            let (event, span) = self.next()?;
            entries.push((key, key_at, self.node(event, span, depth + 1)?));
        }
    }

    fn count(&mut self, at: At, bytes: usize) -> Result<(), Fault> {
        self.values += 1;
        self.bytes += bytes;
        if self.values > VALUES || self.bytes > UNPACKED {
            return Err(syntax(
                at,
                &format!("more than {VALUES} values or {UNPACKED} bytes, aliases counted"),
            ));
        }
        Ok(())
    }

    fn count_all(&mut self, at: At, node: &Node) -> Result<(), Fault> {
        match &node.value {
            Value::Text(text) | Value::Plain(text) | Value::Binary(text) => self.count(at, text.len()),
            Value::List(nodes) => nodes.iter().try_for_each(|node| self.count_all(at, node)),
            Value::Map(entries) => entries.iter().try_for_each(|(key, _, node)| {
                self.count(at, key.len())?;
                self.count_all(at, node)
            }),
        }
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>, at: At) -> Result<Value, Fault> {
    let text = text.into_owned();
    match tag {
        None if style == ScalarStyle::Plain => Ok(Value::Plain(text)),
        None => Ok(Value::Text(text)),
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "str" => Ok(Value::Text(text)),
            "binary" => Ok(Value::Binary(text)),
            "int" | "bool" | "null" => Ok(Value::Plain(text)),
            _ => Err(syntax(at, "a tag that is not supported")),
        },
        Some(_) => Err(syntax(at, "a tag that is not supported")),
    }
}

fn core_tag(tag: Option<&Tag>, suffix: &str, at: At) -> Result<(), Fault> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() || tag.suffix != suffix => {
            Err(syntax(at, "a tag that is not supported"))
        }
        _ => Ok(()),
    }
}

fn at(span: Span) -> At {
    At::Line(span.start.line().max(1), span.start.col() + 1)
}

fn scan(error: &ScanError) -> Fault {
    let marker = error.marker();
    syntax(At::Line(marker.line().max(1), marker.col() + 1), error.info())
}

fn syntax(at: At, problem: &str) -> Fault {
    Fault { at, reason: Reason::Syntax { format: "YAML", problem: problem.to_owned() } }
}
