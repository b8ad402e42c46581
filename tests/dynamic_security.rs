//! Dynamic security: the file and the commands of mosquitto, by mosquitto_ctrl and beside mosquitto's own plugin.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use mqtt::packet::Packet;
use mqtt::{QoS, ReasonCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Client, Options, Setup, eventually, free_port};
use crate::real_clients::skip;

const CONTROL: &str = "$CONTROL/dynamic-security/v1";
const RESPONSE: &str = "$CONTROL/dynamic-security/v1/response";
const PLUGIN: &str = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so";
const PASSWORD: &str = "admin-pw";

/// A folder with a file that has a user `admin`, who may do what it takes to change it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let acl =
        |kind: &str, topic: &str| json!({"acltype": kind, "topic": topic, "priority": 0, "allow": true});
    // `mosquitto_ctrl dynsec init` makes one like this.
    let file = json!({
        "defaultACLAccess": {
            "publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true,
        },
        "clients": [{
            "username": "admin", "textName": "Dynsec admin user", "roles": [{"rolename": "admin"}],
            "encoded_password": hash(PASSWORD),
        }],
        "roles": [{
            "rolename": "admin",
            "acls": [
                acl("publishClientSend", "$CONTROL/dynamic-security/#"),
                acl("publishClientReceive", "$CONTROL/dynamic-security/#"),
                acl("subscribePattern", "$CONTROL/dynamic-security/#"),
                acl("publishClientReceive", "$SYS/#"),
                acl("subscribePattern", "$SYS/#"),
            ],
        }],
    });
    std::fs::write(folder.path().join("d.json"), file.to_string()).unwrap();
    folder
}

fn hash(password: &str) -> String {
    use broker::auth::password::{Algorithm, PasswordHash};
    let iterations = std::num::NonZeroU32::new(101).unwrap();
    PasswordHash::make(password.as_bytes(), Algorithm::Sha512Pbkdf2 { iterations })
        .unwrap()
        .to_string()
}

fn setup(folder: &Path) -> Setup {
    Setup::default()
        .shards(2)
        .global("log_type all")
        .listener("plugin /anywhere/mosquitto_dynamic_security.so")
        .listener(&format!(
            "plugin_opt_config_file {}",
            folder.join("d.json").display()
        ))
}

/// A client that sends commands.
struct Admin(Client);

impl Admin {
    fn connect(port: u16) -> Self {
        let mut client = Client::connect_at(port, &Options::new("admin-1").v5().user("admin", PASSWORD));
        assert_eq!(client.subscribe(RESPONSE, QoS::AtMostOnce), 0);
        Self(client)
    }

    /// The responses to commands.
    fn send(&mut self, commands: &[Value]) -> Vec<Value> {
        let payload = json!({"commands": commands}).to_string();
        self.send_payload(payload.as_bytes())
    }

    fn send_payload(&mut self, payload: &[u8]) -> Vec<Value> {
        self.0.publish(CONTROL, payload, QoS::AtLeastOnce);
        let message = self.0.message();
        assert_eq!(message.topic, RESPONSE);
        let response: Value = serde_json::from_slice(&message.payload).unwrap();
        response["responses"].as_array().unwrap().clone()
    }

    /// A command that succeeds; what it answers.
    fn done(&mut self, command: Value) -> Value {
        let mut responses = self.send(std::slice::from_ref(&command));
        assert_eq!(responses.len(), 1);
        assert!(responses[0].get("error").is_none(), "{command}: {}", responses[0]);
        responses[0]["data"].take()
    }
}

fn connects(broker: &Broker, options: &Options) -> bool {
    let (_, answer) = Client::try_connect(broker, options);
    let answer = answer.unwrap();
    matches!(answer.packet(), Packet::ConnAck(connack) if connack.reason == ReasonCode::Success)
}

