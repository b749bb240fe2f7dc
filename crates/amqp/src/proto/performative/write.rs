//! Performatives to bytes, each with all its fields (H §5.4).

use bytes::BytesMut;

use super::super::{
    SaslFrame, names,
    write::{Writer, put_list},
};
use super::{
    Attach, Begin, Disposition, Flow, Open, Outcome, Performative, ReceiverSettle, Role,
    SaslOutcome, SenderSettle, State, Terminus, Transfer, WireError,
};

pub(in super::super) fn write(performative: &Performative, out: &mut BytesMut) {
    match performative {
        Performative::Open(open) => put_list(out, names::OPEN, |fields| write_open(open, fields)),
        Performative::Begin(begin) => {
            put_list(out, names::BEGIN, |fields| write_begin(begin, fields));
        }
        Performative::Attach(attach) => {
            put_list(out, names::ATTACH, |fields| write_attach(attach, fields));
        }
        Performative::Flow(flow) => put_list(out, names::FLOW, |fields| write_flow(flow, fields)),
        Performative::Transfer(transfer) => write_transfer(transfer, transfer.more, out),
        Performative::Disposition(disposition) => {
            put_list(out, names::DISPOSITION, |fields| write_disposition(disposition, fields));
        }
        Performative::Detach(detach) => put_list(out, names::DETACH, |fields| {
            fields.uint(detach.handle);
            fields.boolean(detach.closed);
            write_error(detach.error.as_ref(), fields);
        }),
        Performative::End(end) => {
            put_list(out, names::END, |fields| write_error(end.error.as_ref(), fields));
        }
        Performative::Close(close) => {
            put_list(out, names::CLOSE, |fields| write_error(close.error.as_ref(), fields));
        }
    }
}

pub(in super::super) fn write_sasl(frame: &SaslFrame, out: &mut BytesMut) {
    match frame {
        SaslFrame::Mechanisms(mechanisms) => {
            put_list(out, names::SASL_MECHANISMS, |fields| fields.symbols(&mechanisms.0));
        }
        SaslFrame::Init(init) => put_list(out, names::SASL_INIT, |fields| {
            fields.symbol(&init.mechanism);
            fields.optional(init.initial_response.as_deref(), Writer::binary);
            fields.optional(init.hostname.as_deref(), Writer::string);
        }),
        SaslFrame::Challenge(challenge) => {
            put_list(out, names::SASL_CHALLENGE, |fields| fields.binary(challenge));
        }
        SaslFrame::Response(response) => {
            put_list(out, names::SASL_RESPONSE, |fields| fields.binary(response));
        }
        SaslFrame::Outcome(outcome) => put_list(out, names::SASL_OUTCOME, |fields| {
            fields.ubyte(match outcome {
                SaslOutcome::Ok => 0,
                SaslOutcome::Auth => 1,
                SaslOutcome::Sys => 2,
                SaslOutcome::SysPerm => 3,
                SaslOutcome::SysTemp => 4,
            });
            fields.null();
        }),
    }
}

/// A transfer that says whether more follows. Its size does not depend on that.
pub(in super::super) fn write_transfer(transfer: &Transfer, more: bool, out: &mut BytesMut) {
    put_list(out, names::TRANSFER, |fields| {
        fields.uint(transfer.handle);
        fields.optional(transfer.delivery_id, Writer::uint);
        fields.optional(transfer.delivery_tag.as_deref(), Writer::binary);
        fields.optional(transfer.message_format, Writer::uint);
        fields.optional(transfer.settled, Writer::boolean);
        fields.boolean(more);
        fields.optional(transfer.receiver_settle, write_receiver_settle);
        write_state(transfer.state.as_ref(), fields);
        fields.boolean(transfer.resume);
        fields.boolean(transfer.aborted);
        fields.boolean(transfer.batchable);
    });
}

fn write_open(open: &Open, fields: &mut Writer<'_>) {
    fields.string(&open.container_id);
    fields.optional(open.hostname.as_deref(), Writer::string);
    fields.optional(open.max_frame_size, Writer::uint);
    fields.optional(open.channel_max, Writer::ushort);
    fields.optional(open.idle_timeout_ms, Writer::uint);
    fields.null(); // outgoing-locales
    fields.null(); // incoming-locales
    fields.capabilities(&open.offered_capabilities);
    fields.capabilities(&open.desired_capabilities);
    fields.map(&open.properties);
}

fn write_begin(begin: &Begin, fields: &mut Writer<'_>) {
    fields.optional(begin.remote_channel, Writer::ushort);
    fields.uint(begin.next_outgoing_id);
    fields.uint(begin.incoming_window);
    fields.uint(begin.outgoing_window);
    fields.optional(begin.handle_max, Writer::uint);
    fields.null(); // offered-capabilities
    fields.null(); // desired-capabilities
    fields.map(&begin.properties);
}

