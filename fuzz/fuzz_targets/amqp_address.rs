//! A link address from anyone: somebody's or nobody's, never a panic. What is taken out of it stood
//! in it, and an address that is written as clients write them is read as it was meant.
#![no_main]

use amqp::address::{Address, DeviceResource, EndpointKey};
use libfuzzer_sys::fuzz_target;

/// What was read, written as clients write it.
fn check_again(text: &str, address: &Address) {
    // With escapes it may be too long.
    if text.len() <= 2048 {
        assert_eq!(Address::parse(text), *address, "{text}");
    }
}

fuzz_target!(|text: &str| {
    let address = Address::parse(text);
    assert_eq!(address.endpoint_key() == EndpointKey::None, matches!(address, Address::Other(_)));
    match &address {
        Address::Provisioning { scope, registration_id } => {
            assert!(!scope.is_empty() && !registration_id.is_empty());
            assert!(text.contains(scope.as_str()) && !scope.contains('/'));
            let id = wire::percent::encode(registration_id);
            check_again(&format!("amqps://h.x:5671/{scope}/registrations/{id}"), &address);
        }
        Address::Device { host, device_id, module_id, resource } => {
            assert!(!device_id.is_empty());
            assert!(module_id.as_ref().is_none_or(|id| !id.is_empty()));
            let mut again = match host {
                Some(host) => format!("amqps://{host}:5671"),
                None => String::new(),
            };
            again += &format!("/devices/{}", wire::percent::encode(device_id));
            if let Some(id) = module_id {
                again += &format!("/modules/{}", wire::percent::encode(id));
            }
            again += match resource {
                DeviceResource::Events => "/messages/events",
                DeviceResource::Devicebound => "/messages/deviceBound",
                DeviceResource::Twin => "/twin",
                DeviceResource::Methods => "/methods/devicebound",
            };
            check_again(&again, &address);
        }
        Address::MessagesDevicebound { host }
        | Address::Feedback { host }
        | Address::FileNotifications { host } => {
            let lower = text.to_ascii_lowercase();
            assert!(host.as_ref().is_none_or(|host| lower.contains(host.as_str())));
        }
        Address::Cbs => assert!(text.to_ascii_lowercase().ends_with("$cbs")),
        Address::Other(kept) => assert!(!kept.chars().any(char::is_control)),
    }
});