#[test]
fn users_roles_and_groups_are_in_effect_at_once() {
    let folder = folder();
    let broker = setup(folder.path()).start();
    let mut admin = Admin::connect(broker.port());
    let ann = Options::new("ann-1").v5().user("ann", "pw");
    assert!(!connects(&broker, &ann));
    admin.done(json!({"command": "createClient", "username": "ann", "password": "pw"}));
    let mut client = Client::connect(&broker, &ann);
    assert_eq!(
        client.subscribe("a/b", QoS::AtLeastOnce),
        ReasonCode::NotAuthorized as u8
    );

    admin.done(json!({"command": "createRole", "rolename": "r", "acls": [
        {"acltype": "subscribePattern", "topic": "a/#", "allow": true},
        {"acltype": "publishClientSend", "topic": "a/%c", "allow": true},
    ]}));
    admin.done(json!({"command": "createGroup", "groupname": "g", "roles": [{"rolename": "r"}]}));
    admin.done(json!({"command": "addGroupClient", "groupname": "g", "username": "ann"}));
    assert_eq!(client.subscribe("a/+", QoS::AtLeastOnce), 1);
    assert_eq!(client.subscribe("$share/s/a/x", QoS::AtLeastOnce), 1);
    assert_eq!(
        client.subscribe("#", QoS::AtLeastOnce),
        ReasonCode::NotAuthorized as u8
    );
    client.publish("a/other", b"no", QoS::AtMostOnce);
    client.publish("a/ann-1", b"yes", QoS::AtLeastOnce);
    assert_eq!(client.message().payload, b"yes");

    // What is taken away has no effect from then on, and the client is not disconnected for it.
    admin.done(json!({
        "command": "removeRoleACL", "rolename": "r", "acltype": "publishClientSend", "topic": "a/%c",
    }));
    client.publish("a/ann-1", b"no", QoS::AtMostOnce);
    client.ping();
    client.expect_nothing();
    // But one that loses a subscription is.
    admin.done(json!({"command": "removeGroupClient", "groupname": "g", "username": "ann"}));
    assert_eq!(client.expect_closed().0, Some(ReasonCode::AdministrativeAction));
}

#[test]
fn who_is_changed_is_disconnected() {
    let folder = folder();
    let broker = setup(folder.path()).start();
    let mut admin = Admin::connect(broker.port());
    admin.done(json!({"command": "createClient", "username": "bob", "password": "pw"}));
    let mut bystander = Client::connect(&broker, &Options::new("bob-1").v5().user("bob", "pw"));
    admin.done(json!({"command": "createClient", "username": "ann", "password": "pw"}));
    let ann = Options::new("ann-1").v5().user("ann", "pw");
    for command in [
        json!({"command": "disableClient", "username": "ann"}),
        json!({"command": "setClientId", "username": "ann", "clientid": "other"}),
        json!({"command": "setClientPassword", "username": "ann", "password": "other"}),
        json!({"command": "deleteClient", "username": "ann"}),
    ] {
        let mut client = Client::connect(&broker, &ann);
        admin.done(command.clone());
        assert_eq!(
            client.expect_closed().0,
            Some(ReasonCode::NotAuthorized),
            "{command}"
        );
        assert!(!connects(&broker, &ann), "{command}");
        // As it was.
        let _perhaps_gone = admin.send(&[
            json!({"command": "createClient", "username": "ann"}),
            json!({"command": "modifyClient", "username": "ann", "password": "pw", "clientid": ""}),
            json!({"command": "enableClient", "username": "ann"}),
        ]);
    }
    bystander.ping();
    // The answer comes before the end of the client that asked.
    admin.done(json!({"command": "setClientPassword", "username": "admin", "password": "another"}));
    assert!(admin.0.expect_closed().0.is_some());
    assert!(connects(
        &broker,
        &Options::new("admin-1").user("admin", "another")
    ));
}

#[test]
fn a_user_with_one_client_identifier() {
    let folder = folder();
    let broker = setup(folder.path()).start();
    let mut admin = Admin::connect(broker.port());
    admin.done(json!({"command": "createClient", "username": "ann", "password": "pw", "clientid": "only"}));
    for _ in 0..2 {
        assert!(!connects(&broker, &Options::new("other").user("ann", "pw")));
        assert!(connects(&broker, &Options::new("only").user("ann", "pw")));
    }
}

#[test]
fn commands_are_for_those_alone_who_may() {
    let folder = folder();
    let broker = setup(folder.path()).start();
    let mut admin = Admin::connect(broker.port());
    admin.done(json!({"command": "createClient", "username": "ann", "password": "pw"}));
    admin.done(json!({"command": "setDefaultACLAccess", "acls": [
        {"acltype": "publishClientSend", "allow": true}, {"acltype": "subscribe", "allow": true},
    ]}));
    let delete = json!({"commands": [{"command": "deleteClient", "username": "admin"}]}).to_string();
    for options in [
        Options::new("ann-1").v5().user("ann", "pw"),
        Options::new("nobody").v5(),
    ] {
        let mut client = Client::connect(&broker, &options);
        assert_eq!(client.subscribe("x", QoS::AtMostOnce), 0, "by default");
        assert_eq!(
            client.subscribe(RESPONSE, QoS::AtMostOnce),
            ReasonCode::NotAuthorized as u8
        );
        client.publish(CONTROL, delete.as_bytes(), QoS::AtMostOnce);
        client.ping();
    }
    admin.done(json!({"command": "getClient", "username": "admin"}));
}

