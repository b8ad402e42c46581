//! `broker import`: makes a store of the persistence file of mosquitto. `mosquitto_db.rs` reads the file,
//! `store_writer.rs` writes what it has into the store.
//!
//! Invariants: the file is only read. The store has its name when it is complete and was read back without damage; a
//! store that is there already is never changed.

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
    /// The file of mosquitto, which has to be stopped: usually /var/lib/mosquitto/mosquitto.db
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder of the store, which must not be there yet [default: FILE.midge, where the broker looks for it]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Sessions belong to no user: for a broker that does not check passwords
    #[arg(long)]
    without_users: bool,
}

/// Does it and prints what was taken.
pub fn run(args: &ImportArgs) -> ExitCode {
    let folder = args
        .folder
        .clone()
        .unwrap_or_else(|| with_suffix(&args.file, ".midge"));
    match import(&args.file, &folder, !args.without_users) {
        Ok(taken) => {
            // Whoever reads may have stopped reading.
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

/// Makes the store; returns why it could not be made.
fn import(file: &Path, folder: &Path, keeps_users: bool) -> Result<Taken, String> {
    let (from, to) = (file.display(), folder.display());
    if folder.exists() {
        return Err(format!(
            "{to} is there already; fix: stop the broker and move {to} away, or name another folder"
        ));
    }
    let bytes = fs::read(file).map_err(|error| format!("cannot read {from}: {error}"))?;
    let database = Database::parse(&bytes).map_err(|error| format!("{from}: {error}"))?;
    let unfinished = with_suffix(folder, ".importing");
    let failed = |error: &dyn std::fmt::Display| format!("cannot write {}: {error}", unfinished.display());
    if unfinished.exists() {
        // An import before did not come to its end.
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

/// What root makes is for whoever runs the broker: the owner of the file.
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
