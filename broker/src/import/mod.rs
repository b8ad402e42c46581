//! `broker import`: converts the persistence file of mosquitto into a store. `mosquitto_db.rs` reads the file,
//! `store_writer.rs` writes its content into the store.
//!
//! Invariants: the file is only read. The store gets its name when it is complete and was read back without damage. An
//! existing store is never changed.

mod mosquitto_db;
mod store_writer;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::mosquitto_db::Database;
use self::store_writer::Taken;

/// The arguments of `broker import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// The file of mosquitto, usually /var/lib/mosquitto/mosquitto.db; stop mosquitto first
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder of the store, which must not exist yet [default: FILE.midge, where the broker looks for it]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Import sessions without their users, for a broker that does not check passwords
    #[arg(long)]
    without_users: bool,
}

/// Imports, and prints what was imported.
pub fn run(args: &ImportArgs) -> ExitCode {
    let folder = args
        .folder
        .clone()
        .unwrap_or_else(|| with_suffix(&args.file, ".midge"));
    match import(&args.file, &folder, !args.without_users) {
        Ok(taken) => {
            // The reader may close its end early.
            let _read = writeln!(io::stdout(), "{}: {taken}", folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            // A standard error that cannot be written must not change the exit code.
            let _failed = writeln!(io::stderr(), "Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the store, or returns why it could not be made.
fn import(file: &Path, folder: &Path, keeps_users: bool) -> Result<Taken, String> {
    let (from, to) = (file.display(), folder.display());
    if folder.exists() {
        return Err(format!(
            "{to} exists already; fix: stop the broker and move {to} away, or name another folder"
        ));
    }
    let bytes = fs::read(file).map_err(|error| format!("cannot read {from}: {error}"))?;
    let database = Database::parse(&bytes).map_err(|error| format!("{from}: {error}"))?;
    let unfinished = with_suffix(folder, ".importing");
    let failed = |error: &dyn std::fmt::Display| format!("cannot write {}: {error}", unfinished.display());
    if unfinished.exists() {
        // An earlier import did not finish.
        fs::remove_dir_all(&unfinished).map_err(|error| failed(&error))?;
    }
    let taken = write(&database, &unfinished, keeps_users).map_err(|error| failed(&error))?;
    let inspection = store::inspect(&unfinished).map_err(|error| failed(&error))?;
    if !inspection.recovered.damage.is_none() {
        return Err(failed(&inspection.recovered.damage));
    }
    give_to_owner(file, &unfinished).map_err(|error| failed(&error))?;
    let renamed = fs::rename(&unfinished, folder).and_then(|()| sync_parent(folder));
    renamed.map_err(|error| format!("cannot rename {} to {to}: {error}", unfinished.display()))?;
    Ok(taken)
}

fn write(database: &Database<'_>, folder: &Path, keeps_users: bool) -> Result<Taken, store::StoreError> {
    let (mut log, _) = store::open(folder, &store::Options::default(), Box::new(|_| {}))?;
    let taken = store_writer::write(database, keeps_users, &mut log)?;
    log.start()?.close()?;
    Ok(taken)
}

/// If root runs this, the files are given to the owner of the source file, who runs the broker.
fn give_to_owner(file: &Path, folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(file)?;
    let give = |path: &Path| std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()));
    for entry in fs::read_dir(folder)? {
        give(&entry?.path())?;
    }
    give(folder)
}

fn sync_parent(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