#[test]
fn what_commands_changed_is_there_after_a_restart_and_a_reload() {
    let folder = folder();
    let broker = setup(folder.path()).start();
    let mut admin = Admin::connect(broker.port());
    admin.done(json!({"command": "createClient", "username": "ann", "password": "pw"}));
    broker.signal(Signal::HUP);
    eventually("it has reloaded", || {
        broker.log().contains("Reloaded the password and ACL files")
    });
    let ann = Options::new("ann-1").v5().user("ann", "pw");
    let mut client = Client::connect(&broker, &ann);
    admin.done(json!({"command": "getDetails"}));
    // Somebody else changes the file.
    let file = folder.path().join("d.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"ann\"", "\"eve\"")).unwrap();
    broker.signal(Signal::HUP);
    assert_eq!(client.expect_closed().0, Some(ReasonCode::NotAuthorized));
    assert!(connects(&broker, &Options::new("eve-1").user("eve", "pw")));
    // A damaged one changes nothing.
    std::fs::write(&file, "{").unwrap();
    broker.signal(Signal::HUP);
    eventually("it has said so", || {
        broker.log().contains("is no file of dynamic security")
    });
    assert!(connects(&broker, &Options::new("eve-1").user("eve", "pw")));
    let kept = admin.done(json!({"command": "listClients"}));
    assert_eq!(kept["clients"], json!(["admin", "eve"]));
    admin.done(json!({"command": "createClient", "username": "fay", "password": "pw"}));
    broker.kill();
    let broker = setup(folder.path()).start();
    assert!(connects(&broker, &Options::new("fay-1").user("fay", "pw")));
    assert!(!broker.log().contains("pw\""), "no password in the log");
}

#[test]
fn the_first_start_makes_a_user() {
    let folder = tempfile::tempdir().unwrap();
    let broker = setup(folder.path()).start();
    let password = std::fs::read_to_string(folder.path().join("d.json.pw")).unwrap();
    let password = password.strip_prefix("admin ").unwrap().trim();
    assert!(!broker.log().contains(password), "it is in no log");
    assert!(connects(&broker, &Options::new("a").user("admin", password)));
    assert!(!connects(&broker, &Options::new("a").user("admin", "wrong")));
}

#[test]
fn what_cannot_be_configured_is_refused() {
    let config = "plugin_opt_config_file /tmp/none/d.json";
    let plugin = "plugin /x/mosquitto_dynamic_security.so";
    for (lines, why) in [
        (&[plugin][..], "needs a plugin_opt_config_file"),
        (&[config], "no plugin stands above it"),
        (&["plugin /x/other.so"], "is no part of the broker"),
        (&[plugin, config, plugin, config], "is given twice"),
        (&[plugin, config, "acl_file /x"], "speak of the same listener"),
        (&[plugin, config, "plugin_opt_x 1"], "is no option of a plugin"),
        (&["plugin_use x"], "no plugin_load above it"),
        (&[plugin, config], "cannot be made"),
    ] {
        let setup = lines
            .iter()
            .fold(Setup::default(), |setup, line| setup.listener(line));
        let (status, log) = setup.start_in_vain();
        assert!(!status.success() && log.contains(why), "{lines:?}: {log}");
    }
}

/// Runs mosquitto_ctrl; `None` on a machine without it.
fn ctrl(port: u16, password: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new("mosquitto_ctrl")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-u",
            "admin",
            "-P",
            password,
            "dynsec",
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    Some(output)
}

