//! How answers are printed: as JSON, or as a table for people.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// JSON, indented by two.
    #[default]
    Json,
    /// One line per item, for people.
    #[value(alias = "text")]
    Table,
}

/// Prints answers.
pub struct Printer<'a> {
    output: Output,
    out: &'a mut dyn Write,
}

impl<'a> Printer<'a> {
    /// Prints in this format to this place.
    pub fn new(output: Output, out: &'a mut dyn Write) -> Self {
        Self { output, out }
    }

    /// Prints an answer. A table has a line per element of a list, a column per member; members
    /// that hold objects or lists are left out of it.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn print(&mut self, answer: &Value) -> io::Result<()> {
        match self.output {
            Output::Json => {
                serde_json::to_writer_pretty(&mut *self.out, answer)?;
                writeln!(self.out)
            }
            Output::Table => {
                let rows: Vec<&Value> = match answer {
                    Value::Array(items) => items.iter().collect(),
                    one => vec![one],
                };
                self.print_rows(&rows)
            }
        }
    }

    fn print_rows(&mut self, rows: &[&Value]) -> io::Result<()> {
        let mut columns: Vec<&str> = Vec::new();
        for row in rows.iter().filter_map(|row| row.as_object()) {
            for (name, value) in row {
                let simple = !value.is_object() && !value.is_array();
                if simple && !columns.contains(&name.as_str()) {
                    columns.push(name);
                }
            }
        }
        let lines: Vec<Vec<String>> = rows
            .iter()
            .map(|row| match row {
                Value::Object(members) => {
                    columns.iter().map(|name| cell(members.get(*name))).collect()
                }
                other => vec![cell(Some(other))],
            })
            .collect();
        let titles: Vec<String> = columns.iter().map(|name| title(name)).collect();
        self.print_table(&titles, &lines)
    }

    /// Prints a table with these titles.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn print_table(&mut self, titles: &[String], lines: &[Vec<String>]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if !titles.is_empty() {
            table.set_header(titles);
            let rule: Vec<String> = titles.iter().map(|title| "-".repeat(title.len())).collect();
            table.add_row(rule);
        }
        for line in lines {
            table.add_row(line);
        }
        for line in table.lines() {
            writeln!(self.out, "{}", line.trim())?;
        }
        Ok(())
    }
}

/// A member's name as a title: `registrationId` becomes `RegistrationId`, as in the vendor's tool.
fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(output: Output, answer: &Value, expected: &str) {
        let mut out = Vec::new();
        Printer::new(output, &mut out).print(answer).expect("printed");
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn json_is_indented_by_two() {
        check(Output::Json, &json!({"a": [1]}), "{\n  \"a\": [\n    1\n  ]\n}\n");
    }

    #[test]
    fn a_table_has_a_line_per_item_and_a_column_per_simple_member() {
        let answer = json!([
            {"registrationId": "a", "capabilities": {"iotEdge": true}, "etag": "x"},
            {"registrationId": "bcd", "n": 5}
        ]);
        check(
            Output::Table,
            &answer,
            "RegistrationId  Etag  N\n--------------  ----  -\na               x\nbcd                   5\n",
        );
        check(Output::Table, &json!([]), "");
    }
}
