//! Methods that were called on a device and not answered yet (H §4.3.5).

use app::live::{MethodAnswer, MethodInvocation};
use tokio::sync::oneshot;

/// How many calls may wait for one device's answers. Whoever calls while so many wait hears that
/// there will be no answer.
pub(super) const MAX_CALLS: usize = 100;

/// The calls of one session. An idle session holds no memory here.
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: Vec<Waiting>,
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    /// As the message is called that carries the call.
    number: u64,
    correlation_id: [u8; 16],
    reply: oneshot::Sender<MethodAnswer>,
}

impl Calls {
    /// Remembers who waits for this call's answer. Returns the call's number, its name and its
    /// payload; `None`, and the caller is told, when too many wait.
    pub(super) fn begin(
        &mut self,
        call: MethodInvocation,
        correlation_id: [u8; 16],
    ) -> Option<(u64, String, String)> {
        let MethodInvocation { name, payload, reply } = call;
        if self.n_waiting() >= MAX_CALLS || reply.is_closed() {
            return None;
        }
        self.last += 1;
        self.waiting.push(Waiting { number: self.last, correlation_id, reply });
        Some((self.last, name, payload))
    }

    /// How many wait for an answer. Whoever gave up waits no more.
    pub(super) fn n_waiting(&mut self) -> usize {
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        self.waiting.len()
    }

    /// Hands an answer to who waits for it. An answer nobody waits for is no mistake of the
    /// device: the caller may have given up.
    pub(super) fn answer(&mut self, correlation_id: &[u8; 16], answer: MethodAnswer) {
        let is_it = |waiting: &Waiting| waiting.correlation_id == *correlation_id;
        if let Some(at) = self.waiting.iter().position(is_it) {
            // The caller may give up at this moment, which is the same.
            let _ = self.waiting.swap_remove(at).reply.send(answer);
            self.shrink();
        }
    }

    /// Gives up on an answer: the caller is told that there will be none.
    pub(super) fn give_up(&mut self, correlation_id: &[u8; 16]) {
        self.waiting.retain(|waiting| waiting.correlation_id != *correlation_id);
        self.shrink();
    }

    /// As [`Self::give_up`], of the call that this message carried.
    pub(super) fn not_taken(&mut self, number: u64) {
        self.waiting.retain(|waiting| waiting.number != number);
        self.shrink();
    }

    /// Gives up on all of them.
    pub(super) fn clear(&mut self) {
        self.waiting = Vec::new();
    }

    fn shrink(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }
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
        assert!(calls.begin(first, [1; 16]).is_some() && calls.begin(second, [2; 16]).is_some());
        calls.answer(&[2; 16], answer(202));
        calls.answer(&[1; 16], answer(201));
        assert_eq!(first_answer.try_recv(), Ok(answer(201)));
        assert_eq!(second_answer.try_recv(), Ok(answer(202)));
        assert_eq!(calls.waiting.capacity(), 0, "nothing waits, nothing is held");
    }

    #[test]
    fn an_answer_nobody_waits_for_is_forgotten() {
        let mut calls = Calls::default();
        let (asked, mut reply) = call();
        assert!(calls.begin(asked, [1; 16]).is_some());
        calls.answer(&[2; 16], answer(200));
        assert_eq!(reply.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        calls.answer(&[1; 16], answer(200));
        calls.answer(&[1; 16], answer(500));
        assert_eq!(reply.try_recv(), Ok(answer(200)));
    }

    #[test]
    fn a_call_the_device_did_not_take_has_no_answer() {
        let mut calls = Calls::default();
        let (asked, mut reply) = call();
        let (number, ..) = calls.begin(asked, [1; 16]).expect("room");
        calls.not_taken(number + 1);
        assert_eq!(reply.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        calls.not_taken(number);
        assert_eq!(reply.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn beyond_the_bound_the_caller_hears_that_there_is_no_answer() {
        let mut calls = Calls::default();
        let mut waiting: Vec<_> = (0..MAX_CALLS)
            .map(|n| {
                let (asked, reply) = call();
                let id = [u8::try_from(n).expect("few"); 16];
                assert!(calls.begin(asked, id).is_some());
                reply
            })
            .collect();
        let (asked, mut reply) = call();
        assert_eq!(calls.begin(asked, [200; 16]), None);
        assert_eq!(reply.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        // One who gives up makes room for another.
        waiting.pop();
        let (asked, _reply) = call();
        assert!(calls.begin(asked, [200; 16]).is_some());
    }
}
