//! A query from anyone: understood or refused with a column inside it, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::hub::query::{self, BadQuery};

fuzz_target!(|text: &str| {
    if let Err(BadQuery::Syntax { column, .. }) = query::parse(text) {
        assert!((1..=text.chars().count() + 1).contains(&column));
    }
});
