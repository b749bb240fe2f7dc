//! How the story is told: chapters, what was asked, what was answered, why.

use std::{fmt::Display, io::Write, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Failure;

/// Tells the story, on a terminal in colours.
pub struct Teller<'a> {
    out: &'a mut dyn Write,
    colours: bool,
    draws_progress: bool,
    chapter: usize,
}

/// What a colour means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    /// A heading.
    Heading,
    /// Something was let in.
    Good,
    /// Something was kept out.
    Bad,
    /// An aside.
    Quiet,
}

impl<'a> Teller<'a> {
    /// Tells to this place.
    pub fn new(out: &'a mut dyn Write, colours: bool, draws_progress: bool) -> Self {
        Self { out, colours, draws_progress, chapter: 0 }
    }

    /// Begins a chapter.
    pub(super) fn chapter(&mut self, title: &str) -> Result<(), Failure> {
        self.chapter += 1;
        let before = if self.chapter == 1 { "" } else { "\n" };
        let title = self.paint(Tone::Heading, &format!("{}. {title}", self.chapter));
        self.line(&format!("{before}{title}"))
    }

    /// Says a line of the story.
    pub(super) fn say(&mut self, text: impl Display) -> Result<(), Failure> {
        self.line(&format!("   {text}"))
    }

    /// Says what was asked of the service.
    pub(super) fn asked(&mut self, text: impl Display) -> Result<(), Failure> {
        let label = self.paint(Tone::Quiet, "asked   ");
        self.say(format!("{label}  {text}"))
    }

    /// Says what the service answered.
    pub(super) fn answered(&mut self, tone: Tone, text: &str) -> Result<(), Failure> {
        let label = self.paint(Tone::Quiet, "answered");
        let text = self.paint(tone, text);
        self.say(format!("{label}  {text}"))
    }

    /// Says why.
    pub(super) fn because(&mut self, text: impl Display) -> Result<(), Failure> {
        let label = self.paint(Tone::Quiet, "because ");
        self.say(format!("{label}  {text}"))
    }

    /// Prints a line as it is.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// A bar for so many devices; hidden where nobody watches.
    pub(super) fn bar(&self, n_devices: usize) -> ProgressBar {
        if !self.draws_progress {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("   {bar:40} {pos} of {len} devices");
        let bar = ProgressBar::with_draw_target(
            Some(u64::try_from(n_devices).unwrap_or(u64::MAX)),
            ProgressDrawTarget::stderr(),
        );
        bar.enable_steady_tick(Duration::from_millis(100));
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Heading => "1",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Quiet => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(colours: bool) -> String {
        let mut out = Vec::new();
        let mut teller = Teller::new(&mut out, colours, false);
        teller.chapter("First").expect("told");
        teller.asked("GET /x").expect("told");
        teller.answered(Tone::Bad, "no").expect("told");
        teller.chapter("Second").expect("told");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_log_gets_plain_text() {
        assert_eq!(told(false), "1. First\n   asked     GET /x\n   answered  no\n\n2. Second\n");
    }

    #[test]
    fn a_terminal_gets_colours() {
        assert!(told(true).contains("\u{1b}[31mno\u{1b}[0m"));
    }
}
