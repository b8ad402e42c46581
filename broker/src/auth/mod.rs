//! Who may connect, and who may read and write which topics.

pub mod acl;
mod file;
pub mod password;
pub mod password_file;
