//! Bytes to performatives. What the standard gives a default gets it here; fields that nobody of
//! ours asks for are read, so that they are legal, and dropped.

use super::super::{
    BadFrame, Pairs, SaslFrame,
    error::BadValue,
    names,
    read::{Fields, Reader},
};
use super::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Outcome, Performative,
    ReceiverSettle, Role, SaslInit, SaslMechanisms, SaslOutcome, SenderSettle, State, Terminus,
    Transfer, WireError,
};

type Read<T> = Result<T, BadFrame>;

/// Reads the performative at the beginning of a frame.
pub(in super::super) fn read(reader: &mut Reader<'_>) -> Read<Performative> {
    Ok(match reader.descriptor()? {
        Some(names::OPEN) => Performative::Open(Box::new(open(reader)?)),
        Some(names::BEGIN) => Performative::Begin(Box::new(begin(reader)?)),
        Some(names::ATTACH) => Performative::Attach(Box::new(attach(reader)?)),
        Some(names::FLOW) => Performative::Flow(flow(reader)?),
        Some(names::TRANSFER) => Performative::Transfer(transfer(reader)?),
        Some(names::DISPOSITION) => Performative::Disposition(disposition(reader)?),
        Some(names::DETACH) => Performative::Detach(detach(reader)?),
        Some(names::END) => Performative::End(End { error: only_error(reader, "end")? }),
        Some(names::CLOSE) => Performative::Close(Close { error: only_error(reader, "close")? }),
        _ => return Err(BadFrame::Performative),
    })
}

/// Reads what a frame of the SASL layer holds.
pub(in super::super) fn read_sasl(reader: &mut Reader<'_>) -> Read<SaslFrame> {
    Ok(match reader.descriptor()? {
        Some(names::SASL_MECHANISMS) => {
            let mut fields = reader.fields("sasl-mechanisms", 1)?;
            let mechanisms = fields.required("sasl-server-mechanisms", Reader::symbols)?;
            fields.end()?;
            SaslFrame::Mechanisms(SaslMechanisms(mechanisms))
        }
        Some(names::SASL_INIT) => {
            let mut fields = reader.fields("sasl-init", 3)?;
            let init = SaslInit {
                mechanism: fields.required("mechanism", Reader::symbol)?,
                initial_response: fields.optional("initial-response", Reader::binary)?,
                hostname: fields.optional("hostname", Reader::string)?,
            };
            fields.end()?;
            SaslFrame::Init(init)
        }
        Some(names::SASL_CHALLENGE) => {
            let mut fields = reader.fields("sasl-challenge", 1)?;
            let challenge = fields.required("challenge", Reader::binary)?;
            fields.end()?;
            SaslFrame::Challenge(challenge)
        }
        Some(names::SASL_RESPONSE) => {
            let mut fields = reader.fields("sasl-response", 1)?;
            let response = fields.required("response", Reader::binary)?;
            fields.end()?;
            SaslFrame::Response(response)
        }
        Some(names::SASL_OUTCOME) => {
            let mut fields = reader.fields("sasl-outcome", 2)?;
            let outcome = fields.required("code", sasl_code)?;
            fields.optional("additional-data", Reader::binary)?;
            fields.end()?;
            SaslFrame::Outcome(outcome)
        }
        _ => return Err(BadFrame::Performative),
    })
}

fn open(reader: &mut Reader<'_>) -> Read<Open> {
    let mut fields = reader.fields("open", 10)?;
    let container_id = fields.required("container-id", Reader::string)?;
    let hostname = fields.optional("hostname", Reader::string)?;
    let max_frame_size = fields.optional("max-frame-size", Reader::uint)?;
    let channel_max = fields.optional("channel-max", Reader::ushort)?;
    let idle_timeout_ms = fields.optional("idle-time-out", Reader::uint)?;
    fields.optional("outgoing-locales", Reader::symbols)?;
    fields.optional("incoming-locales", Reader::symbols)?;
    let offered_capabilities = symbols(&mut fields, "offered-capabilities")?;
    let desired_capabilities = symbols(&mut fields, "desired-capabilities")?;
    let properties = map(&mut fields, "properties")?;
    fields.end()?;
    Ok(Open {
        container_id,
        hostname,
        max_frame_size,
        channel_max,
        idle_timeout_ms,
        offered_capabilities,
        desired_capabilities,
        properties,
    })
}

fn begin(reader: &mut Reader<'_>) -> Read<Begin> {
    let mut fields = reader.fields("begin", 8)?;
    let remote_channel = fields.optional("remote-channel", Reader::ushort)?;
    let next_outgoing_id = fields.required("next-outgoing-id", Reader::uint)?;
    let incoming_window = fields.required("incoming-window", Reader::uint)?;
    let outgoing_window = fields.required("outgoing-window", Reader::uint)?;
    let handle_max = fields.optional("handle-max", Reader::uint)?;
    symbols(&mut fields, "offered-capabilities")?;
    symbols(&mut fields, "desired-capabilities")?;
    let properties = map(&mut fields, "properties")?;
    fields.end()?;
    Ok(Begin {
        remote_channel,
        next_outgoing_id,
        incoming_window,
        outgoing_window,
        handle_max,
        properties,
    })
}

