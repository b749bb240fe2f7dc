//! `induct hub …`

use serde_json::json;

use super::scene;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

#[test]
fn an_identity_goes_round() {
    let scene = scene();
    let created = scene.json("hub device-identity create -d press-17");
    assert_eq!(created["status"], "enabled");
    assert_eq!(created["authentication"]["type"], "sas");
    let shown = scene.json("hub device-identity show --device-id press-17 -n hub-1");
    assert_eq!(shown["hub"], "hub-1.localhost");
    let keys = &shown["authentication"]["symmetricKey"];
    assert_eq!(keys, &created["authentication"]["symmetricKey"]);

    let off = scene.json("hub device-identity update -d press-17 --status disabled --star stolen");
    assert_eq!((&off["status"], &off["statusReason"]), (&json!("disabled"), &json!("stolen")));
    assert_eq!(&off["authentication"]["symmetricKey"], keys);
    let edge = scene.json("hub device-identity update -d press-17 --set capabilities.iotEdge=true");
    assert_eq!(edge["capabilities"]["iotEdge"], true);
    assert_eq!(edge["status"], "disabled");
    let etag = edge["etag"].as_str().expect("etag");
    let stale = off["etag"].as_str().expect("etag");
    let refused =
        scene.run(&format!("hub device-identity update -d press-17 --sta enabled -e {stale}"));
    assert!(refused.code == 1 && refused.stderr.contains("HTTP 412"), "{refused:?}");
    scene.json(&format!("hub device-identity update -d press-17 --sta enabled -e {etag}"));

    let table = scene.run("hub device-identity list -o table").stdout;
    assert!(table.lines().any(|line| line.starts_with("press-17")), "{table}");
    scene.silent("hub device-identity delete -d press-17");
    scene.refused("hub device-identity show -d press-17", 3, "DeviceNotFound: press-17");
    scene.refused("hub device-identity delete -d press-17", 3, "DeviceNotFound: press-17");
}

#[test]
fn a_device_proves_itself_by_key_thumbprint_or_ca() {
    let scene = scene();
    let create = "hub device-identity create";
    let own = scene.json(&format!("{create} -d k --pk {KEY} --sk {KEY}"));
    assert_eq!(own["authentication"]["symmetricKey"]["primaryKey"], KEY);
    let thumbprint = "AB".repeat(32);
    let print = scene.json(&format!("{create} -d t --am x509_thumbprint --ptp {thumbprint}"));
    assert_eq!(print["authentication"]["type"], "selfSigned");
    assert_eq!(print["authentication"]["x509Thumbprint"]["primaryThumbprint"], thumbprint);
    let ca = scene.json(&format!("{create} -d c --auth-method x509_ca"));
    assert_eq!(ca["authentication"]["type"], "certificateAuthority");
    let folder = scene.home.path().to_str().expect("UTF-8");
    let made = scene.json(&format!("{create} -d m --am x509_thumbprint --od {folder} --vd 30"));
    assert_eq!(made["authentication"]["type"], "selfSigned");
    for name in ["m-cert.pem", "m-key.pem"] {
        assert!(scene.home.path().join(name).is_file(), "{name}");
    }
    let check = |options: &str, code: i32, message: &str| {
        scene.refused(&format!("{create} -d x {options}"), code, message);
    };
    check(&format!("--pk {KEY}"), 1, "primary + secondary keys required with sas auth");
    check("--am x509_thumbprint", 1, "primary thumbprint required with selfSigned auth");
    check("--am password", 2, "Invalid authentication method.");

    let text = |line: &str| scene.json(line)["connectionString"].clone();
    assert_eq!(
        text("hub device-identity connection-string show -d k"),
        format!("HostName=hub-1.localhost;DeviceId=k;SharedAccessKey={KEY}")
    );
    assert_eq!(
        text("hub device-identity connection-string show -d t"),
        "HostName=hub-1.localhost;DeviceId=t;x509=true"
    );
}

#[test]
fn a_module_goes_round() {
    let scene = scene();
    let of = "-d press-17 -m camera";
    scene.json("hub device-identity create -d press-17");
    let options = format!("{of} --pk {KEY} --sk {KEY} --managed-by somebody");
    let created = scene.json(&format!("hub module-identity create {options}"));
    assert_eq!(
        (&created["moduleId"], &created["managedBy"]),
        (&json!("camera"), &json!("somebody"))
    );
    assert_eq!(created["authentication"]["symmetricKey"]["primaryKey"], KEY);
    let shown = scene.json(&format!("hub module-identity show {of}"));
    assert_eq!(
        (&shown["deviceId"], &shown["hub"]),
        (&json!("press-17"), &json!("hub-1.localhost"))
    );
    scene.json("hub module-identity create -d press-17 -m axle --am x509_ca");
    let table = scene.run("hub module-identity list -d press-17 -o table").stdout;
    let names: Vec<&str> =
        table.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert!(names.ends_with(&["axle", "camera"]), "{table}");
    let text = |line: &str| scene.json(line)["connectionString"].clone();
    assert_eq!(
        text(&format!("hub module-identity connection-string show {of}")),
        format!("HostName=hub-1.localhost;DeviceId=press-17;ModuleId=camera;SharedAccessKey={KEY}")
    );
    let exists = format!("hub module-identity create {of}");
    scene.refused(&exists, 1, "Device press-17 already contains Module camera.");
    scene.silent(&format!("hub module-identity delete {of}"));
    let gone = format!("hub module-identity show {of}");
    scene.refused(&gone, 3, "ModuleNotFound: press-17/camera");
}

