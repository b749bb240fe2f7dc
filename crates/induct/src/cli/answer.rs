//! What a command has to say: the service's JSON exactly as it came, or a table for people.
//!
//! Unlike [`Printer`](super::Printer), which prints what Induct itself makes, this holds the
//! operator's documents, whose members' order and numbers' digits are nobody's to change.

mod table;

use std::io::{self, Write};

use model::Json;

use super::Output;

pub(crate) use table::Sheet;

/// An answer, and how a table shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// The answer.
    pub(crate) json: Json,
    /// How a table shows it.
    pub(crate) sheet: Sheet,
}

impl Answer {
    /// An answer, and how a table shows it.
    #[must_use]
    pub(crate) const fn new(json: Json, sheet: Sheet) -> Self {
        Self { json, sheet }
    }

    /// Prints it.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn print(&self, output: Output, out: &mut dyn Write) -> io::Result<()> {
        match output {
            Output::Json => writeln!(out, "{}", pretty(&self.json)),
            Output::Table => match self.sheet.render(&self.json) {
                table if table.is_empty() => Ok(()),
                table => writeln!(out, "{table}"),
            },
        }
    }
}

/// JSON over several lines, two spaces a level; empty containers stay on one line.
#[must_use]
pub(crate) fn pretty(json: &Json) -> String {
    let mut text = String::new();
    write_pretty(json, 0, &mut text);
    text
}

fn write_pretty(json: &Json, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    match json {
        Json::Array(items) if !items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                write_pretty(item, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Json::Object(members) if !members.is_empty() => {
            out.push('{');
            for (i, (name, value)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                out.push_str(&Json::from(name.as_str()).to_string());
                out.push_str(": ");
                write_pretty(value, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_members_order_and_its_numbers_digits() {
        let json = json::parse(r#"{"z":1.0,"a":[{},[],{"b":"x\n"}],"m":{}}"#).expect("legal");
        assert_eq!(
            pretty(&json),
            "{\n  \"z\": 1.0,\n  \"a\": [\n    {},\n    [],\n    {\n      \"b\": \"x\\n\"\n    }\n  ],\n  \"m\": {}\n}"
        );
        assert_eq!(json::parse(&pretty(&json)), Ok(json));
    }
}