fn attach(reader: &mut Reader<'_>) -> Read<Attach> {
    let mut fields = reader.fields("attach", 14)?;
    let name = fields.required("name", Reader::string)?;
    let handle = fields.required("handle", Reader::uint)?;
    let role = fields.required("role", role)?;
    let sender_settle = fields.optional("snd-settle-mode", sender_settle)?.unwrap_or_default();
    let receiver_settle = fields.optional("rcv-settle-mode", receiver_settle)?.unwrap_or_default();
    let source = fields.optional("source", |reader| terminus(reader, names::SOURCE))?.flatten();
    let target = fields.optional("target", |reader| terminus(reader, names::TARGET))?.flatten();
    fields.optional("unsettled", Reader::map)?;
    fields.optional("incomplete-unsettled", Reader::boolean)?;
    let initial_delivery_count = fields.optional("initial-delivery-count", Reader::uint)?;
    let max_message_size = fields.optional("max-message-size", Reader::ulong)?;
    symbols(&mut fields, "offered-capabilities")?;
    let desired_capabilities = symbols(&mut fields, "desired-capabilities")?;
    let properties = map(&mut fields, "properties")?;
    fields.end()?;
    Ok(Attach {
        name,
        handle,
        role,
        sender_settle,
        receiver_settle,
        source,
        target,
        initial_delivery_count,
        max_message_size,
        properties,
        desired_capabilities,
    })
}

/// A source or a target, whichever is wanted; `None` for anything else that is described.
fn terminus(reader: &mut Reader<'_>, wanted: u8) -> Read<Option<Terminus>> {
    let found = reader.descriptor()?;
    if found != Some(wanted) {
        reader.value()?;
        return Ok(None);
    }
    let is_source = wanted == names::SOURCE;
    let mut fields =
        if is_source { reader.fields("source", 11)? } else { reader.fields("target", 7)? };
    let mut terminus = Terminus {
        address: fields.optional("address", Reader::text)?,
        durable: fields.optional("durable", Reader::uint)?.unwrap_or_default(),
        expiry_policy: fields.optional("expiry-policy", Reader::symbol)?,
        timeout_secs: fields.optional("timeout", Reader::uint)?.unwrap_or_default(),
        dynamic: fields.optional("dynamic", Reader::boolean)?.unwrap_or_default(),
        ..Terminus::default()
    };
    fields.optional("dynamic-node-properties", Reader::map)?;
    if is_source {
        fields.optional("distribution-mode", Reader::symbol)?;
        terminus.filter = map(&mut fields, "filter")?;
        fields.ignored("default-outcome")?;
        fields.optional("outcomes", Reader::symbols)?;
    }
    terminus.capabilities = symbols(&mut fields, "capabilities")?;
    fields.end()?;
    Ok(Some(terminus))
}

fn flow(reader: &mut Reader<'_>) -> Read<Flow> {
    let mut fields = reader.fields("flow", 11)?;
    let flow = Flow {
        next_incoming_id: fields.optional("next-incoming-id", Reader::uint)?,
        incoming_window: fields.required("incoming-window", Reader::uint)?,
        next_outgoing_id: fields.required("next-outgoing-id", Reader::uint)?,
        outgoing_window: fields.required("outgoing-window", Reader::uint)?,
        handle: fields.optional("handle", Reader::uint)?,
        delivery_count: fields.optional("delivery-count", Reader::uint)?,
        link_credit: fields.optional("link-credit", Reader::uint)?,
        available: fields.optional("available", Reader::uint)?,
        drain: fields.optional("drain", Reader::boolean)?.unwrap_or_default(),
        echo: fields.optional("echo", Reader::boolean)?.unwrap_or_default(),
    };
    fields.optional("properties", Reader::map)?;
    fields.end()?;
    Ok(flow)
}

fn transfer(reader: &mut Reader<'_>) -> Read<Transfer> {
    let mut fields = reader.fields("transfer", 11)?;
    let transfer = Transfer {
        handle: fields.required("handle", Reader::uint)?,
        delivery_id: fields.optional("delivery-id", Reader::uint)?,
        delivery_tag: fields.optional("delivery-tag", |reader| {
            let tag = reader.binary()?;
            // §2.8.7
            if tag.len() > 32 {
                return Err(BadValue::TooLong { size_bytes: tag.len(), limit_bytes: 32 }.into());
            }
            Ok(tag)
        })?,
        message_format: fields.optional("message-format", Reader::uint)?,
        settled: fields.optional("settled", Reader::boolean)?,
        more: fields.optional("more", Reader::boolean)?.unwrap_or_default(),
        receiver_settle: fields.optional("rcv-settle-mode", receiver_settle)?,
        state: fields.optional("state", state)?,
        resume: fields.optional("resume", Reader::boolean)?.unwrap_or_default(),
        aborted: fields.optional("aborted", Reader::boolean)?.unwrap_or_default(),
        batchable: fields.optional("batchable", Reader::boolean)?.unwrap_or_default(),
    };
    fields.end()?;
    Ok(transfer)
}

