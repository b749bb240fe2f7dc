//! Server-sent events as they come in: `id:` and `data:` lines, ended by an empty one.
//!
//! Source: HTML Living Standard, “Server-sent events”, as far as we need it: other fields and
//! comments are passed over.

/// The longest line, in bytes: an event of 256 KiB in which every byte is escaped fits.
const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// Where to go on after it.
    pub(super) id: Option<String>,
    /// Its data; several lines are joined. An event without data only moves the place.
    pub(super) data: Option<String>,
}

/// The stream is not one of server-sent events, or a line of it is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadStream;

/// Puts pieces together.
#[derive(Debug, Default)]
pub(super) struct Reader {
    line: Vec<u8>,
    id: Option<String>,
    data: Option<String>,
}

impl Reader {
    /// Takes a piece, and returns the events that are complete with it.
    ///
    /// # Errors
    /// [`BadStream`]
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<Sent>, BadStream> {
        let mut complete = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > MAX_LINE_BYTES {
                return Err(BadStream);
            }
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = str::from_utf8(&line).map_err(|_| BadStream)?;
                complete.extend(self.take_line(line.trim_end_matches(['\r', '\n']))?);
            }
        }
        Ok(complete)
    }

    fn take_line(&mut self, line: &str) -> Result<Option<Sent>, BadStream> {
        if line.is_empty() {
            let (id, data) = (self.id.take(), self.data.take());
            return Ok((id.is_some() || data.is_some()).then_some(Sent { id, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                let data = self.data.get_or_insert_default();
                if data.len() + value.len() > MAX_LINE_BYTES {
                    return Err(BadStream);
                }
                if !data.is_empty() {
                    data.push('\n');
                }
                data.push_str(value);
            }
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": hello\n\nid: a\n\nid: 1\ndata: {\"x\": 1}\n\r\n: beat\n\
                          event: event\nid:2\r\ndata:one\ndata: two\n\ndata: cut";

    fn sent(id: &str, data: Option<&str>) -> Sent {
        Sent { id: Some(id.to_owned()), data: data.map(str::to_owned) }
    }

    fn expected() -> Vec<Sent> {
        vec![sent("a", None), sent("1", Some("{\"x\": 1}")), sent("2", Some("one\ntwo"))]
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_events(size in 1_usize..40) {
            let mut reader = Reader::default();
            let pieces = STREAM.as_bytes().chunks(size);
            let events: Vec<_> = pieces.flat_map(|piece| reader.push(piece).unwrap()).collect();
            prop_assert_eq!(events, expected());
        }
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_is_kept() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 1024 * 1024];
        let taken = (0..8).take_while(|_| reader.push(&piece).is_ok()).count();
        assert_eq!(taken, 4);
        assert!(reader.line.len() <= MAX_LINE_BYTES);
    }

    #[test]
    fn data_without_end_is_refused() {
        let mut reader = Reader::default();
        let line = format!("data: {}\n", "x".repeat(1024 * 1024));
        let taken = (0..8).take_while(|_| reader.push(line.as_bytes()).is_ok()).count();
        // Each line but the first adds what joins it to the one before.
        assert_eq!(taken, 3);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(Reader::default().push(b"data: \xff\n"), Err(BadStream));
    }
}
