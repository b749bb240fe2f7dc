//! Queries: whether a device meets a condition, and what a projection shows of it (H §7).
//!
//! Text to query is `wire`'s work; order, pages and counting are the use case's. What a path
//! finds is in `field`.

use std::cmp::Ordering;

use model::query::{Column, Comparison, Filter, Literal, Path};
use model::{Device, Json};

mod field;

use field::Field;

/// Whether the device meets the condition.
///
/// Only strings, numbers, booleans and `null` compare. A path that leads nowhere or to an object
/// or array compares with nothing, not even with itself: neither `=` nor `!=` nor the `NOT` of
/// either holds for it. Numbers compare by value, strings by code point, moments by time when the
/// literal is a moment. Values of different types are unequal and in no order.
#[must_use]
pub fn matches(filter: &Filter, device: &Device) -> bool {
    truth(filter, device) == Some(true)
}

/// The paths' values, each under its column's name. A path that leads nowhere leaves no member.
#[must_use]
pub fn project(columns: &[Column], device: &Device) -> Json {
    let mut row = Json::empty_object();
    for column in columns {
        if let Some(field) = field::find(&column.path, device) {
            row.set(&column.name, field.into_json());
        }
    }
    row
}

/// `None` is neither true nor false: a comparison with nothing.
fn truth(filter: &Filter, device: &Device) -> Option<bool> {
    match filter {
        Filter::And(left, right) => match (truth(left, device), truth(right, device)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            (None, _) | (_, None) => None,
        },
        Filter::Or(left, right) => match (truth(left, device), truth(right, device)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            (None, _) | (_, None) => None,
        },
        Filter::Not(inner) => truth(inner, device).map(|holds| !holds),
        Filter::Compare(path, comparison, literal) => {
            compare(&primitive(path, device)?, *comparison, literal)
        }
        Filter::Among { path, literals, negated } => {
            let field = primitive(path, device)?;
            let found = literals.iter().any(|literal| is_equal(&field, literal));
            Some(found != *negated)
        }
        Filter::IsDefined(path) => Some(field::find(path, device).is_some()),
    }
}

fn primitive<'a>(path: &Path, device: &'a Device) -> Option<Field<'a>> {
    field::find(path, device).filter(Field::is_primitive)
}

fn compare(field: &Field<'_>, comparison: Comparison, literal: &Literal) -> Option<bool> {
    match comparison {
        Comparison::Equal => Some(is_equal(field, literal)),
        Comparison::NotEqual => Some(!is_equal(field, literal)),
        Comparison::Less => Some(order(field, literal)?.is_lt()),
        Comparison::LessOrEqual => Some(order(field, literal)?.is_le()),
        Comparison::Greater => Some(order(field, literal)?.is_gt()),
        Comparison::GreaterOrEqual => Some(order(field, literal)?.is_ge()),
    }
}

fn is_equal(field: &Field<'_>, literal: &Literal) -> bool {
    match (field.json(), literal) {
        (Some(Json::Null), Literal::Null) => true,
        (Some(Json::Bool(value)), Literal::Bool(literal)) => value == literal,
        _ => order(field, literal) == Some(Ordering::Equal),
    }
}

/// The order of two strings, two numbers or two moments; nothing else has one.
fn order(field: &Field<'_>, literal: &Literal) -> Option<Ordering> {
    match (field, literal) {
        (Field::Moment(moment), Literal::String(text)) => match field::parse_moment(text) {
            Some(literal) => Some(moment.cmp(&literal)),
            None => Some(field::moment_text(*moment).as_str().cmp(text)),
        },
        (_, Literal::String(text)) => Some(field.json()?.as_str()?.cmp(text)),
        (_, Literal::Number(literal)) => match field.json()? {
            Json::Number(token) => order_of_numbers(token, literal),
            _ => None,
        },
        (_, Literal::Bool(_) | Literal::Null) => None,
    }
}

/// Integers are compared exactly, everything else as doubles.
fn order_of_numbers(left: &str, right: &str) -> Option<Ordering> {
    if let (Ok(left), Ok(right)) = (left.parse::<i64>(), right.parse::<i64>()) {
        return Some(left.cmp(&right));
    }
    left.parse::<f64>().ok()?.partial_cmp(&right.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests;