fn disposition(reader: &mut Reader<'_>) -> Read<Disposition> {
    let mut fields = reader.fields("disposition", 6)?;
    let disposition = Disposition {
        role: fields.required("role", role)?,
        first: fields.required("first", Reader::uint)?,
        last: fields.optional("last", Reader::uint)?,
        settled: fields.optional("settled", Reader::boolean)?.unwrap_or_default(),
        state: fields.optional("state", state)?,
        batchable: fields.optional("batchable", Reader::boolean)?.unwrap_or_default(),
    };
    fields.end()?;
    Ok(disposition)
}

fn detach(reader: &mut Reader<'_>) -> Read<Detach> {
    let mut fields = reader.fields("detach", 3)?;
    let detach = Detach {
        handle: fields.required("handle", Reader::uint)?,
        closed: fields.optional("closed", Reader::boolean)?.unwrap_or_default(),
        error: fields.optional("error", error)?,
    };
    fields.end()?;
    Ok(detach)
}

fn only_error(reader: &mut Reader<'_>, of: &'static str) -> Read<Option<WireError>> {
    let mut fields = reader.fields(of, 1)?;
    let error = fields.optional("error", error)?;
    fields.end()?;
    Ok(error)
}

fn error(reader: &mut Reader<'_>) -> Read<WireError> {
    if reader.descriptor()? != Some(names::ERROR) {
        return Err(BadValue::Descriptor.into());
    }
    let mut fields = reader.fields("error", 3)?;
    let error = WireError {
        condition: fields.required("condition", Reader::symbol)?,
        description: fields.optional("description", Reader::string)?,
        info: map(&mut fields, "info")?,
    };
    fields.end()?;
    Ok(error)
}

fn state(reader: &mut Reader<'_>) -> Read<State> {
    let found = reader.descriptor()?;
    let (of, max_fields) = match found {
        Some(names::RECEIVED) => ("received", 2),
        Some(names::ACCEPTED) => ("accepted", 0),
        Some(names::REJECTED) => ("rejected", 1),
        Some(names::RELEASED) => ("released", 0),
        Some(names::MODIFIED) => ("modified", 3),
        _ => {
            reader.value()?;
            return Ok(State::Other);
        }
    };
    let mut fields = reader.fields(of, max_fields)?;
    let state = match found {
        Some(names::RECEIVED) => State::Received {
            section: fields.required("section-number", Reader::uint)?,
            offset: fields.required("section-offset", Reader::ulong)?,
        },
        Some(names::REJECTED) => {
            State::Outcome(Outcome::Rejected(fields.optional("error", error)?))
        }
        Some(names::MODIFIED) => {
            let outcome = Outcome::Modified {
                delivery_failed: fields
                    .optional("delivery-failed", Reader::boolean)?
                    .unwrap_or_default(),
                undeliverable_here: fields
                    .optional("undeliverable-here", Reader::boolean)?
                    .unwrap_or_default(),
            };
            fields.optional("message-annotations", Reader::map)?;
            State::Outcome(outcome)
        }
        Some(names::RELEASED) => State::Outcome(Outcome::Released),
        _ => State::Outcome(Outcome::Accepted),
    };
    fields.end()?;
    Ok(state)
}

fn role(reader: &mut Reader<'_>) -> Read<Role> {
    Ok(if reader.boolean()? { Role::Receiver } else { Role::Sender })
}

fn sender_settle(reader: &mut Reader<'_>) -> Read<SenderSettle> {
    Ok(match reader.ubyte()? {
        0 => SenderSettle::Unsettled,
        1 => SenderSettle::Settled,
        2 => SenderSettle::Mixed,
        other => return Err(BadValue::Choice(other).into()),
    })
}

fn receiver_settle(reader: &mut Reader<'_>) -> Read<ReceiverSettle> {
    Ok(match reader.ubyte()? {
        0 => ReceiverSettle::First,
        1 => ReceiverSettle::Second,
        other => return Err(BadValue::Choice(other).into()),
    })
}

fn sasl_code(reader: &mut Reader<'_>) -> Read<SaslOutcome> {
    Ok(match reader.ubyte()? {
        0 => SaslOutcome::Ok,
        1 => SaslOutcome::Auth,
        2 => SaslOutcome::Sys,
        3 => SaslOutcome::SysPerm,
        4 => SaslOutcome::SysTemp,
        other => return Err(BadValue::Choice(other).into()),
    })
}

fn symbols(fields: &mut Fields<'_>, field: &'static str) -> Read<Vec<String>> {
    Ok(fields.optional(field, Reader::symbols)?.unwrap_or_default())
}

fn map(fields: &mut Fields<'_>, field: &'static str) -> Read<Pairs> {
    Ok(fields.optional(field, Reader::map)?.unwrap_or_default())
}
