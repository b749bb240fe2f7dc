//! Methods that were called on a device and not answered yet (H §4.2.9).

use app::live::{MethodAnswer, MethodInvocation};
use tokio::sync::oneshot;

/// How many calls may wait for one device's answers. Whoever calls while so many wait hears that
/// there will be no answer.
pub(super) const MAX_CALLS: usize = 100;

/// The calls of one session. An idle session holds no memory here.
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: Vec<(u32, oneshot::Sender<MethodAnswer>)>,
    last: u32,
}

impl Calls {
    /// Remembers who waits for this call's answer. Returns the call's number, its name and its
    /// payload; `None`, and the caller is told, when too many wait.
    pub(super) fn begin(&mut self, call: MethodInvocation) -> Option<(u32, String, String)> {
        // Whoever gave up waits no more.
        self.waiting.retain(|(_, reply)| !reply.is_closed());
        if self.waiting.len() >= MAX_CALLS || call.reply.is_closed() {
            return None;
        }
        // A number comes again after four billion calls; those of that time are long gone.
        self.last = self.last.wrapping_add(1);
        self.waiting.push((self.last, call.reply));
        Some((self.last, call.name, call.payload))
    }

    /// Hands an answer to who waits for it. An answer nobody waits for is no mistake of the
    /// device: the caller may have given up.
    pub(super) fn answer(&mut self, number: u32, answer: MethodAnswer) {
        let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == number) else {
            return;
        };
        let (_, reply) = self.waiting.swap_remove(at);
        // The caller may give up at this moment, which is the same.
        let _ = reply.send(answer);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }

    /// Gives up on an answer: the caller is told that there will be none.
    pub(super) fn give_up(&mut self, number: u32) {
        self.waiting.retain(|(waiting, _)| *waiting != number);
    }
}

/// A call's number as it travels, in hexadecimal digits.
pub(super) fn number_text(number: u32) -> String {
    format!("{number:x}")
}

/// The number of a call, from what the device sent back.
pub(super) fn read_number(text: &str) -> Option<u32> {
    // `from_str_radix` takes a sign, which we never sent.
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> (MethodInvocation, oneshot::Receiver<MethodAnswer>) {
        let (reply, answer) = oneshot::channel();
        let (name, payload) = ("reboot".to_owned(), "{}".to_owned());
        (MethodInvocation { name, payload, reply }, answer)
    }

    fn answer(status: i32) -> MethodAnswer {
        MethodAnswer { status, payload: b"1".to_vec() }
    }

    #[test]
    fn each_answer_finds_its_caller_in_any_order() {
        let mut calls = Calls::default();
        let (first, mut first_answer) = call();
        let (second, mut second_answer) = call();
        let first = calls.begin(first).expect("room").0;
        let second = calls.begin(second).expect("room").0;
        calls.answer(second, answer(202));
        calls.answer(first, answer(201));
        assert_eq!(first_answer.try_recv(), Ok(answer(201)));
        assert_eq!(second_answer.try_recv(), Ok(answer(202)));
        assert_eq!(calls.waiting.capacity(), 0, "nothing waits, nothing is held");
    }

    #[test]
    fn an_answer_nobody_waits_for_is_forgotten() {
        let mut calls = Calls::default();
        let (asked, mut reply) = call();
        let number = calls.begin(asked).expect("room").0;
        calls.answer(number.wrapping_add(1), answer(200));
        assert_eq!(reply.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        calls.answer(number, answer(200));
        calls.answer(number, answer(500));
        assert_eq!(reply.try_recv(), Ok(answer(200)));
    }

    #[test]
    fn beyond_the_bound_the_caller_hears_that_there_is_no_answer() {
        let mut calls = Calls::default();
        let mut waiting: Vec<_> = (0..MAX_CALLS)
            .map(|_| {
                let (asked, reply) = call();
                assert!(calls.begin(asked).is_some());
                reply
            })
            .collect();
        let (asked, mut reply) = call();
        assert_eq!(calls.begin(asked), None);
        assert_eq!(reply.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        // One who gives up makes room for another.
        waiting.pop();
        let (asked, _reply) = call();
        assert!(calls.begin(asked).is_some());
    }

    #[test]
    fn a_number_is_read_as_it_was_written_and_nothing_else_is() {
        for number in [1, 0xbeef, u32::MAX] {
            assert_eq!(read_number(&number_text(number)), Some(number));
        }
        assert_eq!(read_number("BEEF"), Some(0xbeef));
        for bad in ["", "+1", "-1", "g", "100000000", "0x1"] {
            assert_eq!(read_number(bad), None, "{bad}");
        }
    }
}
