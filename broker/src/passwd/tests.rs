//! The command with files in a temporary folder, and compared with the real mosquitto_passwd.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::*;
use crate::auth::password_file::PasswordFile;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("passfile")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// Runs the command, with few iterations; FILE is replaced by the file. The password is `typed` if it is asked
    /// for.
    fn run(&self, line: &str, typed: &str) -> Result<(), String> {
        let path = self.path().display().to_string();
        let words = line
            .split(' ')
            .map(|word| if word == "FILE" { path.as_str() } else { word });
        let mut args = PasswdArgs::try_parse_from(["passwd"].into_iter().chain(words))
            .map_err(|error| error.to_string())?;
        if args.hash.is_some_and(|hash| hash != Hash::ScramSha256) {
            args.iterations.get_or_insert(3);
        }
        args.act(&mut || Ok(typed.to_owned()))
            .map_err(|error| error.to_string())
    }

    fn is_password(&self, user: &str, password: &str) -> bool {
        let file = PasswordFile::read(&self.path()).unwrap();
        file.verify(file.find(user), password.as_bytes())
    }
}

#[test]
fn create_add_change_delete() {
    let folder = Folder::new();
    folder.run("-c FILE ann", "one").unwrap();
    folder.run("FILE bob", "two").unwrap();
    folder.run("-b FILE cat three", "").unwrap();
    assert!(
        folder.is_password("ann", "one")
            && folder.is_password("bob", "two")
            && folder.is_password("cat", "three")
    );
    folder.run("FILE ann", "other").unwrap();
    assert!(folder.is_password("ann", "other") && folder.is_password("bob", "two"));
    folder.run("-D FILE bob", "").unwrap();
    assert!(!folder.is_password("bob", "two") && folder.is_password("cat", "three"));
    folder.run("-c FILE dan", "four").unwrap();
    assert!(
        !folder.is_password("ann", "other") && folder.is_password("dan", "four"),
        "-c begins anew"
    );
}

#[test]
fn each_hash() {
    let folder = Folder::new();
    folder.run("-c FILE default", "pw").unwrap();
    for (hash, begins) in [
        ("sha512", "$6$"),
        ("sha512-pbkdf2", "$7$3$"),
        ("argon2id", "$argon2id$"),
        ("scram-sha-256", "SCRAM-SHA-256$10000:"),
    ] {
        folder.run(&format!("-H {hash} FILE {hash}"), "pw").unwrap();
        assert!(
            folder.text().contains(&format!("\n{hash}:{begins}")),
            "{}",
            folder.text()
        );
        assert!(folder.is_password(hash, "pw"));
    }
    assert!(
        folder
            .text()
            .starts_with("default:$argon2id$v=19$m=47104,t=1,p=1$")
    );
    assert!(folder.run("-H md5 FILE x", "pw").is_err());
    let few = folder.run("-H scram-sha-256 -I 4095 FILE x", "pw").unwrap_err();
    assert!(few.contains("at least 4096"), "{few}");
    folder.run("-H scram-sha-256 -I 4096 FILE x", "pw").unwrap();
    let written = folder.text();
    folder.run("-U FILE", "").unwrap();
    assert_eq!(folder.text(), written, "a verifier is no plain text");
}

#[test]
fn comments_and_order_stay() {
    let folder = Folder::new();
    folder.run("-c FILE ann", "one").unwrap();
    let text = format!("# users\n\n{}# end\n", folder.text());
    folder.write(&text);
    folder.run("FILE bob", "two").unwrap();
    assert!(folder.text().starts_with(&text));
    folder.run("-D FILE bob", "").unwrap();
    assert_eq!(folder.text(), text);
}

#[test]
fn plain_text_is_hashed_and_hashes_stay() {
    let folder = Folder::new();
    folder.run("-c FILE ann", "one").unwrap();
    let ann = folder.text();
    folder.write(&format!("{ann}# c\nbob:two:three\n cat : four \n"));
    folder.run("-U FILE", "").unwrap();
    assert!(folder.text().starts_with(&format!("{ann}# c\nbob:$argon2id$")));
    assert!(folder.is_password("bob", "two:three") && folder.is_password("cat", "four"));
}

