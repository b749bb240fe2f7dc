//! The words `iot` and `dps` that the vendor's tutorials put before a command.

use std::ffi::OsString;

/// Words that say nothing here: there is no other service they could tell apart.
const LEADING: [&str; 2] = ["iot", "dps"];
/// Global options that take the next argument as their value.
const WITH_VALUE: [&str; 2] = ["-o", "--output"];

/// The arguments without such words before the command, the program's name included.
///
/// `induct iot dps enrollment create` is `induct enrollment create`, and `induct iot hub …` is
/// `induct hub …`. A later `dps` is left alone: it may be an id.
pub(super) fn without_leading(
    arguments: impl IntoIterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    let mut before_command = true;
    let mut is_value = false;
    arguments
        .into_iter()
        .enumerate()
        .filter(move |(i, argument)| {
            if *i == 0 || !before_command || std::mem::take(&mut is_value) {
                return true;
            }
            let Some(text) = argument.to_str() else {
                before_command = false;
                return true;
            };
            if text.starts_with('-') {
                is_value = WITH_VALUE.contains(&text);
                return true;
            }
            let leading = LEADING.contains(&text);
            before_command = leading;
            !leading
        })
        .map(|(_, argument)| argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, meant: &str) {
        let arguments = typed.split(' ').map(OsString::from);
        let rest: Vec<_> =
            without_leading(arguments).map(|a| a.into_string().expect("text")).collect();
        assert_eq!(rest.join(" "), meant, "{typed}");
    }

    #[test]
    fn the_vendors_words_before_a_command_mean_nothing() {
        check("induct dps enrollment create", "induct enrollment create");
        check("induct iot dps enrollment create", "induct enrollment create");
        check("induct iot hub device-identity list", "induct hub device-identity list");
        check("induct -o table iot dps enrollment list", "induct -o table enrollment list");
        check("induct -v --output=json dps serve", "induct -v --output=json serve");
    }

    #[test]
    fn a_word_after_the_command_is_left_alone() {
        check("induct enrollment show --eid dps", "induct enrollment show --eid dps");
        check("induct backup dps", "induct backup dps");
        check("induct -o dps serve", "induct -o dps serve");
    }
}
