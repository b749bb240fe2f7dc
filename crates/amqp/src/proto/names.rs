//! The descriptors of the standard: what it calls its types, and their numbers. All of them are in
//! its domain 0 and fit into a byte.

/// `open`
pub(super) const OPEN: u8 = 0x10;
/// `begin`
pub(super) const BEGIN: u8 = 0x11;
/// `attach`
pub(super) const ATTACH: u8 = 0x12;
/// `flow`
pub(super) const FLOW: u8 = 0x13;
/// `transfer`
pub(super) const TRANSFER: u8 = 0x14;
/// `disposition`
pub(super) const DISPOSITION: u8 = 0x15;
/// `detach`
pub(super) const DETACH: u8 = 0x16;
/// `end`
pub(super) const END: u8 = 0x17;
/// `close`
pub(super) const CLOSE: u8 = 0x18;
/// `error`
pub(super) const ERROR: u8 = 0x1d;
/// `received`
pub(super) const RECEIVED: u8 = 0x23;
/// `accepted`
pub(super) const ACCEPTED: u8 = 0x24;
/// `rejected`
pub(super) const REJECTED: u8 = 0x25;
/// `released`
pub(super) const RELEASED: u8 = 0x26;
/// `modified`
pub(super) const MODIFIED: u8 = 0x27;
/// `source`
pub(super) const SOURCE: u8 = 0x28;
/// `target`
pub(super) const TARGET: u8 = 0x29;
/// `sasl-mechanisms`
pub(super) const SASL_MECHANISMS: u8 = 0x40;
/// `sasl-init`
pub(super) const SASL_INIT: u8 = 0x41;
/// `sasl-challenge`
pub(super) const SASL_CHALLENGE: u8 = 0x42;
/// `sasl-response`
pub(super) const SASL_RESPONSE: u8 = 0x43;
/// `sasl-outcome`
pub(super) const SASL_OUTCOME: u8 = 0x44;
/// `header`
pub(super) const HEADER: u8 = 0x70;
/// `delivery-annotations`
pub(super) const DELIVERY_ANNOTATIONS: u8 = 0x71;
/// `message-annotations`
pub(super) const MESSAGE_ANNOTATIONS: u8 = 0x72;
/// `properties`
pub(super) const PROPERTIES: u8 = 0x73;
/// `application-properties`
pub(super) const APPLICATION_PROPERTIES: u8 = 0x74;
/// `data`
pub(super) const DATA: u8 = 0x75;
/// `amqp-sequence`
pub(super) const AMQP_SEQUENCE: u8 = 0x76;
/// `amqp-value`
pub(super) const AMQP_VALUE: u8 = 0x77;
/// `footer`
pub(super) const FOOTER: u8 = 0x78;

/// The number of a descriptor that is spelled out.
pub(super) fn number_of(name: &str) -> Option<u8> {
    Some(match name {
        "amqp:open:list" => OPEN,
        "amqp:begin:list" => BEGIN,
        "amqp:attach:list" => ATTACH,
        "amqp:flow:list" => FLOW,
        "amqp:transfer:list" => TRANSFER,
        "amqp:disposition:list" => DISPOSITION,
        "amqp:detach:list" => DETACH,
        "amqp:end:list" => END,
        "amqp:close:list" => CLOSE,
        "amqp:error:list" => ERROR,
        "amqp:received:list" => RECEIVED,
        "amqp:accepted:list" => ACCEPTED,
        "amqp:rejected:list" => REJECTED,
        "amqp:released:list" => RELEASED,
        "amqp:modified:list" => MODIFIED,
        "amqp:source:list" => SOURCE,
        "amqp:target:list" => TARGET,
        "amqp:sasl-mechanisms:list" => SASL_MECHANISMS,
        "amqp:sasl-init:list" => SASL_INIT,
        "amqp:sasl-challenge:list" => SASL_CHALLENGE,
        "amqp:sasl-response:list" => SASL_RESPONSE,
        "amqp:sasl-outcome:list" => SASL_OUTCOME,
        "amqp:header:list" => HEADER,
        "amqp:delivery-annotations:map" => DELIVERY_ANNOTATIONS,
        "amqp:message-annotations:map" => MESSAGE_ANNOTATIONS,
        "amqp:properties:list" => PROPERTIES,
        "amqp:application-properties:map" => APPLICATION_PROPERTIES,
        "amqp:data:binary" => DATA,
        "amqp:amqp-sequence:list" => AMQP_SEQUENCE,
        "amqp:amqp-value:*" => AMQP_VALUE,
        "amqp:footer:map" => FOOTER,
        _ => return None,
    })
}