#[test]
fn files_are_for_their_owner_and_replaced_whole() {
    let folder = Folder::new();
    folder.run("-c FILE ann", "one").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path()), 0o600);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o644)).unwrap();
    folder.run("FILE bob", "two").unwrap();
    assert_eq!(mode(&folder.path()), 0o600);
    let link = folder.0.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    replaced(&link, "").unwrap();
    assert!(link.is_symlink() && folder.text().is_empty());
    assert_eq!(
        fs::read_dir(folder.0.path()).unwrap().count(),
        2,
        "nothing temporary is left"
    );
    let socket = folder.0.path().join("socket");
    let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(replaced(&socket, "").is_err() && !socket.is_file());
}

#[test]
fn mistakes_change_nothing() {
    let folder = Folder::new();
    assert!(
        folder
            .run("FILE ann", "one")
            .unwrap_err()
            .contains("passfile: cannot be read")
    );
    folder.run("-c FILE ann", "one").unwrap();
    let text = folder.text();
    for (line, typed, error) in [
        ("FILE a:b", "x", "the user name must not contain a colon"),
        ("FILE ", "x", "the user name must not be empty"),
        ("FILE #a", "x", "the user name must not be empty, begin with #"),
        ("FILE bob", "", "the password is empty"),
        ("-D FILE bob", "", "the user bob is not in it"),
        ("-b FILE bob", "", "required"),
        ("FILE bob secret", "", "-b"),
        ("-c -D FILE ann", "", "cannot be used with"),
        ("-U FILE ann", "", "cannot be used with"),
        ("-I 0 FILE ann", "x", "0 is not in 1..="),
        ("FILE", "x", "required"),
        ("-c /nonexistent/folder/file ann", "x", "cannot be written"),
    ] {
        let error_text = folder.run(line, typed).unwrap_err();
        assert!(error_text.contains(error), "{line}: {error_text}");
        assert_eq!(folder.text(), text, "{line}");
    }
    folder.write("ann:x\njunk\n");
    let error_text = folder.run("FILE bob", "x").unwrap_err();
    assert!(
        error_text.ends_with("line 2 is not user:password, the file is not changed"),
        "{error_text}"
    );
    assert_eq!(folder.text(), "ann:x\njunk\n");
}

/// The real program; on a machine without it the test is visibly skipped, in CI it fails.
fn mosquitto_passwd(arguments: &[&str], path: &Path, rest: &[&str]) -> Option<()> {
    let status = Command::new("mosquitto_passwd")
        .args(arguments)
        .arg(path)
        .args(rest)
        .stdin(Stdio::null())
        .status();
    match status {
        Ok(status) => assert!(status.success(), "{arguments:?} {rest:?}"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            assert!(
                std::env::var_os("CI").is_none(),
                "mosquitto_passwd is not installed, and CI must not skip it"
            );
            let _written = writeln!(
                io::stderr(),
                "SKIPPED: mosquitto_passwd is not installed on this machine"
            );
            return None;
        }
        Err(error) => panic!("{error}"),
    }
    Some(())
}

#[test]
fn files_go_both_ways_with_mosquitto_passwd() {
    let folder = Folder::new();
    let path = folder.path();
    let Some(()) = mosquitto_passwd(&["-c", "-b"], &path, &["subscriber", "s3cret"]) else {
        return;
    };
    mosquitto_passwd(&["-b", "-H", "sha512"], &path, &["old", "0ld"]);
    folder.run("-b FILE publisher pûblish", "").unwrap();
    folder.run("-b -H sha512 FILE ours ours", "").unwrap();
    mosquitto_passwd(&["-b"], &path, &["last", "l4st"]);
    mosquitto_passwd(&["-D"], &path, &["ours"]);
    for (user, password) in [
        ("subscriber", "s3cret"),
        ("old", "0ld"),
        ("publisher", "pûblish"),
        ("last", "l4st"),
    ] {
        assert!(folder.is_password(user, password), "{user}");
    }
    assert!(!folder.is_password("ours", "ours"));
    mosquitto_passwd(&["-b"], &path, &["publisher", "changed"]);
    assert!(folder.is_password("publisher", "changed"));
}