#[test]
fn keys_are_renewed_and_swapped() {
    let scene = scene();
    let created = scene.json("hub device-identity create -d d");
    let keys = |identity: &serde_json::Value| {
        let keys = &identity["authentication"]["symmetricKey"];
        (keys["primaryKey"].clone(), keys["secondaryKey"].clone())
    };
    let (primary, secondary) = keys(&created);
    let swapped = scene.json("hub device-identity renew-key -d d --kt swap");
    assert_eq!(keys(&swapped), (secondary.clone(), primary.clone()));
    let renewed = scene.json("hub device-identity renew-key -d d --kt primary");
    assert_eq!(keys(&renewed).1, primary);
    assert_ne!(keys(&renewed).0, secondary);
    scene.json("hub device-identity create -d e");
    let both = scene.json("hub device-identity renew-key -d d e --key-type both");
    assert_ne!(keys(&both[0]).1, primary);
    assert_eq!(both[1]["deviceId"], "e");
    scene.json("hub device-identity create -d c --am x509_ca");
    scene.refused(
        "hub device-identity renew-key -d c --kt both",
        1,
        "c: Device authentication should be of type sas",
    );
}

#[test]
fn a_twin_is_merged_replaced_and_listed() {
    let scene = scene();
    scene.json("hub device-identity create -d d");
    let desired = scene.file("desired.json", "{\"interval\": 1.50, \"z\": 1, \"a\": 2}");
    let line = format!("hub device-twin update -d d --desired @{desired} --tags {{\"line\":4}}");
    let merged = scene.run(&line);
    assert!(merged.stdout.contains("\"interval\": 1.50"), "{merged:?}");
    let merged = merged.json();
    assert_eq!(merged["tags"], json!({"line": 4}));
    let smaller = scene.json("hub device-twin update -d d --desired {\"z\":null}");
    assert_eq!(smaller["properties"]["desired"].get("z"), None);
    assert_eq!(smaller["properties"]["desired"]["a"], 2);
    let shown = scene.json("hub device-twin show -d d");
    assert_eq!(shown["version"], smaller["version"]);
    let set = scene.json("hub device-twin update -d d --set tags.floor=2");
    assert_eq!(set["tags"], json!({"line": 4, "floor": 2}));
    let stale = merged["etag"].as_str().expect("etag");
    let refused = scene.run(&format!("hub device-twin update -d d --tags {{}} -e {stale}"));
    assert!(refused.code == 1 && refused.stderr.contains("HTTP 412"), "{refused:?}");
    let replaced = scene.json("hub device-twin replace -d d -j {\"tags\":{\"new\":true}}");
    assert_eq!(replaced["tags"], json!({"new": true}));
    assert_eq!(replaced["properties"]["desired"].get("a"), None);
    let listed = scene.json("hub device-twin list");
    assert_eq!(listed[0]["deviceId"], "d");
    scene.refused("hub device-twin update -d d", 2, "Nothing to update.");
    scene.refused("hub device-twin show -d nobody", 3, "DeviceNotFound: nobody");
}

#[test]
fn a_hub_answers_questions() {
    let scene = scene();
    for device in ["a", "b", "c"] {
        scene.json(&format!("hub device-identity create -d {device}"));
    }
    scene.json("hub device-identity update -d b --status disabled");
    let query = |text: &str, more: &[&str]| {
        let line = ["hub", "query", "--query-command", text];
        scene.home.run(&[&line[..], more].concat())
    };
    let off = query("SELECT * FROM devices WHERE status = 'disabled'", &[]).json();
    assert_eq!(off[0]["deviceId"], "b");
    assert_eq!(off.as_array().map(Vec::len), Some(1));
    let two = query("SELECT * FROM devices", &["--top", "2"]).json();
    assert_eq!(two.as_array().map(Vec::len), Some(2));
    let table = query("SELECT COUNT() AS n FROM devices", &["-o", "table"]).stdout;
    assert_eq!(table, "n\n-\n3\n");
    let bad = query("SELECT FROM WHERE", &[]);
    assert!(bad.code == 1 && bad.stderr.contains("HTTP 400"), "{bad:?}");
}

#[test]
fn a_hub_is_named_when_there_are_several() {
    let scene = scene();
    scene.refused("hub query -q x -n hub-9", 3, "There is no hub `hub-9`; there are hub-1.");
    let answer = scene.json("hub connection-string show --hub-name hub-1");
    let text = answer["connectionString"].as_str().expect("text");
    let port = scene.server.address().port();
    let start =
        format!("HostName=hub-1.localhost:{port};SharedAccessKeyName=iothubowner;SharedAccessKey=");
    assert!(text.starts_with(&start), "{text}");
    let by_login = ["hub", "device-identity", "list", "--login", text];
    assert_eq!(scene.home.run(&by_login).json(), json!([]));
}