/// A mosquitto that ends with the test.
struct Mosquitto {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mosquitto {
    /// With its own plugin, on a file of its own; `None` on a machine without them.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let program = ["mosquitto", "/usr/sbin/mosquitto"]
            .into_iter()
            .find(|program| Command::new(program).arg("-h").output().is_ok())?;
        if !Path::new(PLUGIN).exists() {
            return None;
        }
        let file = init(folder.path())?;
        let port = free_port();
        let conf = folder.path().join("m.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nplugin {PLUGIN}\n\
             plugin_opt_config_file {}\n",
            file.display()
        );
        std::fs::write(&conf, text).unwrap();
        let child = Command::new(program)
            .arg("-c")
            .arg(&conf)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mosquitto = Self {
            child,
            port,
            _folder: folder,
        };
        eventually("mosquitto listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(mosquitto)
    }
}

/// The file that mosquitto_ctrl makes; `None` on a machine without it.
fn init(folder: &Path) -> Option<PathBuf> {
    let file = folder.join("d.json");
    let made = Command::new("mosquitto_ctrl")
        .args(["dynsec", "init"])
        .arg(&file)
        .args(["admin", PASSWORD])
        .output()
        .ok()?;
    assert!(made.status.success(), "{made:?}");
    Some(file)
}

#[test]
fn mosquitto_ctrl_works_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_file) = init(folder.path()) else {
        return skip("mosquitto_ctrl");
    };
    let Some(mosquitto) = Mosquitto::start() else {
        return skip("mosquitto");
    };
    let broker = setup(folder.path()).start();
    for line in [
        "createClient ann -p pw",
        "createClient ann -p pw",
        "createClient bob -p pw -c bob-1",
        "createRole r",
        "addRoleACL r subscribePattern a/# allow 5",
        "addRoleACL r publishClientSend a/# allow",
        "addRoleACL r publishClientReceive b deny 7",
        "removeRoleACL r publishClientReceive b",
        "createGroup g",
        "addGroupRole g r 3",
        "addGroupClient g ann 4",
        "addClientRole bob r 2",
        "setDefaultACLAccess publishClientSend allow",
        "getDefaultACLAccess",
        "createGroup visitors",
        "setAnonymousGroup visitors",
        "getAnonymousGroup",
        "listClients",
        "listGroups",
        "listRoles",
        "getClient ann",
        "getClient bob",
        "getClient nobody",
        "getGroup g",
        "getRole r",
        "disableClient bob",
        "getClient bob",
        "enableClient bob",
        "setClientPassword ann other",
        "setClientId ann x",
        "removeClientRole bob r",
        "removeGroupRole g r",
        "removeGroupClient g ann",
        "deleteGroup g",
        "deleteRole r",
        "deleteClient bob",
        "getClient bob",
        "listClients",
    ] {
        let arguments: Vec<_> = line.split(' ').collect();
        let ours = ctrl(broker.port(), PASSWORD, &arguments).unwrap();
        let theirs = ctrl(mosquitto.port, PASSWORD, &arguments).unwrap();
        let text = |output: &Output| {
            let both = [output.stdout.clone(), output.stderr.clone()].concat();
            (output.status.code(), String::from_utf8_lossy(&both).into_owned())
        };
        assert_eq!(text(&ours), text(&theirs), "{line}");
    }
}

/// The same commands, drawn at random, to both brokers: the same answers, and the same state at the end.
#[test]
fn answers_are_those_of_mosquitto() {
    let Some(mosquitto) = Mosquitto::start() else {
        return skip("mosquitto with its plugin");
    };
    let folder = tempfile::tempdir().unwrap();
    init(folder.path()).unwrap();
    let broker = setup(folder.path()).start();
    let (mut ours, mut theirs) = (Admin::connect(broker.port()), Admin::connect(mosquitto.port));
    let mut random = fastrand::Rng::with_seed(20_261_130);
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..250 {
        let commands: Vec<_> = (0..random.usize(1..4))
            .map(|_| random_command(&mut random))
            .collect();
        let (our_answer, their_answer) = (ours.send(&commands), theirs.send(&commands));
        for (response, command) in our_answer.iter().zip(&commands) {
            let failed = response.get("error").is_some();
            *kinds
                .entry(format!("{} {failed}", command["command"]))
                .or_default() += 1;
        }
        let normal = |responses: Vec<Value>| responses.into_iter().map(normal).collect::<Vec<_>>();
        assert_eq!(normal(our_answer), normal(their_answer), "{commands:#?}");
    }
    // Each command was both done and refused, where it can be.
    assert!(kinds.len() >= 45, "{kinds:#?}");
    let lists = ["listClients", "listGroups", "listRoles"]
        .map(|command| json!({"command": command, "verbose": true}));
    let all = |admin: &mut Admin| admin.send(&lists).into_iter().map(normal).collect::<Vec<_>>();
    assert_eq!(all(&mut ours), all(&mut theirs));
}

/// What mosquitto 2.0 does not have yet is left out.
fn normal(mut response: Value) -> Value {
    match &mut response {
        Value::Object(members) => {
            members.remove("allowwildcardsubs");
            for value in members.values_mut() {
                *value = normal(value.take());
            }
        }
        Value::Array(values) => {
            for value in values {
                *value = normal(value.take());
            }
        }
        _ => {}
    }
    response
}