fn write_attach(attach: &Attach, fields: &mut Writer<'_>) {
    fields.string(&attach.name);
    fields.uint(attach.handle);
    write_role(attach.role, fields);
    fields.ubyte(match attach.sender_settle {
        SenderSettle::Unsettled => 0,
        SenderSettle::Settled => 1,
        SenderSettle::Mixed => 2,
    });
    write_receiver_settle(fields, attach.receiver_settle);
    fields.optional(attach.source.as_ref(), |fields, source| {
        fields.list(names::SOURCE, |fields| {
            write_terminus(source, fields);
            fields.null(); // distribution-mode
            fields.map(&source.filter);
            fields.null(); // default-outcome
            fields.null(); // outcomes
            fields.capabilities(&source.capabilities);
        });
    });
    fields.optional(attach.target.as_ref(), |fields, target| {
        fields.list(names::TARGET, |fields| {
            write_terminus(target, fields);
            fields.capabilities(&target.capabilities);
        });
    });
    fields.null(); // unsettled
    fields.null(); // incomplete-unsettled
    fields.optional(attach.initial_delivery_count, Writer::uint);
    fields.optional(attach.max_message_size, Writer::ulong);
    fields.null(); // offered-capabilities
    fields.capabilities(&attach.desired_capabilities);
    fields.map(&attach.properties);
}

/// The fields that sources and targets begin with.
fn write_terminus(terminus: &Terminus, fields: &mut Writer<'_>) {
    fields.optional(terminus.address.as_deref(), Writer::string);
    fields.uint(terminus.durable);
    fields.optional(terminus.expiry_policy.as_deref(), Writer::symbol);
    fields.uint(terminus.timeout_secs);
    fields.boolean(terminus.dynamic);
    fields.null(); // dynamic-node-properties
}

fn write_flow(flow: &Flow, fields: &mut Writer<'_>) {
    fields.optional(flow.next_incoming_id, Writer::uint);
    fields.uint(flow.incoming_window);
    fields.uint(flow.next_outgoing_id);
    fields.uint(flow.outgoing_window);
    fields.optional(flow.handle, Writer::uint);
    fields.optional(flow.delivery_count, Writer::uint);
    fields.optional(flow.link_credit, Writer::uint);
    fields.optional(flow.available, Writer::uint);
    fields.boolean(flow.drain);
    fields.boolean(flow.echo);
    fields.null(); // properties
}

fn write_disposition(disposition: &Disposition, fields: &mut Writer<'_>) {
    write_role(disposition.role, fields);
    fields.uint(disposition.first);
    fields.optional(disposition.last, Writer::uint);
    fields.boolean(disposition.settled);
    write_state(disposition.state.as_ref(), fields);
    fields.boolean(disposition.batchable);
}

fn write_error(error: Option<&WireError>, fields: &mut Writer<'_>) {
    fields.optional(error, |fields, error| {
        fields.list(names::ERROR, |fields| {
            fields.symbol(&error.condition);
            fields.optional(error.description.as_deref(), Writer::string);
            fields.map(&error.info);
        });
    });
}

/// A state; null for one that was not understood, which nobody repeats.
fn write_state(state: Option<&State>, fields: &mut Writer<'_>) {
    let outcome = match state {
        None | Some(State::Other) => return fields.null(),
        Some(State::Received { section, offset }) => {
            return fields.list(names::RECEIVED, |fields| {
                fields.uint(*section);
                fields.ulong(*offset);
            });
        }
        Some(State::Outcome(outcome)) => outcome,
    };
    match outcome {
        Outcome::Accepted => fields.list(names::ACCEPTED, |_| {}),
        Outcome::Released => fields.list(names::RELEASED, |_| {}),
        Outcome::Rejected(error) => {
            fields.list(names::REJECTED, |fields| write_error(error.as_ref(), fields));
        }
        Outcome::Modified { delivery_failed, undeliverable_here } => {
            fields.list(names::MODIFIED, |fields| {
                fields.boolean(*delivery_failed);
                fields.boolean(*undeliverable_here);
                fields.null(); // message-annotations
            });
        }
    }
}

fn write_role(role: Role, fields: &mut Writer<'_>) {
    fields.boolean(role == Role::Receiver);
}

fn write_receiver_settle(fields: &mut Writer<'_>, mode: ReceiverSettle) {
    fields.ubyte(match mode {
        ReceiverSettle::First => 0,
        ReceiverSettle::Second => 1,
    });
}
