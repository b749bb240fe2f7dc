//! Addresses as each client writes them.

use proptest::prelude::*;

use super::*;

const HOST: &str = "hub-1.example.test";

#[track_caller]
fn check(texts: &[&str], expected: &Address) {
    for text in texts {
        assert_eq!(Address::parse(text), *expected, "{text}");
    }
}

#[track_caller]
fn check_other(text: &str) {
    assert_eq!(Address::parse(text), Address::Other(text.to_owned()), "{text}");
}

fn provisioning(scope: &str, id: &str) -> Address {
    Address::Provisioning { scope: scope.to_owned(), registration_id: id.to_owned() }
}

fn device(host: Option<&str>, id: &str, resource: DeviceResource) -> Address {
    let (host, device_id) = (host.map(str::to_owned), id.to_owned());
    Address::Device { host, device_id, module_id: None, resource }
}

#[test]
fn each_clients_way_to_provisioning_is_understood() {
    check(
        &[
            "0ne00ABCDEF/registrations/dev-1",
            "/0ne00ABCDEF/registrations/dev-1",
            "0ne00ABCDEF/Registrations/dev-1",
            "amqps://dps.example.test/0ne00ABCDEF/registrations/dev-1",
            "amqps://dps.example.test:5671/0ne00ABCDEF/registrations/dev-1",
        ],
        &provisioning("0ne00ABCDEF", "dev-1"),
    );
    check(&["S/registrations/a%3Ab", "S/registrations/a:b"], &provisioning("S", "a:b"));
}

#[test]
fn each_clients_way_to_a_device_is_understood() {
    use DeviceResource::*;
    for (path, resource) in [
        ("messages/events", Events),
        ("Messages/Events", Events),
        ("messages/devicebound", Devicebound),
        ("messages/deviceBound", Devicebound),
        ("twin", Twin),
        ("methods/devicebound", Methods),
    ] {
        let relative = [format!("devices/Dev-1/{path}"), format!("/devices/Dev-1/{path}")];
        check(&relative.each_ref().map(String::as_str), &device(None, "Dev-1", resource));
        let absolute = [
            format!("amqps://{HOST}/devices/Dev-1/{path}"),
            format!("amqps://{HOST}:5671/Devices/Dev-1/{path}"),
            format!("AMQPS://HUB-1.example.test/devices/Dev-1/{path}"),
        ];
        check(&absolute.each_ref().map(String::as_str), &device(Some(HOST), "Dev-1", resource));
    }
}

#[test]
fn ids_are_unescaped_once_and_keep_their_letter_case() {
    let events = |id: &str| device(None, id, DeviceResource::Events);
    check(&["/devices/A%3aB%2525/messages/events"], &events("A:B%25"));
    // No escape, and a device ID may hold it.
    check(&["/devices/100%/messages/events"], &events("100%"));
    check(&["/devices/a%ff/messages/events"], &events("a%ff"));
    // An escaped slash is no boundary.
    check(&["/devices/a%2Ftwin/messages/events"], &events("a/twin"));
}

#[test]
fn a_devices_id_may_be_any_word() {
    check(&["/devices/registrations/twin"], &device(None, "registrations", DeviceResource::Twin));
    check(&["devices/modules/twin"], &device(None, "modules", DeviceResource::Twin));
}

#[test]
fn modules_are_told_from_their_devices() {
    let address = Address::Device {
        host: None,
        device_id: "dev".to_owned(),
        module_id: Some("mod:1".to_owned()),
        resource: DeviceResource::Twin,
    };
    check(&["/devices/dev/modules/mod%3A1/twin"], &address);
    // Each is cut off by itself, so each is answered by itself.
    assert_eq!(address.endpoint_key(), EndpointKey::Device("dev/mod:1".to_owned()));
    let device = Address::parse("/devices/dev/twin");
    assert_eq!(device.endpoint_key(), EndpointKey::Device("dev".to_owned()));
}

#[test]
fn the_service_side_has_three_addresses() {
    let host = Some(HOST.to_owned());
    check(
        &["/messages/devicebound", "messages/deviceBound"],
        &Address::MessagesDevicebound { host: None },
    );
    check(
        &["amqps://hub-1.example.test/messages/deviceBound"],
        &Address::MessagesDevicebound { host: host.clone() },
    );
    check(&["/messages/serviceBound/feedback"], &Address::Feedback { host: None });
    check(
        &["amqps://hub-1.example.test/messages/servicebound/Feedback"],
        &Address::Feedback { host },
    );
    check(
        &["/messages/serviceBound/filenotifications"],
        &Address::FileNotifications { host: None },
    );
}

#[test]
fn tokens_have_one_address() {
    check(&["$cbs", "/$cbs", "$CBS", "amqps://h.x/$cbs", "amqps://h.x:5671/$cbs"], &Address::Cbs);
}

#[test]
fn anything_else_leads_nowhere() {
    for text in [
        "",
        "/",
        "//",
        "$management",
        "amqps://",
        "amqps://h.x",
        "https://h.x/devices/d/twin",
        "devices",
        "devices/d",
        "devices//twin",
        "devices/d/twin/",
        "devices/d/messages",
        "devices/d/messages/events/more",
        "devices/d/modules//twin",
        "devices/d/modules/m",
        "//devices/d/twin",
        "/registrations/d",
        "S/registrations/",
        "S/registrations/d/e",
        "messages/events/ConsumerGroups/$Default/Partitions/0",
        "messages/serviceBound/other",
        "a/b/c/d/e/f/g/h",
    ] {
        check_other(text);
        assert_eq!(Address::parse(text).endpoint_key(), EndpointKey::None, "{text}");
    }
}

#[test]
fn an_address_without_end_is_not_looked_into() {
    let long = format!("S/registrations/{}", "a".repeat(MAX_BYTES));
    let Address::Other(kept) = Address::parse(&long) else { panic!("too long") };
    assert!(kept.len() < 1024, "{}", kept.len());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-zA-Z.:/?&=%$\\PC]{0,60}") {
        let _ = Address::parse(&text);
    }

    #[test]
    fn what_a_client_writes_is_what_is_read(id in "\\PC{1,40}") {
        let escaped = wire::percent::encode(&id);
        let text = format!("amqps://{HOST}:5671/devices/{escaped}/messages/events");
        prop_assert_eq!(Address::parse(&text), device(Some(HOST), &id, DeviceResource::Events));
        let text = format!("/S/registrations/{escaped}");
        prop_assert_eq!(Address::parse(&text), provisioning("S", &id));
    }
}