fn random_command(random: &mut fastrand::Rng) -> Value {
    let name = |random: &mut fastrand::Rng, names: &[&str]| json!(names[random.usize(..names.len())]);
    let user = name(random, &["u1", "u2", "u3", "u4"]);
    let group = name(random, &["g1", "g2", "g3"]);
    let role = name(random, &["r1", "r2", "r3"]);
    let topic = name(random, &["a", "a/#", "a/+/b", "#", "$SYS/#", "a/#/b"]);
    let kind = name(
        random,
        &[
            "publishClientSend",
            "publishClientReceive",
            "subscribeLiteral",
            "subscribePattern",
            "unsubscribeLiteral",
            "unsubscribePattern",
            "nonsense",
        ],
    );
    let priority = json!(random.i32(-2..4));
    let mut command = match random.u32(..30) {
        0..=2 => json!({"command": "createClient", "username": user, "password": "pw"}),
        3 => json!({"command": "deleteClient", "username": user}),
        4 => json!({"command": "getClient", "username": user}),
        5 => {
            json!({"command": "listClients", "verbose": random.bool(), "count": random.i32(-1..3), "offset": 1})
        }
        6 => json!({"command": "modifyClient", "username": user}),
        7 => json!({"command": "setClientPassword", "username": user, "password": "other"}),
        8 => json!({"command": "setClientId", "username": user, "clientid": "c"}),
        9..=10 => {
            json!({"command": "addClientRole", "username": user, "rolename": role, "priority": priority})
        }
        11 => json!({"command": "removeClientRole", "username": user, "rolename": role}),
        12 => json!({"command": "enableClient", "username": user}),
        13 => json!({"command": "disableClient", "username": user}),
        14..=15 => json!({"command": "createGroup", "groupname": group}),
        16 => json!({"command": "deleteGroup", "groupname": group}),
        17 => json!({"command": "getGroup", "groupname": group}),
        18 => json!({"command": "modifyGroup", "groupname": group, "textdescription": "d"}),
        19 => {
            json!({"command": "addGroupClient", "groupname": group, "username": user, "priority": priority})
        }
        20 => json!({"command": "removeGroupClient", "groupname": group, "username": user}),
        21 => json!({"command": "addGroupRole", "groupname": group, "rolename": role, "priority": priority}),
        22 => json!({"command": "removeGroupRole", "groupname": group, "rolename": role}),
        23..=24 => json!({"command": "createRole", "rolename": role}),
        25 => json!({"command": "deleteRole", "rolename": role}),
        26 => json!({"command": "getRole", "rolename": role}),
        27 => json!({"command": "addRoleACL", "rolename": role, "acltype": kind, "topic": topic,
            "priority": priority, "allow": random.bool()}),
        28 => json!({"command": "removeRoleACL", "rolename": role, "acltype": kind, "topic": topic}),
        _ => json!({"command": "modifyRole", "rolename": role, "acls": [
            {"acltype": kind, "topic": topic, "priority": priority, "allow": true},
        ]}),
    };
    add_members(random, &mut command, &group, &role, &priority);
    command
}

/// Members that some commands have, and now and then one that is wrong.
fn add_members(
    random: &mut fastrand::Rng,
    command: &mut Value,
    group: &Value,
    role: &Value,
    priority: &Value,
) {
    // mosquitto 2.0 passes over groups that `modifyClient` names and that do not exist; 2.1 refuses them. After roles
    // in `modifyGroup` it crashes at the next `deleteRole`.
    let creates_client = command["command"] == "createClient";
    let modifies_group = command["command"] == "modifyGroup";
    let members = command.as_object_mut().unwrap();
    for (key, value) in [
        ("correlationData", json!("7")),
        ("textname", json!("t")),
        (
            "roles",
            json!([{"rolename": role, "priority": priority}, {"rolename": "r1"}]),
        ),
        ("groups", json!([{"groupname": group, "priority": priority}])),
    ] {
        if random.u32(..4) == 0 && (creates_client || key != "groups") && !(modifies_group && key == "roles")
        {
            members.insert(key.to_owned(), value);
        }
    }
    if random.u32(..20) == 0 {
        // Something that is missing or wrong.
        let keys: Vec<_> = members.keys().filter(|key| *key != "command").cloned().collect();
        if !keys.is_empty() {
            let key = &keys[random.usize(..keys.len())];
            let wrong = [Value::Null, json!(5), json!([])];
            members.insert(key.clone(), wrong[random.usize(..3)].clone());
        }
    }
}
