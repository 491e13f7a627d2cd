//! The query protocol: form parameters in, XML out.

use std::fmt::{Display, Write as _};

use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value};

use super::{Call, Refusal};

/// A piece of a reply.
#[derive(Debug)]
pub(crate) enum Node {
    /// A value.
    Text(String),
    /// Named children.
    Fields(Vec<(&'static str, Node)>),
    /// `member` elements.
    List(Vec<Node>),
}

impl Node {
    /// A value.
    pub(crate) fn text(value: impl Display) -> Self {
        Node::Text(value.to_string())
    }

    fn write(&self, out: &mut String) {
        match self {
            Node::Text(text) => escape(text, out),
            Node::Fields(fields) => fields.iter().for_each(|(name, node)| element(name, node, out)),
            Node::List(nodes) => nodes.iter().for_each(|node| element("member", node, out)),
        }
    }
}

/// A successful reply: its namespace and the fields of its result.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The service's XML namespace.
    pub(crate) namespace: &'static str,
    /// Fields of the result element.
    pub(crate) fields: Vec<(&'static str, Node)>,
}

impl Reply {
    pub(super) fn render(self, action: &str, id: &str) -> String {
        let mut out = format!("<{action}Response xmlns=\"{}\"><{action}Result>", self.namespace);
        Node::Fields(self.fields).write(&mut out);
        let _ = write!(
            out,
            "</{action}Result><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
        );
        out
    }
}

/// An error reply.
pub(super) fn error(code: &str, message: &str, id: &str) -> String {
    let mut out = format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>");
    escape(message, &mut out);
    let _ = write!(out, "</Message></Error><RequestId>{id}</RequestId></ErrorResponse>");
    out
}

fn element(name: &str, node: &Node, out: &mut String) {
    let _ = write!(out, "<{name}>");
    node.write(out);
    let _ = write!(out, "</{name}>");
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // XML 1.0 has no way to say these.
            c if c.is_control() && !matches!(c, '\n' | '\r' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// Reads a call from its form body.
pub(super) fn parse(request: &Request<Bytes>) -> Result<Call, Refusal> {
    let fields: Map<String, Value> = form_urlencoded::parse(request.body())
        .map(|(key, value)| (key.into_owned(), Value::from(value.into_owned())))
        .collect();
    match fields.get("Action").and_then(Value::as_str) {
        Some(action) => Ok(Call { action: action.to_owned(), parameters: Value::Object(fields) }),
        None => Err(Refusal::new("MissingAction", "The request must contain the parameter Action")),
    }
}
